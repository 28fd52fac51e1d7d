//! Tasks with names, and one shutdown for all of them.
//!
//! A task that ends with an error or a panic before the shutdown is somebody's problem: the supervisor logs it
//! and starts the shutdown, so that a host never runs on with a part missing.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The signal to drain and end; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Starts the shutdown; further calls do nothing.
    pub fn start(&self) {
        self.0.cancel();
    }

    /// Whether it has started.
    pub fn is_started(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Ends when it starts.
    pub async fn started(&self) {
        self.0.cancelled().await;
    }
}

/// Spawns named tasks and waits for them; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    shutdown: Shutdown,
    tasks: TaskTracker,
    failed: Arc<Mutex<Vec<&'static str>>>,
    work: Option<Handle>,
}

impl Supervisor {
    /// The same, but work runs on another scheduler than the one that it is given to.
    #[must_use]
    pub fn with_work_on(self, scheduler: Handle) -> Self {
        Self { work: Some(scheduler), ..self }
    }

    /// The shutdown that all its tasks share.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Spawns a task that lives until the shutdown. An error or a panic starts the shutdown.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn<E>(
        &self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: std::error::Error + Send + 'static,
    {
        let this = self.clone();
        let inner = tokio::spawn(task);
        self.tasks.spawn(async move {
            let problem = match inner.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => chain(&error),
                Err(panic) => panic.to_string(),
            };
            tracing::error!(task = name, error = problem, "task ended early, shutting down");
            this.fail(name);
        });
    }

    /// Spawns a short-lived task (one connection, one run); a panic is logged and ends only that task.
    pub fn spawn_brief(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.watch(&Handle::current(), name, task);
    }

    /// Spawns a short-lived task that may compute for long on behalf of somebody else (one run); as
    /// [`Self::spawn_brief`], but on the scheduler for work, if there is one.
    pub fn spawn_work(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        match &self.work {
            Some(scheduler) => self.watch(scheduler, name, task),
            None => self.spawn_brief(name, task),
        }
    }

    fn watch(
        &self,
        scheduler: &Handle,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let watched = scheduler.spawn(self.tasks.track_future(task));
        scheduler.spawn(async move {
            if let Err(error) = watched.await {
                tracing::error!(task = name, error = %error, "task panicked");
            }
        });
    }

    /// Starts a thread of its own for blocking work that lives as long as the host.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub fn spawn_thread(
        &self,
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let this = self.clone();
        let token = self.tasks.token();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            if outcome.is_err() {
                tracing::error!(task = name, "thread panicked, shutting down");
                this.fail(name);
            }
            drop(token);
        })?;
        Ok(())
    }

    /// Names of the tasks that ended early.
    pub fn failed(&self) -> Vec<&'static str> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts the shutdown and waits up to `drain` for all tasks; false when some were still running.
    #[expect(clippy::disallowed_methods, reason = "the drain is bounded by real time")]
    pub async fn stop(&self, drain: Duration) -> bool {
        self.shutdown.start();
        self.tasks.close();
        tokio::time::timeout(drain, self.tasks.wait()).await.is_ok()
    }

    fn fail(&self, name: &'static str) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        self.shutdown.start();
    }
}

/// An error and all its causes on one line: `cannot open store: permission denied`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_fails_starts_the_shutdown() {
        let supervisor = Supervisor::default();
        supervisor.spawn("bad", async { Err(std::io::Error::other("gone")) });
        supervisor.shutdown().started().await;
        assert!(supervisor.stop(Duration::from_secs(5)).await);
        assert_eq!(supervisor.failed(), ["bad"]);
    }
}
