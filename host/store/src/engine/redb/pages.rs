//! The file below redb: its pages with a checksum for each, because redb checks none when it reads.
//!
//! # Layout
//! One block of our own ([`Seal`]) says what the file is and repeats the part of redb's header that never changes. Then
//! groups follow, each of one block with the checksums of [`GROUP_PAGES`] pages, and those pages. A checksum is XXH3-64
//! over the page, seeded with its number, so that a page which was damaged or came from elsewhere is never read: redb is
//! told that it cannot be, instead of following what is in it.
//!
//! Page 0, redb's header, has none: redb writes parts of it in place, and has checksums for its two commits in it.
//!
//! # Order
//! Checksums are kept in memory, eight bytes a page; those that changed are written before a flush, and flushed with
//! the pages. redb writes only pages that no durable commit refers to, so that one whose checksum was torn from it by a
//! crash is one that nobody reads. There is one exception: a step of redb's own compaction (`shrink`) is not flushed in two
//! phases. When a crash interrupts it, redb walks the whole tree at the next opening, compares its own checksums, and goes on
//! from this commit or from the one before. Until it has done so, it is given what is there ([`Held`]), and what it was
//! given counts as written: the page may have been flushed and its checksum not.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{BackendError, StorageBackend};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::disk::DiskFile;
use crate::engine::EngineError;

pub(super) const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

/// As many checksums as fit a block.
const GROUP_PAGES: u64 = PAGE / 8;

/// What every file of this layout begins with.
const MAGIC: [u8; 8] = *b"QSTORE\x1a\n";

/// The version of this layout.
const LAYOUT: u32 = 1;

/// The part of redb's header that is written once: its mark, and how the file is divided.
const FIXED: [std::ops::Range<usize>; 2] = [0..9, 12..24];
const FIXED_BYTES: usize = 24;

/// Where redb's header has its flags, and the one that says that the last commit was flushed in two phases. Without it redb
/// walks the whole tree when it opens the file.
const FLAGS: usize = 9;
const TWO_PHASES: u8 = 4;

/// A file as redb sees it.
#[derive(Debug)]
pub(super) struct Pages {
    sums: Mutex<Sums>,
    held: Arc<Held>,
}

/// What the engine keeps hold of while redb has the pages.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// `None` once it was taken away.
    file: RwLock<Option<Arc<dyn DiskFile>>>,
    /// Whether redb compares its own checksums of all that it reads, as it does while it repairs.
    repairs: AtomicBool,
    /// Whether a page was damaged, so that redb was given nothing of it, since the file was opened.
    refused: AtomicBool,
}

impl Held {
    /// redb is done with repairing.
    pub(super) fn end_repairs(&self) {
        self.repairs.store(false, Ordering::Release);
    }

    /// Takes the file away from a database that is never closed: the lock on it goes, too.
    pub(super) fn close(&self) {
        self.file.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether redb was refused a page that is damaged: all that it has is sound then, and it reads and writes nothing more.
    pub(super) fn has_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    fn hold(&self, file: Arc<dyn DiskFile>) {
        self.refused.store(false, Ordering::Release);
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = Some(file);
    }

    fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner).clone();
        file.ok_or_else(|| io::Error::other("the file was closed"))
    }
}

/// The checksum of each page; 0 for one that was never written.
#[derive(Default)]
struct Sums {
    of: Vec<u64>,
    /// Groups whose checksums in the file are not these.
    changed: BTreeSet<u64>,
}

impl fmt::Debug for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sums({} pages)", self.of.len())
    }
}

impl Pages {
    /// An empty file in the making; [`seal`] completes it.
    pub(super) fn make(file: Arc<dyn DiskFile>) -> Self {
        let held = Arc::<Held>::default();
        held.hold(file);
        Self { sums: Mutex::default(), held }
    }

