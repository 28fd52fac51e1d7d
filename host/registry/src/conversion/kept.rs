//! What was converted, within bounded memory.
//!
//! Two generations: what is used moves to the young one, and when that has its share of the memory it becomes the old
//! one, whose rest is forgotten. So what is read again and again stays, at the cost of one look-up.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::ConversionKey;

/// The most memory, counted in bytes of objects before and after; each generation has half of it.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Converted objects.
#[derive(Debug)]
pub(crate) struct Kept {
    generations: Mutex<Generations>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<ConversionKey, Bytes>,
    young_bytes: usize,
    old: HashMap<ConversionKey, Bytes>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { generations: Mutex::default(), bytes_max: KEPT_BYTES_MAX }
    }
}

impl Kept {
    /// The converted object, if it is still there.
    pub(crate) fn get(&self, key: &ConversionKey) -> Option<Bytes> {
        let mut all = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.young.get(key) {
            return Some(found.clone());
        }
        let (key, found) = all.old.remove_entry(key)?;
        all.insert(key, found.clone(), self.bytes_max / 2);
        Some(found)
    }

    /// Keeps a converted object for a while.
    pub(crate) fn put(&self, key: ConversionKey, converted: Bytes) {
        let mut all = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key, converted, self.bytes_max / 2);
    }
}

impl Generations {
    fn insert(&mut self, key: ConversionKey, converted: Bytes, bytes_max: usize) {
        let bytes = key.object.len() + converted.len();
        if bytes > bytes_max {
            return;
        }
        if self.young_bytes + bytes > bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(key, converted).is_none() {
            self.young_bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> ConversionKey {
        ConversionKey {
            converter: "c".into(),
            to: "g/v2".into(),
            object: format!("{number:08}").into(),
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let kept = Kept { bytes_max: 320, ..Kept::default() };
        for number in 0..1_000 {
            kept.put(key(number), "12345678".into());
            assert!(kept.get(&key(0)).is_some(), "used after each of {number}");
        }
        assert!(kept.get(&key(500)).is_none(), "never used again");
        let all = kept.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = (all.young.len() + all.old.len()) * 16;
        assert!(bytes <= 320, "{bytes} are kept");
    }

    #[test]
    fn what_is_larger_than_the_memory_is_not_kept() {
        let kept = Kept { bytes_max: 16, ..Kept::default() };
        kept.put(key(1), "12345678".into());
        assert!(kept.get(&key(1)).is_none());
    }
}
