//! `quadrille build`: a controller project becomes a WebAssembly component.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::Common;
use crate::output::{self, Format};

/// The target that guests are built for.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// Arguments of `build`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The project's directory.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Build as `dev` does: quicker, larger.
    #[arg(long)]
    quick: bool,
}

/// How a guest is optimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Small and fast: what is delivered.
    Delivery,
    /// Built in about a second: for the edit-run loop.
    Quick,
}

/// A component that was built.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The crate's name.
    pub(crate) name: String,
    /// The component's file.
    pub(crate) path: PathBuf,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Builds and says where the component is.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let profile = if args.quick { Profile::Quick } else { Profile::Delivery };
    let built = build(&args.dir, profile)?;
    let size = std::fs::metadata(&built.path).map_or(0, |meta| meta.len());
    match common.format {
        Format::Json => output::json(&json!({
            "name": built.name, "path": built.path, "bytes": size, "seconds": built.took.as_secs_f64(),
        })),
        Format::Text => {
            let took = output::duration(built.took);
            let line = format!("{}   {}   in {took}", built.path.display(), output::bytes(size));
            output::line(line)?;
            output::line(format!("next: quadrille load {}", built.path.display()))
        }
    }
}

/// Compiles the project in `dir`. The compiler's messages go to stderr as they are.
pub(crate) fn build(dir: &Path, profile: Profile) -> anyhow::Result<Built> {
    if !dir.join("Cargo.toml").is_file() {
        bail!("{} has no Cargo.toml: make a project with `quadrille new NAME`", dir.display());
    }
    ensure_target(dir)?;
    let start = now();
    let progress = output::progress(format!("building {}", dir.display()));
    let mut command = cargo(dir);
    command.args(["build", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    command.args(profile_flags(profile)).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo: is Rust installed?")?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let artifact = component_in(std::io::BufReader::new(stdout), dir)?;
    let status = child.wait().context("cannot wait for cargo")?;
    progress.finish_and_clear();
    if !status.success() {
        bail!("the build failed; what ran before keeps running");
    }
    let (name, path) = artifact.with_context(|| {
        format!(
            "{} builds no component: its Cargo.toml needs crate-type = [\"cdylib\"]",
            dir.display()
        )
    })?;
    Ok(Built { name, path, took: start.elapsed() })
}

/// The profile is given on the command line, so that a project needs no profile section of its own.
fn profile_flags(profile: Profile) -> Vec<String> {
    let (name, settings): (&str, &[&str]) = match profile {
        Profile::Delivery => (
            "guest",
            &["opt-level='s'", "lto=true", "codegen-units=1", "panic='abort'", "strip='debuginfo'"],
        ),
        Profile::Quick => (
            "guest-quick",
            &[
                "opt-level=1",
                "lto=false",
                "codegen-units=16",
                "panic='abort'",
                "strip='debuginfo'",
                "incremental=true",
                "debug=false",
            ],
        ),
    };
    let mut flags = vec!["--profile".to_owned(), name.to_owned()];
    for setting in std::iter::once(&"inherits='release'").chain(settings) {
        flags.extend(["--config".to_owned(), format!("profile.{name}.{setting}")]);
    }
    flags
}

fn cargo(dir: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(dir).stdin(Stdio::null());
    command
}

/// The component among cargo's messages: the last `.wasm` of a package in `dir`.
fn component_in(messages: impl BufRead, dir: &Path) -> anyhow::Result<Option<(String, PathBuf)>> {
    let manifest = dir.join("Cargo.toml").canonicalize().context("cannot find the manifest")?;
    let mut found = None;
    for line in messages.lines() {
        let line = line.context("cannot read cargo's messages")?;
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let ours = message.get("manifest_path").and_then(Value::as_str).map(Path::new);
        if ours != Some(manifest.as_path()) {
            continue;
        }
        let files = message.get("filenames").and_then(Value::as_array).into_iter().flatten();
        let mut files = files.filter_map(Value::as_str).map(PathBuf::from);
        let wasm = files.find(|file| file.extension().is_some_and(|e| e == "wasm"));
        let name = message.pointer("/target/name").and_then(Value::as_str).unwrap_or("component");
        found = wasm.map(|path| (name.to_owned(), path)).or(found);
    }
    Ok(found)
}

/// Checks that rustc can build for the target, and installs it with rustup where it cannot.
pub(crate) fn ensure_target(dir: &Path) -> anyhow::Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(dir).args(["--print", "target-libdir", "--target", TARGET]);
    let output = rustc.output().context("cannot start rustc: install Rust with rustup first")?;
    let libdir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && Path::new(&libdir).is_dir() {
        return Ok(());
    }
    output::note(format!("the target {TARGET} is missing, installing it with rustup"));
    let mut rustup = Command::new("rustup");
    let status = rustup.current_dir(dir).args(["target", "add", TARGET]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => bail!(
            "the target {TARGET} is missing and rustup cannot add it: run `rustup target add {TARGET}`"
        ),
    }
}

/// The command line's stopwatch: people wait in real time.
#[expect(clippy::disallowed_methods, reason = "the command line measures what people wait for")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The command line waits as people do.
#[expect(clippy::disallowed_methods, reason = "the command line waits in real time")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
