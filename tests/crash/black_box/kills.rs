//! A host that is killed without warning, and one that is asked to end, under load: nothing acknowledged is lost, and
//! whoever watches sees everything once.

use std::time::Duration;

use quadrille_crash::run::How;
use quadrille_crash::{Plan, Report, say, setting};

use crate::{program, seed};

fn plan(ends: u64, how: How) -> Plan {
    let long = ends > 20;
    Plan {
        program: program(),
        flags: Vec::new(),
        ends: usize::try_from(ends).expect("small"),
        how,
        life_max: Duration::from_millis(if long { 2_500 } else { 1_200 }),
        writers: if long { 16 } else { 8 },
        watchers: if long { 100 } else { 16 },
        pad_max: 1_500,
        history: "4MiB".to_owned(),
        compacts: false,
        backups: 0,
        seed: seed(),
    }
}

#[track_caller]
fn judge(promise: &str, report: &Report) {
    // `tests/prove` finds the figures of a promise by its number.
    promise.split(' ').for_each(|number| say(&format!("{number}: {report}")));
    let (found, folder) = (&report.found, &report.folder);
    assert!(found.violations.is_empty(), "journals in {folder:?}: {:#?}", found.violations);
    assert!(found.acknowledged > 0 && found.events > 0 && found.resumed > 0, "{found:?}");
}

#[test]
fn nothing_acknowledged_is_lost_and_no_event_missed_when_the_host_is_killed() {
    let kills = setting("QUADRILLE_CRASH_KILLS").unwrap_or(6);
    judge("A1 B4 C1 C2", &plan(kills, How::Killed).run().expect("it starts again each time"));
}

#[test]
fn a_host_that_is_asked_to_end_under_load_ends_well_and_loses_nothing() {
    let ends = setting("QUADRILLE_CRASH_ENDS").unwrap_or(3);
    judge("G4", &plan(ends, How::Asked).run().expect("it ends with success each time"));
}

/// A history of some hundred changes.
const HISTORY_BYTES: u64 = 4 << 20;

#[test]
fn a_small_history_is_compacted_between_kills_with_no_gap_and_a_bounded_file() {
    let kills = setting("QUADRILLE_CRASH_CHURN").unwrap_or(4);
    let life_max = Duration::from_millis(2_500);
    let plan = Plan {
        history: "4MiB".to_owned(),
        compacts: true,
        backups: if kills > 20 { 20 } else { 2 },
        pad_max: 30_000,
        life_max,
        ..plan(kills, How::Killed)
    };
    let report = plan.run().expect("it starts again each time");
    judge("A7 A8 C5", &report);
    let (oldest, window) = report.window;
    // What is kept is about what was asked for.
    assert!(oldest > 0 && window > HISTORY_BYTES / 2, "{window} bytes of history after {oldest}");
    let halves = report.file_bytes.split_at(report.file_bytes.len() / 2);
    let largest = |half: &[u64]| half.iter().max().copied().unwrap_or_default();
    let (early, late) = (largest(halves.0), largest(halves.1));
    assert!(late <= 2 * early + (8 << 20), "the store grew from {early} to {late} bytes");
}
