//! What the machine can do at most: multiply-adds of floats and of bytes, and bytes read and copied in memory. Figures of
//! kernels are held against these.
//!
//! All is measured with the instructions that kernels use ([`mod@crate::isa`]), so that `OXIDANE_ISA` lowers the limits
//! as well.

use crate::KernelError;
use crate::isa::{Vector, Work, dispatch};
use oxidane_pool::Pool;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many multiplications and additions a second there are at most, all threads together; a multiply-add is two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arithmetic {
    /// Of `f32`.
    pub floats: f64,
    /// Of `bfloat16`, where the machine has instructions for sums of their products.
    pub halves: Option<f64>,
    /// Of bytes, where the machine has such instructions.
    pub bytes: Option<f64>,
}

/// How many bytes a second memory gives at most, all threads together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// Read.
    pub read: f64,
    /// Copied: each is read and written.
    pub copy: f64,
}

/// Every figure is measured so often at least, and for so long: the best time counts, since other programs lower others.
const TIMES: usize = 8;
const LEAST: Duration = Duration::from_millis(80);

/// Elements of the block that is read and copied: beyond most caches.
const BLOCK: usize = 64 << 20;

/// Elements that a thread reads or copies at a time.
const PIECE: usize = 1 << 20;

impl Arithmetic {
    /// Measures on all threads of the pool; takes about a quarter of a second.
    pub fn measure(pool: &Pool) -> Arithmetic {
        let [halves, bytes] = sums_of_products().map(|count| count.map(|count| most(pool, count)));
        Arithmetic { floats: most(pool, || dispatch(Fma)), halves, bytes }
    }

    /// The higher of both figures, for measuring again later: other programs lower single measurements.
    pub fn or(self, other: Arithmetic) -> Arithmetic {
        let higher = |a: Option<f64>, b: Option<f64>| a.zip(b).map_or(a.or(b), |(a, b)| Some(a.max(b)));
        Arithmetic {
            floats: self.floats.max(other.floats),
            halves: higher(self.halves, other.halves),
            bytes: higher(self.bytes, other.bytes),
        }
    }
}

impl Memory {
    /// Measures on all threads of the pool; takes about a second, and half a GiB of memory.
    ///
    /// # Errors
    /// When there is no such memory.
    pub fn measure(pool: &Pool) -> Result<Memory, KernelError> {
        let mut block = zeros()?;
        pool.for_each_piece(&mut block, PIECE, |i, piece| piece.fill(i as f32));
        let bytes = size_of_val(&block[..]) as f64;
        let read = best(|| {
            pool.for_each(BLOCK / PIECE, &|i| {
                black_box(dispatch(Sum(&block[i * PIECE..][..PIECE])));
            });
        });
        let mut other = zeros()?;
        let copy = best(|| {
            pool.for_each_piece(&mut other, PIECE, |i, to| to.copy_from_slice(&block[i * PIECE..][..PIECE]));
        });
        Ok(Memory { read: bytes / read, copy: bytes / copy })
    }
}

fn zeros() -> Result<Vec<f32>, KernelError> {
    let mut block = Vec::new();
    let made = block.try_reserve_exact(BLOCK);
    made.map_err(|_| KernelError::Shape("there is no memory to measure with".to_owned()))?;
    block.resize(BLOCK, 0.0);
    Ok(block)
}

/// The most that `count` counts a second, run on all threads.
fn most(pool: &Pool, count: impl Fn() -> usize + Sync) -> f64 {
    // Several a thread: one that begins later than the others does fewer.
    let tasks = if pool.width() == 1 { 1 } else { 8 * pool.width() };
    let counted = AtomicUsize::new(0);
    let time = best(|| {
        counted.store(0, Ordering::Relaxed);
        pool.for_each(tasks, &|_| {
            counted.fetch_add(count(), Ordering::Relaxed);
        });
    });
    counted.into_inner() as f64 / time
}

/// The shortest of several times that `work` takes, in seconds.
fn best(mut work: impl FnMut()) -> f64 {
    let (begin, mut count, mut best) = (Instant::now(), 0, Duration::MAX);
    while count < TIMES || begin.elapsed() < LEAST {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed());
        count += 1;
    }
    best.as_secs_f64()
}

