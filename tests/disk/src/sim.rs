//! The simulated disk.
//!
//! # What is on it
//! A file has two contents: what the machine sees (its page cache), and what is durable. Between them lie the writes since
//! the last flush, and the changes of names since the last flush of names.
//!
//! # What a power cut leaves
//! Of each write that was not flushed, each sector or not; of changes of a file's length, and of names, the first few, as
//! file systems with a journal do. Everybody who holds the disk since before has nothing but errors from then on; the
//! next [`SimDisk::boot`] sees what was left.
//!
//! # What a failed flush leaves
//! The machine goes on seeing what was written. How much of it is durable is left to chance, and a later flush does not
//! try again: this is how Linux does it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quadrille_kit::{Random, SeededRandom};
use quadrille_store::{Disk, DiskFile};

use crate::image::{Image, PAGE_BYTES, SECTOR_BYTES};

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    what: Fault,
    /// How many calls from now on.
    after: u64,
    /// For how many calls.
    calls: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Power,
    Errors,
    Full,
}

impl Plan {
    /// The power goes while the `n`-th call from now is at work; 1 is the next.
    pub fn power_cut(n: u64) -> Self {
        Self { what: Fault::Power, after: n, calls: 1 }
    }

    /// From the `n`-th call on, `calls` calls of any kind fail.
    pub fn errors(n: u64, calls: u64) -> Self {
        Self { what: Fault::Errors, after: n, calls }
    }

    /// From the `n`-th call on, for `calls` calls, nothing can be written that needs room. A write then gets through in part.
    pub fn full(n: u64, calls: u64) -> Self {
        Self { what: Fault::Full, after: n, calls }
    }
}

/// How truthful the disk is about flushes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    /// What it says is durable is durable.
    #[default]
    Never,
    /// Every second flush does nothing and says that it did.
    HalfTheTime,
}

/// A simulated disk; a handle is the machine that it is in. Copies are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug)]
struct Inside {
    random: SeededRandom,
    files: BTreeMap<u64, SimFile>,
    /// What the machine sees, and what is durable.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending_names: Vec<NameOp>,
    next_file: u64,
    boots: u64,
    powered: bool,
    calls: u64,
    plan: Option<(Plan, u64)>,
    lie: Lie,
    locked: BTreeMap<u64, u64>,
    power_cuts: u64,
}

#[derive(Clone, Debug, Default)]
struct SimFile {
    seen: Image,
    durable: Image,
    pending: Vec<FileOp>,
}

#[derive(Clone, Debug)]
enum FileOp {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
}

#[derive(Clone, Debug)]
enum NameOp {
    Is(String, u64),
    IsNot(String),
}

impl SimDisk {
    /// An empty disk; the seed decides what power cuts leave.
    pub fn new(seed: u64) -> Self {
        let inside = Inside {
            random: SeededRandom::new(seed),
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            next_file: 0,
            boots: 0,
            powered: true,
            calls: 0,
            plan: None,
            lie: Lie::Never,
            locked: BTreeMap::new(),
            power_cuts: 0,
        };
        Self { inside: Arc::new(Mutex::new(inside)) }
    }

    /// The disk as a store takes it. Whoever had it before has nothing but errors from now on; power is on.
    pub fn boot(&self) -> Arc<dyn Disk> {
        let mut inside = self.lock();
        if inside.powered {
            // A process that ended takes nothing with it but its locks.
            inside.locked.clear();
        }
        inside.powered = true;
        inside.boots += 1;
        let boot = inside.boots;
        drop(inside);
        Arc::new(Booted { disk: self.clone(), boot })
    }

