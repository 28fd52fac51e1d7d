//! How long a key waits after failures: exponential, with jitter, between two bounds.

use std::time::Duration;

/// The bounds of the wait after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure. Default 5 ms: a conflict of timing is over by then.
    pub min: Duration,
    /// At most. Default 5 minutes: an operator who repairs something sees it picked up.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: Duration::from_millis(5), max: Duration::from_mins(5) }
    }
}

impl Backoff {
    /// The wait after so many failures in a row; `draw` is a random number that takes off up to a quarter.
    pub fn wait(&self, failures: u32, draw: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let full = self.min.saturating_mul(1 << doublings).min(self.max);
        let quarter = u64::try_from(full.as_nanos() / 4).unwrap_or(u64::MAX);
        let off = u64::try_from((u128::from(draw) * u128::from(quarter)) >> 64).unwrap_or(0);
        full.saturating_sub(Duration::from_nanos(off))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_with_jitter_and_stops_at_the_maximum() {
        let backoff = Backoff::default();
        assert_eq!(backoff.wait(1, 0), Duration::from_millis(5));
        assert_eq!(backoff.wait(4, 0), Duration::from_millis(40));
        assert_eq!(backoff.wait(99, 0), Duration::from_mins(5));
        let jittered = backoff.wait(4, u64::MAX);
        assert!(jittered >= Duration::from_millis(30) && jittered < Duration::from_millis(31));
    }
}
