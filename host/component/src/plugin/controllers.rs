//! What the manager needs of the runtime: put a controller in place, take it away, hold it, read its numbers.

use std::fmt;
use std::sync::Arc;

use quadrille_kit::clock::BoxFuture;
use quadrille_runtime::{ControllerSpec, Reconciler};
use serde_json::Value;

/// The runtime, as the plugin manager uses it.
pub trait Controllers: fmt::Debug + Send + Sync {
    /// Adds a controller, or replaces its code: runs of the old code can no longer commit, its queue stays, and all
    /// its objects are reconciled again. Returns when the new code is what runs.
    ///
    /// # Errors
    /// When the runtime refuses the controller; the old code runs on.
    fn put(
        &self,
        spec: ControllerSpec,
        code: Arc<dyn Reconciler>,
    ) -> BoxFuture<'_, Result<(), String>>;

    /// Takes a controller away once the runs under way have ended.
    fn remove<'a>(&'a self, plugin: &'a str, controller: &'a str) -> BoxFuture<'a, ()>;

    /// Holds a controller, or lets it run again; its queue goes on collecting.
    fn suspend(&self, plugin: &str, controller: &str, suspended: bool);

    /// The numbers of a plugin's controllers as they stand in its status, each with its `name`.
    fn stats(&self, plugin: &str) -> Vec<Value>;
}
