//! The registry's handle: from a request to a commit.
//!
//! [`Registry::prepare`] decides and does not act: it is a pure function of a view and a request, so that a
//! client's request (on a snapshot), a run's write (on its overlay) and a dry run go the same way.
//! [`Registry::submit`] prepares, commits, and prepares again when somebody else was first.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, Random, Supervisor};
use quadrille_object::Gvk;
use quadrille_store::{
    Cause, CommitError, Committed, Expect, Key, Object, Revision, Snapshot, Store, Txn, View, Write,
};
use serde_json::{Map, Value};
use tokio::sync::{RwLock, oneshot};

use crate::access::Access;
use crate::admission::{Hooks, Reinvocation};
use crate::catalog::{Catalog, Resource};
use crate::conversion::{self, Conversion, Kept};
use crate::definition::follow::Endings;
use crate::request::WriteRequest;
use crate::status::{Reason, Status};
use crate::webhooks::{Consultation, Question, Webhooks};
use crate::write::Attempt;

/// How often a write is prepared anew because somebody else was first. Each time somebody else has made progress,
/// so this many in a row means a single object that is written without pause.
const ATTEMPTS_MAX: usize = 64;

/// How a registry is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The largest object that is stored, in bytes of JSON.
    pub object_bytes_max: usize,
    /// The certificate of the host's authority as PEM, for the `ConfigMap` `kube-root-ca.crt`; empty without TLS.
    pub ca_certificate: String,
    /// The IPv4 range of Services' cluster IPs.
    pub service_range: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            object_bytes_max: 1_572_864,
            ca_certificate: String::new(),
            service_range: "10.96.0.0/16".to_owned(),
        }
    }
}

/// A decided write that has not been committed.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The object's key.
    pub key: Key,
    /// What to commit: empty when nothing changes, more than one entry when the write moves other objects.
    pub writes: Vec<Write>,
    /// What else must hold, such as the namespace's state.
    pub requires: Vec<(Key, Expect)>,
    /// The object after the write (before it is gone, for a deletion), less the new resourceVersion: in the storage
    /// version, or in that of the request where a webhook converts.
    pub object: Map<String, Value>,
    /// The state before; `None` when the object did not exist.
    pub before: Option<Arc<Object>>,
    /// Whether the object is removed by the commit, as opposed to marked as terminating.
    pub removed: bool,
    /// What is answered instead of the object, as something that was created: a POST to a subresource has an answer of
    /// its own.
    pub answer: Option<Map<String, Value>>,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// What admission has to say to the audit log: annotations, as key and value.
    pub audit: Vec<(String, String)>,
}

/// A decoded object that is not stored.
#[derive(Clone, Debug)]
pub struct Received {
    /// The object, with its field managers.
    pub object: Map<String, Value>,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// A write that is durable (or was only a dry run).
#[derive(Clone, Debug)]
pub struct Written {
    /// The object as it is served, in the version of the request, as JSON.
    pub object: Bytes,
    /// The revision of the commit; the view's for a dry run or a write that changed nothing.
    pub revision: Revision,
    /// Whether the object did not exist before.
    pub created: bool,
    /// Whether the object is gone.
    pub removed: bool,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// What admission has to say to the audit log: annotations, as key and value.
    pub audit: Vec<(String, String)>,
}

/// Why a write is not prepared.
#[derive(Debug)]
pub enum Unprepared {
    /// It is refused.
    Refused(Box<Status>),
    /// Admission webhooks must be asked first.
    Asks(OpenQuestions),
}

/// Questions to admission webhooks that nobody has answered yet.
#[derive(Debug)]
pub struct OpenQuestions {
    pub(crate) questions: Vec<Question>,
    /// Objects that a webhook must convert first.
    pub(crate) conversions: Vec<Conversion>,
    /// What would be decided if everybody consented: for whoever goes on and decides everything anew afterwards.
    pub assumed: Option<Box<Prepared>>,
}

impl OpenQuestions {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.questions.len()
    }

    /// Adds the questions of another write.
    pub fn join(&mut self, other: Self) {
        self.questions.extend(other.questions);
        self.conversions.extend(other.conversions);
    }
}

impl From<Status> for Unprepared {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

fn not_asked(questions: &OpenQuestions) -> Status {
    if !questions.conversions.is_empty() {
        return conversion::failed("conversion webhooks have not been asked");
    }
    let names: Vec<&str> =
        questions.questions.iter().map(|question| &*question.key.webhook).collect();
    let text = format!(
        "Internal error occurred: admission webhooks have not been asked: {}",
        names.join(", ")
    );
    Status::new(Reason::InternalError, text)
}

/// Whether the end of a dying definition is looked for after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Following {
    Yes,
    No,
}

