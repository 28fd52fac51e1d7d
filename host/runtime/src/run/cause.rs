//! What a run's writes follow from, as the store keeps it.
//!
//! It is stored with every change of the transaction, so that the more a run writes the fewer wakes it can name. The
//! newest are named and the rest is counted: nobody takes what is not named for what did not happen.

use quadrille_store::{Revision, RunCause};

use super::Start;
use crate::runtime::Shared;

/// What the causes of one transaction take together: a quarter of what the store takes. A run's own limits leave that.
const CAUSES_BYTES_MAX: usize = quadrille_store::TXN_BYTES_MAX / 4;

/// The cause of so many writes.
pub(crate) fn cause_of(
    shared: &Shared,
    start: &Start,
    snapshot: Revision,
    writes: usize,
) -> RunCause {
    let spec = &start.version.spec;
    let took = shared.clock.monotonic().saturating_sub(start.started);
    let mut cause = RunCause {
        run: start.run,
        plugin: spec.plugin.as_ref().to_owned(),
        controller: spec.name.as_ref().to_owned(),
        digest: spec.digest.as_ref().to_owned(),
        object: start.taken.key.to_string(),
        woken_by: start.taken.wakes.revisions().to_vec(),
        unlisted: start.taken.wakes.dropped(),
        origin: start.taken.wakes.origin().to_vec(),
        occasion: start.taken.wakes.occasion().map(|occasion| occasion.as_str().to_owned()),
        snapshot,
        started: start.now,
        duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    };
    let names = [&cause.plugin, &cause.controller, &cause.digest, &cause.object];
    let names = names.iter().map(|name| name.len()).sum::<usize>();
    let room = (CAUSES_BYTES_MAX / writes.max(1)).saturating_sub(names + FIELDS_BYTES);
    let dropped = keep_newest(&mut cause.woken_by, room) + keep_newest(&mut cause.origin, room);
    cause.unlisted += dropped;
    cause
}

/// About what the names of the fields and the numbers take.
const FIELDS_BYTES: usize = 400;

/// Keeps the newest of ascending revisions that fit, one in any case; answers how many do not.
fn keep_newest(revisions: &mut Vec<Revision>, room: usize) -> u64 {
    let Some(newest) = revisions.last() else { return 0 };
    let digits = newest.0.checked_ilog10().unwrap_or(0) + 1;
    let each = usize::try_from(digits).unwrap_or(usize::MAX - 1) + ",".len();
    let dropped = revisions.len().saturating_sub((room / each).max(1));
    revisions.drain(..dropped);
    dropped as u64
}

#[cfg(test)]
mod tests {
    use quadrille_store::TXN_BYTES_MAX;

    use super::*;
    use crate::OverlayLimits;
    use crate::wakes::LISTED_MAX;

    #[test]
    fn of_wakes_the_newest_are_named_that_have_room() {
        let first = 10_u64.pow(19);
        let all: Vec<Revision> = (first..).take(LISTED_MAX).map(Revision).collect();
        for (room, kept) in [(0, 1), (21, 1), (42, 2), (43, 2), (1 << 20, LISTED_MAX)] {
            let mut revisions = all.clone();
            let dropped = keep_newest(&mut revisions, room);
            assert_eq!(revisions, all[LISTED_MAX - kept..]);
            assert_eq!(dropped, (LISTED_MAX - kept) as u64);
        }
        assert_eq!(keep_newest(&mut Vec::new(), 0), 0);
    }

    #[test]
    fn what_the_limits_of_a_run_let_through_goes_into_one_transaction() {
        let limits = OverlayLimits::default();
        // The longest names, where not even one wake has room; and what each record has besides.
        let names = limits.writes_max * 2_048;
        assert!(limits.bytes_written_max + CAUSES_BYTES_MAX + names <= TXN_BYTES_MAX);
        assert!(limits.writes_max <= quadrille_store::TXN_WRITES_MAX);
    }
}
