//! `quadrille-fuzz [--seconds N] [--seed N] [--only NAME,NAME]`: mutated inputs for every decoder, each for its share of the
//! time. A target ends with the first input that panics, breaks a promise or takes longer than a second; the program then
//! fails when all have had their turn.

use std::time::Duration;

use anyhow::{Context as _, bail};
use quadrille_fuzz::{run, targets};
use quadrille_kit::{Clock as _, SystemClock};

struct Options {
    seconds: u64,
    seed: u64,
    only: Vec<String>,
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options { seconds: 60, seed: 1, only: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--seconds" => options.seconds = value.parse().context("--seconds")?,
            "--seed" => options.seed = value.parse().context("--seed")?,
            "--only" => options.only = value.split(',').map(str::to_owned).collect(),
            _ => bail!("unknown option {name}"),
        }
    }
    Ok(options)
}

#[expect(clippy::print_stdout, reason = "a program that prints figures")]
fn main() -> anyhow::Result<()> {
    let options = options()?;
    let chosen = |name: &str| options.only.is_empty() || options.only.iter().any(|o| o == name);
    let targets: Vec<_> = targets::all().into_iter().filter(|t| chosen(t.name)).collect();
    let count = u32::try_from(targets.len()).unwrap_or(u32::MAX).max(1);
    let share = Duration::from_secs(options.seconds) / count;
    let clock = SystemClock::default();
    println!(
        "{:<18} {:>12} {:>10} {:>10} {:>12}",
        "target", "executions", "per s", "accepted", "slowest"
    );
    let mut failures = Vec::new();
    for target in targets {
        let begun = clock.monotonic();
        let goes_on = |_: &_| clock.monotonic().saturating_sub(begun) < share;
        let figures = match run(&target, options.seed, goes_on) {
            Ok(figures) => figures,
            Err(failure) => {
                println!("{:<18} FAILED: {}\n{}", failure.target, failure.what, failure.input);
                failures.push(failure.target);
                continue;
            }
        };
        let took = clock.monotonic().saturating_sub(begun).as_secs().max(1);
        println!(
            "{:<18} {:>12} {:>10} {:>9}% {:>12?}",
            target.name,
            figures.executions,
            figures.executions / took,
            figures.accepted * 100 / figures.executions.max(1),
            figures.slowest,
        );
    }
    if !failures.is_empty() {
        bail!("failed: {}", failures.join(", "));
    }
    Ok(())
}
