//! The clock in bad weather: its wall time jumps, its monotonic time does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, ManualClock, Random, SeededRandom};
use quadrille_object::Timestamp;

/// The largest jump: ten years, in microseconds.
const JUMP_MAX: u64 = 10 * 365 * 24 * 3600 * 1_000_000;

/// A clock whose wall time is off.
#[derive(Debug)]
pub struct Weather {
    clock: Arc<ManualClock>,
    off: AtomicI64,
}

impl Weather {
    /// Right, for now.
    pub fn new(clock: Arc<ManualClock>) -> Self {
        Self { clock, off: AtomicI64::new(0) }
    }

    /// Jumps: up to ten years to either side, or a second back.
    pub fn jump(&self, random: &SeededRandom) {
        let far = i64::try_from(random.below(JUMP_MAX)).unwrap_or(0);
        let off = match random.below(3) {
            0 => far,
            1 => -far,
            _ => self.off.load(Ordering::SeqCst) - 1_000_000,
        };
        self.off.store(off, Ordering::SeqCst);
    }
}

impl Clock for Weather {
    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now().0.saturating_add(self.off.load(Ordering::SeqCst)))
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(wait)
    }
}
