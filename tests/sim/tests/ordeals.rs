//! One thing goes wrong at every place where it can, counted and not drawn, and the end is the same: the power goes or an
//! error comes at each call of the disk, the host ends at each run before its commit, each run's work is thrown away, each
//! run reads an old state, each wake-up is lost.
//!
//! `QUADRILLE_ORDEALS=1` tries every place; otherwise some are passed over.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use quadrille_sim::ordeal::works::{Crafts, Planted, Rollout, Workload};
use quadrille_sim::{Course, Mishap, Stage};

/// So many places of each kind are tried at least.
const PLACES: u64 = 4;

#[expect(clippy::disallowed_methods, reason = "whoever runs the test decides how long")]
fn is_long() -> bool {
    std::env::var("QUADRILLE_ORDEALS").is_ok()
}

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(Stage::build)
}

/// A kind of mishap, and how many places it has.
type Kind = (fn(u64) -> Mishap, u64);

/// All mishaps that can befall an undisturbed course, or some of each kind.
fn mishaps(clean: &Course, all: bool) -> Vec<Mishap> {
    let kinds: [Kind; 6] = [
        (Mishap::PowerCut, clean.calls),
        (Mishap::DiskError, clean.calls),
        (Mishap::Thrown, clean.runs),
        (Mishap::Killed, clean.runs),
        (Mishap::Stale, clean.runs),
        (Mishap::Missed, clean.runs),
    ];
    let places = |(of, count): &Kind| -> Vec<Mishap> {
        let step = if all { 1 } else { (count / PLACES).max(1) };
        (1..=*count).step_by(usize::try_from(step).unwrap_or(1)).map(of).collect()
    };
    kinds.iter().flat_map(places).collect()
}

/// What kind of mishap it is.
fn kind_of(mishap: Mishap) -> &'static str {
    match mishap {
        Mishap::None => "none",
        Mishap::PowerCut(_) => "power cuts",
        Mishap::DiskError(_) => "errors of the disk",
        Mishap::Thrown(_) => "runs thrown away",
        Mishap::Killed(_) => "runs killed",
        Mishap::Stale(_) => "old states read",
        Mishap::Missed(_) => "wake-ups lost",
    }
}

/// Those after which the end is another one, how many were tried, and how many of each kind befell.
fn other_ends(
    work: &dyn Workload,
    all: bool,
) -> (Vec<(Mishap, Course)>, usize, BTreeMap<&'static str, usize>) {
    let clean = stage().undergo(work, Mishap::None);
    assert!(clean.wrong.is_empty() && clean.end.len() > 2, "{clean:?}");
    let mishaps = mishaps(&clean, all);
    let (mut others, mut befell) = (Vec::new(), BTreeMap::new());
    for mishap in &mishaps {
        let course = stage().undergo(work, *mishap);
        *befell.entry(kind_of(*mishap)).or_default() += usize::from(course.befell);
        if course.end != clean.end || !course.wrong.is_empty() {
            others.push((*mishap, course));
        }
    }
    assert!(befell.len() == 6 && befell.values().all(|of_kind| *of_kind > 0), "{befell:?}");
    (others, mishaps.len(), befell)
}

#[track_caller]
fn keeps_its_end(work: &dyn Workload) -> String {
    let (others, tried, befell) = other_ends(work, is_long());
    let clean = stage().undergo(work, Mishap::None);
    let first = others.first().map(|(mishap, course)| {
        let differs: Vec<&String> =
            course.end.iter().filter(|one| !clean.end.contains(one)).collect();
        let lacks: Vec<&String> =
            clean.end.iter().filter(|one| !course.end.contains(one)).collect();
        format!("{mishap:?}: {:?}\nhas {differs:#?}\nlacks {lacks:#?}", course.wrong)
    });
    assert!(
        others.is_empty(),
        "{} of {tried} ends differ, first: {}",
        others.len(),
        first.unwrap_or_default()
    );
    format!("D3: {work:?}: {tried} mishaps, befallen {befell:?}, 0 other ends")
}

#[test]
fn a_mishap_anywhere_leaves_small_controllers_at_the_same_end() {
    println!("{}", keeps_its_end(&Crafts));
}

#[test]
fn a_mishap_anywhere_leaves_a_rollout_at_the_same_end() {
    println!("{}", keeps_its_end(&Rollout));
}

#[test]
fn a_controller_that_remembers_or_counts_is_caught() {
    for planted in [Planted::Remembers, Planted::Counts] {
        let (others, tried, _) = other_ends(&planted, true);
        println!("D3: {planted:?}: caught by {} of {tried} mishaps", others.len());
        assert!(!others.is_empty(), "{planted:?} is not caught");
    }
}
