//! Versions of custom resources that a webhook converts into each other (`spec.conversion.strategy: Webhook`).
//!
//! As with admission, deciding is pure and asking is not. An attempt at a write that needs an object in another version
//! ends with open [`Conversion`]s; its caller has them answered and makes the attempt again. Who reads has all objects
//! converted before they are shown ([`Registry::convert`]). A conversion is a function of the object's bytes and the
//! definition's generation, so what was converted is kept by just these, within bounded memory, and neither lists nor
//! watches ask twice. An attempt at a write of such a resource works in the version of its request throughout, and its
//! result is converted when it is about to be stored.

mod kept;
mod review;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use quadrille_kit::Random;
use quadrille_object::schema::Nulls;
use quadrille_store::{Object as Stored, View};
use serde_json::{Map, Value};

pub(crate) use self::kept::Kept;
use crate::admission::review::Version;
use crate::admission::service::Client;
use crate::catalog::{Catalog, Resource};
use crate::field::{self, Object};
use crate::registry::{OpenQuestions, Registry, Unprepared};
use crate::shape;
use crate::status::{Reason, Status};
use crate::webhooks::{Consultation, WebhookEndpoint, Webhooks};

/// Kubernetes' own time limit for one call.
const TIMEOUT_SECONDS: u64 = 30;
/// How much goes into one review: a list of many small objects is asked about at once, and an answer of some times the
/// size still fits into what is read of one.
const REVIEW_BYTES: usize = 2 << 20;
const REVIEW_OBJECTS: usize = 1_000;
/// How many calls are under way together.
const CALLS_AT_ONCE: usize = 4;

/// Who converts the objects of a definition.
#[derive(Debug)]
pub(crate) struct Converter {
    /// The definition's uid and generation: what makes a conversion another one.
    id: Arc<str>,
    client: Client,
    /// The first version of the review that both sides know.
    version: Option<Version>,
}

/// What a conversion is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConversionKey {
    converter: Arc<str>,
    /// The apiVersion that is wanted.
    to: Arc<str>,
    /// The object as JSON.
    object: Bytes,
}

/// The object in the version that was wanted, or why there is none.
pub(crate) type Converted = Result<Bytes, Arc<str>>;

/// One object that has to be converted.
#[derive(Clone, Debug)]
pub(crate) struct Conversion {
    pub(crate) key: ConversionKey,
    converter: Arc<Converter>,
    /// Where to ask; `Err` says why nobody can be asked.
    endpoint: Result<WebhookEndpoint, String>,
    /// The resource in the wanted version; `None` when that is only stored.
    target: Option<Arc<Resource>>,
}

impl Converter {
    /// The converter of a stored definition; `None` where versions differ in name alone.
    pub(crate) fn compile(definition: &Object, incarnation: &(Arc<str>, i64)) -> Option<Arc<Self>> {
        let conversion = definition.get("spec")?.get("conversion")?;
        if conversion.get("strategy").and_then(Value::as_str) != Some("Webhook") {
            return None;
        }
        let webhook = conversion.get("webhook").unwrap_or(&Value::Null);
        let client = webhook.get("clientConfig").unwrap_or(&Value::Null);
        let versions = webhook.get("conversionReviewVersions").and_then(Value::as_array);
        Some(Arc::new(Self {
            id: format!("{}/{}", incarnation.0, incarnation.1).into(),
            client: Client::parse(client, TIMEOUT_SECONDS),
            version: Version::choose(versions.map_or(&[][..], Vec::as_slice)),
        }))
    }

    fn endpoint(&self, view: &dyn View) -> Result<WebhookEndpoint, String> {
        if self.version.is_none() {
            return Err("no supported version of ConversionReview".to_owned());
        }
        self.client.endpoint(view)
    }

    /// What turns an object into another version.
    pub(crate) fn conversion(
        self: &Arc<Self>,
        object: Bytes,
        to: &Arc<str>,
        target: Option<&Arc<Resource>>,
        view: &dyn View,
    ) -> Conversion {
        let key = ConversionKey { converter: Arc::clone(&self.id), to: Arc::clone(to), object };
        let (converter, target) = (Arc::clone(self), target.cloned());
        Conversion { key, converter, endpoint: self.endpoint(view), target }
    }
}