    /// A file that exists.
    pub(super) fn open(file: Arc<dyn DiskFile>, held: &Arc<Held>) -> Result<Self, EngineError> {
        let length = file.length().map_err(EngineError::of_disk)?;
        let mut head = [0; PAGE_BYTES];
        let first = usize::try_from(length).map_or(PAGE_BYTES, |l| l.min(PAGE_BYTES));
        let head = head.get_mut(..first).unwrap_or_default();
        file.read_at(0, head).map_err(EngineError::of_disk)?;
        let fixed = Seal::read(head)?;
        let pages = pages_in(length);
        let sums = Mutex::new(load(file.as_ref(), pages)?);
        held.hold(file);
        let opened = Self { sums, held: Arc::clone(held) };
        let mut found = [0; FIXED_BYTES];
        opened.read(0, &mut found).map_err(EngineError::of_disk)?;
        if FIXED.iter().any(|part| found.get(part.clone()) != fixed.get(part.clone())) {
            return Err(EngineError::Corrupt("the header of its engine is damaged".to_owned()));
        }
        let walks = found.get(FLAGS).is_some_and(|flags| flags & TWO_PHASES == 0);
        held.repairs.store(walks, Ordering::Release);
        Ok(opened)
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads whole pages and checks them.
    fn read_pages(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        let mut at = first;
        let mut rest = out;
        while !rest.is_empty() {
            let run = run_bytes(at, rest.len());
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(run);
            self.held.file()?.read_at(place(at), head)?;
            let trusted = self.held.repairs.load(Ordering::Acquire);
            let mut of = self.sums();
            for page in head.chunks(PAGE_BYTES) {
                let known = usize::try_from(at).ok().and_then(|at| of.of.get_mut(at));
                match known {
                    Some(known) if at == 0 || matches(*known, at, page) => {}
                    Some(known) if trusted => {
                        *known = sum_of(at, page);
                        of.changed.insert(at / GROUP_PAGES);
                    }
                    _ => {
                        self.held.refused.store(true, Ordering::Release);
                        let damaged = format!("page {at} is damaged");
                        return Err(io::Error::new(io::ErrorKind::InvalidData, damaged));
                    }
                }
                at += 1;
            }
            drop(of);
            rest = tail;
        }
        Ok(())
    }

    /// Writes whole pages; page 0 also in part.
    fn write_pages(&self, first: u64, bytes: &[u8]) -> io::Result<()> {
        let mut at = first;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(run_bytes(at, rest.len()));
            self.held.file()?.write_at(place(at), head)?;
            let mut of = self.sums();
            for page in head.chunks(PAGE_BYTES) {
                if let Some(sum) = usize::try_from(at).ok().and_then(|at| of.of.get_mut(at)) {
                    *sum = sum_of(at, page);
                }
                of.changed.insert(at / GROUP_PAGES);
                at += 1;
            }
            drop(of);
            rest = tail;
        }
        Ok(())
    }

    fn write_sums(&self) -> io::Result<()> {
        let mut of = self.sums();
        while let Some(group) = of.changed.first().copied() {
            let block = of.block(group);
            self.held.file()?.write_at(place_of_sums(group), &block)?;
            of.changed.remove(&group);
        }
        drop(of);
        Ok(())
    }
}

impl Sums {
    fn block(&self, group: u64) -> Vec<u8> {
        let first = usize::try_from(group * GROUP_PAGES).unwrap_or(usize::MAX);
        let of = self.of.iter().skip(first).take(PAGE_BYTES / 8);
        let mut block: Vec<u8> = of.flat_map(|sum| sum.to_le_bytes()).collect();
        block.resize(PAGE_BYTES, 0);
        block
    }
}

impl StorageBackend for Pages {
    fn len(&self) -> io::Result<u64> {
        Ok(self.sums().of.len() as u64 * PAGE)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (first, inside) = (offset / PAGE, offset % PAGE);
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > self.sums().of.len() as u64 * PAGE) {
            let short = "it ends before what its engine looks for";
            return Err(io::Error::new(io::ErrorKind::InvalidData, short));
        }
        if inside == 0 && out.len().is_multiple_of(PAGE_BYTES) {
            return self.read_pages(first, out);
        }
        let inside = usize::try_from(inside).map_err(io::Error::other)?;
        let mut whole = vec![0; (inside + out.len()).next_multiple_of(PAGE_BYTES)];
        self.read_pages(first, &mut whole)?;
        let wanted = whole.get(inside..inside + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(wanted);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if !length.is_multiple_of(PAGE) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no whole pages"));
        }
        let pages = length / PAGE;
        let physical = if pages == 0 { 0 } else { place(pages - 1) + PAGE };
        self.held.file()?.set_length(physical)?;
        let mut of = self.sums();
        let before = of.of.len() as u64;
        of.of.resize(usize::try_from(pages).map_err(io::Error::other)?, 0);
        if pages < before {
            // What is cut off must not come back with old checksums when the file grows again.
            of.changed.retain(|group| group * GROUP_PAGES < pages);
            if !pages.is_multiple_of(GROUP_PAGES) {
                of.changed.insert(pages / GROUP_PAGES);
            }
        }
        drop(of);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.write_sums()?;
        self.held.file()?.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let in_header = offset + data.len() as u64 <= PAGE;
        if in_header {
            return self.held.file()?.write_at(place(0) + offset, data);
        }
        if !offset.is_multiple_of(PAGE) || !data.len().is_multiple_of(PAGE_BYTES) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no whole pages"));
        }
        self.write_pages(offset / PAGE, data)
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        let from_start = matches!(start, Bound::Unbounded | Bound::Included(0));
        if !from_start || end != Bound::Unbounded {
            return Err(BackendError::Unsupported);
        }
        Ok(self.held.file()?.try_lock()?)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        // The lock goes with the file.
        Ok(())
    }
}

