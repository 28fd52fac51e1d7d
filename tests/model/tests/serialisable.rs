//! Thousands of seeds in memory under simulated time, hundreds on disk with threads: nobody ever saw or did what a
//! strictly serial execution could not explain. And the checker finds what is broken on purpose.
//!
//! `QUADRILLE_MODEL_SEEDS=N` sets how many seeds run in memory, `QUADRILLE_MODEL_SEED=N` runs that one alone.

use std::sync::OnceLock;

use quadrille_model::history::{Deed, History, Maker, Read};
use quadrille_model::world::{Base, on_disk};
use quadrille_model::{Plan, Plant, check};

/// How many seeds run in memory.
const SEEDS: u64 = 2_000;
/// How many experiments run on disk, in directories of so many each.
const ON_DISK: (u64, u64) = (10, 20);

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a scheduler");
        runtime.block_on(Base::build())
    })
}

#[expect(clippy::disallowed_methods, reason = "whoever runs the test decides how long")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[track_caller]
fn judge(seed: u64, history: &History) {
    let wrong = check(history);
    assert!(
        wrong.is_empty(),
        "QUADRILLE_MODEL_SEED={seed}: {} violations, first {:?}",
        wrong.len(),
        wrong.first()
    );
}

/// Every second seed, so that two tests share the processors.
fn in_memory(odd: u64) {
    if let Some(seed) = setting("QUADRILLE_MODEL_SEED") {
        return judge(seed, &base().simulate(Plan::small(seed)));
    }
    let (mut committed, mut thrown) = (0, 0);
    for number in 0..setting("QUADRILLE_MODEL_SEEDS").unwrap_or(SEEDS) / 2 {
        let seed = number * 2 + odd;
        let history = base().simulate(Plan::small(seed));
        judge(seed, &history);
        let of_runs = history.txns.iter().filter(|txn| matches!(txn.maker, Maker::Run(_))).count();
        let wanted = history.runs.values().filter(|run| run.ended_well && !run.writes.is_empty());
        committed += of_runs;
        thrown += wanted.count() - of_runs;
    }
    assert!(committed > 0 && thrown > 0, "they met: {committed} committed, {thrown} thrown away");
}

#[test]
fn no_even_seed_breaks_serialisability_in_memory() {
    in_memory(0);
}

#[test]
fn no_odd_seed_breaks_serialisability_in_memory() {
    in_memory(1);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..20 {
        let [once, again] = [(); 2].map(|()| base().simulate(Plan::small(seed)));
        assert_eq!(format!("{once:?}"), format!("{again:?}"), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_experiment_on_disk_breaks_serialisability() {
    let (directories, each) = ON_DISK;
    for number in 0..directories {
        let dir = tempfile::tempdir().expect("a directory");
        let seeds: Vec<u64> = (number * each..(number + 1) * each).collect();
        let plans: Vec<Plan> = seeds.iter().map(|seed| Plan::small(*seed)).collect();
        for (seed, history) in seeds.iter().zip(on_disk(dir.path(), &plans).await) {
            judge(*seed, &history);
        }
    }
}

#[test]
fn what_is_broken_on_purpose_is_found() {
    for plant in [Plant::UncheckedLists, Plant::StaleReads, Plant::HalfRuns] {
        let broken = |seed: &u64| {
            let history = base().simulate(Plan::small(*seed).planted(plant));
            !check(&history).is_empty()
        };
        let found = (0..200).find(broken);
        let seed = found.unwrap_or_else(|| panic!("{plant:?} is not found in 200 seeds"));
        let again = check(&base().simulate(Plan::small(seed).planted(plant)));
        assert!(!again.is_empty(), "{plant:?}: seed {seed} does not show it again");
    }
}

/// A history that happened, with enough in it.
fn good() -> History {
    let histories = (0..100).map(|seed| base().simulate(Plan::small(seed)));
    let mut rich = histories.filter(|history| {
        let runs = history.txns.iter().filter(|txn| matches!(txn.maker, Maker::Run(_)));
        let wrote = history.deeds.iter().filter(|deed| matches!(deed, Deed::Wrote { .. }));
        runs.count() > 3 && wrote.count() > 2
    });
    rich.next().expect("most seeds give one")
}

#[track_caller]
fn must_be_found(what: &str, tamper: impl FnOnce(&mut History)) {
    let mut history = good();
    assert!(check(&history).is_empty());
    tamper(&mut history);
    assert!(!check(&history).is_empty(), "not found: {what}");
}

#[test]
fn every_kind_of_wrong_history_is_found() {
    must_be_found("an acknowledged write is lost", |history| {
        let number = history.deeds.iter().find_map(|deed| match deed {
            Deed::Wrote { number, .. } => Some(*number),
            Deed::Refused { .. } | Deed::Looked { .. } => None,
        });
        let maker = Maker::Client(number.expect("a client wrote"));
        history.txns.retain(|txn| txn.maker != maker);
    });
    must_be_found("a write is acknowledged at an old revision", |history| {
        for deed in &mut history.deeds {
            if let Deed::Wrote { acknowledged, revision, .. } = deed {
                *acknowledged = *revision;
            }
        }
    });
    must_be_found("a client sees an old state", |history| {
        let at = history.start_revision;
        history.deeds.push(Deed::Looked { acknowledged: at + 1, at, reads: Vec::new() });
    });
    must_be_found("somebody sees half a transaction", |history| {
        let txn = history.txns.iter().find(|txn| txn.changes.len() > 1).expect("a run wrote two");
        let at = txn.first;
        history.deeds.push(Deed::Looked { acknowledged: 0, at, reads: Vec::new() });
    });
    must_be_found("two transactions change places", |history| {
        history.txns.swap(0, 1);
    });
    must_be_found("a run commits twice", |history| {
        let mut txn = history.txns.last().expect("some").clone();
        txn.first = txn.changes.last().map_or(0, |(revision, ..)| revision + 1);
        history.txns.push(txn);
    });
    must_be_found("a commit is not there at the end", |history| {
        history.end.insert("k9".to_owned(), quadrille_model::history::State::default());
    });
    must_be_found("a run that failed is committed", |history| {
        history.runs.values_mut().for_each(|run| run.ended_well = false);
    });
    must_be_found("a write that was refused is there", |history| {
        let made = history.txns.iter().find_map(|txn| match txn.maker {
            Maker::Client(number) => Some(number),
            Maker::Run(_) | Maker::Other(_) => None,
        });
        let (number, why) = (made.expect("a client wrote"), "conflict".to_owned());
        history.deeds.push(Deed::Refused { number, why });
    });
    must_be_found("the last run of a key was thrown away, and none came after it", |history| {
        let last = history.runs.iter_mut().max_by_key(|(_, run)| run.start).expect("some ran").1;
        last.writes.insert("k0".to_owned(), history.end.get("k0").map(|state| state.tag.clone()));
    });
    must_be_found("a run committed on what it did not read", |history| {
        let numbers: Vec<u64> = history
            .txns
            .iter()
            .filter_map(|txn| match txn.maker {
                Maker::Run(number) => Some(number),
                Maker::Client(_) | Maker::Other(_) => None,
            })
            .collect();
        let run = history.runs.get_mut(&numbers[0]).expect("it ran");
        run.reads.push(Read::Get { name: "k0".to_owned(), found: Some((1, "never".to_owned())) });
    });
}