/// Turns of the loops of products: some ten microseconds, so that all threads meet the machine free at times even
/// where other programs run.
const TURNS: usize = 10_000;

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

/// Work in registers, which gives its multiplications and additions.
type Loop = fn() -> usize;

/// Loops of sums of products of bfloat16 and of bytes, where the machine has instructions for them.
#[cfg(target_arch = "x86_64")]
fn sums_of_products() -> [Option<Loop>; 2] {
    use crate::isa::{Isa, bf16_products, isa};
    let (halves, bytes): (Loop, Loop) = match isa() {
        // SAFETY: the machine has tiles.
        Isa::Amx => (|| unsafe { x86::tiles_of_halves() }, || unsafe { x86::tiles_of_bytes() }),
        // SAFETY: the machine has dot products of bytes; those of bfloat16 are asked for below.
        Isa::Vnni => (|| unsafe { x86::dots_of_halves() }, || unsafe { x86::dots_of_bytes() }),
        _ => return [None, None],
    };
    [Some(halves).filter(|_| bf16_products()), Some(bytes)]
}

/// None that kernels would use.
#[cfg(not(target_arch = "x86_64"))]
fn sums_of_products() -> [Option<Loop>; 2] {
    [None, None]
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{TURNS, black_box};
    use crate::isa::tiles;
    use std::arch::asm;
    use std::arch::x86_64::*;

    /// Sums, as many as fit the registers.
    const SUMS: usize = 24;

    /// Dot products of four bytes in registers.
    ///
    /// # Safety
    /// The machine has AVX-512 and VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn dots_of_bytes() -> usize {
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

    /// Dot products of two bfloat16 in registers.
    ///
    /// # Safety
    /// The machine has AVX-512 and BF16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn dots_of_halves() -> usize {
        // Ones: normal numbers, and sums that stay so.
        let ones = _mm512_set1_ps(black_box(1.0));
        let ones = _mm512_cvtne2ps_pbh(ones, ones);
        let mut sums = [_mm512_setzero_ps(); SUMS];
        for _ in 0..TURNS {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, ones, ones);
            }
        }
        black_box(sums);
        2 * 32 * SUMS * TURNS
    }

    /// Products of whole tiles of zeros in registers, by an instruction.
    macro_rules! products_of_tiles {
        ($name:ident, $instruction:literal, $depth:literal) => {
            /// # Safety
            /// The machine has AMX, and the system lets the process use it.
            pub(super) unsafe fn $name() -> usize {
                let turns = TURNS / 10;
                // The compiler makes no use of tile registers itself: what stands in them stays.
                // SAFETY: there are tiles; the instructions touch their registers alone, which are given back at the end.
                unsafe {
                    tiles::configure([tiles::ROWS; 8]);
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
                            concat!($instruction, " tmm0, tmm4, tmm6"),
                            concat!($instruction, " tmm1, tmm4, tmm7"),
                            concat!($instruction, " tmm2, tmm5, tmm6"),
                            concat!($instruction, " tmm3, tmm5, tmm7"),
                            options(nostack, nomem)
                        );
                    }
                    tiles::release();
                }
                // Four products of 16 rows by 16 columns.
                2 * 4 * 16 * 16 * $depth * turns
            }
        };
    }

    products_of_tiles!(tiles_of_bytes, "tdpbusd", 64);
    products_of_tiles!(tiles_of_halves, "tdpbf16ps", 32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_measured() {
        // How quick it is depends on what else the machine does.
        let limits = Arithmetic::measure(&Pool::sequential());
        for figure in [Some(limits.floats), limits.halves, limits.bytes].into_iter().flatten() {
            assert!(figure.is_finite() && figure > 0.0, "{limits:?}");
        }
    }

    #[test]
    fn the_higher_figure_counts() {
        let one = Arithmetic { floats: 1.0, halves: None, bytes: Some(4.0) };
        let other = Arithmetic { floats: 2.0, halves: Some(1.0), bytes: Some(3.0) };
        assert_eq!(one.or(other), Arithmetic { floats: 2.0, halves: Some(1.0), bytes: Some(4.0) });
    }

    #[test]
    fn a_sum_reads_every_element() {
        let values: Vec<f32> = (0..640).map(|i| (i % 7) as f32).collect();
        assert_eq!(dispatch(Sum(&values)), values.iter().sum::<f32>());
    }
}