/// The registry; cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    config: Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    catalog: ArcSwap<Catalog>,
    access: Access,
    hooks: ArcSwap<Hooks>,
    webhooks: OnceLock<Arc<dyn Webhooks>>,
    /// What conversion webhooks have answered.
    kept: Arc<Kept>,
    /// Who runs what must not end with the request that it belongs to.
    supervisor: OnceLock<Supervisor>,
    endings: Endings,
    /// Commits share it; a [`crate::Turn`] has it alone.
    commits: RwLock<()>,
}

impl Registry {
    /// Builds the catalog from the built-in kinds and the definitions in the store.
    ///
    /// # Errors
    /// When the built-in data does not parse, or a stored definition cannot be served.
    pub fn build(
        config: Config,
        store: Store,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, Status> {
        let catalog = ArcSwap::from_pointee(crate::catalog::builtin::catalog()?);
        let commits = RwLock::new(());
        let inner = Inner {
            store,
            config,
            clock,
            random,
            catalog,
            access: Access::default(),
            hooks: ArcSwap::default(),
            webhooks: OnceLock::new(),
            kept: Arc::default(),
            supervisor: OnceLock::new(),
            endings: Endings::default(),
            commits,
        };
        let registry = Self { inner: Arc::new(inner) };
        registry.load_definitions();
        registry.load_access();
        registry.load_hooks();
        Ok(registry)
    }

    /// The same registry over another store with the same kind of content: a fork of this one's. It serves what the
    /// definitions there say, knows the roles and policies there, and has no webhooks. It writes nothing by itself.
    #[must_use]
    pub fn fork(&self, store: Store, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let inner = Inner {
            store,
            config: self.inner.config.clone(),
            clock,
            random,
            catalog: ArcSwap::new(self.inner.catalog.load_full()),
            access: Access::default(),
            hooks: ArcSwap::new(self.inner.hooks.load_full()),
            webhooks: OnceLock::new(),
            kept: Arc::clone(&self.inner.kept),
            supervisor: OnceLock::new(),
            endings: Endings::default(),
            commits: RwLock::new(()),
        };
        let fork = Self { inner: Arc::new(inner) };
        fork.follow_definitions();
        fork.load_access();
        fork.load_hooks();
        fork
    }

    /// The store below.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The clock that times are taken from.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// The randomness that uids are taken from.
    pub fn random(&self) -> &Arc<dyn Random> {
        &self.inner.random
    }

    /// Its limits.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The resources served now.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.inner.catalog.load_full()
    }

    /// The index of roles and bindings.
    pub fn access(&self) -> &Access {
        &self.inner.access
    }

    /// Names the one who calls admission webhooks; only the first call counts. Without one each call fails.
    pub fn set_webhooks(&self, webhooks: Arc<dyn Webhooks>) {
        drop(self.inner.webhooks.set(webhooks));
    }

    /// Names the one who runs commits that something follows from, so that they end well though nobody waits for
    /// them any more; only the first call counts. Without one they end with the future of [`Self::commit`].
    pub fn set_supervisor(&self, supervisor: Supervisor) {
        drop(self.inner.supervisor.set(supervisor));
    }

    pub(crate) fn supervisor(&self) -> Option<&Supervisor> {
        self.inner.supervisor.get()
    }

    pub(crate) fn endings(&self) -> &Endings {
        &self.inner.endings
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.inner.kept
    }

    pub(crate) fn hooks(&self) -> &ArcSwap<Hooks> {
        &self.inner.hooks
    }

    /// Decides a write on a view, without acting.
    ///
    /// A run's overlay must drop those of [`Prepared::requires`] whose keys the run itself writes.
    ///
    /// # Errors
    /// Every refusal of the Kubernetes API; a write that an admission webhook must see first is refused as well
    /// ([`Self::prepare_after`] takes its answers).
    pub fn prepare(&self, view: &dyn View, request: &WriteRequest) -> Result<Prepared, Status> {
        self.decide(view, request, None).map_err(|unprepared| match unprepared {
            Unprepared::Refused(status) => *status,
            Unprepared::Asks(questions) => not_asked(&questions),
        })
    }

