//! `quadrille backup`: all objects of a running host, at one revision, in a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use quadrille_store::BackupHead;
use quadrille_store::backup::verify;
use serde_json::json;

use super::Common;
use crate::output::{self, Format};

/// Arguments of `backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to make; one that exists is not written over. It holds Secrets, and is readable by its owner only.
    file: PathBuf,
}

/// Takes the backup, and tells what it holds once it is on the disk and whole.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    let head = save(&args.file, |out| {
        let mut from = client.file("/quadrille/backup")?;
        io::copy(&mut from, out).context("the backup broke off")?;
        Ok(())
    })?;
    tell(&args.file, head, common)
}

/// Writes a backup beside, reads it again to its end, and gives it its name.
pub(crate) fn save(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<BackupHead> {
    if path.exists() {
        bail!("{} exists; a backup is never written over: name another file", path.display());
    }
    let mut beside = path.file_name().context("the name of a file is missing")?.to_owned();
    beside.push(".part");
    let beside = path.with_file_name(beside);
    let saved = save_as(&beside, path, write);
    if saved.is_err() && beside.exists() {
        std::fs::remove_file(&beside)
            .with_context(|| format!("cannot remove {}", beside.display()))?;
    }
    saved
}

fn save_as(
    beside: &Path,
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<BackupHead> {
    let failed = || format!("cannot write {}", beside.display());
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = BufWriter::new(options.open(beside).with_context(failed)?);
    write(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    let head = verify(&mut open(beside)?).context("what was saved is no whole backup")?;
    std::fs::rename(beside, path).with_context(|| format!("cannot name {}", path.display()))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).with_context(failed)?;
    Ok(head)
}

/// A backup to be read.
pub(crate) fn open(path: &Path) -> anyhow::Result<impl Read + use<>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

pub(crate) fn tell(path: &Path, head: BackupHead, common: &Common) -> anyhow::Result<()> {
    let bytes = path.metadata().map_or(0, |meta| meta.len());
    match common.format {
        Format::Json => output::json(&json!({
            "file": path, "objects": head.objects, "revision": head.revision.to_string(),
            "at": head.at.to_rfc3339(), "bytes": bytes,
        })),
        Format::Text => output::line(format!(
            "{}: {} objects at revision {}, {}\n\
             keys, certificates and components of the data directory are not in it",
            path.display(),
            head.objects,
            head.revision,
            output::bytes(bytes),
        )),
    }
}
