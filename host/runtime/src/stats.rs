//! What a controller has done so far, in numbers.

use std::sync::Arc;
use std::time::Duration;

use quadrille_object::Timestamp;
use quadrille_store::Key;
use serde::Serialize;

/// Four buckets per doubling from 1 µs to about an hour.
const BUCKETS: usize = 128;

/// Durations in buckets of at most 25 % width: half a kilobyte, whatever happened.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1);
        let doublings = micros.ilog2();
        let quarter = if doublings < 2 { 0 } else { (micros >> (doublings - 2)) & 3 };
        let index =
            (doublings as usize * 4 + usize::try_from(quarter).unwrap_or(0)).min(BUCKETS - 1);
        if let Some(count) = self.counts.get_mut(index) {
            *count = count.saturating_add(1);
        }
        self.total += 1;
    }

    /// The upper bound of the bucket in which the `share`-th part (0 to 1000) ends; 0 when empty.
    pub(crate) fn per_mille(&self, share: u64) -> u64 {
        let wanted = (self.total * share).div_ceil(1000);
        let mut sum = 0;
        for (index, count) in self.counts.iter().enumerate() {
            sum += u64::from(*count);
            if sum >= wanted && sum > 0 {
                let base = 1_u64 << (index / 4);
                return base + base * (index as u64 % 4 + 1) / 4;
            }
        }
        0
    }
}

/// How long runs took, in microseconds; each within 25 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "units stand in names")]
pub struct Durations {
    /// Half of the runs took less.
    pub p50_us: u64,
    /// Nine of ten took less.
    pub p90_us: u64,
    /// 99 of 100 took less.
    pub p99_us: u64,
}

impl From<&Histogram> for Durations {
    fn from(histogram: &Histogram) -> Self {
        let at = |share| histogram.per_mille(share);
        Self { p50_us: at(500), p90_us: at(900), p99_us: at(990) }
    }
}

/// The last failure of a controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// The object it failed on.
    pub object: Key,
    /// `transient`, `permanent`, `trap`, `deadline`, `limit` or `host`.
    pub kind: &'static str,
    /// What it said.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// A controller at one moment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerStats {
    /// Its plugin.
    pub plugin: Arc<str>,
    /// Its name.
    pub controller: Arc<str>,
    /// The digest of its code.
    pub digest: Arc<str>,
    /// Grows with each replacement.
    pub generation: u64,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Keys that could run now.
    pub queued: usize,
    /// Keys that run or commit now.
    pub running: usize,
    /// Keys that wait for a time, those in backoff among them.
    pub timers: usize,
    /// Keys whose last run failed and that wait for their next try.
    pub failing: usize,
    /// Keys that failed for good and wait for a change.
    pub halted: usize,
    /// Keys asleep.
    pub sleeping: usize,
    /// Runs that ended, whichever way.
    pub runs: u64,
    /// Runs that committed something.
    pub commits: u64,
    /// Runs that failed.
    pub failures: u64,
    /// Runs that were thrown away because somebody else was first.
    pub conflicts: u64,
    /// Runs that outlived their version.
    pub fenced: u64,
    /// Runs of a key whose run before was thrown away or failed.
    pub retries: u64,
    /// Runs that had the commit for themselves, because the key's runs before were thrown away.
    pub turns: u64,
    /// Microseconds spent in runs that were thrown away, by a conflict or because they outlived their version.
    pub lost_us: u64,
    /// The last failure.
    pub last_error: Option<LastError>,
    /// Time in the reconciler and in the commit.
    pub durations: Durations,
    /// The largest memory of a guest at the end of a run, in bytes.
    pub memory_bytes_max: u64,
    /// When its last run ended.
    pub last_run: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_quarter() {
        let mut histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.add(Duration::from_micros(micros));
        }
        for (share, exact) in [(500, 500), (900, 900), (990, 990)] {
            let found = histogram.per_mille(share);
            assert!(found >= exact && found <= exact + exact / 4 + 1, "{share}: {found}");
        }
        assert_eq!(Histogram::default().per_mille(990), 0);
    }
}