    /// The same with the answers of admission webhooks. `place` tells the writes of one consultation apart.
    ///
    /// # Errors
    /// As [`Self::prepare`], or the questions that are open.
    pub fn prepare_after(
        &self,
        view: &dyn View,
        request: &WriteRequest,
        answers: &Consultation,
        place: u64,
    ) -> Result<Prepared, Unprepared> {
        self.decide(view, request, Some((answers, place)))
    }

    /// Whether any webhook is there: only then a consultation is worth beginning.
    pub fn has_webhooks(&self) -> bool {
        let hooks = self.inner.hooks.load();
        !hooks.mutating_webhooks.is_empty()
            || !hooks.validating_webhooks.is_empty()
            || self.inner.catalog.load().converts
    }

    /// Asks open questions and adds the answers.
    ///
    /// # Errors
    /// When one write or run asks without end.
    pub async fn consult(
        &self,
        questions: OpenQuestions,
        answers: &mut Consultation,
    ) -> Result<(), Status> {
        if answers.is_full() {
            return Err(not_asked(&questions));
        }
        let webhooks = self.inner.webhooks.get().map(AsRef::as_ref);
        if !questions.conversions.is_empty() {
            let random = &*self.inner.random;
            for (key, converted) in conversion::ask(questions.conversions, webhooks, random).await {
                if let Ok(bytes) = &converted {
                    self.inner.kept.put(key.clone(), bytes.clone());
                }
                answers.note(key, converted);
            }
        }
        answers.ask(questions.questions, webhooks, &*self.inner.random).await;
        Ok(())
    }

    fn decide(
        &self,
        view: &dyn View,
        request: &WriteRequest,
        consultation: Option<(&Consultation, u64)>,
    ) -> Result<Prepared, Unprepared> {
        let (catalog, hooks) = (self.inner.catalog.load(), self.inner.hooks.load());
        let mut attempt = self.attempt(&catalog, &hooks, view, request);
        let Some((answers, place)) = consultation else { return attempt.decide() };
        let random = answers.random(place);
        attempt.random = &random;
        attempt.now = answers.now;
        attempt.consultation = Some(answers);
        attempt.decide()
    }

    /// Decodes a body whose object is answered and never stored, such as a review: types, unknown fields, defaults and
    /// field managers, as for one that is created.
    ///
    /// # Errors
    /// Every refusal of a body that cannot be decoded.
    pub fn receive(&self, request: &WriteRequest) -> Result<Received, Status> {
        let (catalog, hooks) = (self.inner.catalog.load(), self.inner.hooks.load());
        let snapshot = self.inner.store.snapshot();
        self.attempt(&catalog, &hooks, &snapshot, request).receive()
    }

    /// Lets policies and webhooks see a decoded body that is answered and never stored.
    ///
    /// # Errors
    /// Their refusals.
    pub async fn admit(
        &self,
        request: &WriteRequest,
        object: Map<String, Value>,
    ) -> Result<Received, Status> {
        if self.inner.hooks.load().are_none() {
            return Ok(Received { object, warnings: Vec::new() });
        }
        let mut answers = self.consultation();
        loop {
            match self.admit_after(request, object.clone(), &answers) {
                Ok(received) => return Ok(received),
                Err(Unprepared::Refused(status)) => return Err(*status),
                Err(Unprepared::Asks(questions)) => self.consult(questions, &mut answers).await?,
            }
        }
    }

    fn admit_after(
        &self,
        request: &WriteRequest,
        object: Map<String, Value>,
        answers: &Consultation,
    ) -> Result<Received, Unprepared> {
        let (catalog, hooks) = (self.inner.catalog.load(), self.inner.hooks.load());
        let (snapshot, random) = (self.inner.store.snapshot(), answers.random(0));
        let mut attempt = self.attempt(&catalog, &hooks, &snapshot, request);
        attempt.random = &random;
        attempt.now = answers.now;
        attempt.consultation = Some(answers);
        attempt.admit(object)
    }

