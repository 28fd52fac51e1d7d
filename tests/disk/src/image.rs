//! The content of a file as pages that are shared until they are written: a copy of a disk costs pointers.

use std::io;
use std::sync::Arc;

/// The size of a page.
pub const PAGE_BYTES: usize = 4096;
/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

const PAGE: u64 = PAGE_BYTES as u64;

static ZEROES: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// A file's bytes. A page that is missing is zero.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pages: Vec<Option<Arc<[u8; PAGE_BYTES]>>>,
    length: u64,
}

impl Image {
    /// How long it is.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Cuts it or lets it grow by zeroes.
    pub fn set_length(&mut self, length: u64) {
        if length < self.length {
            let zeroes = PAGE - length % PAGE;
            if zeroes < PAGE {
                self.put(length, &vec![0; index(zeroes)]);
            }
            self.pages.truncate(index(length.div_ceil(PAGE)));
        }
        self.length = length;
    }

    /// Fills `out` from a place.
    pub fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        if at + out.len() as u64 > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < out.len() {
            let place = at + done as u64;
            let inside = index(place % PAGE);
            let count = (PAGE_BYTES - inside).min(out.len() - done);
            let to = &mut out[done..done + count];
            match self.pages.get(index(place / PAGE)).and_then(Option::as_ref) {
                Some(page) => to.copy_from_slice(&page[inside..inside + count]),
                None => to.fill(0),
            }
            done += count;
        }
        Ok(())
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; index(self.length)];
        self.read(0, &mut out).expect("it is as long");
        out
    }

    /// Writes at a place; it grows where it must.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        self.put(at, bytes);
        self.length = self.length.max(at + bytes.len() as u64);
    }

    /// Writes without growing: what lies behind the end is kept, and is there when the end moves.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let place = at + done as u64;
            let inside = index(place % PAGE);
            let count = (PAGE_BYTES - inside).min(bytes.len() - done);
            self.put_in_page(index(place / PAGE), inside, &bytes[done..done + count]);
            done += count;
        }
    }

    fn put_in_page(&mut self, page: usize, inside: usize, bytes: &[u8]) {
        let zero = bytes == &ZEROES[..bytes.len()];
        if zero && self.pages.get(page).is_none_or(Option::is_none) {
            return;
        }
        if self.pages.len() <= page {
            self.pages.resize(page + 1, None);
        }
        if zero && bytes.len() == PAGE_BYTES {
            self.pages[page] = None;
            return;
        }
        let page = self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE_BYTES]));
        Arc::make_mut(page)[inside..inside + bytes.len()].copy_from_slice(bytes);
    }

    /// Takes over the pages that `bytes` bytes at a place touch from another image.
    pub fn take_pages(&mut self, from: &Self, at: u64, bytes: usize) {
        let last = index((at + bytes as u64).div_ceil(PAGE));
        for page in index(at / PAGE)..last {
            if self.pages.len() <= page {
                self.pages.resize(page + 1, None);
            }
            self.pages[page] = from.pages.get(page).cloned().flatten();
        }
    }

    /// The numbers of the pages that are not zero.
    pub fn used(&self) -> Vec<u64> {
        (0..).zip(&self.pages).filter(|(_, page)| page.is_some()).map(|(at, _)| at).collect()
    }

    /// Drops what lies behind the end.
    pub fn trim(&mut self) {
        let length = self.length;
        self.length = u64::MAX;
        self.set_length(length);
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("simulated files are small")
}
