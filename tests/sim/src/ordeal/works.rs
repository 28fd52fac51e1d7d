//! What is done in an ordeal: a fixed list of steps, and the controllers that act on them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quadrille_kit::clock::BoxFuture;
use quadrille_object::{GroupResource, Gvk, LabelSelector};
use quadrille_registry::{
    Action, Actor, Body, DeleteOptions, PatchFormat, Propagation, Registry, Status, Target,
    WriteOptions, WriteRequest,
};
use quadrille_runtime::{
    ControllerSpec, Failure, Grant, Outcome, Overlay, ReconcileRequest, Reconciled, Reconciler,
};
use quadrille_store::{Key, Object, Query, Range, Selection};
use serde_json::{Value, json};

use crate::play::simple;
use crate::town;

/// Controllers and what they work on.
pub trait Workload: fmt::Debug {
    /// The controllers, as a new host loads them.
    fn controllers(&self) -> Vec<(ControllerSpec, Arc<dyn Reconciler>)>;

    /// What clients do, one after the other; each again until it is acknowledged.
    fn steps(&self) -> Vec<Step>;
}

/// One thing that a client does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Waits until nobody has anything to do.
    Rest,
    /// Creates an object of a kind in a namespace.
    Create(Gvk, &'static str, Value),
    /// Merges into the object of a name.
    Patch(Gvk, &'static str, &'static str, Value),
    /// Deletes it.
    Delete(Gvk, &'static str, &'static str, Propagation),
}

impl Step {
    pub(super) fn request(&self, registry: &Registry) -> Option<WriteRequest> {
        let (kind, namespace, name, action) = match self.clone() {
            Self::Rest => return None,
            Self::Create(kind, place, object) => {
                (kind, place, None, Action::Create(Body::from(object)))
            }
            Self::Patch(kind, place, name, patch) => {
                (kind, place, Some(name), Action::Patch(PatchFormat::Merge, Body::from(patch)))
            }
            Self::Delete(kind, place, name, propagation) => {
                let propagation = Some(propagation);
                let options = DeleteOptions { propagation, ..DeleteOptions::default() };
                (kind, place, Some(name), Action::Delete(options))
            }
        };
        let resource = registry.resource_of(&kind).expect("it is served");
        let (namespace, name) = (namespace.into(), name.map(Into::into));
        let target = Target { resource, namespace, name, subresource: None };
        let (options, actor) = (WriteOptions::default(), Actor::default());
        Some(WriteRequest { target, action, options, actor })
    }
}

fn maps() -> Gvk {
    Gvk::new("", "v1", "ConfigMap")
}

/// The chain of the town with more small controllers: apps get parts, parts widgets, widgets a colour (behind a finalizer);
/// a census counts parts, a mirror copies to another namespace, a janitor deletes what is old.
#[derive(Clone, Copy, Debug)]
pub struct Crafts;

impl Workload for Crafts {
    fn controllers(&self) -> Vec<(ControllerSpec, Arc<dyn Reconciler>)> {
        let mut all = town::chain();
        all.push(small("census", "census=yes", None, census));
        all.push(small("mirror", "mirror=yes", Some("town.example/mirror"), mirror));
        all.push(small("janitor", "ttl=yes", None, janitor));
        all
    }

    fn steps(&self) -> Vec<Step> {
        let app = |name: &str, replicas: &str| {
            json!({
                "metadata": {"name": name, "labels": {"app": "yes"}},
                "data": {"replicas": replicas, "color": "red", "blocks": "yes"},
            })
        };
        let labelled =
            |name: &str, label: &str| json!({"metadata": {"name": name, "labels": {label: "yes"}}});
        let create = |object| Step::Create(maps(), "default", object);
        let patch = |name, data: Value| Step::Patch(maps(), "default", name, json!({"data": data}));
        let delete = |name, how| Step::Delete(maps(), "default", name, how);
        let definition = Gvk::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        vec![
            Step::Create(definition, "", town::widget_definition()),
            Step::Create(Gvk::new("", "v1", "Namespace"), "", json!({"metadata": {"name": "far"}})),
            create(labelled("census", "census")),
            create(app("a", "2")),
            create(app("b", "1")),
            create(app("c", "1")),
            create(labelled("m", "mirror")),
            create(labelled("n", "mirror")),
            create(labelled("old", "ttl")),
            Step::Rest,
            patch("a", json!({"color": "blue", "replicas": "3"})),
            patch("m", json!({"text": "copied"})),
            delete("b", Propagation::Foreground),
            delete("n", Propagation::Background),
            delete("c", Propagation::Orphan),
            Step::Rest,
            patch("a", json!({"replicas": "1"})),
        ]
    }
}

