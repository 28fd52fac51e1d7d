//! Rows out of redb's leaf pages, without its trees: for what is left of a damaged file.
//!
//! The form is redb's version 3: a byte 1, a byte unused, the number of rows; where each key ends, unless all have eight
//! bytes; where each value ends; the keys; the values. What has another form gives no rows, and what has this form by
//! chance gives rows whose checksums do not hold, so whoever takes rows checks them.

use std::io;

use super::FILE;
use super::pages::{PAGE_BYTES, place};
use crate::disk::Disk;
use crate::group::TXN_BYTES_MAX;

/// Rows in a page: more would be shorter than their ends.
const ROWS_MAX: usize = PAGE_BYTES / 8;

/// The longest run of pages that one leaf is looked for in: a row has at most a transaction's bytes, and a key.
const LEAF_BYTES_MAX: usize = TXN_BYTES_MAX + (1 << 20);

/// A row: key and value.
pub(crate) type Row<'a> = (&'a [u8], &'a [u8]);

/// Gives every row of every leaf of the file to `each`.
pub(crate) fn scan(disk: &dyn Disk, each: &mut dyn FnMut(Row<'_>)) -> io::Result<()> {
    let file = disk.open(FILE)?;
    let length = file.length()?;
    let mut page = [0; PAGE_BYTES];
    for number in 0.. {
        let at = place(number);
        if at + PAGE_BYTES as u64 > length {
            return Ok(());
        }
        // A page that the disk refuses is one that is lost.
        if file.read_at(at, &mut page).is_err() || page.first() != Some(&1) {
            continue;
        }
        for fixed in [true, false] {
            let Some(leaf) = Leaf::read(&page, fixed) else { continue };
            let pages = leaf.bytes.div_ceil(PAGE_BYTES);
            let mut whole = page.to_vec();
            let mut more = [0; PAGE_BYTES];
            for next in (number + 1..).take(pages.saturating_sub(1)) {
                let there = place(next) + PAGE_BYTES as u64 <= length;
                if there && file.read_at(place(next), &mut more).is_ok() {
                    whole.extend_from_slice(&more);
                }
            }
            leaf.rows(&whole).for_each(&mut *each);
        }
    }
    Ok(())
}

/// Where the rows of a leaf lie.
struct Leaf {
    keys: Vec<(usize, usize)>,
    values: Vec<(usize, usize)>,
    bytes: usize,
}

impl Leaf {
    /// With keys of eight bytes, or with keys of any length.
    fn read(page: &[u8], fixed: bool) -> Option<Self> {
        let count = usize::from(u16::from_le_bytes(page.get(2..4)?.try_into().ok()?));
        if count == 0 || count > ROWS_MAX {
            return None;
        }
        let ends = |from: usize| {
            let bytes = page.get(from..from + 4 * count)?.as_chunks::<4>().0;
            let ends = bytes.iter().map(|end| usize::try_from(u32::from_le_bytes(*end)).ok());
            ends.collect::<Option<Vec<usize>>>()
        };
        let (key_ends, value_ends, start) = if fixed {
            let start = 4 + 4 * count;
            let keys = (1..=count).map(|n| start + 8 * n).collect();
            (keys, ends(4)?, start)
        } else {
            (ends(4)?, ends(4 + 4 * count)?, 4 + 8 * count)
        };
        let keys = spans(start, &key_ends)?;
        let values = spans(*key_ends.last()?, &value_ends)?;
        let bytes = *value_ends.last()?;
        (bytes <= LEAF_BYTES_MAX).then_some(Self { keys, values, bytes })
    }

    fn rows<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = Row<'a>> {
        let spans = self.keys.iter().zip(&self.values);
        spans.filter_map(|(key, value)| {
            Some((bytes.get(key.0..key.1)?, bytes.get(value.0..value.1)?))
        })
    }
}

/// From ends to beginnings and ends, which must ascend.
fn spans(start: usize, ends: &[usize]) -> Option<Vec<(usize, usize)>> {
    let mut from = start;
    let spans = ends.iter().map(|end| {
        let span = (from, *end);
        from = *end;
        (span.0 <= span.1).then_some(span)
    });
    spans.collect()
}
