//! The code of a recorded run, made ready to run again: the component that ran, or another one with the run's settings.
//!
//! Nothing of a plugin changes by it. What such a run logs is dropped, and what it is denied is not counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quadrille_runtime::{ControllerSpec, Reconciler, RunCode};
use serde::{Deserialize, Serialize};

use super::manager::PluginManager;
use crate::component::{ComponentReconciler, LoadedComponent, PluginContext};
use crate::digest::Digest;
use crate::limit::CallLimits;
use crate::load::LoadError;
use crate::log::PluginLog;

/// Why the code of a run cannot run again.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// The controller is part of the host.
    #[error("controller {controller} is part of the host and has no component")]
    Builtin {
        /// The controller.
        controller: Arc<str>,
    },
    /// The component's file was deleted with its plugin's older versions.
    #[error(
        "component {digest} is not kept any more; upload it again, or keep more versions (spec.versionsKept)"
    )]
    Gone {
        /// Its digest.
        digest: String,
    },
    /// The component cannot be loaded.
    #[error("component {digest} cannot be loaded")]
    Load {
        /// Its digest.
        digest: String,
        /// Which step refused it.
        #[source]
        source: LoadError,
    },
    /// It has no such controller.
    #[error("component {digest} has no controller {controller:?}")]
    NoController {
        /// Its digest.
        digest: String,
        /// The controller.
        controller: Arc<str>,
    },
    /// The settings in the record are not understood.
    #[error("the settings of the run are not understood")]
    Settings(#[source] serde_json::Error),
}

/// What a component's code was set up with, as the record of its runs keeps it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Settings {
    config: Arc<BTreeMap<String, String>>,
    limits: Arc<CallLimits>,
}

/// The settings of a context as text.
pub(crate) fn settings_of(context: &PluginContext) -> Arc<str> {
    let (config, limits) = (Arc::clone(&context.config), Arc::clone(&context.limits));
    let text = serde_json::to_string(&Settings { config, limits });
    text.expect("strings and numbers become JSON").into()
}

impl PluginManager {
    /// The component with a digest, while a plugin keeps it.
    ///
    /// # Errors
    /// [`CodeError::Gone`] when none does.
    pub async fn component(&self, digest: &str) -> Result<LoadedComponent, CodeError> {
        let gone = || CodeError::Gone { digest: digest.to_owned() };
        let load = |source| CodeError::Load { digest: digest.to_owned(), source };
        let wanted: Digest = digest.parse().map_err(|_| gone())?;
        let _needed = self.inner.files.need(&wanted);
        let size = self.inner.files.size(&wanted);
        if size == 0 {
            return Err(gone());
        }
        let cached = self.inner.loader.load_cached(&wanted, size, Arc::default()).await;
        if let Some(component) = cached.map_err(load)? {
            return Ok(component);
        }
        let bytes = self.inner.files.read(&wanted).map_err(load)?.ok_or_else(gone)?;
        self.inner.loader.load(&bytes, Arc::default()).await.map_err(load)
    }

    /// A component from outside that no plugin has.
    ///
    /// # Errors
    /// [`CodeError::Load`] with the step that refused it.
    pub async fn foreign_component(&self, bytes: &Bytes) -> Result<LoadedComponent, CodeError> {
        let digest = Digest::of(bytes);
        let _needed = self.inner.files.need(&digest);
        let loaded = self.inner.loader.load(bytes, Arc::default()).await;
        loaded.map_err(|source| CodeError::Load { digest: digest.as_str().to_owned(), source })
    }
}

impl LoadedComponent {
    /// Its controller of a run's name with the settings of the run: grants, configuration and limits are those of the
    /// record; what the component says of its controller (version, selector, finalizer, field manager) is its own.
    ///
    /// # Errors
    /// When it has no such controller.
    pub fn code_for(
        &self,
        code: &RunCode,
    ) -> Result<(Arc<ControllerSpec>, Arc<dyn Reconciler>), CodeError> {
        let (name, digest) = (&code.spec.name, self.digest().as_str().to_owned());
        let described = self.description().controllers.iter().find(|c| c.name == *name);
        let Some(described) = described else {
            return Err(CodeError::NoController { digest, controller: Arc::clone(name) });
        };
        let settings: Settings = match &*code.settings {
            "" => Settings::default(),
            text => serde_json::from_str(text).map_err(CodeError::Settings)?,
        };
        let spec = ControllerSpec {
            digest: self.digest().shared(),
            primary: described.primary.group_resource(),
            version: Arc::clone(&described.primary.version),
            selector: described.selector.clone(),
            resync: described.resync,
            finalizer: described.finalizer.clone(),
            field_manager: match &described.field_manager {
                Some(manager) => Arc::clone(manager),
                None => Arc::clone(&code.spec.field_manager),
            },
            ..ControllerSpec::clone(&code.spec)
        };
        let context = PluginContext {
            plugin: Arc::clone(&spec.plugin),
            config: settings.config,
            limits: settings.limits,
            log: Arc::new(PluginLog::default()),
            denials: Arc::default(),
        };
        let reconciler = ComponentReconciler::new(self.clone(), context, described.clone());
        Ok((Arc::new(spec), Arc::new(reconciler)))
    }
}

/// The code of a run whose controller is part of the host cannot be had.
///
/// # Errors
/// [`CodeError::Builtin`] then.
pub fn check_is_component(code: &RunCode) -> Result<(), CodeError> {
    if code.spec.digest.is_empty() {
        return Err(CodeError::Builtin { controller: Arc::clone(&code.spec.name) });
    }
    Ok(())
}