/// A shipped plugin: a deployment that is rolled out anew, by the real controllers, on nodes that run every pod at once.
#[derive(Clone, Copy, Debug)]
pub struct Rollout;

impl Workload for Rollout {
    fn controllers(&self) -> Vec<(ControllerSpec, Arc<dyn Reconciler>)> {
        let mut all = quadrille_testing::native(deployment::plugin);
        all.extend(quadrille_testing::native(replicaset::plugin));
        let (mut spec, kubelet) = small("kubelet", "", None, kubelet);
        spec.primary = GroupResource::new("", "pods");
        all.push((spec, kubelet));
        all
    }

    fn steps(&self) -> Vec<Step> {
        let kind = || Gvk::new("apps", "v1", "Deployment");
        let template = |image: &str| {
            json!({
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            })
        };
        let spec = json!({
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("i:1"),
        });
        let patch = |spec: Value| Step::Patch(kind(), "default", "web", json!({"spec": spec}));
        vec![
            Step::Create(kind(), "default", json!({"metadata": {"name": "web"}, "spec": spec})),
            Step::Rest,
            patch(json!({"template": template("i:2")})),
            Step::Rest,
            patch(json!({"replicas": 3})),
        ]
    }
}

/// What is planted: a controller that does not keep to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// It remembers what it made, and makes nothing twice.
    Remembers,
    /// It counts its own runs.
    Counts,
}

impl Workload for Planted {
    fn controllers(&self) -> Vec<(ControllerSpec, Arc<dyn Reconciler>)> {
        let (spec, _) = small("planted", "app=yes", None, census);
        let made = Arc::new(Mutex::new(BTreeSet::new()));
        vec![(spec, Arc::new(Careless { what: *self, made }))]
    }

    fn steps(&self) -> Vec<Step> {
        let app = |name: &str| json!({"metadata": {"name": name, "labels": {"app": "yes"}}});
        let create = |name| Step::Create(maps(), "default", app(name));
        let data = json!({"data": {"a": "b"}});
        let patch = Step::Patch(maps(), "default", "a", data);
        vec![create("a"), create("b"), Step::Rest, patch]
    }
}

#[derive(Debug)]
struct Careless {
    what: Planted,
    /// What no controller may have: a memory beside the store.
    made: Arc<Mutex<BTreeSet<String>>>,
}

impl Reconciler for Careless {
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            let result = self.work(&request, &mut overlay).map(|()| Outcome::Done);
            let result = result.map_err(|status| Failure::Transient(status.message));
            Reconciled { overlay, result, memory_bytes: 0 }
        })
    }
}

impl Careless {
    fn work(&self, request: &ReconcileRequest, overlay: &mut Overlay) -> Result<(), Status> {
        let name = request.key.name.as_ref();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if self.what == Planted::Remembers {
            let is_new = made.insert(name.to_owned());
            let child = json!({"metadata": {"name": format!("{name}-child")}});
            return if is_new { put(overlay, "default", &child) } else { Ok(()) };
        }
        let own = format!("{name}-count");
        let found = overlay.get(&key("default", &own))?;
        let count: u64 = found.map_or(0, |found| field(&found, "count").parse().unwrap_or(0));
        let counted =
            json!({"metadata": {"name": own}, "data": {"count": (count + 1).to_string()}});
        put(overlay, "default", &counted)
    }
}

type Craft = fn(&ReconcileRequest, &mut Overlay) -> Result<Outcome, Status>;

/// A small controller of `ConfigMap`s.
fn small(
    name: &str,
    selector: &str,
    finalizer: Option<&str>,
    craft: Craft,
) -> (ControllerSpec, Arc<dyn Reconciler>) {
    let spec = ControllerSpec {
        name: name.into(),
        plugin: name.into(),
        digest: "".into(),
        primary: maps_resource(),
        version: "v1".into(),
        selector: LabelSelector::parse(selector).expect("a selector"),
        concurrency: 1,
        resync: None,
        finalizer: finalizer.map(Into::into),
        field_manager: name.into(),
        grant: Grant { unlimited: true, ..Grant::default() },
    };
    (spec, simple(craft))
}