    /// All files as one text of bytes: each with its name, its length and its pages that are not zero.
    pub fn save(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for name in self.names() {
            let image = self.image(&name).expect("it is named");
            let used = image.used();
            out.extend_from_slice(&(name.len() as u64).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
            for number in [image.length(), used.len() as u64] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            for page in used {
                let mut bytes = vec![0; PAGE_BYTES];
                image.read(page * PAGE_BYTES as u64, &mut bytes).expect("whole pages");
                let kept = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                out.extend_from_slice(&page.to_le_bytes());
                out.extend_from_slice(&(kept as u64).to_le_bytes());
                out.extend_from_slice(&bytes[..kept]);
            }
        }
        out
    }

    /// A disk with files that were saved; `None` when that is not what the bytes are.
    pub fn load(mut bytes: &[u8]) -> Option<Self> {
        let disk = Self::new(0);
        while !bytes.is_empty() {
            let name = take_number(&mut bytes)?;
            let name = std::str::from_utf8(take(&mut bytes, name)?).ok()?;
            let (length, pages) = (take_number(&mut bytes)?, take_number(&mut bytes)?);
            let mut image = Image::default();
            image.set_length(length);
            for _ in 0..pages {
                let (page, kept) = (take_number(&mut bytes)?, take_number(&mut bytes)?);
                image.put(page * PAGE_BYTES as u64, take(&mut bytes, kept)?);
            }
            disk.set_image(name, image);
        }
        Some(disk)
    }

    /// Another disk with the same content, all of it durable, and its own chance.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        let copy = Self::new(seed);
        let inside = self.lock();
        let mut made = copy.lock();
        made.names.clone_from(&inside.names);
        made.durable_names.clone_from(&inside.names);
        made.next_file = inside.next_file;
        made.files = inside.files.clone();
        for file in made.files.values_mut() {
            file.pending.clear();
            file.durable = file.seen.clone();
        }
        drop(made);
        copy
    }

    /// Takes the power away now.
    pub fn cut_power(&self) {
        self.lock().cut_power();
    }

    /// What is to go wrong next, in place of what was planned before.
    pub fn plan(&self, plan: Plan) {
        let mut inside = self.lock();
        let from = inside.calls;
        inside.plan = Some((plan, from));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.lock().plan = None;
    }

    /// How truthful it is.
    pub fn set_lie(&self, lie: Lie) {
        self.lock().lie = lie;
    }

    /// How often it was called.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// How often the power went.
    pub fn power_cuts(&self) -> u64 {
        self.lock().power_cuts
    }

    /// The files that are there.
    pub fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// A file as the machine sees it.
    pub fn image(&self, name: &str) -> Option<Image> {
        let inside = self.lock();
        let file = inside.names.get(name)?;
        inside.files.get(file).map(|file| file.seen.clone())
    }

    /// Puts a file in place, durably, whatever was there.
    pub fn set_image(&self, name: &str, image: Image) {
        let mut inside = self.lock();
        let file = inside.next_file;
        inside.next_file += 1;
        let made = SimFile { seen: image.clone(), durable: image, pending: Vec::new() };
        inside.files.insert(file, made);
        inside.names.insert(name.to_owned(), file);
        inside.durable_names.insert(name.to_owned(), file);
    }

    /// Takes a file away, durably.
    pub fn remove(&self, name: &str) {
        let mut inside = self.lock();
        inside.names.remove(name);
        inside.durable_names.remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a call would do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Reads, or asks.
    Look,
    /// Needs room.
    Write,
    /// Flushes.
    Flush,
}

/// How a call is to go.
enum Verdict {
    Well,
    /// Half of it happens, and it fails so.
    Fails(io::Error),
    /// The power goes while it is at work.
    PowerGoes,
}

impl Inside {
    /// Counts a call of a boot and decides how it goes.
    fn call(&mut self, boot: u64, act: Act) -> io::Result<Verdict> {
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
        Ok(match (plan.what, act) {
            (Fault::Power, _) => Verdict::PowerGoes,
            (Fault::Errors, _) => Verdict::Fails(io::Error::from_raw_os_error(EIO)),
            (Fault::Full, Act::Write) => Verdict::Fails(io::ErrorKind::StorageFull.into()),
            (Fault::Full, Act::Look | Act::Flush) => Verdict::Well,
        })
    }

