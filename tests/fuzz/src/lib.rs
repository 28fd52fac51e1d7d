//! Mutated inputs for everything that reads bytes of clients.
//!
//! A target is a decoder with what must hold for whatever it accepts. Inputs are mutations of what real clients sent
//! (`corpus`), made from a seed alone, so that a failure is found again. The program runs for a time, the tests for a
//! number of inputs.

pub mod corpus;
pub mod mutate;
pub mod targets;

mod expressions;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::time::{ClockId, clock_gettime};

use crate::mutate::Mutator;
use crate::targets::Target;

/// An input that takes longer is a failure; time of the processor, so that a busy machine makes nothing slow.
pub const SLOW: Duration = Duration::from_secs(1);

/// What was found out about one target.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Inputs that were tried.
    pub executions: u64,
    /// Inputs that were accepted.
    pub accepted: u64,
    /// How much of the processor's time the slowest took.
    pub slowest: Duration,
}

/// What a target failed at.
#[derive(Debug)]
pub struct Failure {
    /// The target's name.
    pub target: &'static str,
    /// What happened.
    pub what: String,
    /// The input in base64.
    pub input: String,
}

/// Runs a target on mutated inputs for as long as `goes_on` says, asked before each.
///
/// # Errors
/// With the first failure.
pub fn run(
    target: &Target,
    seed: u64,
    mut goes_on: impl FnMut(&Figures) -> bool,
) -> Result<Figures, Failure> {
    let mut mutator = Mutator::new(seed, corpus::read(target.corpus)).with_words(target.words);
    let mut figures = Figures::default();
    while goes_on(&figures) {
        let input = mutator.next_input();
        let begun = processor_time();
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.try_input)(&input)));
        let took = processor_time().saturating_sub(begun);
        let fail =
            |what: String| Failure { target: target.name, what, input: STANDARD.encode(&input) };
        figures.executions += 1;
        figures.slowest = figures.slowest.max(took);
        match outcome {
            Err(_) => return Err(fail("it panicked".to_owned())),
            Ok(Err(what)) => return Err(fail(what)),
            Ok(Ok(_)) if took > SLOW => return Err(fail(format!("it took {took:?}"))),
            Ok(Ok(true)) => {
                figures.accepted += 1;
                mutator.keep(input);
            }
            Ok(Ok(false)) => {}
        }
    }
    Ok(figures)
}

/// What this thread has computed so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough to notice what is broken, few enough to run with every test.
    const EXECUTIONS: u64 = 400;

    #[test]
    fn no_decoder_panics_hangs_or_breaks_its_word() {
        for target in targets::all() {
            for seed in 0..3 {
                let figures = run(&target, seed, |done| done.executions < EXECUTIONS);
                let figures = figures.unwrap_or_else(|failure| unreachable!("{failure:?}"));
                assert!(figures.accepted > 0, "{} accepted nothing of its corpus", target.name);
            }
        }
    }

    #[test]
    fn a_target_that_fails_is_reported_with_its_input() {
        let target = Target {
            name: "broken",
            corpus: &["labels"],
            words: &[],
            try_input: Box::new(|input| {
                if input.len() > 40 { Err("too long".to_owned()) } else { Ok(true) }
            }),
        };
        let failure = run(&target, 7, |_| true).expect_err("it fails");
        assert!(STANDARD.decode(&failure.input).expect("base64").len() > 40);
        assert_eq!((failure.target, failure.what.as_str()), ("broken", "too long"));
    }
}