    fn attempt<'a>(
        &'a self,
        catalog: &'a Catalog,
        hooks: &'a Hooks,
        view: &'a dyn View,
        request: &'a WriteRequest,
    ) -> Attempt<'a> {
        Attempt {
            config: &self.inner.config,
            random: &*self.inner.random,
            catalog,
            access: &self.inner.access,
            hooks,
            consultation: None,
            questions: Vec::new(),
            kept: &self.inner.kept,
            conversions: RefCell::default(),
            unconverted: RefCell::default(),
            reinvocation: Reinvocation::default(),
            view,
            request,
            resource: &request.target.resource,
            now: self.inner.clock.now(),
            warnings: Vec::new(),
            audit: Vec::new(),
            requires: Vec::new(),
            lost_in_storage: Cell::new(false),
            also: RefCell::default(),
        }
    }

    /// Prepares and commits; prepares again on a newer snapshot when somebody else was first: the request's own
    /// resourceVersion, where it has one, is checked again then.
    ///
    /// # Errors
    /// Every refusal of the Kubernetes API.
    pub async fn submit(&self, request: &WriteRequest, cause: Cause) -> Result<Written, Status> {
        self.submit_through(request, cause, Following::Yes).await
    }

    pub(crate) async fn submit_without_following(
        &self,
        request: &WriteRequest,
        cause: Cause,
    ) -> Result<Written, Status> {
        self.submit_through(request, cause, Following::No).await
    }

    async fn submit_through(
        &self,
        request: &WriteRequest,
        cause: Cause,
        following: Following,
    ) -> Result<Written, Status> {
        let mut answers = self.has_webhooks().then(|| self.consultation());
        for _ in 0..ATTEMPTS_MAX {
            let (snapshot, mut prepared) = self.prepare_asking(request, &mut answers).await?;
            if request.options.dry_run || prepared.writes.is_empty() {
                return Ok(self.written(request, prepared, None, snapshot.revision()));
            }
            let txn = Txn {
                // After a conflict the next attempt prepares its own.
                writes: std::mem::take(&mut prepared.writes),
                requires: std::mem::take(&mut prepared.requires),
                reads: None,
                fence: None,
                cause: cause.clone(),
            };
            let committed = match following {
                Following::Yes => self.commit(txn).await,
                Following::No => self.commit_in_line(txn).await,
            };
            match committed {
                Ok(committed) => {
                    let object = committed.objects.first().cloned();
                    let shown = self.shown_after(request, &prepared, object).await?;
                    let shown = shown.as_ref();
                    return Ok(self.written(request, prepared, shown, committed.revision));
                }
                Err(CommitError::Conflict(_)) => {}
                Err(error) => return Err(Status::from(&error)),
            }
        }
        let name = request.target.name.as_deref().unwrap_or_default();
        let why = "too many others write it at the same time; please try again";
        Err(Status::conflict(&request.target.resource.qualified(), name, why))
    }

    /// The committed object as its writer gets to see it.
    async fn shown_after(
        &self,
        request: &WriteRequest,
        prepared: &Prepared,
        committed: Option<Arc<Object>>,
    ) -> Result<Option<Arc<Object>>, Status> {
        let resource = &request.target.resource;
        if prepared.removed || resource.converter().is_none() {
            return Ok(committed);
        }
        let objects = self.convert(committed.into_iter().collect(), resource).await?;
        Ok(objects.into_iter().next())
    }

    /// Prepares on the newest snapshot, and asks webhooks until they have said what they have to say.
    async fn prepare_asking(
        &self,
        request: &WriteRequest,
        answers: &mut Option<Consultation>,
    ) -> Result<(Snapshot, Prepared), Status> {
        loop {
            let snapshot = self.inner.store.snapshot();
            match self.decide(&snapshot, request, answers.as_ref().map(|known| (known, 0))) {
                Ok(prepared) => return Ok((snapshot, prepared)),
                Err(Unprepared::Refused(status)) => return Err(*status),
                Err(Unprepared::Asks(questions)) => {
                    let answers = answers.get_or_insert_with(|| self.consultation());
                    self.consult(questions, answers).await?;
                }
            }
        }
    }

    /// A consultation without answers.
    pub fn consultation(&self) -> Consultation {
        Consultation::new(&*self.inner.clock, &*self.inner.random)
    }

    fn written(
        &self,
        request: &WriteRequest,
        prepared: Prepared,
        committed: Option<&Arc<Object>>,
        revision: Revision,
    ) -> Written {
        let resource = &request.target.resource;
        let is_scale = request.target.subresource.as_deref() == Some("scale");
        let stored = committed.filter(|_| !prepared.removed && !is_scale);
        let created = prepared.before.is_none() || prepared.answer.is_some();
        let object = if let Some(answer) = &prepared.answer {
            encode(answer)
        } else if let Some(object) = stored {
            self.present(object, resource)
        } else {
            let mut object = prepared.object;
            // What is gone shows the revision at which it went, unless it went with its last finalizer.
            let deleted = matches!(request.action, crate::request::Action::Delete(_));
            if let Some(stored) = committed.filter(|_| deleted || !prepared.removed) {
                let metadata = crate::metadata::of_mut(&mut object);
                let revision = stored.revision.to_string();
                metadata.insert("resourceVersion".to_owned(), revision.into());
            }
            let value = if is_scale {
                crate::write::scale::scale_of(resource, &object)
            } else {
                crate::convert::from_storage(resource, &mut object);
                object
            };
            encode(&value)
        };
        Written {
            object,
            revision,
            created,
            removed: prepared.removed,
            warnings: prepared.warnings,
            audit: prepared.audit,
        }
    }

    /// Commits prepared writes as one transaction and does what follows at once: when this returns, a definition is
    /// served, and a new namespace has its `ServiceAccount` and `ConfigMap`. Runs commit through it.
    ///
    /// # Errors
    /// See [`quadrille_store::CommitError`].
    ///
    /// # Cancel safety
    /// Dropping it may leave the transaction committed or not; what follows from it happens in either case, given a
    /// supervisor.
    pub async fn commit(&self, txn: Txn) -> Result<Committed, CommitError> {
        if !self.is_followed(&txn) {
            return self.commit_in_line(txn).await;
        }
        let Some(supervisor) = self.inner.supervisor.get() else {
            return self.clone().commit_and_follow(txn).await;
        };
        let (answer, answered) = oneshot::channel();
        let work = self.clone().commit_and_follow(txn);
        supervisor.spawn_brief("commit with consequences", async move {
            // Who asked for it may be gone.
            drop(answer.send(work.await));
        });
        answered.await.unwrap_or(Err(CommitError::Closed))
    }

    /// Boxed, since what follows commits as well.
    fn commit_and_follow(self, txn: Txn) -> BoxFuture<'static, Result<Committed, CommitError>> {
        Box::pin(async move {
            let committed = self.commit_in_line(txn).await?;
            self.follow(&committed).await;
            Ok(committed)
        })
    }

    pub(crate) fn is_followed(&self, txn: &Txn) -> bool {
        txn.writes.iter().any(|write| self.has_followers(write))
    }

    pub(crate) fn commits(&self) -> &RwLock<()> {
        &self.inner.commits
    }

    /// The bytes of an object in a version; the stored bytes themselves where the version is the stored one, or where
    /// a webhook converts: those objects have gone through [`Self::convert`] or [`Self::shown`].
    #[expect(clippy::unused_self, reason = "conversions by component will need the registry")]
    pub fn present(&self, object: &Object, resource: &Resource) -> Bytes {
        if resource.is_storage_form() || resource.converter().is_some() {
            return object.bytes.clone();
        }
        let Ok(mut value) = crate::write::parse(object) else { return object.bytes.clone() };
        crate::convert::from_storage(resource, &mut value);
        encode(&value)
    }

    /// An object as the `scale` subresource answers it.
    ///
    /// # Errors
    /// `NotFound` for a resource without it.
    #[expect(clippy::unused_self, reason = "conversions by component will need the registry")]
    pub fn present_scale(&self, object: &Object, resource: &Resource) -> Result<Bytes, Status> {
        if resource.scale.is_none() {
            return Err(Status::not_found(&resource.qualified(), &object.key.name));
        }
        let value = crate::write::parse(object)?;
        Ok(encode(&crate::write::scale::scale_of(resource, &value)))
    }

    /// The resource of a kind, as the catalog has it now.
    pub fn resource_of(&self, kind: &Gvk) -> Option<Arc<Resource>> {
        self.catalog().by_kind(kind).cloned()
    }

    /// Changes the catalog; later calls see what earlier ones did.
    pub(crate) fn update_catalog(&self, change: impl Fn(&mut Catalog)) {
        self.inner.catalog.rcu(|current| {
            let mut next = Catalog::clone(current);
            change(&mut next);
            next.converts = next.resources.values().any(|resource| resource.converter().is_some());
            next.generation += 1;
            next
        });
    }
}

/// The `Status` that answers what was done and has no object to show.
pub(crate) fn done(code: u16) -> Map<String, Value> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code,
    });
    status.as_object().cloned().unwrap_or_default()
}

fn encode(object: &Map<String, Value>) -> Bytes {
    Bytes::from(serde_json::to_vec(object).expect("writing JSON into memory cannot fail"))
}