impl Conversion {
    fn is_with(&self, other: &Self) -> bool {
        self.key.converter == other.key.converter && self.key.to == other.key.to
    }

    /// Gives what the webhook made of the object the shape of its version.
    fn fit(&self, mut object: Map<String, Value>) -> Bytes {
        if let Some(target) = &self.target {
            shape::prune(target, &mut object);
            shape::defaults(target, &mut object, Nulls::Drop);
        }
        serde_json::to_vec(&object).expect("writing JSON into memory cannot fail").into()
    }
}

/// `example.com/v1, Kind=Widget`, as kube-apiserver calls what it converts.
fn shown_kind(object: &Map<String, Value>) -> String {
    let of = |key| field::text(object, &[key]).unwrap_or_default();
    format!("{}, Kind={}", of("apiVersion"), of("kind"))
}

/// Has objects converted, those that one webhook turns into one version together.
pub(crate) async fn ask(
    mut open: Vec<Conversion>,
    webhooks: Option<&dyn Webhooks>,
    random: &dyn Random,
) -> Vec<(ConversionKey, Converted)> {
    open.sort_by(|a, b| a.key.cmp(&b.key));
    open.dedup_by(|a, b| a.key == b.key);
    let mut reviews: Vec<Vec<Conversion>> = Vec::new();
    let mut bytes = 0;
    for conversion in open {
        bytes += conversion.key.object.len();
        match reviews.last_mut() {
            Some(last)
                if last.len() < REVIEW_OBJECTS
                    && bytes <= REVIEW_BYTES
                    && last.first().is_some_and(|first| first.is_with(&conversion)) =>
            {
                last.push(conversion);
            }
            _ => {
                bytes = conversion.key.object.len();
                reviews.push(vec![conversion]);
            }
        }
    }
    let asked = reviews.into_iter().map(|review| async move {
        let outcome = ask_once(&review, webhooks, random.uuid()).await;
        let answers = match outcome {
            Ok(objects) => objects.into_iter().map(Ok).collect(),
            Err(why) => vec![Err(Arc::from(why)); review.len()],
        };
        review.into_iter().map(|conversion| conversion.key).zip(answers).collect::<Vec<_>>()
    });
    stream::iter(asked).buffer_unordered(CALLS_AT_ONCE).concat().await
}

async fn ask_once(
    review: &[Conversion],
    webhooks: Option<&dyn Webhooks>,
    uid: String,
) -> Result<Vec<Bytes>, String> {
    let Some(first) = review.first() else { return Ok(Vec::new()) };
    let parse = |conversion: &Conversion| serde_json::from_slice(&conversion.key.object).ok();
    let originals: Vec<Map<String, Value>> = review.iter().filter_map(parse).collect();
    let kind = originals.first().map(shown_kind).unwrap_or_default();
    let failed = |why: &str| format!("conversion webhook for {kind} failed: {why}");
    if originals.len() != review.len() {
        return Err(failed("a stored object is not JSON"));
    }
    let endpoint = first.endpoint.as_ref().map_err(|why| failed(why))?;
    let Some(webhooks) = webhooks else { return Err(failed("this host does not call webhooks")) };
    let version = first.converter.version.unwrap_or(Version::V1);
    let objects = review.iter().map(|conversion| &conversion.key.object[..]);
    let body = review::encode(objects, &first.key.to, &uid, version);
    let reply = webhooks.post(endpoint, body).await.map_err(|why| failed(&why))?;
    let converted = review::decode(&reply, &uid, version).map_err(|why| failed(&why))?;
    let found = review::check(&originals, converted, &first.key.to);
    let found = found.map_err(|why| format!("conversion webhook for {kind} returned {why}"))?;
    Ok(review.iter().zip(found).map(|(conversion, object)| conversion.fit(object)).collect())
}

/// The error of a conversion that failed, as kube-apiserver answers it.
pub(crate) fn failed(why: &str) -> Status {
    Status::new(Reason::Unknown, why)
}

/// The version that an object is in; empty for what is no object.
pub(crate) fn version_of(object: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Typed {
        #[serde(default, rename = "apiVersion")]
        api_version: String,
    }
    serde_json::from_slice::<Typed>(object).map(|typed| typed.api_version).unwrap_or_default()
}

