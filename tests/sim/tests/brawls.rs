//! Fights are found within three rounds and by the right names, whoever is first; what only looks like one is not told.
//!
//! `QUADRILLE_SIM_SEEDS=N` sets how many seeds run.

use quadrille_sim::Stage;
use quadrille_sim::brawl::BRAWLS;

/// How many seeds run.
const SEEDS: u64 = 6;
/// A round is a change by each of those who fight.
const ROUNDS_MAX: u64 = 3;

#[expect(clippy::disallowed_methods, reason = "whoever runs the test decides how long")]
fn seeds() -> u64 {
    let set = std::env::var("QUADRILLE_SIM_SEEDS").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

#[test]
fn every_fight_is_found_by_its_names_and_nothing_else_is_told() {
    let stage = Stage::build();
    let (mut fights, mut latest, mut quiet) = (0, 0, 0);
    for brawl in BRAWLS {
        for seed in 0..seeds() {
            let (found, changes) = stage.brawl(brawl, seed);
            if brawl.fighters.is_empty() {
                assert!(found.is_none(), "seed {seed}, {brawl:?}: {found:#?}");
                quiet += 1;
                continue;
            }
            let fight = found.unwrap_or_else(|| {
                panic!("seed {seed}, {brawl:?}: not found in {changes} changes")
            });
            let names: Vec<&str> = fight.writers.iter().map(|w| w.controller.as_str()).collect();
            assert_eq!(names, brawl.fighters, "seed {seed}, {brawl:?}: {fight:?}");
            let rounds = fight.rounds.div_ceil(names.len() as u64);
            assert!(
                rounds <= ROUNDS_MAX,
                "seed {seed}, {brawl:?}: found in round {rounds}: {fight:?}"
            );
            fights += 1;
            latest = latest.max(rounds);
        }
    }
    println!(
        "D4: {fights} fights, all found, in round {latest} at the latest; {quiet} others, 0 told"
    );
}
