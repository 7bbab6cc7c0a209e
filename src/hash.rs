//! A fast hasher for keys that are numbers: descriptors, slots, addresses. One multiplication a word, folded so that all
//! bits of the product count, and seeded at random so that no peer can choose keys that collide. Not for keys that an
//! attacker chooses *and* whose hashes he can see.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes [`FoldedHasher`]s with one seed: the [`BuildHasher`] of the crate's maps.
///
/// Every bit of a hash is good, the top seven included, from which the standard map takes its tags (an identity hash
/// leaves them zero, and then that map is quadratic).
#[derive(Clone, Debug)]
pub(crate) struct FoldedState {
    start: u64,
    factor: u64,
}

impl FoldedState {
    /// The same hashes in every run, for tests.
    pub(crate) const fn with_seed(seed: u64) -> Self {
        Self { start: fold(seed ^ PI[0], PI[1]) ^ PI[2], factor: fold(seed ^ PI[3], PI[1]) | 1 }
    }

    /// The hash of a 128-bit number without the detour over [`Hasher`].
    #[inline]
    pub(crate) const fn hash_u128(&self, key: u128) -> u64 {
        fold(self.start ^ key as u64, self.factor ^ (key >> 64) as u64)
    }
}

impl Default for FoldedState {
    /// Seeded at random, differently for each map.
    fn default() -> Self {
        Self::with_seed(RandomState::new().hash_one(PI[0]))
    }
}

impl BuildHasher for FoldedState {
    type Hasher = FoldedHasher;

    #[inline]
    fn build_hasher(&self) -> FoldedHasher {
        FoldedHasher { state: self.start, factor: self.factor }
    }
}

/// The hasher of [`FoldedState`]: one folded multiplication for each word written.
#[derive(Clone, Debug)]
pub(crate) struct FoldedHasher {
    state: u64,
    factor: u64,
}

impl Hasher for FoldedHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last));
        // Without the length, trailing zeros would not count.
        self.write_usize(bytes.len());
    }

    #[inline]
    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    #[inline]
    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }

    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.state = fold(self.state ^ n, self.factor);
    }

    #[inline]
    fn write_u128(&mut self, n: u128) {
        self.state = fold(self.state ^ n as u64, self.factor ^ (n >> 64) as u64);
    }

    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
}

/// Both halves of the 128-bit product: the upper one depends on every lower bit of the factors, the lower one on none above.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// Digits of pi: bits that nobody chose.
const PI: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const SEEDS: [u64; 5] = [0, 1, 77, u64::MAX, 0x243f_6a88_85a3_08d3];

    /// The fullest of 1,024 places when `keys` numbers are spread by ten bits of their hash.
    fn fullest(state: &FoldedState, keys: impl Iterator<Item = u128>, shift: u32) -> u32 {
        let mut places = vec![0; 1_024];
        for key in keys {
            places[(state.hash_u128(key) >> shift) as usize & 1_023] += 1;
        }
        places.into_iter().max().unwrap()
    }

    #[test]
    fn numbers_in_a_row_spread_over_the_low_and_the_top_bits() {
        for seed in SEEDS {
            let state = FoldedState::with_seed(seed);
            for shift in [0, 54] {
                for step in [1, 256, 1 << 32, 1 << 64, 1 << 120] {
                    // 16 a place on average; a random function stays below 40 with great certainty.
                    let most = fullest(&state, (0..16_384_u128).map(|n| n.wrapping_mul(step)), shift);
                    let distinct = if step == 1 << 120 { 256 } else { 16_384 };
                    assert!(distinct == 256 || most < 60, "seed {seed}, shift {shift}, step {step}: {most}");
                }
            }
        }
    }

    #[test]
    fn a_number_hashes_alike_by_every_road() {
        let state = FoldedState::default();
        assert_eq!(state.hash_one(7_u128), state.hash_u128(7));
        assert_eq!(state.clone().hash_one(7_u32), state.hash_one(7_u64));
    }

    #[test]
    fn bytes_count_with_their_length_and_order() {
        let state = FoldedState::with_seed(1);
        let texts: [&[u8]; 8] = [
            b"",
            b"\0",
            b"\0\0",
            b"\0\0\0\0\0\0\0\0",
            b"\0\0\0\0\0\0\0\0\0",
            b"abcdefgh",
            b"abcdefghi",
            b"ihgfedcba",
        ];
        let hashes: HashSet<u64> = texts.iter().map(|text| state.hash_one(text)).collect();
        assert_eq!(hashes.len(), texts.len());
    }

    #[test]
    fn two_maps_do_not_share_a_seed() {
        assert_ne!(FoldedState::default().hash_one(1_u64), FoldedState::default().hash_one(1_u64));
    }
}
