//! Products of floats that are rounded to bfloat16, with sums in single precision: by tiles (AMX) or by dot products of
//! pairs (AVX-512 BF16).
//!
//! Both sides lie in pairs of the inner dimension, which is filled up with zeros to whole tiles: the left side row by
//! row, the right side in panels of 32 columns with a line of 32 pairs for each pair of steps.

#![allow(clippy::needless_range_loop, reason = "registers are named by rows and vectors alike")]

use super::packed::{CACHE_LINE, Epilogue, Loose, PACK_TASK, apply, part};
use super::tile::Finish;
use super::{Matrix, SMALL_WORK, work};
use crate::KernelError;
use crate::isa::{Isa, LANES, Vector, Work, bf16_products, dispatch, isa};
use crate::scratch::with_scratch;
use oxidane_pool::{Cells, Pool, Stop};
use std::ops::Range;

/// Columns of a panel, and rows of a block.
const SIDE: usize = 32;

/// Pairs of steps that a tile holds.
const PAIRS: usize = 16;

/// Words of the panels that are worked on together, so that they stay in the second-level cache.
const GROUP_WORDS: usize = 1 << 17;

/// Tasks that a product is cut into where it is large enough.
const TASKS: usize = 16;

/// The nearest bfloat16, halves to the even one; NaN stays NaN.
#[inline(always)]
pub(crate) fn rounded(v: f32) -> u32 {
    let bits = v.to_bits();
    let up = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if v.is_nan() { (bits >> 16) | 0x40 } else { up }
}

#[inline(always)]
fn pair(low: f32, high: f32) -> u32 {
    rounded(low) | rounded(high) << 16
}

/// A right side in bfloat16, packed.
pub(super) struct Packed16 {
    words: Vec<u32>,
    /// Words before the first that lies on a cache line.
    skip: usize,
    pairs: usize,
    cols: usize,
}

impl Packed16 {
    /// Packs a matrix.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(super) fn of<T: Loose>(pool: &Pool, b: Matrix<'_, T>) -> Result<Packed16, KernelError> {
        let pool = &pool.with_stop(Stop::default());
        let pairs = b.rows.div_ceil(2).next_multiple_of(PAIRS).max(PAIRS);
        let (panel, panels) = (pairs * SIDE, b.cols.div_ceil(SIDE));
        let len = panel.checked_mul(panels).and_then(|n| n.checked_add(CACHE_LINE));
        let mut words: Vec<u32> = Vec::new();
        let len = len.filter(|&len| words.try_reserve_exact(len).is_ok()).ok_or_else(|| {
            KernelError::Shape(format!("there is no memory for a packed matrix of {}x{}", b.rows, b.cols))
        })?;
        words.resize(len, 0);
        let skip = (words.as_ptr().addr().wrapping_neg() / size_of::<u32>()) % CACHE_LINE;
        let together = (PACK_TASK / panel.max(1)).max(1);
        pool.for_each_piece(
            &mut words[skip..skip + panel * panels],
            (panel * together).max(1),
            |i, piece| {
                for (j, to) in piece.chunks_exact_mut(panel).enumerate() {
                    let col = (i * together + j) * SIDE;
                    let width = SIDE.min(b.cols - col);
                    for (p, line) in to.chunks_exact_mut(SIDE).enumerate().take(b.rows.div_ceil(2)) {
                        let at = |row: usize, j: usize| match row < b.rows {
                            true => b.data[row * b.row_step + (col + j) * b.col_step].float(),
                            false => 0.0,
                        };
                        for (j, word) in line[..width].iter_mut().enumerate() {
                            *word = pair(at(2 * p, j), at(2 * p + 1, j));
                        }
                    }
                }
            },
        );
        Ok(Packed16 { words, skip, pairs, cols: b.cols })
    }

    /// The first word of a panel; every panel has `pairs` lines.
    fn panel(&self, i: usize) -> &[u32] {
        let size = self.pairs * SIDE;
        &self.words[self.skip + i * size..][..size]
    }
}

