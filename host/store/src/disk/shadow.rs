//! A disk over another one that is only read: what is written stays in memory and is forgotten.
//!
//! A store that may be damaged is opened on it, because opening writes: recovery, the log, the engine's own marks.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile};

const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

/// The disk.
#[derive(Debug)]
pub(crate) struct Shadow {
    below: Arc<dyn Disk>,
    files: Mutex<BTreeMap<String, Arc<File>>>,
}

/// A file, with the pages that were written.
#[derive(Debug)]
struct File {
    below: Option<Arc<dyn DiskFile>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    length: u64,
    /// Up to here the file below counts, where no page is written over it.
    below_length: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl Shadow {
    pub(crate) fn new(below: Arc<dyn Disk>) -> Self {
        Self { below, files: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<File>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for Shadow {
    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        let known = self.files().get(name).map(Arc::clone);
        known.map_or_else(|| self.below.length(name), |file| Ok(Some(file.lock().length)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.files().get(name) {
            return Ok(Arc::clone(file) as Arc<dyn DiskFile>);
        }
        let below = self.below.open(name)?;
        let length = below.length()?;
        let state = State { length, below_length: length, ..State::default() };
        let file = Arc::new(File { below: Some(below), state: Mutex::new(state) });
        self.files().insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = Arc::new(File { below: None, state: Mutex::default() });
        self.files().insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        drop(files);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn blocks(&self) -> bool {
        self.below.blocks()
    }
}

impl File {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of one page, from the file below.
    fn read_below(&self, state: &State, at: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        let there = state.below_length.saturating_sub(at);
        let count = usize::try_from(there).map_or(out.len(), |there| there.min(out.len()));
        match (&self.below, out.get_mut(..count)) {
            (Some(below), Some(out)) if count > 0 => below.read_at(at, out),
            _ => Ok(()),
        }
    }
}

/// The pieces of a range that lie in one page each: page, place in it, place in the range, length.
fn pieces(at: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let place = at + done as u64;
        let inside = usize::try_from(place % PAGE).unwrap_or(0);
        let count = (PAGE_BYTES - inside).min(length - done);
        let piece = (place / PAGE, inside, done, count);
        done += count;
        (count > 0).then_some(piece)
    })
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.lock().length)
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        if at.checked_add(out.len() as u64).is_none_or(|end| end > state.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (page, inside, done, count) in pieces(at, out.len()) {
            let Some(to) = out.get_mut(done..done + count) else { continue };
            match state.pages.get(&page).and_then(|page| page.get(inside..inside + count)) {
                Some(from) => to.copy_from_slice(from),
                None => self.read_below(&state, page * PAGE + inside as u64, to)?,
            }
        }
        drop(state);
        Ok(())
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        for (page, inside, done, count) in pieces(at, bytes.len()) {
            if !state.pages.contains_key(&page) {
                let mut whole = vec![0; PAGE_BYTES];
                self.read_below(&state, page * PAGE, &mut whole)?;
                state.pages.insert(page, whole.into());
            }
            let to = state.pages.get_mut(&page).and_then(|to| to.get_mut(inside..inside + count));
            if let (Some(to), Some(from)) = (to, bytes.get(done..done + count)) {
                to.copy_from_slice(from);
            }
        }
        state.length = state.length.max(at + bytes.len() as u64);
        drop(state);
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.below_length = state.below_length.min(length);
        state.length = length;
        drop(state.pages.split_off(&length.div_ceil(PAGE)));
        let inside = usize::try_from(length % PAGE).unwrap_or(0);
        if let Some(rest) =
            state.pages.get_mut(&(length / PAGE)).and_then(|page| page.get_mut(inside..))
        {
            rest.fill(0);
        }
        drop(state);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.below.as_ref().map_or(Ok(true), |below| below.try_lock())
    }
}
