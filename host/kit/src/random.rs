//! Chance: uids, generated names and jitter all come from one source that is handed down.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// A source of random numbers.
pub trait Random: fmt::Debug + Send + Sync {
    /// Sixty-four random bits.
    fn next_u64(&self) -> u64;

    /// A version 4 uuid (RFC 9562), in the lower-case form of Kubernetes' uids.
    fn uuid(&self) -> String {
        let bits = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
    }

    /// A number in `0..bound`; 0 when `bound` is 0. The bias is below 2⁻³² for bounds below 2³².
    fn below(&self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}

/// The operating system's randomness, drawn in blocks.
#[derive(Debug, Default)]
pub struct SystemRandom {
    block: Mutex<Vec<u64>>,
}

/// How many numbers are drawn from the operating system at once: one call to it per 64 uids.
const BLOCK: usize = 128;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        if block.is_empty() {
            let mut bytes = [0_u8; BLOCK * 8];
            getrandom::fill(&mut bytes).expect("the operating system has randomness");
            let (chunks, _) = bytes.as_chunks::<8>();
            block.extend(chunks.iter().map(|chunk| u64::from_ne_bytes(*chunk)));
        }
        block.pop().unwrap_or_default()
    }
}

/// A reproducible sequence from a seed (`SplitMix64`), for tests, replay and simulation. Not for secrets.
#[derive(Debug)]
pub struct SeededRandom {
    state: Mutex<u64>,
}

impl SeededRandom {
    /// The sequence of one seed.
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new(seed) }
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_a_uuid_has_version_4() {
        let (a, b) = (SeededRandom::new(7), SeededRandom::new(7));
        assert_eq!(a.uuid(), b.uuid());
        assert_eq!(SystemRandom::default().uuid().as_bytes()[14], b'4');
        assert!((0..1000).all(|_| a.below(10) < 10));
    }
}