/// The first block of a file.
struct Seal;

impl Seal {
    fn write(fixed: &[u8]) -> Vec<u8> {
        let mut block = MAGIC.to_vec();
        block.extend_from_slice(&LAYOUT.to_le_bytes());
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(fixed);
        let sum = xxh3_64(&block);
        block.extend_from_slice(&sum.to_le_bytes());
        block.resize(PAGE_BYTES, 0);
        block
    }

    /// The part of redb's header that it repeats.
    fn read(block: &[u8]) -> Result<Vec<u8>, EngineError> {
        let foreign = || {
            let what = if block.is_empty() { "it is empty" } else { "it is no store of Quadrille" };
            EngineError::Corrupt(what.to_owned())
        };
        let rest = block.strip_prefix(&MAGIC).ok_or_else(foreign)?;
        let (layout, rest) = rest.split_first_chunk::<4>().ok_or_else(foreign)?;
        let layout = u32::from_le_bytes(*layout);
        let fixed = rest.get(4..4 + FIXED_BYTES).ok_or_else(foreign)?;
        let summed = block.get(..16 + FIXED_BYTES).ok_or_else(foreign)?;
        let sum = rest.get(4 + FIXED_BYTES..12 + FIXED_BYTES).ok_or_else(foreign)?;
        if xxh3_64(summed).to_le_bytes() != *sum {
            return Err(EngineError::Corrupt("its first block is damaged".to_owned()));
        }
        if layout > LAYOUT {
            return Err(EngineError::Newer { found: layout, known: LAYOUT });
        }
        Ok(fixed.to_vec())
    }
}

/// Completes a file that redb has made and closed.
pub(super) fn seal(file: &dyn DiskFile) -> io::Result<()> {
    let mut fixed = [0; FIXED_BYTES];
    file.read_at(place(0), &mut fixed)?;
    file.write_at(0, &Seal::write(&fixed))?;
    file.sync()
}

fn load(file: &dyn DiskFile, pages: u64) -> Result<Sums, EngineError> {
    let mut sums = Sums::default();
    let mut block = [0; PAGE_BYTES];
    for group in 0..pages.div_ceil(GROUP_PAGES) {
        file.read_at(place_of_sums(group), &mut block).map_err(EngineError::of_disk)?;
        let (words, _) = block.as_chunks::<8>();
        sums.of.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
    }
    sums.of.truncate(usize::try_from(pages).unwrap_or(usize::MAX));
    Ok(sums)
}

/// Where a page lies.
pub(super) fn place(page: u64) -> u64 {
    PAGE * (1 + page + page / GROUP_PAGES + 1)
}

fn place_of_sums(group: u64) -> u64 {
    PAGE * (1 + group * (GROUP_PAGES + 1))
}

/// How many pages a file of a length has.
fn pages_in(length: u64) -> u64 {
    let blocks = (length / PAGE).saturating_sub(1);
    let (whole, rest) = (blocks / (GROUP_PAGES + 1), blocks % (GROUP_PAGES + 1));
    whole * GROUP_PAGES + rest.saturating_sub(1)
}

/// How much of `wanted` bytes lies in one piece from a page on.
fn run_bytes(page: u64, wanted: usize) -> usize {
    let left = (GROUP_PAGES - page % GROUP_PAGES) * PAGE;
    usize::try_from(left).map_or(wanted, |left| left.min(wanted))
}

fn sum_of(page: u64, bytes: &[u8]) -> u64 {
    // 0 is for what was never written.
    xxh3_64_with_seed(bytes, page).max(1)
}

fn matches(known: u64, page: u64, bytes: &[u8]) -> bool {
    if known == 0 { bytes.iter().all(|byte| *byte == 0) } else { known == sum_of(page, bytes) }
}
