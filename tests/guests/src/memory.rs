//! Lays out what `describe` answers in linear memory, by the rules of the canonical ABI (32 bit, little endian).

use std::fmt::Write as _;

/// A growing image of memory that begins at `base`.
#[derive(Debug)]
pub(crate) struct Image {
    base: u32,
    bytes: Vec<u8>,
}

impl Image {
    pub(crate) fn new(base: u32) -> Self {
        Self { base, bytes: Vec::new() }
    }

    /// Places bytes at the next multiple of 8 and answers where they are.
    pub(crate) fn place(&mut self, bytes: &[u8]) -> u32 {
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
        let at = self.base + u32::try_from(self.bytes.len()).expect("images are small");
        self.bytes.extend_from_slice(bytes);
        at
    }

    /// Pointer and length of a text.
    pub(crate) fn text(&mut self, text: &str) -> Vec<u8> {
        let at = self.place(text.as_bytes());
        words(&[at, u32::try_from(text.len()).expect("texts are small")])
    }

    /// Pointer and length of a list whose items have one size.
    pub(crate) fn list(&mut self, items: &[Vec<u8>]) -> Vec<u8> {
        let at = self.place(&items.concat());
        words(&[at, u32::try_from(items.len()).expect("lists are small")])
    }

    /// As the text of a data segment.
    pub(crate) fn escaped(&self) -> String {
        let mut text = String::with_capacity(self.bytes.len() * 3);
        for byte in &self.bytes {
            write!(text, "\\{byte:02x}").expect("writing to a String cannot fail");
        }
        text
    }

    pub(crate) fn end(&self) -> u32 {
        self.base + u32::try_from(self.bytes.len()).expect("images are small")
    }
}

/// Little-endian words.
pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
