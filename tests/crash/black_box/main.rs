//! A real host that is killed, stopped, filled up and asked for the past, seen from outside.
//!
//! Each test has a short form; the environment makes it long (`QUADRILLE_CRASH_…=N`), gives the seed
//! (`QUADRILLE_CRASH_SEED`) and another program (`QUADRILLE_PROGRAM`).

#![expect(
    clippy::disallowed_methods,
    reason = "a test of a whole process has no supervisor and waits in real time"
)]

mod full_disk;
mod kills;
mod stops;
mod updates;
mod versions;

/// The program under test.
fn program() -> String {
    quadrille_crash::program(env!("CARGO_BIN_EXE_quadrille"))
}

/// Where chance begins: given, or new each time.
fn seed() -> u64 {
    use quadrille_kit::Random as _;
    let new = || quadrille_kit::SystemRandom::default().below(1 << 32);
    quadrille_crash::setting("QUADRILLE_CRASH_SEED").unwrap_or_else(new)
}