fn maps_resource() -> GroupResource {
    GroupResource::new("", "configmaps")
}

fn key(namespace: &str, name: &str) -> Key {
    Key::new(maps_resource(), namespace, name)
}

fn field(object: &Object, name: &str) -> String {
    let value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
    value["data"][name].as_str().unwrap_or_default().to_owned()
}

/// Creates a map, or merges into the one that is there.
fn put(overlay: &mut Overlay, namespace: &str, object: &Value) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let exists = overlay.get(&key(namespace, name))?.is_some();
    let resource = overlay.registry().resource_of(&maps()).expect("built in");
    let body = Body::from(object.clone());
    let (name, action) = if exists {
        (Some(name.into()), Action::Patch(PatchFormat::Merge, body))
    } else {
        (None, Action::Create(body))
    };
    let target = Target { resource, namespace: namespace.into(), name, subresource: None };
    overlay.write(target, action, WriteOptions::default()).map(drop)
}

fn remove(overlay: &mut Overlay, namespace: &str, name: &str) -> Result<(), Status> {
    let resource = overlay.registry().resource_of(&maps()).expect("built in");
    let name = Some(name.into());
    let target = Target { resource, namespace: namespace.into(), name, subresource: None };
    let action = Action::Delete(DeleteOptions::default());
    overlay.write(target, action, WriteOptions::default()).map(drop)
}

/// Writes down how many parts there are.
fn census(request: &ReconcileRequest, overlay: &mut Overlay) -> Result<Outcome, Status> {
    let selector = LabelSelector::parse("part=yes").expect("a selector");
    let range = Range {
        resource: GroupResource::new("", "secrets"),
        namespace: Some(Arc::clone(&request.key.namespace)),
        selection: Selection::Labels(selector),
    };
    let count = overlay.list(&Query::whole(range))?.len();
    let counted =
        json!({"metadata": {"name": &*request.key.name}, "data": {"count": count.to_string()}});
    put(overlay, &request.key.namespace, &counted)?;
    Ok(Outcome::Done)
}

/// Keeps a copy in another namespace, and takes it away in the end.
fn mirror(request: &ReconcileRequest, overlay: &mut Overlay) -> Result<Outcome, Status> {
    let Some(object) = &request.object else { return Ok(Outcome::Done) };
    let name = &*request.key.name;
    if object.meta.deleted_at.is_some() {
        if overlay.get(&key("far", name))?.is_some() {
            remove(overlay, "far", name)?;
        }
        return Ok(Outcome::Done);
    }
    let copy = json!({"metadata": {"name": name}, "data": {"text": field(object, "text")}});
    put(overlay, "far", &copy)?;
    Ok(Outcome::Done)
}

/// Deletes an object some seconds after it saw it first.
fn janitor(request: &ReconcileRequest, overlay: &mut Overlay) -> Result<Outcome, Status> {
    let Some(object) = &request.object else { return Ok(Outcome::Done) };
    let made = object.meta.created_at.map_or(0, |at| at.0);
    let age = Duration::from_micros(u64::try_from(request.now.0 - made).unwrap_or(0));
    let left = Duration::from_secs(5).saturating_sub(age);
    if left.is_zero() {
        remove(overlay, &request.key.namespace, &request.key.name)?;
        return Ok(Outcome::Done);
    }
    Ok(Outcome::DoneUntil(left))
}

/// Every pod runs.
fn kubelet(request: &ReconcileRequest, overlay: &mut Overlay) -> Result<Outcome, Status> {
    let Some(object) = &request.object else { return Ok(Outcome::Done) };
    if object.meta.deleted_at.is_some() {
        return Ok(Outcome::Done);
    }
    let value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
    if value["status"]["phase"] == "Running" {
        return Ok(Outcome::Done);
    }
    let resource = overlay.registry().resource_of(&Gvk::new("", "v1", "Pod")).expect("built in");
    let now = request.now.to_rfc3339();
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": now});
    let status = json!({"phase": "Running", "conditions": [ready]});
    overlay.set_status(&resource, &request.key, status)?;
    Ok(Outcome::Done)
}
