//! The thread that writes events to a file, and begins a new file when the old one is large enough.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quadrille_kit::Clock;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::event::Draft;
use super::policy::Policy;

/// How many events wait to be written.
const QUEUE: usize = 4096;

/// How an audit log is kept.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// The file.
    pub path: PathBuf,
    /// What is logged.
    pub policy: Policy,
    /// The size at which a new file is begun.
    pub bytes_max: u64,
    /// How many old files are kept.
    pub files_max: usize,
}

/// Where events go; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    queue: Sender<Draft>,
    dropped: Arc<AtomicU64>,
}

impl Sink {
    /// Puts an event into the queue; gives it back when there is no room.
    pub(super) fn offer(&self, event: Draft) -> Result<(), Box<Draft>> {
        self.queue.try_send(event).map_err(|error| Box::new(error.into_inner()))
    }

    /// Waits for room.
    pub(super) async fn push(&self, event: Box<Draft>) {
        if self.queue.send(*event).await.is_err() {
            self.count_dropped();
        }
    }

    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes the file.
pub(super) struct Writer {
    config: AuditConfig,
    clock: Arc<dyn Clock>,
    queue: Receiver<Draft>,
    dropped: Arc<AtomicU64>,
    file: BufWriter<File>,
    bytes: u64,
    /// Whether the last write failed, so that a full disk is told once.
    has_failed: bool,
}

impl Writer {
    pub(super) fn open(config: AuditConfig, clock: Arc<dyn Clock>) -> io::Result<(Self, Sink)> {
        let (file, bytes) = open(&config.path)?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let sink = Sink { queue: sender, dropped: Arc::clone(&dropped) };
        let writer = Self { config, clock, queue, dropped, file, bytes, has_failed: false };
        Ok((writer, sink))
    }

    /// Writes until nobody is left who could send.
    pub(super) fn run(mut self) {
        while let Some(event) = self.queue.blocking_recv() {
            let mut outcome = self.write(&event);
            while let Ok(event) = self.queue.try_recv() {
                let written = self.write(&event);
                outcome = outcome.and(written);
            }
            let outcome = outcome.and_then(|()| self.file.flush());
            self.tell(outcome);
        }
    }

    fn write(&mut self, event: &Draft) -> io::Result<()> {
        let mut line = event.line();
        line.push('\n');
        let size = line.len() as u64;
        if self.bytes > 0 && self.bytes + size > self.config.bytes_max {
            self.rotate()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.bytes += size;
        Ok(())
    }

    /// Moves the file aside under the time's name and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let path = &self.config.path;
        let time = self.clock.now().to_rfc3339_micros().replace(':', "-");
        let aside = beside(path, &time);
        std::fs::rename(path, &aside)?;
        (self.file, self.bytes) = open(path)?;
        let mut old = rotated(path)?;
        old.sort();
        let surplus = old.len().saturating_sub(self.config.files_max);
        old.iter().take(surplus).try_for_each(std::fs::remove_file)
    }

    fn tell(&mut self, outcome: io::Result<()>) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "audit events were dropped: the log is too slow");
        }
        match outcome {
            Ok(()) => self.has_failed = false,
            Err(error) if !self.has_failed => {
                self.has_failed = true;
                tracing::error!(%error, "cannot write the audit log");
            }
            Err(_) => {}
        }
    }
}

fn open(path: &Path) -> io::Result<(BufWriter<File>, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((BufWriter::new(file), bytes))
}

/// `audit.log` → `audit-TIME.log`.
fn beside(path: &Path, time: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{time}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{time}"),
    };
    path.with_file_name(name)
}

/// The old files of a log.
fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let prefix = format!("{}-", path.file_stem().unwrap_or_default().to_string_lossy());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder.unwrap_or_else(|| Path::new(".")))? {
        let entry = entry?.path();
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        let of_time = name.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with("20"));
        if of_time && entry.extension() == path.extension() {
            found.push(entry);
        }
    }
    Ok(found)
}
