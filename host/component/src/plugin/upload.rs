//! Uploads: bytes become a version of a plugin, or nothing changes and the answer says why.

use bytes::Bytes;
use quadrille_object::Meta;
use quadrille_registry::access::{self, Attributes, ResourceAttributes};
use quadrille_registry::{Actor, Reason, Status};
use quadrille_store::{Cause, RequestCause};
use serde_json::{Value, json};

use super::manager::PluginManager;
use super::spec::RawGrant;
use super::status::{Condition, missing, set_condition};
use crate::component::LoadedComponent;
use crate::digest::Digest;
use crate::load::LoadError;

/// A component that somebody uploads for a plugin.
#[derive(Clone, Debug)]
pub struct PluginUpload {
    /// The plugin's name.
    pub plugin: String,
    /// The component.
    pub component: Bytes,
    /// Whether everything that it asks for is granted.
    pub grant_all: bool,
    /// Whether it is only kept, and not made active.
    pub keep_only: bool,
    /// Everything but the effect.
    pub dry_run: bool,
    /// Who uploads.
    pub actor: Actor,
}

/// What became of an upload, as the response's body.
pub type Uploaded = Value;

impl PluginManager {
    /// Takes a component in: load path, file, `spec.digest`, controllers. Answers the plugin's object as it is after
    /// it, with the status that says whether the new version runs.
    ///
    /// # Errors
    /// `Invalid` (422) with the step that refused, `RequestEntityTooLarge` (413), `Conflict` (409) for a plugin that is being
    /// deleted, or the registry's refusal. The version
    /// that ran before runs on.
    pub async fn upload(&self, upload: PluginUpload) -> Result<Uploaded, Status> {
        check_name(&upload.plugin)?;
        if self.inner.objects.get(&upload.plugin).is_some_and(|o| o.meta.deleted_at.is_some()) {
            return Err(is_going(&upload.plugin));
        }
        let digest = Digest::of(&upload.component);
        // Until an object names it, nobody deletes it or what is compiled of it.
        let needed = self.inner.files.need(&digest);
        // Bytes for a plugin that does not exist yet leave no entry behind when they are refused.
        let log = self.log(&upload.plugin).unwrap_or_default();
        let component = match self.inner.loader.load(&upload.component, log).await {
            Ok(component) => component,
            Err(error) => {
                self.note_refusal(&upload.plugin, &error).await;
                return Err(refusal(&upload.plugin, &error));
            }
        };
        self.check_definitions(&upload, &component)?;
        if upload.dry_run {
            return Ok(self.describe(&upload.plugin, &component, &json!({"dryRun": true})));
        }
        let kept = self.inner.files.write(&digest, &upload.component, &*self.inner.clock);
        kept.map_err(|e| refusal(&upload.plugin, &e))?;
        let mut spec = json!({});
        if !upload.keep_only {
            spec["digest"] = json!(digest.as_str());
        }
        if upload.grant_all {
            let asked = component.description().capabilities.iter().map(RawGrant::of);
            spec["grants"] = json!(asked.collect::<Vec<_>>());
        }
        let cause = Cause::Request(RequestCause {
            user: upload.actor.user.as_ref().to_owned(),
            client: upload.actor.client.as_ref().to_owned(),
            address: upload.actor.address.as_ref().to_owned(),
            verb: "upload".to_owned(),
        });
        let actor = (upload.actor, cause);
        let written = self.inner.objects.write_spec(&upload.plugin, spec, actor).await?;
        drop(needed);
        if Meta::parse_stored(&written.object).is_ok_and(|meta| meta.deleted_at.is_some()) {
            return Err(is_going(&upload.plugin));
        }
        self.try_now(&upload.plugin).await;
        self.sync(&upload.plugin).await;
        Ok(self.describe(&upload.plugin, &component, &json!({})))
    }

    /// The host makes the definitions that a component brings, so whoever brings it must be allowed to make them.
    fn check_definitions(
        &self,
        upload: &PluginUpload,
        component: &LoadedComponent,
    ) -> Result<(), Status> {
        let actor = &upload.actor;
        if component.description().crds.is_empty() || actor.is_host() {
            return Ok(());
        }
        let (group, resource) = ("apiextensions.k8s.io", "customresourcedefinitions");
        let of = ResourceAttributes { group, version: "v1", resource, ..Default::default() };
        for verb in ["create", "patch"] {
            let asked = Attributes::of(verb, of);
            let decision = self.inner.objects.registry.access().decide(actor.asker(), &asked);
            if !decision.allowed {
                return Err(access::forbidden(&actor.user, &asked, &decision.reason));
            }
        }
        Ok(())
    }