    fn cut_power(&mut self) {
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

    fn file(&mut self, file: u64) -> io::Result<&mut SimFile> {
        self.files.get_mut(&file).ok_or_else(|| io::Error::other("the file is gone"))
    }

    fn flush(&mut self, file: u64, verdict: Verdict) -> io::Result<()> {
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
    fn apply(self, names: &mut BTreeMap<String, u64>) {
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

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        if end > self.seen.length() {
            self.pending.push(FileOp::Length(end));
        }
        self.seen.write(at, bytes);
        self.pending.push(FileOp::Write { at, bytes: bytes.to_vec() });
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: u64) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(usize::try_from(count).ok()?)?;
    *bytes = tail;
    Some(head)
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes, 8)?.try_into().ok().map(u64::from_le_bytes)
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

/// The disk of one boot.
#[derive(Debug)]
struct Booted {
    disk: SimDisk,
    boot: u64,
}

impl Booted {
    fn opened(&self, file: u64) -> Arc<dyn DiskFile> {
        Arc::new(OpenFile { disk: self.disk.clone(), boot: self.boot, file })
    }

    /// A call that changes names.
    fn change(&self, ops: impl FnOnce(&mut Inside) -> io::Result<Vec<NameOp>>) -> io::Result<()> {
        let mut inside = self.disk.lock();
        let verdict = inside.call(self.boot, Act::Write)?;
        if let Verdict::Fails(error) = verdict {
            return Err(error);
        }
        let ops = ops(&mut inside)?;
        for op in &ops {
            op.clone().apply(&mut inside.names);
        }
        inside.pending_names.extend(ops);
        if matches!(verdict, Verdict::PowerGoes) {
            inside.cut_power();
            return Err(io::Error::other("the power went"));
        }
        Ok(())
    }

    fn look<T>(&self, work: impl FnOnce(&Inside) -> io::Result<T>) -> io::Result<T> {
        let mut inside = self.disk.lock();
        match inside.call(self.boot, Act::Look)? {
            Verdict::Well => work(&inside),
            Verdict::Fails(error) => Err(error),
            Verdict::PowerGoes => {
                inside.cut_power();
                Err(io::Error::other("the power went"))
            }
        }
    }
}

impl Disk for Booted {
    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        self.look(|inside| {
            let file = inside.names.get(name).and_then(|file| inside.files.get(file));
            Ok(file.map(|file| file.seen.length()))
        })
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let file = self.look(|inside| inside.names.get(name).copied().ok_or_else(missing))?;
        Ok(self.opened(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut made = 0;
        self.change(|inside| {
            made = inside.next_file;
            inside.next_file += 1;
            inside.files.insert(made, SimFile::default());
            Ok(vec![NameOp::Is(name.to_owned(), made)])
        })?;
        Ok(self.opened(made))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|inside| {
            let missing = || io::Error::from(io::ErrorKind::NotFound);
            let file = inside.names.get(from).copied().ok_or_else(missing)?;
            Ok(vec![NameOp::Is(to.to_owned(), file), NameOp::IsNot(from.to_owned())])
        })
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut inside = self.disk.lock();
        match inside.call(self.boot, Act::Flush)? {
            Verdict::Well => {
                for op in std::mem::take(&mut inside.pending_names) {
                    op.apply(&mut inside.durable_names);
                }
                Ok(())
            }
            Verdict::Fails(error) => Err(error),
            Verdict::PowerGoes => {
                inside.cut_power();
                Err(io::Error::other("the power went"))
            }
        }
    }

    fn blocks(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: SimDisk,
    boot: u64,
    file: u64,
}

impl OpenFile {
    /// A call that writes `work`; in part when it fails so.
    fn write(&self, work: impl FnOnce(&mut SimFile, bool)) -> io::Result<()> {
        let mut inside = self.disk.lock();
        let verdict = inside.call(self.boot, Act::Write)?;
        let file = inside.file(self.file)?;
        match verdict {
            Verdict::Well => {
                work(file, false);
                Ok(())
            }
            Verdict::Fails(error) => {
                work(file, true);
                Err(error)
            }
            Verdict::PowerGoes => {
                work(file, false);
                inside.cut_power();
                Err(io::Error::other("the power went"))
            }
        }
    }

    fn look<T>(&self, work: impl FnOnce(&SimFile) -> io::Result<T>) -> io::Result<T> {
        let mut inside = self.disk.lock();
        match inside.call(self.boot, Act::Look)? {
            Verdict::Well => work(inside.file(self.file)?),
            Verdict::Fails(error) => Err(error),
            Verdict::PowerGoes => {
                inside.cut_power();
                Err(io::Error::other("the power went"))
            }
        }
    }
}

impl DiskFile for OpenFile {
    fn length(&self) -> io::Result<u64> {
        self.look(|file| Ok(file.seen.length()))
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.look(|file| file.seen.read(at, out))
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(|file, in_part| {
            let sectors = bytes.len() / SECTOR_BYTES / 2 * SECTOR_BYTES;
            let through = if in_part { &bytes[..sectors] } else { bytes };
            if !through.is_empty() {
                file.write(at, through);
            }
        })
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.write(|file, in_part| {
            if !in_part && length != file.seen.length() {
                file.seen.set_length(length);
                file.pending.push(FileOp::Length(length));
            }
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut inside = self.disk.lock();
        let verdict = inside.call(self.boot, Act::Flush)?;
        inside.flush(self.file, verdict)
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut inside = self.disk.lock();
        let boot = self.boot;
        Ok(*inside.locked.entry(self.file).or_insert(boot) == boot)
    }
}