/// `out = a * b`, finished as `epilogue` says. Sizes fit, and the machine has the instructions.
pub(super) fn product(
    pool: &Pool,
    a: Matrix<'_, f32>,
    b: &Packed16,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) {
    debug_assert!(bf16_products());
    let (m, k, n, pairs) = (a.rows, a.cols, b.cols, b.pairs);
    if m == 0 || n == 0 {
        return;
    }
    let blocks = m.div_ceil(SIDE);
    let cells = Cells::new(out);
    // Rows beyond the last are computed with what stands there, and thrown away.
    with_scratch(blocks * SIDE * pairs, |left: &mut [u32]| {
        pool.for_each_piece(left, SIDE * pairs, |block, rows| {
            let count = SIDE.min(m - block * SIDE);
            for (r, to) in rows.chunks_exact_mut(pairs.max(1)).enumerate().take(count) {
                let row = (block * SIDE + r) * a.row_step;
                let at = |p: usize| if p < k { a.data[row + p * a.col_step] } else { 0.0 };
                match a.col_step == 1 && k > 0 {
                    true => {
                        let (whole, rest) = a.data[row..row + k].as_chunks::<2>();
                        let (head, tail) = to.split_at_mut(whole.len());
                        head.iter_mut().zip(whole).for_each(|(word, &[low, high])| *word = pair(low, high));
                        tail.fill(0);
                        if let [last] = rest {
                            tail[0] = pair(*last, 0.0);
                        }
                    }
                    false => {
                        to.iter_mut().enumerate().for_each(|(p, w)| *w = pair(at(2 * p), at(2 * p + 1)));
                    }
                }
            }
        });
        let left = &*left;
        let panels = n.div_ceil(SIDE);
        let tasks = (work(m, k, n) / (2 * SMALL_WORK)).clamp(1, TASKS);
        let across = tasks.min(panels);
        let down = (tasks / across).clamp(1, blocks);
        pool.for_each(across * down, &|task| {
            let job = Job { left, b, m, n, epilogue, cells: &cells };
            let (rows, cols) = (part(blocks, down, task / across), part(panels, across, task % across));
            // SAFETY: tasks have rows or columns of their own.
            unsafe { job.run(rows, cols) };
        });
    });
}

struct Job<'a> {
    left: &'a [u32],
    b: &'a Packed16,
    m: usize,
    n: usize,
    epilogue: &'a Epilogue<'a>,
    cells: &'a Cells<'a, f32>,
}

/// Sums of a block.
#[repr(align(64))]
struct Sums([f32; SIDE * SIDE]);

impl Job<'_> {
    /// # Safety
    /// Nobody else uses these places of the result.
    unsafe fn run(&self, blocks: Range<usize>, panels: Range<usize>) {
        let pairs = self.b.pairs;
        let together = (GROUP_WORDS / (pairs * SIDE).max(1)).max(1);
        let tiles = Tiles::new();
        let mut sums = Sums([0.0; SIDE * SIDE]);
        for first in panels.clone().step_by(together) {
            let group = first..(first + together).min(panels.end);
            for block in blocks.clone() {
                let rows = SIDE.min(self.m - block * SIDE);
                let left = &self.left[block * SIDE * pairs..][..SIDE * pairs];
                for i in group.clone() {
                    let panel = self.b.panel(i);
                    let ahead = if i + 1 < self.n.div_ceil(SIDE) { self.b.panel(i + 1) } else { panel };
                    let near = if block == blocks.start { ahead } else { &[] };
                    tiles.sums(left, panel, near, pairs, rows, &mut sums);
                    // SAFETY: the caller's promise.
                    unsafe { self.write(&sums, block * SIDE, rows, i * SIDE) };
                }
                if let Some(function) = self.epilogue.further() {
                    let col = group.start * SIDE;
                    let width = (group.end * SIDE).min(self.n) - col;
                    for r in 0..rows {
                        // SAFETY: the caller's promise.
                        let cells = unsafe { self.cells.piece((block * SIDE + r) * self.n + col, width) };
                        apply(function, cells);
                    }
                }
            }
        }
    }

    /// # Safety
    /// Nobody else uses these places of the result.
    unsafe fn write(&self, sums: &Sums, row: usize, rows: usize, col: usize) {
        let cols = SIDE.min(self.n - col);
        let at = row * self.n + col;
        let finish = Finish {
            alpha: self.epilogue.alpha,
            accumulate: self.epilogue.accumulate,
            column: self.epilogue.bias.map_or(std::ptr::null(), |bias| bias[col..].as_ptr()),
            other: self.epilogue.residual.map_or((std::ptr::null(), 0), |o| (o[at..].as_ptr(), self.n)),
            clamp: self.epilogue.clamp(),
            ..Finish::PLAIN
        };
        // SAFETY: the caller's promise.
        let out = unsafe { self.cells.piece(at, (rows - 1) * self.n + cols) }.as_mut_ptr();
        dispatch(Write { sums, rows, cols, out, out_row: self.n, finish });
    }
}

/// Writes the sums of a block, finished.
struct Write<'a> {
    sums: &'a Sums,
    rows: usize,
    cols: usize,
    out: *mut f32,
    out_row: usize,
    finish: Finish,
}

impl Work for Write<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        for r in 0..self.rows {
            for c in (0..self.cols).step_by(LANES) {
                let count = LANES.min(self.cols - c);
                // SAFETY: the promise of whoever made it: these places belong to the block.
                unsafe {
                    let v = V::load(self.sums.0.as_ptr().add(r * SIDE + c));
                    let to = self.out.add(r * self.out_row + c);
                    self.finish.at::<V>(v, to, r, c, count).store_first(to, count);
                }
            }
        }
    }
}

/// What computes blocks on a thread: it holds the configuration of its tiles.
struct Tiles {
    amx: bool,
}

#[cfg(target_arch = "x86_64")]
impl Tiles {
    fn new() -> Tiles {
        let amx = isa() == Isa::Amx;
        if amx {
            // SAFETY: the machine has tiles.
            unsafe { crate::isa::tiles::configure([PAIRS; 8]) };
        }
        Tiles { amx }
    }

