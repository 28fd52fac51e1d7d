//! Reads and writes of objects on behalf of the manager, through the registry like everybody else's.

use std::sync::Arc;

use quadrille_object::{GroupResource, Gvr};
use quadrille_registry::{
    Action, Actor, Body, PatchFormat, Reason, Registry, Resource, Status, Target, WriteOptions,
    WriteRequest, Written,
};
use quadrille_store::{Cause, Key, Object, Query, Range, Revision, SystemCause, View};
use serde_json::{Value, json};

/// The manager's name as a user, a field manager and a cause.
const MANAGER: &str = "plugin-manager";
/// How often a write is tried again because somebody else was first.
const TRIES_MAX: usize = 16;

/// `plugins.quadrille.dev`.
pub(super) fn plugins() -> GroupResource {
    GroupResource::new("quadrille.dev", "plugins")
}

/// The objects that the manager works with.
#[derive(Clone, Debug)]
pub(super) struct PluginObjects {
    pub(super) registry: Registry,
}

impl PluginObjects {
    /// All plugins.
    pub(super) fn all(&self) -> Vec<Arc<Object>> {
        self.registry.store().snapshot().list(&Query::whole(Range::all(plugins())))
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Object>> {
        self.registry.store().snapshot().get(&Key::new(plugins(), "", name))
    }

    /// Writes the status of the plugin with a uid, whatever it was before.
    pub(super) async fn write_status(
        &self,
        (plugin, uid): (&str, &str),
        status: &Value,
        because: Revision,
    ) -> Result<(), Status> {
        let patch = json!([
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "add", "path": "/status", "value": status},
        ]);
        let target = Target { subresource: Some("status".into()), ..self.target(plugin)? };
        let cause = system("status", because);
        self.submit(target, Action::Patch(PatchFormat::Json, Body::from(patch)), cause)
            .await
            .map(drop)
    }

    /// Adds a finalizer to the plugin or takes it away; nothing where it is so already, or there is no such plugin.
    pub(super) async fn set_finalizer(
        &self,
        plugin: &str,
        finalizer: &str,
        held: bool,
    ) -> Result<(), Status> {
        for _ in 0..TRIES_MAX {
            let Some(object) = self.get(plugin) else { return Ok(()) };
            let mut finalizers: Vec<&str> = object.meta.finalizers.iter().map(|f| &**f).collect();
            if finalizers.contains(&finalizer) == held {
                return Ok(());
            }
            finalizers.retain(|other| *other != finalizer);
            finalizers.extend(held.then_some(finalizer));
            let version = object.revision.to_string();
            let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
            let action = Action::Patch(PatchFormat::Merge, Body::from(patch));
            let because = if held { Revision(0) } else { object.revision };
            let outcome = self.submit(self.target(plugin)?, action, system("hold", because)).await;
            match outcome {
                Err(status) if status.reason == Reason::Conflict => {}
                Err(status) if status.reason == Reason::NotFound => return Ok(()),
                outcome => return outcome.map(drop),
            }
        }
        Err(Status::new(Reason::Conflict, "somebody else wrote the plugin first each time"))
    }

    /// Creates the plugin with this spec, or merges the spec into it. A create that somebody else wins becomes a merge.
    pub(super) async fn write_spec(
        &self,
        name: &str,
        spec: Value,
        (actor, cause): (Actor, Cause),
    ) -> Result<Written, Status> {
        let target = self.target(name)?;
        if self.get(name).is_none() {
            let body = json!({
                "apiVersion": "quadrille.dev/v1", "kind": "Plugin", "metadata": {"name": name}, "spec": spec,
            });
            let request = WriteRequest {
                target: target.clone(),
                action: Action::Create(body.into()),
                options: WriteOptions::default(),
                actor: actor.clone(),
            };
            match self.registry.submit(&request, cause.clone()).await {
                Err(status) if status.reason == Reason::AlreadyExists => {}
                outcome => return outcome,
            }
        }
        let patch = Action::Patch(PatchFormat::Merge, Body::from(json!({"spec": spec})));
        let request =
            WriteRequest { target, action: patch, options: WriteOptions::default(), actor };
        self.registry.submit(&request, cause).await
    }

    /// Applies a definition that a component brings, as its plugin's field manager.
    pub(super) async fn apply_definition(
        &self,
        plugin: &str,
        definition: &Value,
        because: Revision,
    ) -> Result<(), Status> {
        let name = definition.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let gvr = Gvr::new("apiextensions.k8s.io", "v1", "customresourcedefinitions");
        let target = Target {
            resource: self.resource(&gvr)?,
            namespace: "".into(),
            name: Some(name.into()),
            subresource: None,
        };
        let options = WriteOptions {
            field_manager: Some(format!("plugin-{plugin}").into()),
            force: true,
            ..WriteOptions::default()
        };
        let action = Action::Apply(definition.clone().into());
        let request = WriteRequest { target, action, options, actor: actor() };
        self.registry.submit(&request, system("apply definitions", because)).await.map(drop)
    }

    async fn submit(
        &self,
        target: Target,
        action: Action,
        cause: Cause,
    ) -> Result<Written, Status> {
        let options =
            WriteOptions { field_manager: Some(MANAGER.into()), ..WriteOptions::default() };
        self.registry.submit(&WriteRequest { target, action, options, actor: actor() }, cause).await
    }

    fn target(&self, name: &str) -> Result<Target, Status> {
        let resource = self.resource(&Gvr::new("quadrille.dev", "v1", "plugins"))?;
        let name = Some(name.into());
        Ok(Target { resource, namespace: "".into(), name, subresource: None })
    }

    fn resource(&self, gvr: &Gvr) -> Result<Arc<Resource>, Status> {
        let message = || format!("the host does not serve {} of {}", gvr.resource, gvr.group);
        let catalog = self.registry.catalog();
        catalog
            .by_gvr(gvr)
            .cloned()
            .ok_or_else(|| Status::new(Reason::ServiceUnavailable, message()))
    }
}

fn actor() -> Actor {
    Actor { user: "system:plugin-manager".into(), client: MANAGER.into(), ..Actor::default() }
}

fn system(act: &str, because: Revision) -> Cause {
    let because = if because == Revision(0) { Vec::new() } else { vec![because] };
    Cause::System(SystemCause { part: MANAGER.to_owned(), act: act.to_owned(), because })
}
