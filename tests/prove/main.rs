//! `tests/prove/run [--only A1,B2] [--list]`: runs the tests that `tests/README.md` names beside each promise, prints
//! a row for each, and fails when one is not kept. `tests/planted/run [--only NAME,NAME]`: plants faults, one after the
//! other, in a copy of the tree, and fails when the test that a fault names does not notice it.
//!
//! A test that prints a line which begins with the promise's ID and a colon gives the figure of this run; else the
//! figure of the table is shown.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that runs others in real time and prints what came of it"
)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

use self::programs::{Outcome, Packages, Programs};
use self::table::Row;

mod planted;
mod programs;
mod table;

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests lie in the tree")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, rest)) if first == "planted" => planted::run(root, &only(rest)?),
        _ if arguments.iter().any(|argument| argument == "--list") => list(root),
        _ => prove(root, &only(&arguments)?),
    }
}

/// What `--only` names; nothing means all.
fn only(arguments: &[String]) -> anyhow::Result<Vec<String>> {
    match arguments {
        [] => Ok(Vec::new()),
        [option, names] if option == "--only" => Ok(names.split(',').map(str::to_owned).collect()),
        _ => bail!("known are --only NAME,NAME and --list"),
    }
}

fn rows(root: &Path) -> anyhow::Result<Vec<Row>> {
    let readme = std::fs::read_to_string(root.join("tests/README.md"))?;
    table::rows(&readme).map_err(anyhow::Error::msg)
}

fn list(root: &Path) -> anyhow::Result<()> {
    for row in rows(root)? {
        println!("{:<3} {}: {}\n    {}", row.id, row.promise, row.figure, row.command);
    }
    Ok(())
}

/// Where cargo puts what it builds.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn prove(root: &Path, only: &[String]) -> anyhow::Result<()> {
    let mut rows = rows(root)?;
    rows.retain(|row| only.is_empty() || only.contains(&row.id));
    ensure!(!rows.is_empty(), "no such promise");
    let packages = Packages::of(root)?;
    let named: Vec<_> = rows.iter().flat_map(|row| &row.tests).collect();
    let programs = Programs::build(root, &target(root), &packages, &named)?;
    let begun = Instant::now();
    println!("| | promise | kept | s | figure |\n| --- | --- | --- | --- | --- |");
    let (mut broken, mut unproven) = (Vec::new(), 0);
    for row in &rows {
        let run = Instant::now();
        let mut outcome = Outcome::default();
        for test in &row.tests {
            outcome.add(&programs.run(&packages, test)?);
        }
        let said =
            outcome.output.lines().find_map(|line| line.strip_prefix(&row.id)?.strip_prefix(": "));
        // A machine that lets nobody have what a test needs proves nothing of it.
        let elsewhere = outcome.output.contains("NOT PROVEN HERE");
        let kept = match (outcome.passed(), elsewhere) {
            (false, _) => "NO",
            (true, true) => "not here",
            (true, false) => "yes",
        };
        unproven += usize::from(kept == "not here");
        let seconds = run.elapsed().as_secs_f64();
        println!(
            "| {} | {} | {kept} | {seconds:.1} | {} |",
            row.id,
            row.promise,
            said.unwrap_or(&row.figure)
        );
        if !outcome.passed() {
            println!("{}", outcome.output);
            broken.push(row.id.as_str());
        }
    }
    let kept = rows.len() - broken.len() - unproven;
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    println!(
        "\n{kept} of {} promises kept, {unproven} in part not here, {minutes:.1} minutes",
        rows.len()
    );
    ensure!(broken.is_empty(), "not kept: {}", broken.join(", "));
    Ok(())
}