    /// The sums of the rows of a block with a panel; `near` is brought near meanwhile.
    fn sums(&self, left: &[u32], panel: &[u32], near: &[u32], pairs: usize, rows: usize, sums: &mut Sums) {
        assert!(left.len() >= SIDE * pairs && panel.len() >= SIDE * pairs);
        let mut near = near.chunks(2 * SIDE * PAIRS / 2);
        if !self.amx {
            for r in (0..rows).step_by(8) {
                // SAFETY: `product` is only called where the machine has these instructions.
                unsafe {
                    let (left, out) = (left[r * pairs..].as_ptr(), sums.0[r * SIDE..].as_mut_ptr());
                    match rows - r {
                        1 => dots::<1>(left, panel.as_ptr(), pairs, out),
                        2 => dots::<2>(left, panel.as_ptr(), pairs, out),
                        3 => dots::<3>(left, panel.as_ptr(), pairs, out),
                        4 => dots::<4>(left, panel.as_ptr(), pairs, out),
                        5 => dots::<5>(left, panel.as_ptr(), pairs, out),
                        6 => dots::<6>(left, panel.as_ptr(), pairs, out),
                        7 => dots::<7>(left, panel.as_ptr(), pairs, out),
                        _ => dots::<8>(left, panel.as_ptr(), pairs, out),
                    }
                }
            }
            return;
        }
        let both = rows > PAIRS;
        let (stride, line) = (pairs * size_of::<u32>(), SIDE * size_of::<u32>());
        // The compiler makes no use of tile registers itself: what stands in them stays from one block to the next.
        // SAFETY: tiles are configured; both sides have as many words as the loop reads, and the sums as many floats as
        // are stored.
        unsafe {
            use std::arch::asm;
            asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
            for p in (0..pairs).step_by(PAIRS) {
                for line in near.next().unwrap_or_default().chunks(CACHE_LINE) {
                    crate::isa::fetch::fetch(line.as_ptr().cast());
                }
                let a = left.as_ptr().add(p);
                let b = panel.as_ptr().add(p * SIDE);
                asm!(
                    "tileloadd tmm4, [{a} + {stride}]",
                    "tileloadd tmm6, [{b} + {line}]",
                    "tileloadd tmm7, [{b} + {line} + 64]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    a = in(reg) a, b = in(reg) b, stride = in(reg) stride, line = in(reg) line,
                    options(nostack, readonly),
                );
                if both {
                    asm!(
                        "tileloadd tmm5, [{a} + {stride}]",
                        "tdpbf16ps tmm2, tmm5, tmm6",
                        "tdpbf16ps tmm3, tmm5, tmm7",
                        a = in(reg) a.add(PAIRS * pairs), stride = in(reg) stride,
                        options(nostack, readonly),
                    );
                }
            }
            let out = sums.0.as_mut_ptr();
            asm!(
                "tilestored [{out} + {line}], tmm0",
                "tilestored [{out} + {line} + 64], tmm1",
                out = in(reg) out, line = in(reg) line,
                options(nostack),
            );
            if both {
                asm!(
                    "tilestored [{out} + {line} + 2048], tmm2",
                    "tilestored [{out} + {line} + 2112], tmm3",
                    out = in(reg) out, line = in(reg) line,
                    options(nostack),
                );
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for Tiles {
    fn drop(&mut self) {
        if self.amx {
            // SAFETY: the machine has tiles; what stands in them is not needed any more.
            unsafe { crate::isa::tiles::release() };
        }
    }
}

/// `R` rows of sums by dot products of pairs.
///
/// # Safety
/// The machine has the features; rows lie `pairs` words apart, the panel has as many lines, and the sums `R` rows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn dots<const R: usize>(left: *const u32, panel: *const u32, pairs: usize, out: *mut f32) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promise; 512 bits are 32 bfloat16 as well as 16 words.
    unsafe {
        let of = |v: __m512i| std::mem::transmute::<__m512i, __m512bh>(v);
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        for p in 0..pairs {
            let b0 = of(_mm512_loadu_si512(panel.add(p * SIDE).cast()));
            let b1 = of(_mm512_loadu_si512(panel.add(p * SIDE + LANES).cast()));
            for r in 0..R {
                let a = of(_mm512_set1_epi32(*left.add(r * pairs + p) as i32));
                sums[r][0] = _mm512_dpbf16_ps(sums[r][0], a, b0);
                sums[r][1] = _mm512_dpbf16_ps(sums[r][1], a, b1);
            }
        }
        for r in 0..R {
            _mm512_storeu_ps(out.add(r * SIDE), sums[r][0]);
            _mm512_storeu_ps(out.add(r * SIDE + LANES), sums[r][1]);
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Tiles {
    fn new() -> Tiles {
        Tiles { amx: false }
    }

    fn sums(&self, _: &[u32], _: &[u32], _: &[u32], _: usize, _: usize, _: &mut Sums) {
        let _ = (isa() == Isa::Scalar, self.amx);
        unreachable!("only called where the machine has products of bfloat16");
    }
}
