//! `quadrille store`: what is done to a store that nobody serves from.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use quadrille_kit::{Clock, SystemClock};
use quadrille_store::care;
use serde_json::json;

use super::{Common, backup};
use crate::files;
use crate::output::{self, Format};

/// Arguments of `store`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Read all of it and compare it with its checksums and with itself; changes nothing. Ends with 1 when something is wrong.
    Check {
        /// The data directory, or its `store`.
        #[arg(default_value = "quadrille-data", env = "QUADRILLE_DATA_DIR")]
        dir: PathBuf,
    },
    /// Make a new store of what can be read of a damaged one, which is kept beside. The last backup may hold more.
    Repair {
        /// The data directory, or its `store`.
        #[arg(default_value = "quadrille-data", env = "QUADRILLE_DATA_DIR")]
        dir: PathBuf,
    },
    /// Save all objects to a file; changes nothing. Of a host that runs: `quadrille backup FILE`.
    Backup {
        /// The file to make.
        file: PathBuf,
        /// The data directory, or its `store`.
        #[arg(default_value = "quadrille-data", env = "QUADRILLE_DATA_DIR")]
        dir: PathBuf,
    },
    /// Make a store of a backup, where there is none. Watches from before have to list anew.
    Restore {
        /// The backup.
        file: PathBuf,
        /// The data directory.
        #[arg(default_value = "quadrille-data", env = "QUADRILLE_DATA_DIR")]
        dir: PathBuf,
    },
}

/// Does it.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Check { dir } => return check(&store_of(dir), common),
        What::Repair { dir } => repair(&store_of(dir), common)?,
        What::Backup { file, dir } => {
            let dir = store_of(dir);
            let head = backup::save(file, |out| {
                let pieces = care::backup(&dir, SystemClock::default().now())?;
                for piece in pieces {
                    out.write_all(&piece).context("cannot write the backup")?;
                }
                Ok(())
            })?;
            backup::tell(file, head, common)?;
        }
        What::Restore { file, dir } => restore(file, dir, common)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The store of a data directory; the directory itself where it is one.
fn store_of(dir: &Path) -> PathBuf {
    let inside = dir.join("store");
    if inside.is_dir() { inside } else { dir.to_owned() }
}

fn check(dir: &Path, common: &Common) -> anyhow::Result<ExitCode> {
    let progress = output::progress(format!("reading {}", dir.display()));
    let found = care::check(dir);
    progress.finish_and_clear();
    let found = found?;
    match common.format {
        Format::Json => output::json(&json!({
            "store": dir, "objects": found.objects, "changes": found.changes,
            "revision": found.newest.to_string(), "oldest": found.oldest.to_string(),
            "recordBytes": found.record_bytes, "problems": found.problems,
        }))?,
        Format::Text => {
            output::line(format!(
                "{}: {} objects at revision {}, {} changes from revision {} on, {} read",
                dir.display(),
                found.objects,
                found.newest,
                found.changes,
                found.oldest,
                output::bytes(found.record_bytes),
            ))?;
            for problem in &found.problems {
                output::line(format!("problem: {problem}"))?;
            }
            output::line(if found.problems.is_empty() {
                "all checksums hold".to_owned()
            } else {
                "keep a copy; then `quadrille store restore` the last backup, or save what can be \
                 read with `quadrille store repair`"
                    .to_owned()
            })?;
        }
    }
    Ok(if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn repair(dir: &Path, common: &Common) -> anyhow::Result<()> {
    let _held = files::keep_hosts_out(dir)?;
    let progress = output::progress(format!("reading {}", dir.display()));
    let done = care::repair(dir, SystemClock::default().now());
    progress.finish_and_clear();
    let done = done?;
    match common.format {
        Format::Json => output::json(&json!({
            "store": dir, "objects": done.objects, "older": done.older, "lost": done.lost,
            "unsure": done.unsure, "named": done.named, "revision": done.revision.to_string(),
            "damaged": done.kept_at,
        })),
        Format::Text => {
            output::line(format!(
                "{}: {} objects, of these {} in an earlier state and {} that may have been deleted; \
                 {} known to be lost\nit begins at revision {}, without a history; the damaged one is {}",
                dir.display(),
                done.objects,
                done.older,
                done.unsure,
                done.lost,
                done.revision,
                done.kept_at.display(),
            ))?;
            for named in &done.named {
                output::line(named)?;
            }
            Ok(())
        }
    }
}

fn restore(file: &Path, dir: &Path, common: &Common) -> anyhow::Result<()> {
    let store = dir.join("store");
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot make {}", dir.display()))?;
    let _held = files::take(dir)?;
    let progress = output::progress(format!("restoring {}", file.display()));
    let now = SystemClock::default().now();
    let done = care::restore(&mut backup::open(file)?, &store, now);
    progress.finish_and_clear();
    let done = done.with_context(|| format!("nothing is restored from {}", file.display()))?;
    match common.format {
        Format::Json => output::json(&json!({
            "store": store, "objects": done.head.objects, "at": done.head.at.to_rfc3339(),
            "from": done.head.revision.to_string(), "revision": done.revision.to_string(),
        })),
        Format::Text => output::line(format!(
            "{}: {} objects as of {}, revision {}\nit begins at revision {}: watches from before have \
             to list anew",
            store.display(),
            done.head.objects,
            done.head.at.to_rfc3339(),
            done.head.revision,
            done.revision,
        )),
    }
}
