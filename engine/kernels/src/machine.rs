//! What the machine can do at most: multiply-adds of floats and of bytes, and bytes read and copied in memory. Figures of
//! kernels are held against these.

use crate::KernelError;
use crate::isa::{Isa, Vector, Work, dispatch, isa};
use oxidane_pool::Pool;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Limits that were measured with a number of threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The threads.
    pub threads: usize,
    /// Multiplications and additions of `f32` a second.
    pub floats: f64,
    /// Multiplications and additions of bytes a second, where the machine has instructions for sums of their products.
    pub bytes: Option<f64>,
    /// Bytes a second that are read from memory.
    pub read: f64,
    /// Bytes a second that are copied in memory; each is read and written.
    pub copy: f64,
}

/// Times that every figure is measured; the best one counts.
const TIMES: usize = 8;

/// Elements of the block that is read and copied: beyond most caches.
const BLOCK: usize = 64 << 20;

/// Elements that a thread reads or copies at a time.
const PIECE: usize = 1 << 20;

/// Measures all limits, on so many threads, 0 being one for each processor; takes about a second, and half a GiB of memory.
///
/// # Errors
/// When there is no such memory.
pub fn limits(threads: usize) -> Result<Limits, KernelError> {
    let pool = &Pool::new(threads);
    let mut block = zeros()?;
    pool.for_each_piece(&mut block, PIECE, |i, piece| piece.fill(i as f32));
    let size = (BLOCK * size_of::<f32>()) as f64;
    let read = best(|| {
        pool.for_each(BLOCK / PIECE, &|i| {
            black_box(dispatch(Sum(&block[i * PIECE..][..PIECE])));
        });
    });
    let mut other = zeros()?;
    let copy = best(|| {
        pool.for_each_piece(&mut other, PIECE, |i, to| to.copy_from_slice(&block[i * PIECE..][..PIECE]));
    });
    Ok(Limits {
        threads: pool.width(),
        floats: floats(threads),
        bytes: self::bytes(threads),
        read: size / read,
        copy: size / copy,
    })
}

fn zeros() -> Result<Vec<f32>, KernelError> {
    let mut block = Vec::new();
    let made = block.try_reserve_exact(BLOCK);
    made.map_err(|_| KernelError::Shape("there is no memory to measure with".to_owned()))?;
    block.resize(BLOCK, 0.0);
    Ok(block)
}

/// Multiplications and additions of `f32` a second on so many threads, 0 being one for each processor; takes some milliseconds.
pub fn floats(threads: usize) -> f64 {
    let pool = &Pool::new(threads);
    let all = [0.0; 8].map(|_: f64| {
        let counted = each_thread(pool, || dispatch(Fma) as f64);
        counted.0 / counted.1
    });
    all.into_iter().fold(0.0, f64::max)
}

/// Runs `count` on every thread, and gives the sum of what it counted and the seconds.
fn each_thread(pool: &Pool, count: impl Fn() -> f64 + Sync) -> (f64, f64) {
    let per = std::sync::atomic::AtomicU64::new(0);
    // Several a thread: one that begins later than the others does fewer.
    let tasks = if pool.width() == 1 { 1 } else { 8 * pool.width() };
    let start = Instant::now();
    pool.for_each(tasks, &|_| {
        per.fetch_add(count() as u64, std::sync::atomic::Ordering::Relaxed);
    });
    (per.into_inner() as f64, start.elapsed().as_secs_f64())
}

/// The shortest of several times that `work` takes, in seconds.
fn best(mut work: impl FnMut()) -> f64 {
    let times = (0..TIMES).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    times.min().unwrap_or(Duration::MAX).as_secs_f64()
}

/// Turns of the loops of products.
const TURNS: usize = 100_000;

/// Multiply-adds in registers; gives the multiplications and additions.
struct Fma;

impl Work for Fma {
    type Output = usize;

    #[inline(always)]
    fn run<V: Vector>(self) -> usize {
        // As many sums as fit the registers, so that none waits for the one before.
        if V::TILE.1 > 1 { turns::<V, 24>() } else { turns::<V, 6>() }
    }
}

