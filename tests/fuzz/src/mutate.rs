//! Mutations: what clients sent, damaged, doubled, nested and mixed.

use quadrille_kit::{Random, SeededRandom};

/// The longest input.
const BYTES_MAX: usize = 64 * 1024;
/// The most inputs that are kept to be mutated further.
const KEPT_MAX: usize = 512;
/// The most words of an input that is made of words alone.
const SOUP_WORDS_MAX: usize = 24;
/// Pieces that decoders take for something special.
const TOKENS: [&[u8]; 40] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"true",
    b"-",
    b"0",
    b"1e999",
    b"9223372036854775808",
    b"-0.0",
    b"\0",
    b"\xff\xfe",
    b"\xf0\x9f\x98\x80",
    b"&a ",
    b"*a",
    b"<<: ",
    b"- ",
    b"? ",
    b"\n",
    b"\t",
    b"!!binary ",
    b"| ",
    b"$patch",
    b"$retainKeys",
    b"$setElementOrder/x",
    b"k8s\0",
    b"..",
    b"[*]",
    b"[?(@.a)]",
    b" in (",
    b" notin (",
    b"=",
    b"/-",
];
/// Openings that nest when they are repeated.
const NESTING: [&[u8]; 9] =
    [b"[", b"{\"a\":", b"- ", b"(", b"[?(@", b"a: &b {", b"\x0a\x7f", b"!", b"..[0]"];

/// Makes inputs from a seed.
#[derive(Debug)]
pub struct Mutator {
    random: SeededRandom,
    inputs: Vec<Vec<u8>>,
    recorded: usize,
    words: &'static [&'static str],
}

impl Mutator {
    /// For a corpus, which must not be empty.
    pub fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Self {
        let recorded = corpus.len();
        Self { random: SeededRandom::new(seed), inputs: corpus, recorded, words: &[] }
    }

    /// With words of the language that is fuzzed: they are inserted, and now and then an input is nothing else.
    #[must_use]
    pub fn with_words(mut self, words: &'static [&'static str]) -> Self {
        self.words = words;
        self
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let soup = !self.words.is_empty() && self.below(4) == 0;
        let mut input = if soup { self.soup() } else { self.pick() };
        for _ in 0..self.below(5) {
            self.mutate(&mut input);
            input.truncate(BYTES_MAX);
        }
        input
    }

    /// Keeps an input that was accepted, at times, so that mutations build on each other.
    pub fn keep(&mut self, input: Vec<u8>) {
        if self.below(16) != 0 || input.len() > BYTES_MAX / 8 {
            return;
        }
        if self.inputs.len() < KEPT_MAX {
            self.inputs.push(input);
        } else {
            let at = self.recorded + self.below(self.inputs.len() - self.recorded);
            if let Some(old) = self.inputs.get_mut(at) {
                *old = input;
            }
        }
    }

    fn below(&self, end: usize) -> usize {
        usize::try_from(self.random.below(end as u64)).unwrap_or(0)
    }

    fn pick(&self) -> Vec<u8> {
        self.inputs.get(self.below(self.inputs.len())).cloned().unwrap_or_default()
    }

    /// Nothing but words.
    fn soup(&self) -> Vec<u8> {
        let words = (0..self.below(SOUP_WORDS_MAX)).map(|_| self.word());
        words.flatten().copied().collect()
    }

    fn word(&self) -> &'static [u8] {
        self.words.get(self.below(self.words.len())).map_or(b"", |word| word.as_bytes())
    }

    /// A part of an input: from and to.
    fn range(&self, length: usize) -> (usize, usize) {
        let from = self.below(length + 1);
        (from, from + self.below((length - from).min(64) + 1))
    }

    fn mutate(&self, input: &mut Vec<u8>) {
        let (from, to) = self.range(input.len());
        match self.below(9) {
            0 => {
                if let Some(byte) = input.get_mut(from) {
                    *byte ^= 1 << self.below(8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(from) {
                    [*byte, ..] = self.random.next_u64().to_le_bytes();
                }
            }
            2 => drop(input.drain(from..to)),
            3 => {
                let part = input.get(from..to).unwrap_or_default().repeat(1 + self.below(4));
                self.insert(input, &part);
            }
            4 if !self.words.is_empty() => self.insert(input, self.word()),
            4 | 5 => {
                let token = TOKENS.get(self.below(TOKENS.len())).copied().unwrap_or_default();
                self.insert(input, token);
            }
            6 => {
                let other = self.pick();
                let (from, to) = self.range(other.len());
                self.insert(input, other.get(from..to).unwrap_or_default());
            }
            7 => input.truncate(from),
            _ => {
                let open = NESTING.get(self.below(NESTING.len())).copied().unwrap_or_default();
                let times = 1 << self.below(13);
                self.insert(input, &open.repeat(times));
            }
        }
    }

    fn insert(&self, input: &mut Vec<u8>, part: &[u8]) {
        let at = self.below(input.len() + 1);
        input.splice(at..at, part.iter().copied());
    }
}
