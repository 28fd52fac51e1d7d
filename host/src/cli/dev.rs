//! `quadrille dev`: build and load a project, and again whenever one of its files changes.
//!
//! A build that fails changes nothing: the version that runs keeps running. Files are looked at every
//! [`POLL`]: a project has a handful, and nothing depends on what the operating system tells of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{Common, apply, build, load};
use crate::client::Client;
use crate::output;

/// How often the files are looked at.
const POLL: Duration = Duration::from_millis(100);
/// How long a host that was started here may take to be ready.
const START_MAX: Duration = Duration::from_secs(30);

/// Arguments of `dev`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The project's directory.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The plugin's name; default: the project's name.
    #[arg(long)]
    name: Option<String>,
    /// Load once and end.
    #[arg(long)]
    once: bool,
}

/// Ends the host that `dev` started.
struct HostGuard(Option<Child>);

impl Drop for HostGuard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let ended = child.kill().and_then(|()| child.wait());
            drop(ended);
        }
    }
}

/// Runs the loop until it is interrupted.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    build::ensure_target(&args.dir)?;
    let (client, _host) = reach_host(common, &args.dir)?;
    output::line(format!("api     {}", client.server()))?;
    let mut seen = files(&args.dir);
    let mut first = true;
    loop {
        match cycle(args, &client) {
            Ok(()) if first => {
                first = false;
                apply_example(args, common, &client)?;
            }
            Ok(()) => {}
            Err(error) if args.once => return Err(error),
            Err(error) => output::error(&error),
        }
        if args.once {
            return Ok(());
        }
        output::line("save a file to swap, Ctrl-C to quit")?;
        seen = wait_for_change(&args.dir, &seen);
    }
}

/// One build and one swap, with what each took.
fn cycle(args: &Args, client: &Client) -> anyhow::Result<()> {
    let built = build::build(&args.dir, build::Profile::Quick)?;
    let name = load::plugin_name(args.name.as_deref().or(Some(&built.name)), &built.path)?;
    let bytes = std::fs::read(&built.path).context("cannot read the component")?;
    let size = output::bytes(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    output::line(format!("built   {size} in {}", output::duration(built.took)))?;
    let start = build::now();
    let plugin = load::upload(client, &name, &bytes, true)?;
    let took = output::duration(start.elapsed());
    let digest = plugin.pointer("/status/digest").and_then(Value::as_str).unwrap_or("-");
    let undo = format!("undo: quadrille rollback {name}");
    output::line(format!("live    {name}@{}   loaded in {took}   {undo}", load::short(digest)))
}

fn apply_example(args: &Args, common: &Common, client: &Client) -> anyhow::Result<()> {
    let example = args.dir.join("example.yaml");
    if !example.is_file() {
        return Ok(());
    }
    for document in apply::documents(&[example])? {
        let answer = apply::apply(client, &common.namespace(client), &document, true)?;
        let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
        output::line(format!("example {}/{} applied", text("/kind"), text("/metadata/name")))?;
    }
    Ok(())
}

/// A client of the host that answers; one is started in `DIR/.quadrille` where none does.
fn reach_host(common: &Common, dir: &Path) -> anyhow::Result<(Client, HostGuard)> {
    let reached = common.client().and_then(|client| client.get("/version").map(|_| client));
    if let Ok(client) = reached {
        return Ok((client, HostGuard(None)));
    }
    let data = dir.join(".quadrille");
    let program = std::env::current_exe().context("cannot find the quadrille program")?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--data-dir").arg(&data).stdin(Stdio::null()).stdout(Stdio::null());
    let mut guard = HostGuard(Some(command.spawn().context("cannot start a host")?));
    let start = build::now();
    let config = data.join("kubeconfig");
    while start.elapsed() < START_MAX {
        let ended = guard.0.as_mut().and_then(|child| child.try_wait().ok()).flatten();
        if let Some(status) = ended {
            bail!("the host that was started in {} ended: {status}", data.display());
        }
        let reached = crate::kubeconfig::read(&config).and_then(Client::build);
        if let Ok(client) = reached.and_then(|client| client.get("/readyz/ping").map(|_| client)) {
            return Ok((client, guard));
        }
        build::pause(POLL);
    }
    bail!("the host that was started in {} is not ready after {START_MAX:?}", data.display())
}

/// The project's sources and when each was changed.
fn files(dir: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.join("src")];
    for file in ["Cargo.toml", "build.rs"] {
        note_file(&dir.join(file), &mut found);
    }
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { note_file(&path, &mut found) }
        }
    }
    found
}

fn note_file(path: &Path, found: &mut BTreeMap<PathBuf, SystemTime>) {
    if let Ok(changed) = path.metadata().and_then(|meta| meta.modified()) {
        found.insert(path.to_owned(), changed);
    }
}

fn wait_for_change(
    dir: &Path,
    seen: &BTreeMap<PathBuf, SystemTime>,
) -> BTreeMap<PathBuf, SystemTime> {
    loop {
        build::pause(POLL);
        let now = files(dir);
        if now != *seen {
            return now;
        }
    }
}
