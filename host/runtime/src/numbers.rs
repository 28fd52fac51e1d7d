//! The numbers of runs: unique over all lives of a host, with a journal or without one.
//!
//! A life numbers its runs from the revision that it starts at, times what one change is good for, and from behind the
//! last run in its journal. So no two runs that committed share a number while fewer start per change than that. Revisions
//! are small numbers, except in a store that was put back: it begins ahead of all that can have been issued since its backup
//! (`quadrille_store::care`). There a change is good for fewer runs, so that the numbers do not come to an end.

use quadrille_store::Revision;

/// How many runs may start per change.
const RUNS_PER_CHANGE: u64 = 1_000_000;

/// Revisions up to this are of stores that were never put back, or from a recent backup.
const USUAL: u64 = 1_000_000_000_000;

/// How many runs may start per change behind that.
const RUNS_PER_CHANGE_BEYOND: u64 = 1_000;

/// The number of the first run of a life that starts at a revision, with the last one in the journal (0: none).
pub(crate) fn first(at: Revision, journalled: u64) -> u64 {
    let usual = at.0.min(USUAL).saturating_mul(RUNS_PER_CHANGE);
    let beyond = at.0.saturating_sub(USUAL).saturating_mul(RUNS_PER_CHANGE_BEYOND);
    // Half of all numbers is left for the runs of a life that begins where these end.
    let numbered = usual.saturating_add(beyond).min(u64::MAX / 2);
    numbered.max(journalled).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use quadrille_kit::{Clock, ManualClock, SeededRandom, Supervisor};
    use quadrille_object::Timestamp;
    use quadrille_registry::Registry;
    use quadrille_store::{Store, care};

    use super::*;
    use crate::{Config, Runtime};

    #[test]
    fn a_later_life_numbers_its_runs_behind_those_of_an_earlier_one() {
        let puts = [0, 7, USUAL - 1, USUAL, USUAL + 1, 20_000_000_000_000, 2_000_000_000_000_000];
        for revision in puts {
            let (one, next) = (first(Revision(revision), 0), first(Revision(revision + 1), 0));
            assert!(next - one >= RUNS_PER_CHANGE_BEYOND, "{revision}");
        }
        assert_eq!(first(Revision(3), 0), 3_000_001);
        assert_eq!(first(Revision(3), 9_000_000), 9_000_001);
        assert!(first(Revision(u64::MAX), 0) < u64::MAX, "there is a next one");
    }

    #[tokio::test]
    async fn a_host_on_a_backup_of_any_age_numbers_its_runs() {
        let clock = Arc::new(ManualClock::default());
        let supervisor = Supervisor::default();
        let store = Store::open(
            quadrille_store::Config::default(),
            Arc::<ManualClock>::clone(&clock),
            &supervisor,
        );
        let store = store.await.expect("memory opens");
        let backup: Vec<u8> = store.backup().flat_map(|piece| piece.to_vec()).collect();
        for days in [300, 56 * 365] {
            let dir = tempfile::tempdir().expect("a directory");
            let dir = dir.path().join("store");
            let age = Duration::from_hours(24 * days);
            let age = i64::try_from(age.as_micros()).expect("some decades");
            let now = Timestamp(clock.now().0 + age);
            let restored = care::restore(&mut &backup[..], &dir, now).expect("put back");
            let config = quadrille_store::Config { dir: Some(dir), ..Default::default() };
            let supervisor = Supervisor::default();
            let store = Store::open(config, Arc::<ManualClock>::clone(&clock), &supervisor)
                .await
                .expect("opens");
            let random = Arc::new(SeededRandom::new(1));
            let registry = Registry::build(
                quadrille_registry::Config::default(),
                store,
                Arc::<ManualClock>::clone(&clock),
                random,
            );
            let registry = registry.expect("built-in data");
            let build =
                || Runtime::build(Config::default(), registry.clone(), Supervisor::default());
            let before = build().next_run();
            assert!(before > restored.revision.0, "{days} days");
            registry.bootstrap().await.expect("it takes it");
            assert!(build().next_run() >= before + RUNS_PER_CHANGE_BEYOND, "{days} days");
            assert!(supervisor.stop(Duration::from_secs(20)).await);
        }
    }
}