/// The resource in the version that is called so, where that is served.
pub(crate) fn served_as(catalog: &Catalog, of: &Resource, to: &str) -> Option<Arc<Resource>> {
    catalog.versions(&of.gvr).find(|resource| *resource.api_version == *to).cloned()
}

/// An object that shows other bytes.
fn showing(object: &Stored, bytes: Bytes) -> Arc<Stored> {
    let (key, revision) = (object.key.clone(), object.revision);
    Arc::new(Stored { key, revision, meta: object.meta.clone(), bytes })
}

impl Registry {
    /// Whether objects of the resource must go through [`Self::convert`] before [`Self::present`] shows them.
    #[must_use]
    #[expect(clippy::unused_self, reason = "conversions by component will need the registry")]
    pub fn converts(&self, resource: &Resource) -> bool {
        resource.converter().is_some() && !resource.is_storage_form()
    }

    /// Objects in the version of the resource: those that are not there yet are asked for together. It gives back what
    /// it was given when no webhook converts the resource.
    ///
    /// # Errors
    /// When the webhook fails.
    pub async fn convert(
        &self,
        objects: Vec<Arc<Stored>>,
        resource: &Arc<Resource>,
    ) -> Result<Vec<Arc<Stored>>, Status> {
        if !self.converts(resource) {
            return Ok(objects);
        }
        let view = self.store().snapshot();
        let open = match self.shown(&view, &objects, resource, None) {
            Ok(shown) => return Ok(together(&objects, shown)),
            Err(Unprepared::Refused(status)) => return Err(*status),
            Err(Unprepared::Asks(open)) => open,
        };
        let mut answers = self.consultation();
        self.consult(open, &mut answers).await?;
        match self.shown(&view, &objects, resource, Some(&answers)) {
            Ok(shown) => Ok(together(&objects, shown)),
            Err(Unprepared::Refused(status)) => Err(*status),
            Err(Unprepared::Asks(_)) => Err(failed("the converted objects do not fit into memory")),
        }
    }

    /// The bytes of objects in the version of the resource, as far as that needs nobody to be asked.
    ///
    /// # Errors
    /// What a webhook must be asked first, or its failure.
    pub fn shown(
        &self,
        view: &dyn View,
        objects: &[Arc<Stored>],
        resource: &Arc<Resource>,
        answers: Option<&Consultation>,
    ) -> Result<Vec<Bytes>, Unprepared> {
        let Some(converter) = resource.converter().filter(|_| self.converts(resource)) else {
            return Ok(objects.iter().map(|object| self.present(object, resource)).collect());
        };
        let (to, mut shown, mut open) = (&resource.api_version, Vec::new(), Vec::new());
        let mut endpoint = None;
        for object in objects {
            if *version_of(&object.bytes) == **to {
                shown.push(object.bytes.clone());
                continue;
            }
            let key = ConversionKey {
                converter: Arc::clone(&converter.id),
                to: Arc::clone(to),
                object: object.bytes.clone(),
            };
            match self.known(&key, answers) {
                Some(Ok(bytes)) => shown.push(bytes),
                Some(Err(why)) => return Err(failed(&why).into()),
                None => open.push(Conversion {
                    key,
                    converter: Arc::clone(converter),
                    endpoint: endpoint.get_or_insert_with(|| converter.endpoint(view)).clone(),
                    target: Some(Arc::clone(resource)),
                }),
            }
        }
        if open.is_empty() {
            return Ok(shown);
        }
        Err(Unprepared::Asks(OpenQuestions {
            questions: Vec::new(),
            conversions: open,
            assumed: None,
        }))
    }

    fn known(&self, key: &ConversionKey, answers: Option<&Consultation>) -> Option<Converted> {
        let answered = answers.and_then(|answers| answers.converted(key)).cloned();
        answered.or_else(|| self.kept().get(key).map(Ok))
    }
}

fn together(objects: &[Arc<Stored>], shown: Vec<Bytes>) -> Vec<Arc<Stored>> {
    objects.iter().zip(shown).map(|(object, bytes)| showing(object, bytes)).collect()
}

/// Answers by what they were asked for.
pub(crate) type Answers = BTreeMap<ConversionKey, Converted>;
