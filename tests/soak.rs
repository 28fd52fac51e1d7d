//! Ordinary life leaves nothing behind: what a host holds after a while it holds later too.

#![expect(clippy::disallowed_methods, reason = "a test of a whole process lives in real time")]

use std::time::{Duration, Instant};

use quadrille_tests::life::{Holding, Life};

const HOST: &str = env!("CARGO_BIN_EXE_quadrille");
/// Looks at the host; the first quarter is the way to what it holds at this load.
const LOOKS: u32 = 16;
const MIB: u64 = 1 << 20;
/// After so many minutes a quarter of the time is enough to fill what is kept in memory.
const FULL_MINUTES: f64 = 10.0;

/// The most that was held at any of some looks.
fn most(looks: &[Holding]) -> Holding {
    let zero = Holding { resident: 0, files: 0, descriptors: 0, threads: 0 };
    looks.iter().fold(zero, |most, look| Holding {
        resident: most.resident.max(look.resident),
        files: most.files.max(look.files),
        descriptors: most.descriptors.max(look.descriptors),
        threads: most.threads.max(look.threads),
    })
}

/// `QUADRILLE_SOAK=MINUTES` lives longer.
#[test]
fn ordinary_life_leaves_nothing_behind() {
    let minutes = std::env::var("QUADRILLE_SOAK").ok().and_then(|text| text.parse().ok());
    let period = Duration::from_secs_f64(minutes.unwrap_or(0.8) * 60.0) / LOOKS;
    let mut life = Life::begin(HOST).expect("it starts");
    let (mut looks, mut writes) = (Vec::new(), 0);
    for _ in 0..LOOKS {
        writes += life.live(Instant::now() + period).expect("nothing is refused").len();
        looks.push(life.look().expect("it lives"));
    }
    let quarter = looks.len() / 4;
    let (early, late) = (most(&looks[quarter..quarter * 2]), most(&looks[quarter * 3..]));
    println!(
        "I3: {writes} writes in {:?}; second quarter {early:?}, last {late:?}",
        period * LOOKS
    );
    // Caches and the record in memory fill up within minutes; what leaks does so with every write.
    let filling = if minutes.is_some_and(|minutes: f64| minutes >= FULL_MINUTES) { 8 } else { 48 };
    let most_resident = early.resident * 5 / 4 + filling * MIB;
    assert!(late.resident < most_resident, "memory grows: {looks:#?}");
    assert!(late.files < early.files * 5 / 4 + 16 * MIB, "files grow: {looks:#?}");
    assert!(late.descriptors <= early.descriptors + 8, "descriptors are kept: {looks:#?}");
    assert!(late.threads <= early.threads + 8, "threads are kept: {looks:#?}");
}
