//! Seeds of random controllers and clients over hosts that are killed, lose power, and have a failing disk and a clock
//! that jumps: what was acknowledged stays, everybody who watches is told everything once, nobody sees what was not
//! there, a key runs once at a time and sees its last commit, no wake-up is lost, and what is settled does nothing.
//!
//! `QUADRILLE_SIM_SEEDS=N` sets how many seeds run, `QUADRILLE_SIM_SEED=N` runs that one alone.
#![expect(clippy::panic, reason = "a seed that fails is told with what is wrong")]

use std::sync::OnceLock;

use quadrille_sim::{Figures, Plan, Random, Stage};

/// How many seeds run.
const SEEDS: u64 = 80;

#[expect(clippy::disallowed_methods, reason = "whoever runs the test decides how long")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(Stage::build)
}

#[track_caller]
fn run(plan: Plan) -> Figures {
    match stage().run(plan, Random::new(plan.seed)) {
        Ok(figures) => figures,
        Err(wrong) => panic!(
            "QUADRILLE_SIM_SEED={}: {} things are wrong, first: {}",
            plan.seed,
            wrong.len(),
            wrong[..wrong.len().min(3)].join("\n")
        ),
    }
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = setting("QUADRILLE_SIM_SEED") {
        println!("{:?}", run(Plan::of(seed)));
        return;
    }
    let mut figures = Figures::default();
    for seed in 0..setting("QUADRILLE_SIM_SEEDS").unwrap_or(SEEDS) {
        figures.add(run(Plan::of(seed)));
    }
    println!("I4: {} seeds: {figures:?}", figures.seeds);
    assert!(figures.unseen * 10 <= figures.seeds, "{figures:?}");
    assert!(
        figures.kills > 0 && figures.power_cuts > 0 && figures.faults > 0 && figures.relists > 0,
        "{figures:?}"
    );
}

#[test]
fn the_same_seed_goes_the_same_way() {
    for seed in 0..3 {
        let [once, again] = [(); 2].map(|()| format!("{:?}", run(Plan::of(seed))));
        assert_eq!(once, again, "seed {seed}");
    }
}
