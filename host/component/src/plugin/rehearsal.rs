//! A component made ready to run as a plugin's next version, without being it: for a plan of its upload.
//!
//! Nothing of the plugin changes and no file is kept but the compiled code in the loader's cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quadrille_registry::{Reason, Status};
use quadrille_runtime::{ControllerSpec, Reconciler};
use serde_json::{Value, json};

use super::manager::{Entry, PluginManager};
use super::part::{context_of, controller_spec, may_start};
use super::spec::{PluginSpec, RawGrant};
use super::upload::{check_name, refusal};
use crate::component::ComponentReconciler;
use crate::digest::Digest;

/// What an upload would put in place.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// What is merged into the spec of the plugin's object.
    pub spec: Value,
    /// The definitions that the component brings.
    pub definitions: Vec<Value>,
    /// The controllers that would run.
    pub controllers: Vec<(ControllerSpec, Arc<dyn Reconciler>)>,
    /// Why others would not.
    pub blocked: Vec<String>,
}

impl PluginManager {
    /// Makes an uploaded component ready as the next version of a plugin, with the plugin's settings, or with the
    /// defaults when there is no such plugin.
    ///
    /// # Errors
    /// As an upload.
    pub async fn rehearse(
        &self,
        plugin: &str,
        component: &Bytes,
        grant_all: bool,
    ) -> Result<Rehearsed, Status> {
        check_name(plugin)?;
        let needed = self.inner.files.need(&Digest::of(component));
        let loaded = self.inner.loader.load(component, Arc::default()).await;
        drop(needed);
        let component = loaded.map_err(|error| refusal(plugin, &error))?;
        let mut merged = json!({"digest": component.digest().as_str()});
        if grant_all {
            let asked = component.description().capabilities.iter().map(RawGrant::of);
            merged["grants"] = json!(asked.collect::<Vec<_>>());
        }
        let mut spec = self.inner.objects.get(plugin).map_or_else(Value::default, |object| {
            serde_json::from_slice(&object.bytes).unwrap_or_default()
        });
        let fields: BTreeMap<&str, &Value> =
            merged.as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v)).collect();
        for (field, value) in fields {
            spec["spec"][field] = value.clone();
        }
        let spec =
            PluginSpec::read(&spec).map_err(|message| Status::new(Reason::BadRequest, message))?;
        let context = context_of(plugin, &spec, &Entry::default());
        let catalog = self.inner.objects.registry.catalog();
        let (mut controllers, mut blocked) = (Vec::new(), Vec::new());
        for controller in &component.description().controllers {
            if let Err(problem) = may_start(controller, &spec.grants, &catalog) {
                blocked.push(problem.reason);
                continue;
            }
            let about = controller_spec(plugin, &component, controller, &spec);
            let code =
                ComponentReconciler::new(component.clone(), context.clone(), controller.clone());
            controllers.push((about, Arc::new(code) as Arc<dyn Reconciler>));
        }
        let definitions = component.description().crds.clone();
        Ok(Rehearsed { spec: merged, definitions, controllers, blocked })
    }
}
