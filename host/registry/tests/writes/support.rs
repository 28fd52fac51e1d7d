//! A registry over a store in memory, and short ways to write through it.

use std::path::Path;
use std::sync::Arc;

use quadrille_kit::{ManualClock, SeededRandom, Supervisor};
use quadrille_object::Gvk;
use quadrille_registry::{
    Action, Actor, Body, Config, DeleteOptions, PatchFormat, Propagation, Registry, Status, Target,
    WriteOptions, WriteRequest, Written,
};
use quadrille_store::{Cause, Key, RequestCause, Store, View as _};
use serde_json::{Value, json};

/// A host for one test.
pub(crate) struct Host {
    pub(crate) registry: Registry,
    pub(crate) supervisor: Supervisor,
    pub(crate) clock: Arc<ManualClock>,
}

/// An object's place: apiVersion, kind, namespace, and name with an optional `/subresource`.
pub(crate) type Place<'a> = (&'a str, &'a str, &'a str, &'a str);

impl Host {
    /// A host that has started.
    pub(crate) async fn start() -> Self {
        Self::start_in(None).await
    }

    /// The same on a disk: only there a commit takes time, in which others decide on what they see.
    pub(crate) async fn start_in(dir: Option<&Path>) -> Self {
        let dir = dir.map(Path::to_owned);
        let config = quadrille_store::Config { dir, ..quadrille_store::Config::default() };
        Self::start_on(config, Arc::new(ManualClock::default())).await
    }

    /// The same on a store of its own kind.
    pub(crate) async fn start_on(config: quadrille_store::Config, clock: Arc<ManualClock>) -> Self {
        let supervisor = Supervisor::default();
        let store = Store::open(config, Arc::<ManualClock>::clone(&clock), &supervisor)
            .await
            .expect("opens");
        let random = Arc::new(SeededRandom::new(1));
        let registry =
            Registry::build(Config::default(), store, Arc::<ManualClock>::clone(&clock), random)
                .expect("builds");
        registry.bootstrap().await.expect("starts");
        Self { registry, supervisor, clock }
    }

    fn target(&self, place: Place<'_>) -> Target {
        let (group, version) = place.0.split_once('/').unwrap_or(("", place.0));
        let kind = Gvk::new(group, version, place.1);
        let resource = self.registry.resource_of(&kind).expect("served");
        let (name, subresource) = match place.3.split_once('/') {
            Some((name, sub)) => (name, Some(sub.into())),
            None => (place.3, None),
        };
        let name = (!name.is_empty()).then(|| name.into());
        Target { resource, namespace: place.2.into(), name, subresource }
    }

    /// Writes with options of its own.
    pub(crate) async fn write(
        &self,
        place: Place<'_>,
        action: Action,
        options: WriteOptions,
    ) -> Result<Written, Status> {
        let actor = Actor { client: "tester/1.0 (test)".into(), ..Actor::default() };
        self.write_as(actor, place, action, options).await
    }

    /// Writes as somebody.
    pub(crate) async fn write_as(
        &self,
        actor: Actor,
        place: Place<'_>,
        action: Action,
        options: WriteOptions,
    ) -> Result<Written, Status> {
        let request = WriteRequest { target: self.target(place), action, options, actor };
        self.registry.submit(&request, Cause::Request(RequestCause::default())).await
    }

    async fn answer(&self, place: Place<'_>, action: Action) -> Result<Value, Status> {
        let written = self.write(place, action, WriteOptions::default()).await?;
        Ok(serde_json::from_slice(&written.object).expect("JSON"))
    }

    /// Creates in the place's namespace; the body's apiVersion and kind are the place's.
    pub(crate) async fn create(
        &self,
        place: Place<'_>,
        mut object: Value,
    ) -> Result<Value, Status> {
        object["apiVersion"] = place.0.into();
        object["kind"] = place.1.into();
        self.answer((place.0, place.1, place.2, ""), Action::Create(Body::from(object))).await
    }

    pub(crate) async fn update(&self, place: Place<'_>, object: Value) -> Result<Value, Status> {
        self.answer(place, Action::Update(Body::from(object))).await
    }

    pub(crate) async fn merge(&self, place: Place<'_>, patch: Value) -> Result<Value, Status> {
        self.answer(place, Action::Patch(PatchFormat::Merge, Body::from(patch))).await
    }

    pub(crate) async fn apply(
        &self,
        place: Place<'_>,
        manager: &str,
        mut object: Value,
    ) -> Result<Value, Status> {
        object["apiVersion"] = place.0.into();
        object["kind"] = place.1.into();
        let options =
            WriteOptions { field_manager: Some(manager.into()), ..WriteOptions::default() };
        let written = self.write(place, Action::Apply(Body::from(object)), options).await?;
        Ok(serde_json::from_slice(&written.object).expect("JSON"))
    }

    pub(crate) async fn delete(&self, place: Place<'_>) -> Result<Written, Status> {
        self.delete_with(place, DeleteOptions::default()).await
    }

    pub(crate) async fn delete_with(
        &self,
        place: Place<'_>,
        options: DeleteOptions,
    ) -> Result<Written, Status> {
        self.write(place, Action::Delete(options), WriteOptions::default()).await
    }

    /// The stored object in the place's version.
    pub(crate) fn get(&self, place: Place<'_>) -> Option<Value> {
        let target = self.target(place);
        let name = target.name.clone().expect("a name");
        let key = Key::new(target.resource.group_resource(), target.namespace, name);
        let object = self.registry.store().snapshot().get(&key)?;
        let bytes = self.registry.present(&object, &target.resource);
        Some(serde_json::from_slice(&bytes).expect("JSON"))
    }
}

/// Options of a deletion with a propagation policy.
pub(crate) fn propagating(propagation: Propagation) -> DeleteOptions {
    DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }
}

/// A definition of namespaced Widgets in `example.com` with the given versions.
pub(crate) fn widgets(versions: &Value) -> Value {
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "versions": versions,
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        },
    })
}

/// One version of Widgets: `spec.size` defaults to 3, status is a subresource.
pub(crate) fn version(name: &str, storage: bool) -> Value {
    json!({
        "name": name, "served": true, "storage": storage, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "size": {"type": "integer", "default": 3, "maximum": 9}, "text": {"type": "string"},
            }},
            "status": {"type": "object", "properties": {"seen": {"type": "integer"}}},
        }}},
    })
}

pub(crate) const DEFINITION: Place<'static> =
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "widgets.example.com");

/// A Deployment's body.
pub(crate) fn deployment(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [{"name": "c", "image": "img:1"}]},
            },
        },
    })
}
