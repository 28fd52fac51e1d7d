//! Streams that nobody takes from: how they are noticed, and cut.
//!
//! A long answer is pulled: its next piece is asked for once the client has room for more. So a client that
//! has stopped reading shows as a piece handed over and no further one asked for. What is at hand as a whole is cut into
//! pieces for that ([`Body::in_pieces`](crate::answer::Body::in_pieces)). After
//! [`Limits::stall_timeout`](crate::Limits) of that the request (on HTTP/1.1 its connection) is dropped, which
//! frees what was buffered for it. An answer that has nothing to say meanwhile is asked and waits; it is not
//! stalled however long that takes.
//!
//! The request and the body of its answer know of each other through a task-local value: what serves them
//! takes the body apart elsewhere.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quadrille_kit::Clock;
use tokio::sync::Notify;

tokio::task_local! {
    static STALL: Arc<Stall>;
}

/// Says that a piece is not waiting to be taken.
const TAKEN: u64 = u64::MAX;

/// What is known of the long answer of one request.
#[derive(Debug)]
struct Stall {
    clock: Arc<dyn Clock>,
    /// When a piece was handed over that the next one has not followed, in milliseconds; else [`TAKEN`].
    offered: AtomicU64,
    begun: OnceLock<()>,
    begins: Notify,
}

/// The body's end of it. It begins when the first piece is asked for: an answer may be made where its request is not
/// served, but is sent nowhere else.
#[derive(Debug, Default)]
pub(crate) struct Offer(Option<Arc<Stall>>);

impl Offer {
    /// The next piece is asked for.
    pub(crate) fn asked(&mut self) {
        match &self.0 {
            Some(stall) => stall.offered.store(TAKEN, Ordering::Relaxed),
            None => self.0 = begin(),
        }
    }

    /// A piece is handed over.
    pub(crate) fn handed_over(&self) {
        if let Some(stall) = &self.0 {
            stall.offered.store(stall.now(), Ordering::Relaxed);
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if let Some(stall) = &self.0 {
            stall.offered.store(TAKEN, Ordering::Relaxed);
        }
    }
}

/// Begins a long answer of the request that is being served.
fn begin() -> Option<Arc<Stall>> {
    let stall = STALL.try_with(Arc::clone).ok()?;
    stall.begun.get_or_init(|| ());
    stall.begins.notify_one();
    Some(stall)
}

impl Stall {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(TAKEN - 1)
    }

    /// Ends when a piece has waited for `timeout`; never, when no long answer begins.
    async fn stalled(&self, timeout: Duration) {
        while self.begun.get().is_none() {
            self.begins.notified().await;
        }
        loop {
            let offered = self.offered.load(Ordering::Relaxed);
            let waited = match offered {
                TAKEN => Duration::ZERO,
                offered => Duration::from_millis(self.now().saturating_sub(offered)),
            };
            if waited >= timeout {
                return;
            }
            self.clock.sleep(timeout.saturating_sub(waited)).await;
        }
    }
}

/// Serves until the end, or until a piece of a long answer was not taken for `timeout`; `None` then.
pub(crate) async fn cut_when_stalled<F: Future>(
    clock: Arc<dyn Clock>,
    timeout: Duration,
    serving: F,
) -> Option<F::Output> {
    let (offered, begins) = (AtomicU64::new(TAKEN), Notify::new());
    let stall = Arc::new(Stall { clock, offered, begun: OnceLock::new(), begins });
    let serving = STALL.scope(Arc::clone(&stall), serving);
    tokio::select! {
        biased;
        served = serving => Some(served),
        () = stall.stalled(timeout) => None,
    }
}
