//! A key that changes all the time and controllers that take their whole time starve nobody: in virtual time, every other
//! key is run within a bound, and they themselves go on.
//!
//! `QUADRILLE_SIM_SEEDS=N` sets how many seeds run.

use std::time::Duration;

use quadrille_sim::crowd::{KEYS, SLOW};
use quadrille_sim::{Crowd, Stage};

/// How many seeds run.
const SEEDS: u64 = 2;

#[expect(clippy::disallowed_methods, reason = "whoever runs the test decides how long")]
fn seeds() -> u64 {
    let set = std::env::var("QUADRILLE_SIM_SEEDS").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

/// Those before a key in its own queue, each after a run of every other controller in one slot, and a margin.
fn bound(crowd: &Crowd) -> Duration {
    let ahead = u32::try_from(KEYS + 1).unwrap_or(1) * u32::try_from(crowd.others + 2).unwrap_or(1);
    Duration::from_millis(5) * ahead
}

#[test]
fn a_hot_key_and_slow_controllers_starve_nobody() {
    let stage = Stage::build();
    let (mut longest, mut changes, mut overtaken) = (Duration::ZERO, 0, 0);
    for seed in 0..seeds() {
        let crowd = Crowd::of(seed);
        let waits = stage.crowd(crowd);
        let longest_here = waits.others.iter().max().copied().unwrap_or_default();
        assert!(
            waits.unseen == 0 && waits.others.len() > 100,
            "{crowd:?}: {} unseen",
            waits.unseen
        );
        assert!(longest_here <= bound(&crowd), "{crowd:?}: one waited {longest_here:?}");
        let beside = waits.beside.iter().max().copied().unwrap_or_default();
        assert!(
            beside <= SLOW + bound(&crowd),
            "{crowd:?}: one beside the hot key waited {beside:?}"
        );
        let all_slow = crowd.slow * KEYS;
        assert_eq!(waits.slow.len() as u64, all_slow, "{crowd:?}: {:?}", waits.slow);
        // The slow ones share what is left to them, one slot at least.
        let fair = crowd.lasts.as_secs() / SLOW.as_secs() / all_slow;
        let least = waits.slow.values().min().copied().unwrap_or(0) as u64;
        assert!(least + 1 >= fair, "{crowd:?}: {:?}", waits.slow);
        assert!(waits.hot > 100, "{crowd:?}: the hot key ran {} times", waits.hot);
        longest = longest.max(longest_here);
        changes += waits.others.len();
        overtaken = overtaken.max(waits.hot_meanwhile);
    }
    println!(
        "D6: {} crowds: {changes} changes of others' keys, longest wait {longest:?} beside runs of {SLOW:?}, the hot key \
         ran {overtaken} times at most meanwhile",
        seeds()
    );
}
