//! The Mersenne Twister MT19937 (Matsumoto and Nishimura, 1998), seeded and read as NumPy's
//! [`RandomState`](https://numpy.org/doc/stable/reference/random/legacy.html) does, so that seeds give its numbers.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = 624;
const MIDDLE: usize = 397;

/// A source of random numbers.
pub(crate) struct Generator {
    words: [u32; WORDS],
    at: usize,
    /// Normal numbers come in pairs; the second waits here.
    waiting: Option<f64>,
}

impl Generator {
    /// The numbers of `seed`.
    pub(crate) fn new(seed: u32) -> Generator {
        let mut words = [seed; WORDS];
        for i in 1..WORDS {
            let before = words[i - 1];
            words[i] = 1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Generator { words, at: WORDS, waiting: None }
    }

    /// The numbers of a seed where it is given, otherwise others in each call. Of a seed that is no integer the
    /// fraction does not count, and of a large one only the low 32 bits.
    pub(crate) fn seeded(seed: Option<i64>) -> Generator {
        Generator::new(seed.map_or_else(fresh, |seed| seed as u32))
    }

    fn word(&mut self) -> u32 {
        if self.at == WORDS {
            for i in 0..WORDS {
                let joined = (self.words[i] & 0x8000_0000) | (self.words[(i + 1) % WORDS] & 0x7fff_ffff);
                let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[i] = self.words[(i + MIDDLE) % WORDS] ^ (joined >> 1) ^ odd;
            }
            self.at = 0;
        }
        let mut y = self.words[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number from 0 to below 1, each of 2^53 as likely.
    pub(crate) fn uniform(&mut self) -> f64 {
        let (high, low) = (f64::from(self.word() >> 5), f64::from(self.word() >> 6));
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// A number of the normal distribution of mean 0 and deviation 1, by the polar method.
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(second) = self.waiting.take() {
            return second;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.waiting = Some(factor * x);
                return factor * y;
            }
        }
    }
}

/// A seed of its own for each call: what the system gave the process for its hash maps, and a count.
fn fresh() -> u32 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(CALLS.fetch_add(1, Ordering::Relaxed));
    hasher.finish() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_numpys() {
        let mut zero = Generator::new(0);
        let first: Vec<f64> = (0..4).map(|_| zero.uniform()).collect();
        assert_eq!(first, [0.5488135039273248, 0.7151893663724195, 0.6027633760716439, 0.5448831829968969]);
        let mut last = Generator::new(u32::MAX);
        assert_eq!(last.uniform(), 0.0976320289940138);
        let mut normal = Generator::new(5);
        for expected in [0.44122748688504143, -0.33087015189408764, 2.43077118700778, -0.2520921296030769] {
            assert!((normal.normal() - expected).abs() < 1e-15);
        }
    }

    #[test]
    fn calls_without_seed_differ() {
        let mut numbers: Vec<u64> = (0..8).map(|_| Generator::seeded(None).uniform().to_bits()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert!(numbers.len() > 4);
    }
}
