//! The register tile: positions times vectors of output channels, summed over all inputs before anything is written.

use super::After;
use crate::isa::fetch::{fetch, fetch_to_read, fetch_to_write};
use crate::isa::{LANES, Vector};

/// Positions of a tile at most.
pub(super) const ROWS: usize = 14;

/// Packed weights: lines of as many floats as lie from one to the next.
#[derive(Clone, Copy)]
pub(super) struct Right {
    start: *const f32,
    line: usize,
    /// The first cache line of the weights that are wanted next, and how many are brought near for every 16 lines.
    next: (*const f32, usize),
}

impl Right {
    /// The `depth` lines of a panel that begins with `floats`, for tile `i` of `count`: each of them brings a part of the
    /// lines from `next` on, which are wanted after these, into the second-level cache, so that memory is read at all
    /// times. Null stands for nothing.
    #[inline(always)]
    pub(super) fn new(
        floats: &[f32],
        line: usize,
        depth: usize,
        next: *const f32,
        (i, count): (usize, usize),
    ) -> Right {
        let lines = if next.is_null() { 0 } else { line.div_ceil(count) };
        Right { start: floats.as_ptr(), line, next: (next.wrapping_add(i * (depth * line / count)), lines) }
    }
}

/// A left side of rows of 16 floats, side by side, in blocks of depth.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) start: *const f32,
    /// Floats from one block of 16 depths to the next.
    pub(super) step: usize,
}

/// The sums of `R` rows by `C` vectors over `depth`, while the lines of their target are brought near.
///
/// # Safety
/// `a` has `R` rows in each of `depth.div_ceil(16)` blocks, and `b` has `depth` lines of at least `C` vectors.
#[inline(always)]
pub(super) unsafe fn sums<V: Vector, const R: usize, const C: usize>(
    depth: usize,
    a: Left,
    b: Right,
    start: [V; C],
    to: Target,
) -> [[V; C]; R] {
    let mut sums = [start; R];
    let mut target = to.lines::<R, C>(depth / LANES);
    let (mut a_block, mut at, mut next) = (a.start, b.start, b.next.0);
    // SAFETY: the caller's promise; nothing is read at an address that is only brought near.
    unsafe {
        for _ in 0..depth / LANES {
            for _ in 0..b.next.1 {
                fetch(next);
                next = next.wrapping_add(LANES);
            }
            target.bring();
            for quarter in 0..4 {
                for c in 0..4 {
                    step::<V, R, C>(a_block.add(quarter * 4 + c), at, &mut sums);
                    at = at.wrapping_add(b.line);
                }
            }
            a_block = a_block.wrapping_add(a.step);
        }
        for c in 0..depth % LANES {
            step::<V, R, C>(a_block.add(c), at, &mut sums);
            at = at.wrapping_add(b.line);
        }
    }
    sums
}

/// # Safety
/// As [`sums`].
#[inline(always)]
unsafe fn step<V: Vector, const R: usize, const C: usize>(
    a: *const f32,
    line: *const f32,
    sums: &mut [[V; C]; R],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut b = [V::zero(); C];
        for (j, b) in b.iter_mut().enumerate() {
            *b = V::load(line.add(j * LANES));
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let factor = V::splat(*a.add(r * LANES));
            for (sum, &b) in sums.iter_mut().zip(&b) {
                *sum = factor.mul_add(b, *sum);
            }
        }
    }
}

/// Where a tile goes: vector `j` of row `r` is at `start + j * block + r * 16`.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) start: *mut f32,
    /// Floats from one block of channels to the next.
    pub(super) block: usize,
    /// What is added, laid out alike; may be null.
    pub(super) sum: *const f32,
    /// Whether its lines are likely to be far away.
    pub(super) far: bool,
}

impl Target {
    /// The lines of `R` rows and `C` vectors, to be brought near in so many turns.
    #[inline(always)]
    pub(super) fn lines<const R: usize, const C: usize>(self, turns: usize) -> Lines<R, C> {
        let left = if self.far { R * C } else { 0 };
        Lines { target: self, at: 0, row: 0, left, each: (R * C).div_ceil(turns.max(1)) }
    }
}

/// Lines of a target that are not near yet.
pub(super) struct Lines<const R: usize, const C: usize> {
    target: Target,
    /// Where the next one is, from the start on, and its row.
    at: usize,
    row: usize,
    left: usize,
    each: usize,
}

impl<const R: usize, const C: usize> Lines<R, C> {
    /// Brings a turn's lines near, in the order in which they are written: what is not near is waited for, a sum at once,
    /// what is written when too much of it waits.
    #[inline(always)]
    pub(super) fn bring(&mut self) {
        let count = self.each.min(self.left);
        self.left -= count;
        for _ in 0..count {
            fetch_to_write(self.target.start.wrapping_add(self.at));
            if !self.target.sum.is_null() {
                fetch_to_read(self.target.sum.wrapping_add(self.at));
            }
            self.at += LANES;
            self.row += 1;
            if self.row == R {
                self.row = 0;
                self.at += self.target.block - R * LANES;
            }
        }
    }
}

/// Computes a tile of `rows` positions and `C` vectors of channels, finishes and writes it.
///
/// # Safety
/// As [`sums`]; the target's vectors can be written (and those of its sum read), and nobody else uses them.
#[inline(always)]
pub(super) unsafe fn tile<V: Vector, const C: usize>(
    rows: usize,
    depth: usize,
    a: Left,
    b: Right,
    bias: [V; C],
    to: Target,
    after: After,
) {
    macro_rules! rows {
        ($($r:literal)*) => {
            match rows {
                $($r if $r <= V::TILE.0 => {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let sums = sums::<V, $r, C>(depth, a, b, bias, to);
                        write::<V, $r, C>(sums, to, after);
                    }
                })*
                _ => debug_assert!(false, "a tile of {rows} rows"),
            }
        };
    }
    rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

/// # Safety
/// As [`tile`].
#[inline(always)]
pub(super) unsafe fn write<V: Vector, const R: usize, const C: usize>(
    sums: [[V; C]; R],
    to: Target,
    after: After,
) {
    macro_rules! each {
        ($v:ident => $body:expr) => {
            for j in 0..C {
                for r in 0..R {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let at = j * to.block + r * LANES;
                        let mut $v = sums[r][j];
                        if !to.sum.is_null() {
                            $v = $v.add(V::load(to.sum.add(at)));
                        }
                        $body.store(to.start.add(at));
                    }
                }
            }
        };
    }
    // One loop each, so that the choice is made once a tile.
    match after {
        After::Nothing | After::Other(_) => each!(v => v),
        After::Clamp(lo, hi) => {
            let (lo, hi) = (V::splat(lo), V::splat(hi));
            each!(v => hi.min(lo.max(v)));
        }
        After::HardSigmoid(..) | After::HardSwish => each!(v => after.in_registers(v)),
    }
    if let After::Other(_) = after {
        for j in 0..C {
            // SAFETY: the caller's promise.
            after.on_row(unsafe { std::slice::from_raw_parts_mut(to.start.add(j * to.block), R * LANES) });
        }
    }
}
