//! Planted faults: each patch below `tests/planted` is applied to a copy of the tree; the test that it names passes
//! without it and must fail with it. A test that cannot fail proves nothing.
//!
//! The copy and what is built of it lie in `planted` of the target folder and stay for the next time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::programs::{Outcome, Packages, Programs};
use crate::table::{self, Fault, Named};

/// One patch.
struct Planted {
    name: String,
    path: PathBuf,
    fault: Fault,
}

/// The copy of the tree, and where it is built.
struct Copied {
    tree: PathBuf,
    target: PathBuf,
}

/// Plants the faults, or those that are named.
pub(crate) fn run(root: &Path, only: &[String]) -> anyhow::Result<()> {
    let mut faults = patches(root)?;
    faults.retain(|planted| only.is_empty() || only.contains(&planted.name));
    ensure!(!faults.is_empty(), "no such fault");
    let place = crate::target(root).join("planted");
    let copied = Copied { tree: place.join("tree"), target: place.join("target") };
    copied.refresh(root)?;
    println!("| | planted fault | test | noticed | s |\n| --- | --- | --- | --- | --- |");
    let mut missed = Vec::new();
    let packages = Packages::of(&copied.tree)?;
    let package = |planted: &Planted| packages.package(&planted.fault.test.file);
    faults.sort_by_cached_key(|planted| package(planted).unwrap_or_default());
    let mut sound = String::new();
    for planted in &faults {
        let begun = Instant::now();
        let of = package(planted)?;
        if of != sound {
            let tests = faults.iter().filter(|planted| package(planted).is_ok_and(|p| p == of));
            copied.prove_sound(&packages, tests)?;
            sound = of;
        }
        copied.apply(&planted.path, false)?;
        let outcome = copied.run(&packages, &planted.fault.test);
        copied.apply(&planted.path, true)?;
        let outcome = outcome.with_context(|| format!("with the fault {}", planted.name))?;
        let noticed = match (outcome.passed(), outcome.hung) {
            (true, _) => "NO",
            (false, true) => "yes, it hangs",
            (false, false) => "yes",
        };
        let Fault { id, test, what } = &planted.fault;
        let seconds = begun.elapsed().as_secs();
        println!("| {id} | {what} | {}::{} | {noticed} | {seconds} |", test.file, test.function);
        if outcome.passed() {
            missed.push(planted.name.as_str());
        }
    }
    println!("\n{} of {} planted faults noticed", faults.len() - missed.len(), faults.len());
    ensure!(missed.is_empty(), "not noticed: {}", missed.join(", "));
    Ok(())
}

fn patches(root: &Path) -> anyhow::Result<Vec<Planted>> {
    let entries = std::fs::read_dir(root.join("tests/planted"))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let fault = table::fault(&std::fs::read_to_string(&path)?);
        let fault = fault.map_err(anyhow::Error::msg).with_context(|| name.clone())?;
        Ok(Planted { name, path, fault })
    };
    paths.into_iter().map(read).collect()
}

impl Copied {
    /// Brings the copy in line with the tree; what is the same already keeps its time, so that it is not built anew.
    fn refresh(&self, root: &Path) -> anyhow::Result<()> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = git.current_dir(root).stderr(Stdio::inherit()).output()?;
        ensure!(listed.status.success(), "git cannot list the tree");
        let listed = String::from_utf8(listed.stdout)?;
        let mut wanted = BTreeSet::new();
        for file in listed.split('\0').filter(|file| root.join(file).is_file()) {
            let (from, to) = (root.join(file), self.tree.join(file));
            let bytes = std::fs::read(&from)?;
            if std::fs::read(&to).ok().as_ref() != Some(&bytes) {
                std::fs::create_dir_all(to.parent().context("within the tree")?)?;
                // Copied and not written, so that scripts stay executable.
                std::fs::copy(&from, &to)?;
            }
            wanted.insert(to);
        }
        remove_others(&self.tree, &wanted)
    }

    /// Applies a patch, or takes it back.
    fn apply(&self, patch: &Path, back: bool) -> anyhow::Result<()> {
        let mut git = Command::new("git");
        // The copy is no repository, and lies within one that must not be taken for it.
        git.env("GIT_CEILING_DIRECTORIES", self.tree.parent().context("the tree has a place")?);
        git.arg("apply").args(back.then_some("--reverse")).arg(patch).current_dir(&self.tree);
        ensure!(git.status()?.success(), "{} does not apply", patch.display());
        Ok(())
    }

    /// The tests of a package pass where nothing is planted; else their failure would say nothing.
    fn prove_sound<'a>(
        &self,
        packages: &Packages,
        faults: impl Iterator<Item = &'a Planted>,
    ) -> anyhow::Result<()> {
        let tests: BTreeSet<&Named> = faults.map(|planted| &planted.fault.test).collect();
        let tests: Vec<&Named> = tests.into_iter().collect();
        let programs = Programs::build(&self.tree, &self.target, packages, &tests)?;
        for test in tests {
            let (outcome, Named { file, function }) = (programs.run(packages, test)?, test);
            let output = &outcome.output;
            ensure!(outcome.passed(), "{file}::{function} fails with no fault planted:\n{output}");
        }
        Ok(())
    }

    fn run(&self, packages: &Packages, test: &Named) -> anyhow::Result<Outcome> {
        let programs = Programs::build(&self.tree, &self.target, packages, &[test])?;
        programs.run(packages, test)
    }
}

/// Removes the files below a folder that are not wanted.
fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}
