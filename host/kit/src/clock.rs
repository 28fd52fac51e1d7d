//! The clock: wall time for what people read, monotonic time for what is measured and waited for.
//!
//! The two are apart on purpose: a jump of the wall clock may change timestamps and nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quadrille_object::Timestamp;
use tokio::sync::oneshot;

/// A boxed future, the shape in which traits of the host return them.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A source of time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Wall-clock time; may jump.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;

    /// Ends after `wait` of monotonic time. Dropping it cancels it.
    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn default() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp(since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that waits for the clock")]
    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(wait))
    }
}

/// A clock that stands still until it is advanced, for tests and plans.
#[derive(Debug)]
pub struct ManualClock {
    /// What [`Clock::now`] says while nothing has elapsed.
    epoch: Timestamp,
    state: Mutex<ManualState>,
}

impl Default for ManualClock {
    fn default() -> Self {
        let epoch = Timestamp::from_seconds(MANUAL_EPOCH_SECONDS);
        Self { epoch, state: Mutex::default() }
    }
}

#[derive(Debug, Default)]
struct ManualState {
    elapsed: Duration,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    next_sleeper: u64,
}

impl ManualClock {
    /// A clock that shows what another one shows now, and stands.
    pub fn like(other: &dyn Clock) -> Self {
        let (now, elapsed) = (other.now(), other.monotonic());
        let micros = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        let epoch = Timestamp(now.0.saturating_sub(micros));
        Self { epoch, state: Mutex::new(ManualState { elapsed, ..ManualState::default() }) }
    }

    /// Moves time on by `step` and ends the sleeps that are due, earliest first.
    pub fn advance(&self, step: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.elapsed += step;
        let still_later = (state.elapsed + Duration::from_nanos(1), 0);
        let later = state.sleepers.split_off(&still_later);
        for (_, sleeper) in std::mem::replace(&mut state.sleepers, later) {
            // A sleeper that was dropped no longer listens, which is fine.
            let _ended: bool = sleeper.send(()).is_ok();
        }
    }

    /// How long until the next sleeper is due; `None` when nobody sleeps.
    pub fn next_due(&self) -> Option<Duration> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ((due, _), _) = state.sleepers.iter().find(|(_, sleeper)| !sleeper.is_closed())?;
        Some(due.saturating_sub(state.elapsed))
    }
}

/// Where a [`ManualClock`] starts: 2026-01-01T00:00:00Z.
const MANUAL_EPOCH_SECONDS: i64 = 1_767_225_600;

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.monotonic().as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.epoch.0.saturating_add(elapsed))
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).elapsed
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (state.elapsed + wait, state.next_sleeper);
        state.next_sleeper += 1;
        if wait.is_zero() {
            let _due: bool = sender.send(()).is_ok();
        } else {
            state.sleepers.insert(key, sender);
        }
        Box::pin(async move {
            if receiver.await.is_err() {
                // The clock is gone, so this moment never comes.
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_they_are_due() {
        let clock = Arc::new(ManualClock::default());
        let sleep = clock.sleep(Duration::from_secs(5));
        assert_eq!(clock.next_due(), Some(Duration::from_secs(5)));
        clock.advance(Duration::from_secs(5));
        sleep.await;
        assert_eq!(clock.now().to_rfc3339(), "2026-01-01T00:00:05Z");
        assert_eq!(clock.next_due(), None);
    }
}