#[inline(always)]
fn turns<V: Vector, const N: usize>() -> usize {
    let (factor, addend) = (V::splat(black_box(0.999)), V::splat(black_box(0.001)));
    let mut sums = [V::zero(); N];
    for _ in 0..TURNS {
        sums = sums.map(|sum| sum.mul_add(factor, addend));
    }
    black_box(sums.into_iter().fold(V::zero(), V::add).sum());
    2 * 16 * N * TURNS
}

/// The sum of a slice.
struct Sum<'a>(&'a [f32]);

impl Work for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<V: Vector>(self) -> f32 {
        let mut sums = [V::zero(); 4];
        for four in self.0.chunks_exact(64) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add(V::of(&four[16 * i..]));
            }
        }
        sums.into_iter().fold(V::zero(), V::add).sum()
    }
}

#[cfg(target_arch = "x86_64")]
/// Multiplications and additions of bytes a second on so many threads, 0 being one for each processor, where the machine has instructions for sums
/// of their products; takes some milliseconds.
pub fn bytes(threads: usize) -> Option<f64> {
    let pool = &Pool::new(threads);
    let count: fn() -> f64 = match isa() {
        // SAFETY: the machine has the instructions.
        Isa::Amx => || unsafe { x86::tiles() as f64 },
        // SAFETY: the machine has the instructions.
        Isa::Vnni => || unsafe { x86::dots() as f64 },
        _ => return None,
    };
    let all = [0.0; 8].map(|_: f64| {
        let counted = each_thread(pool, count);
        counted.0 / counted.1
    });
    Some(all.into_iter().fold(0.0, f64::max))
}

#[cfg(not(target_arch = "x86_64"))]
/// No instructions for sums of products of bytes are known here.
pub fn bytes(_: usize) -> Option<f64> {
    let _ = (isa(), Isa::Vnni);
    None
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{TURNS, black_box};
    use std::arch::asm;
    use std::arch::x86_64::*;

    /// Dot products of four bytes in registers; gives the multiplications and additions.
    ///
    /// # Safety
    /// The machine has AVX-512 and VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn dots() -> usize {
        const SUMS: usize = 24;
        let (a, b) = (_mm512_set1_epi8(black_box(1)), _mm512_set1_epi8(black_box(1)));
        let mut sums = [_mm512_setzero_si512(); SUMS];
        for _ in 0..TURNS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        black_box(sums);
        2 * 64 * SUMS * TURNS
    }

    /// Products of tiles; gives the multiplications and additions.
    ///
    /// # Safety
    /// The machine has AMX.
    pub(super) unsafe fn tiles() -> usize {
        /// What `ldtilecfg` reads.
        #[repr(C, align(64))]
        struct Config {
            head: [u8; 16],
            bytes: [u16; 16],
            rows: [u8; 16],
        }
        let mut config = Config { head: [0; 16], bytes: [0; 16], rows: [0; 16] };
        config.head[0] = 1;
        config.bytes[..8].fill(64);
        config.rows[..8].fill(16);
        let turns = TURNS / 10;
        // SAFETY: the machine has tiles; the configuration is valid, and no memory but it is read.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly));
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "tilezero tmm4",
                "tilezero tmm5",
                "tilezero tmm6",
                "tilezero tmm7",
                options(nostack, nomem)
            );
            for _ in 0..turns {
                asm!(
                    "tdpbusd tmm0, tmm4, tmm6",
                    "tdpbusd tmm1, tmm4, tmm7",
                    "tdpbusd tmm2, tmm5, tmm6",
                    "tdpbusd tmm3, tmm5, tmm7",
                    options(nostack, nomem)
                );
            }
            asm!("tilerelease", options(nostack, nomem));
        }
        2 * 16 * 16 * 64 * 4 * turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_positive() {
        assert!(floats(1) > 1e6);
        assert!(bytes(1).is_none_or(|n| n > 1e6));
    }
}
