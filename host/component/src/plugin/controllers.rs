//! The manager's hands in the runtime: put a plugin's controller in place, take it away, hold it, read its numbers.

use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::Clock;
use quadrille_runtime::{
    ControllerError, ControllerName, ControllerSpec, ControllerStats, Reconciler, Runtime,
};
use serde_json::{Value, json};

/// How long a replaced controller's runs under way are waited for; they cannot commit any more, so this only
/// delays the report.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The runtime, as the plugin manager uses it.
#[derive(Clone, Debug)]
pub(super) struct Controllers {
    pub(super) runtime: Runtime,
    pub(super) clock: Arc<dyn Clock>,
}

impl Controllers {
    /// Adds a controller, or replaces its code and waits until runs of the old code have ended.
    pub(super) async fn put(
        &self,
        spec: ControllerSpec,
        code: Arc<dyn Reconciler>,
    ) -> Result<(), ControllerError> {
        let name = ControllerName::of(&spec);
        match self.runtime.replace(spec.clone(), Arc::clone(&code)) {
            Ok(_) => {
                tokio::select! {
                    drained = self.runtime.drained(&name) => drained,
                    () = self.clock.sleep(DRAIN_MAX) => Ok(()),
                }
            }
            Err(ControllerError::Unknown(_)) => self.runtime.add(spec, code),
            Err(error) => Err(error),
        }
    }

    /// Takes a controller away for good, with its finalizer from all objects; one that is not there is fine.
    pub(super) fn remove(&self, plugin: &str, controller: &str) {
        if let Err(error) = self.runtime.dismiss(&ControllerName::new(plugin, controller)) {
            tracing::debug!(plugin, controller, %error, "controller was not there");
        }
    }

    /// Takes a controller away and leaves its finalizer where it is; one that is not there is fine.
    pub(super) fn end(&self, plugin: &str, controller: &str) {
        if let Err(error) = self.runtime.remove(&ControllerName::new(plugin, controller)) {
            tracing::debug!(plugin, controller, %error, "controller was not there");
        }
    }

    /// Holds a controller, or lets it run again.
    pub(super) fn suspend(&self, plugin: &str, controller: &str, suspended: bool) {
        let name = ControllerName::new(plugin, controller);
        let outcome =
            if suspended { self.runtime.suspend(&name) } else { self.runtime.resume(&name) };
        if let Err(error) = outcome {
            tracing::debug!(plugin, controller, %error, "controller was not there");
        }
    }

    /// The numbers of a plugin's controllers as they stand in its status.
    pub(super) fn stats(&self, plugin: &str) -> Vec<Value> {
        self.runtime.stats(Some(plugin)).iter().map(render).collect()
    }
}

fn render(stats: &ControllerStats) -> Value {
    let mut value = json!({
        "name": stats.controller,
        "started": true,
        "generation": stats.generation,
        "suspended": stats.suspended,
        "queueLength": stats.queued,
        "timers": stats.timers,
        "running": stats.running,
        "failing": stats.failing,
        "halted": stats.halted,
        "runs": stats.runs,
        "commits": stats.commits,
        "failures": stats.failures,
        "conflicts": stats.conflicts,
        "fenced": stats.fenced,
        "retries": stats.retries,
        "turns": stats.turns,
        "lostUs": stats.lost_us,
        "durationP50Us": stats.durations.p50_us,
        "durationP99Us": stats.durations.p99_us,
        "memoryBytes": stats.memory_bytes_max,
    });
    if let Some(error) = &stats.last_error {
        value["lastError"] =
            json!(format!("{} on {}: {}", error.kind, error.object, error.message));
        value["lastErrorAt"] = json!(error.at.to_rfc3339());
    }
    value
}