    pub(super) fn read_component(
        &self,
        plugin: &str,
        digest: Option<&str>,
    ) -> Result<Vec<u8>, Status> {
        let not_found = |what: String| Status::new(Reason::NotFound, what);
        let Some(object) = self.inner.objects.get(plugin) else {
            return Err(Status::not_found(&super::objects::plugins(), plugin));
        };
        let value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
        let active = value.pointer("/status/digest").or_else(|| value.pointer("/spec/digest"));
        let wanted = digest.or_else(|| active?.as_str()).unwrap_or_default();
        let wanted: Digest =
            wanted.parse().map_err(|error| not_found(format!("plugin {plugin:?}: {error}")))?;
        let of_plugin = String::from_utf8_lossy(&object.bytes).contains(wanted.as_str());
        let bytes = if of_plugin { self.inner.files.read(&wanted) } else { Ok(None) };
        let bytes = bytes.map_err(|error| refusal(plugin, &error))?;
        bytes.ok_or_else(|| not_found(format!("plugin {plugin:?} keeps no component {wanted}")))
    }

    /// The response: the object, with what was loaded beside it.
    fn describe(&self, plugin: &str, component: &LoadedComponent, more: &Value) -> Value {
        let description = component.description();
        let object = self.inner.objects.get(plugin);
        let object: Value = object
            .and_then(|object| serde_json::from_slice(&object.bytes).ok())
            .unwrap_or_else(|| {
                json!({"apiVersion": "quadrille.dev/v1", "kind": "Plugin", "metadata": {"name": plugin}})
            });
        let given =
            super::spec::PluginSpec::read(&object).map(|spec| spec.grants).unwrap_or_default();
        let controllers = description
            .controllers
            .iter()
            .map(|c| json!({"name": c.name, "primary": c.primary.group_resource().to_string()}));
        let asked = description.capabilities.iter().map(RawGrant::of);
        let mut answer = object;
        answer["upload"] = json!({
            "digest": component.digest().as_str(),
            "size": component.size(),
            "version": description.version,
            "controllers": controllers.collect::<Vec<_>>(),
            "definitions": description.crds.iter().filter_map(|d| d.pointer("/metadata/name")).collect::<Vec<_>>(),
            "grantsAsked": asked.collect::<Vec<_>>(),
            "grantsMissing": missing(&description.capabilities, &given),
        });
        if let (Some(upload), Some(more)) = (answer["upload"].as_object_mut(), more.as_object()) {
            upload.extend(more.clone());
        }
        answer
    }

    /// Leaves the refusal in the status of a plugin that exists.
    async fn note_refusal(&self, plugin: &str, error: &LoadError) {
        let Some((_, entry, mut state)) = self.hold(plugin).await else { return };
        let condition = Condition {
            kind: "UploadAccepted",
            holds: false,
            reason: error.reason().to_owned(),
            message: quadrille_kit::supervisor::chain(error),
            since: self.inner.clock.now(),
        };
        set_condition(&mut state.conditions, condition);
        self.write_status(plugin, &entry, &mut state, quadrille_store::Revision(0)).await;
    }
}

fn is_going(plugin: &str) -> Status {
    let said = format!("plugin {plugin:?} is being deleted: try again when it is gone");
    Status::new(Reason::Conflict, said)
}

pub(super) fn check_name(name: &str) -> Result<(), Status> {
    let fits = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if fits {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    let message =
        format!("plugin name {shown:?}: wanted lower-case letters, digits and dashes, at most 63");
    Err(Status::new(Reason::BadRequest, message))
}

pub(super) fn refusal(plugin: &str, error: &LoadError) -> Status {
    let reason = if matches!(error, LoadError::TooLarge { .. }) {
        Reason::RequestEntityTooLarge
    } else if error.is_refusal() {
        Reason::Invalid
    } else {
        Reason::ServiceUnavailable
    };
    let text = quadrille_kit::supervisor::chain(error);
    Status::new(reason, format!("plugin {plugin:?} is not changed ({}): {text}", error.reason()))
}
