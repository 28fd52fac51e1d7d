//! Test programs: built by cargo, found by the source that they are made of, run for single tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::table::Named;

/// After this a test counts as hung.
const TEST_MAX: Duration = Duration::from_mins(10);

/// How often a running test is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A target of a package: what cargo makes one program of.
#[derive(Clone, Debug)]
struct Target {
    package: String,
    /// The folder of the package, in which its tests run.
    folder: PathBuf,
    source: PathBuf,
    /// How cargo is told to build this one.
    arguments: Vec<String>,
}

/// The packages of a workspace.
#[derive(Debug)]
pub(crate) struct Packages {
    root: PathBuf,
    targets: Vec<Target>,
}

impl Packages {
    pub(crate) fn of(root: &Path) -> anyhow::Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
        let output = cargo.current_dir(root).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "cargo metadata failed");
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let packages = metadata["packages"].as_array().context("metadata lists packages")?;
        let targets = packages.iter().flat_map(targets_of).collect();
        Ok(Self { root: root.canonicalize()?, targets })
    }

    /// The package that a source belongs to.
    pub(crate) fn package(&self, file: &str) -> anyhow::Result<String> {
        Ok(self.target(file)?.package.clone())
    }

    /// The target that a source belongs to: its own one, or that of the nearest folder above.
    fn target(&self, file: &str) -> anyhow::Result<&Target> {
        let path = self.root.join(file);
        let reach = |target: &&Target| {
            let folder = target.source.parent().unwrap_or_else(|| Path::new(""));
            let stem = folder.join(target.source.file_stem().unwrap_or_default());
            let is_root = ["main", "lib"].iter().any(|name| stem.ends_with(name));
            if target.source == path {
                usize::MAX
            } else if path.starts_with(&stem) {
                stem.components().count()
            } else if is_root && path.starts_with(folder) {
                folder.components().count()
            } else {
                0
            }
        };
        let best = self.targets.iter().max_by_key(reach).filter(|target| reach(target) > 0);
        best.with_context(|| format!("{file} belongs to no target"))
    }
}

fn targets_of(package: &Value) -> Vec<Target> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let manifest = PathBuf::from(text(&package["manifest_path"]));
    let all = package["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let made = all.iter().filter_map(|target| {
        let name = text(&target["name"]);
        let arguments = match target["kind"][0].as_str()? {
            "test" => vec!["--test".to_owned(), name],
            "bin" => vec!["--bin".to_owned(), name],
            "lib" | "rlib" | "cdylib" | "proc-macro" => vec!["--lib".to_owned()],
            _ => return None,
        };
        Some(Target {
            package: text(&package["name"]),
            folder: manifest.parent()?.to_owned(),
            // Manifests name sources outside of their folder by way of it.
            source: Path::new(target["src_path"].as_str()?).canonicalize().ok()?,
            arguments,
        })
    });
    made.collect()
}

/// What came of some tests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    ran: usize,
    failed: usize,
    pub(crate) hung: bool,
    pub(crate) output: String,
}

impl Outcome {
    /// Whether something ran, and nothing failed.
    pub(crate) fn passed(&self) -> bool {
        self.ran > 0 && self.failed == 0
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // A test that is not there does not pass because others do.
        let failed = other.failed + usize::from(other.ran == 0);
        self.ran += other.ran;
        self.failed += failed;
        self.hung |= other.hung;
        self.output.push_str(&other.output);
    }
}

/// The programs of the tests that were asked for, by source.
#[derive(Debug)]
pub(crate) struct Programs {
    root: PathBuf,
    target: PathBuf,
    by_source: BTreeMap<PathBuf, PathBuf>,
}

