//! What is inside the simulated disk: files and names as the machine sees them and as they are durable, how each call
//! goes, and what a power cut and a failed flush leave. It knows neither the store nor who holds the disk.

use std::collections::BTreeMap;
use std::io;

use quadrille_kit::{Random, SeededRandom};

use super::{Fault, Lie, Plan};
use crate::image::{Image, SECTOR_BYTES};

#[derive(Debug)]
pub(super) struct Inside {
    pub(super) random: SeededRandom,
    pub(super) files: BTreeMap<u64, SimFile>,
    /// What the machine sees, and what is durable.
    pub(super) names: BTreeMap<String, u64>,
    pub(super) durable_names: BTreeMap<String, u64>,
    pub(super) pending_names: Vec<NameOp>,
    pub(super) next_file: u64,
    pub(super) boots: u64,
    pub(super) powered: bool,
    pub(super) calls: u64,
    pub(super) plan: Option<(Plan, u64)>,
    pub(super) lie: Lie,
    pub(super) locked: BTreeMap<u64, u64>,
    pub(super) power_cuts: u64,
    /// Calls that failed because it was planned so.
    pub(super) faults: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct SimFile {
    pub(super) seen: Image,
    pub(super) durable: Image,
    pub(super) pending: Vec<FileOp>,
}

#[derive(Clone, Debug)]
pub(super) enum FileOp {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
}

#[derive(Clone, Debug)]
pub(super) enum NameOp {
    Is(String, u64),
    IsNot(String),
}

/// What a call would do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Reads, or asks.
    Look,
    /// Needs room.
    Write,
    /// Flushes.
    Flush,
}

/// How a call is to go.
pub(super) enum Verdict {
    Well,
    /// Half of it happens, and it fails so.
    Fails(io::Error),
    /// The power goes while it is at work.
    PowerGoes,
}

impl Inside {
    /// Counts a call of a boot and decides how it goes.
    pub(super) fn call(&mut self, boot: u64, act: Act) -> io::Result<Verdict> {
        if !self.powered || boot != self.boots {
            return Err(io::Error::other("the power is off"));
        }
        self.calls += 1;
        let Some((plan, from)) = self.plan else { return Ok(Verdict::Well) };
        let number = self.calls - from;
        let hits = (plan.after..plan.after + plan.calls).contains(&number);
        if !hits {
            return Ok(Verdict::Well);
        }
        let verdict = match (plan.what, act) {
            (Fault::Power, _) => Verdict::PowerGoes,
            (Fault::Errors, _) => Verdict::Fails(io::Error::from_raw_os_error(EIO)),
            (Fault::Full, Act::Write) => Verdict::Fails(io::ErrorKind::StorageFull.into()),
            (Fault::Full, Act::Look | Act::Flush) => Verdict::Well,
        };
        self.faults += u64::from(matches!(verdict, Verdict::Fails(_)));
        Ok(verdict)
    }

    pub(super) fn cut_power(&mut self) {
        self.powered = false;
        self.power_cuts += 1;
        self.plan = None;
        self.locked.clear();
        let mut names = std::mem::take(&mut self.durable_names);
        let pending = std::mem::take(&mut self.pending_names);
        let kept = below(&self.random, pending.len() + 1);
        for op in pending.into_iter().take(kept) {
            op.apply(&mut names);
        }
        let chance = below(&self.random, 4);
        for file in self.files.values_mut() {
            file.lose(&self.random, chance);
        }
        self.files.retain(|file, _| names.values().any(|named| named == file));
        self.names.clone_from(&names);
        self.durable_names = names;
    }

    pub(super) fn file(&mut self, file: u64) -> io::Result<&mut SimFile> {
        self.files.get_mut(&file).ok_or_else(|| io::Error::other("the file is gone"))
    }

    pub(super) fn flush(&mut self, file: u64, verdict: Verdict) -> io::Result<()> {
        match verdict {
            Verdict::Well => {}
            Verdict::PowerGoes => {
                self.cut_power();
                return Err(io::Error::other("the power went"));
            }
            Verdict::Fails(error) => {
                let chance = below(&self.random, 4);
                let random = &self.random;
                if let Some(file) = self.files.get_mut(&file) {
                    file.settle(random, chance);
                }
                return Err(error);
            }
        }
        if self.lie == Lie::HalfTheTime && below(&self.random, 2) == 0 {
            return Ok(());
        }
        let file = self.file(file)?;
        for op in std::mem::take(&mut file.pending) {
            if let FileOp::Write { at, bytes } = op {
                file.durable.take_pages(&file.seen, at, bytes.len());
            }
        }
        file.durable.set_length(file.seen.length());
        Ok(())
    }
}

impl NameOp {
    pub(super) fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Is(name, file) => {
                names.insert(name, file);
            }
            Self::IsNot(name) => {
                names.remove(&name);
            }
        }
    }
}

impl SimFile {
    /// What a power cut leaves of it.
    fn lose(&mut self, random: &SeededRandom, chance: usize) {
        self.settle(random, chance);
        self.seen = self.durable.clone();
    }

    /// Lets chance decide what of the pending writes becomes durable: nothing, some, nearly all or all sectors.
    fn settle(&mut self, random: &SeededRandom, chance: usize) {
        let pending = std::mem::take(&mut self.pending);
        let lengths = pending.iter().filter(|op| matches!(op, FileOp::Length(_))).count();
        let mut lengths_kept = below(random, lengths + 1);
        let mut length = self.durable.length();
        for op in pending {
            match op {
                FileOp::Length(_) if lengths_kept == 0 => {}
                FileOp::Length(wanted) => {
                    lengths_kept -= 1;
                    length = wanted;
                    self.durable.set_length(wanted);
                }
                FileOp::Write { at, bytes } => {
                    for (at, sector) in sectors(at, &bytes) {
                        let kept = match chance {
                            0 => false,
                            1 => below(random, 2) == 0,
                            2 => below(random, 16) != 0,
                            _ => true,
                        };
                        if kept {
                            self.durable.put(at, sector);
                        }
                    }
                }
            }
        }
        self.durable.set_length(length);
        self.durable.trim();
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        if end > self.seen.length() {
            self.pending.push(FileOp::Length(end));
        }
        self.seen.write(at, bytes);
        self.pending.push(FileOp::Write { at, bytes: bytes.to_vec() });
    }
}

/// The pieces of a write that lie in a sector each.
fn sectors(at: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let first = SECTOR_BYTES - usize::try_from(at % SECTOR_BYTES as u64).unwrap_or(0);
    let (head, tail) = bytes.split_at(first.min(bytes.len()));
    let rest = (at + head.len() as u64..).step_by(SECTOR_BYTES).zip(tail.chunks(SECTOR_BYTES));
    std::iter::once((at, head)).chain(rest)
}

/// `EIO` on Linux.
const EIO: i32 = 5;

fn below(random: &SeededRandom, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap_or(0)
}
