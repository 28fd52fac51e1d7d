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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quadrille_kit::SeededRandom;
use quadrille_store::Disk;

use self::booted::Booted;
use self::inside::{Inside, SimFile};
use crate::image::{Image, PAGE_BYTES};

mod booted;
mod inside;

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
            faults: 0,
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

    /// How many calls failed because that was planned, the cuts of the power aside.
    pub fn faults(&self) -> u64 {
        self.lock().faults
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

fn take<'a>(bytes: &mut &'a [u8], count: u64) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(usize::try_from(count).ok()?)?;
    *bytes = tail;
    Some(head)
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes, 8)?.try_into().ok().map(u64::from_le_bytes)
}