impl Programs {
    /// Builds what the named tests need, package by package.
    pub(crate) fn build(
        root: &Path,
        target: &Path,
        packages: &Packages,
        tests: &[&Named],
    ) -> anyhow::Result<Self> {
        let mut wanted: BTreeMap<&str, BTreeSet<&[String]>> = BTreeMap::new();
        for test in tests {
            let target = packages.target(&test.file)?;
            wanted.entry(&target.package).or_default().insert(&target.arguments);
        }
        let mut by_source = BTreeMap::new();
        for (package, arguments) in wanted {
            let mut cargo = Command::new("cargo");
            cargo.args([
                "test",
                "--locked",
                "--no-run",
                "--message-format=json-render-diagnostics",
            ]);
            cargo.args(["-p", package]).args(arguments.into_iter().flatten());
            cargo.env("CARGO_TARGET_DIR", target).current_dir(root);
            let output = cargo.stderr(Stdio::inherit()).output()?;
            ensure!(output.status.success(), "{package} does not build");
            let messages = String::from_utf8(output.stdout)?;
            by_source.extend(messages.lines().filter_map(program_in));
        }
        Ok(Self { root: root.to_owned(), target: target.to_owned(), by_source })
    }

    /// Runs one test.
    pub(crate) fn run(&self, packages: &Packages, test: &Named) -> anyhow::Result<Outcome> {
        let target = packages.target(&test.file)?;
        let program = self.by_source.get(&target.source);
        let program = program.with_context(|| format!("{} was not built", test.file))?;
        let command = || {
            let mut command = Command::new(program);
            command.current_dir(&target.folder).env("CARGO_MANIFEST_DIR", &target.folder);
            command.env("CARGO_TARGET_DIR", &self.target).stdin(Stdio::null());
            command
        };
        let listed = command().args(["--list", "--format", "terse"]).output()?;
        let listed = String::from_utf8(listed.stdout)?;
        let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        let module = module_of(&target.source, &self.root.join(&test.file));
        let names: Vec<&str> = names.filter(|name| last(name) == test.function).collect();
        // Of tests of one name in several modules, the one whose path is the file's.
        let exact = names.iter().find(|name| lies_in(name, &module)).or_else(|| names.first());
        let Some(name) = exact else {
            bail!("{} has no test {}", test.file, test.function);
        };
        outcome_of(command().args(["--exact", name, "--show-output"]))
    }
}

/// The function that a test's path ends with.
fn last(name: &str) -> &str {
    name.rsplit_once("::").map_or(name, |(_, function)| function)
}

/// Whether a test lies in a module, or in the tests within it.
fn lies_in(name: &str, module: &str) -> bool {
    let at = name.rsplit_once("::").map_or("", |(at, _)| at);
    at == module || at.strip_suffix("tests").is_some_and(|at| at.trim_end_matches(':') == module)
}

/// The module that a source is, from the root of its program: `store::tests` of `src/store/tests.rs`.
fn module_of(program: &Path, file: &Path) -> String {
    if program == file {
        return String::new();
    }
    let folder = program.parent().unwrap_or(program);
    let stem = folder.join(program.file_stem().unwrap_or_default());
    let inside = file.strip_prefix(stem).or_else(|_| file.strip_prefix(folder)).unwrap_or(file);
    let parts = inside.with_extension("");
    parts.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("::")
}

/// The test program that a message of cargo tells of, by its source.
fn program_in(message: &str) -> Option<(PathBuf, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_test = message["profile"]["test"] == true;
    let (source, program) = (&message["target"]["src_path"], &message["executable"]);
    let source = Path::new(source.as_str()?).canonicalize().ok()?;
    is_test.then_some((source, program.as_str()?.into()))
}

/// Runs a test program and reads how its tests ended.
fn outcome_of(command: &mut Command) -> anyhow::Result<Outcome> {
    let output = tempfile::NamedTempFile::new()?;
    let file = || File::options().append(true).open(output.path());
    let mut child = command.stdout(file()?).stderr(file()?).spawn()?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begun.elapsed() > TEST_MAX {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::park_timeout(LOOK);
    };
    let output = String::from_utf8_lossy(&std::fs::read(output.path())?).into_owned();
    let ran =
        output.lines().filter(|line| line.starts_with("test ") && !line.starts_with("test result"));
    let success = status.is_some_and(|status| status.success());
    let ran = ran.count().max(usize::from(!success));
    Ok(Outcome { ran, failed: usize::from(!success), hung: status.is_none(), output })
}
