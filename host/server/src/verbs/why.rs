//! The subresource `why` of every stored object, and its summary in `kubectl describe`.
//!
//! `…/NAME/why` needs the verb `get` on `RESOURCE/why` and is not in discovery: it has no kind. What `describe` shows of
//! an object are its Events, which it asks for by name, namespace and uid; such a list alone gets one more, of reason
//! `Why`, made up on the spot when a run made the object's last change. It is stored nowhere and watched by nobody.

use std::sync::Arc;

use http::header::{ACCEPT, HeaderValue};
use http::request::Parts;
use quadrille_object::selector::FieldSelector;
use quadrille_object::{GroupResource, Meta};
use quadrille_registry::access::{Attributes, ResourceAttributes};
use quadrille_registry::{Resource, Status, User};
use quadrille_store::{Key, Object, View as _};
use serde_json::{Value, json};

use super::insight::{form_of, replied};
use super::list::Selected;
use crate::answer::Answer;
use crate::app::{App, ResourceRequest};
use crate::extension::{Rights, Summary};
use crate::params::parameter;
use crate::path::ResourcePath;

const SUBRESOURCE: &str = "why";

/// Whether a GET is for the subresource of a resource that has such objects.
pub(crate) fn is_asked(parts: &Parts, path: &ResourcePath<'_>, resource: &Resource) -> bool {
    path.subresource.as_deref() == Some(SUBRESOURCE)
        && parts.method == http::Method::GET
        && resource.is_stored()
        && resource.subresource(SUBRESOURCE).is_none()
        && path.is_place_of(resource.namespaced)
}

/// Tells why the object, or the field `?field=`, is as it is.
pub(crate) async fn answer(
    app: &App,
    parts: &Parts,
    path: &ResourcePath<'_>,
    resource: &Resource,
    user: &Arc<User>,
) -> Result<Answer, Status> {
    let name = path.name.as_deref().unwrap_or_default();
    let key = Key::new(resource.group_resource(), path.namespace.as_ref(), name);
    let Some(insight) = &app.insight else {
        return Err(Status::not_found(&resource.qualified(), name));
    };
    let field = parameter(parts.uri.query(), "field").map(std::borrow::Cow::into_owned);
    let accept = parts.headers.get(ACCEPT).map(HeaderValue::as_bytes).unwrap_or_default();
    let form = form_of(std::str::from_utf8(accept).unwrap_or_default());
    let rights = Rights::new(Arc::clone(&app.authorizer), Arc::clone(user));
    Ok(replied(app, insight.why(key, field, form, rights).await?))
}

/// Adds the summary to a list of Events that is about one object.
pub(crate) async fn summarise(app: &App, request: &ResourceRequest<'_>, selected: &mut Selected) {
    let resource = request.resource.group_resource();
    let is_event = *resource.resource == *"events"
        && matches!(&*resource.group, "" | "events.k8s.io")
        && request.params.r#continue.is_none();
    let (Some(insight), true) = (&app.insight, is_event) else { return };
    let Some(text) = request.params.field_selector.as_deref() else { return };
    let Ok(fields) = FieldSelector::parse(text) else { return };
    let Some(about) = regarding(app, request, &fields) else { return };
    let rights = Rights::new(Arc::clone(&app.authorizer), Arc::new(request.user.clone()));
    if let Some(summary) = insight.summary(Arc::clone(&about.object), rights).await {
        selected.objects.push(Arc::new(event(&about, &summary)));
    }
}

/// The object that a list of Events is about.
struct Regarding {
    object: Arc<Object>,
    kind: String,
    api_version: String,
}

/// Finds it, where the selector pins name, namespace and uid, and nothing else but perhaps the kind: of a Pod, `kubectl
/// describe` leaves it out.
fn regarding(
    app: &App,
    request: &ResourceRequest<'_>,
    fields: &FieldSelector,
) -> Option<Regarding> {
    let exact = |name: &str| {
        let old = fields.exact(&format!("involvedObject.{name}"));
        old.or_else(|| fields.exact(&format!("regarding.{name}")))
    };
    let (kind, name, uid) = (exact("kind"), exact("name")?, exact("uid")?);
    let namespace = exact("namespace")?;
    if fields.requirements.len() != 3 + usize::from(kind.is_some()) {
        return None;
    }
    let snapshot = app.registry.store().snapshot();
    let catalog = app.registry.catalog();
    let is_of_kind = |of: &str| kind.is_none_or(|kind| *of == *kind);
    let of_kind = catalog.resources.values().filter(|of| is_of_kind(&of.kind.kind));
    let found = of_kind.filter(|of| of.is_stored()).find_map(|of| {
        let namespace = if of.namespaced { namespace } else { "" };
        let object = snapshot.get(&Key::new(of.group_resource(), namespace, name))?;
        (*object.meta.uid == *uid).then_some((of, object))
    });
    let (of, object) = found?;
    let group: &GroupResource = &object.key.resource;
    let asked = ResourceAttributes {
        group: &group.group,
        version: &of.gvr.version,
        resource: &group.resource,
        namespace: &object.key.namespace,
        name,
        ..ResourceAttributes::default()
    };
    // Who may list Events is told of no object that they may not get.
    let allowed = app.authorizer.allows(request.user, &Attributes::of("get", asked));
    let (kind, api_version) =
        (of.kind.kind.as_ref().to_owned(), of.api_version.as_ref().to_owned());
    allowed.then(|| Regarding { object, kind, api_version })
}

fn event(about: &Regarding, summary: &Summary) -> Object {
    let key = &about.object.key;
    let namespace = if key.namespace.is_empty() { "default" } else { &*key.namespace };
    let (name, at) = (format!("{}.why", key.name), summary.at.to_rfc3339());
    let value: Value = json!({
        "kind": "Event", "apiVersion": "v1",
        "metadata": {
            "name": name, "namespace": namespace, "uid": &*about.object.meta.uid,
            "resourceVersion": summary.revision.to_string(), "creationTimestamp": at,
        },
        "involvedObject": {
            "kind": about.kind, "namespace": &*key.namespace, "name": &*key.name,
            "uid": &*about.object.meta.uid, "apiVersion": about.api_version,
            "resourceVersion": summary.revision.to_string(),
        },
        "reason": "Why", "message": summary.message, "source": {"component": "quadrille"},
        "firstTimestamp": at, "lastTimestamp": at, "count": 1, "type": "Normal",
        "eventTime": null, "reportingComponent": "quadrille", "reportingInstance": "",
    });
    let meta = value.as_object().map(Meta::from_object).unwrap_or_default();
    Object {
        key: Key::new(GroupResource::new("", "events"), namespace, name.as_str()),
        revision: summary.revision,
        meta,
        bytes: value.to_string().into(),
    }
}
