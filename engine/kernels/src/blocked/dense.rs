//! Few channels that lie apart, as a network's first layer finds them: the lines that the windows see are copied with
//! their pads, and factors are read where they lie.

use super::shape::pair;
use super::tile::{Target, write};
use super::{Aligned, Call, Spec, with_aligned};
use crate::KernelError;
use crate::isa::{LANES, Vector, Work, dispatch};
use oxidane_pool::{Cells, Pool as Threads};

/// Packed weights: for each panel of output channels, for each channel and tap a line.
pub(super) struct Dense {
    packed: Aligned,
    /// Lines of a panel.
    depth: usize,
    /// Vectors of a line.
    vectors: usize,
}

/// Multiply-adds of a task at least.
const TASK: usize = 1 << 21;

/// Floats of copied lines at most: they stay in the second-level cache.
const COPY: usize = 96 << 10;

impl Dense {
    pub(super) fn new(spec: &Spec, weights: &[f32]) -> Result<Dense, KernelError> {
        let kernel = pair(&spec.window.kernel, 1);
        let depth = spec.inputs * kernel.0 * kernel.1;
        let vectors = dispatch(Most).1.min(spec.outputs.div_ceil(LANES)).max(1);
        let line = vectors * LANES;
        let mut packed = Aligned::zeroed(spec.outputs.div_ceil(line) * depth * line)?;
        for (o, from) in weights.chunks_exact(depth).enumerate() {
            let panel = &mut packed.get_mut()[o / line * depth * line..][..depth * line];
            for (at, &w) in from.iter().enumerate() {
                panel[at * line + o % line] = w;
            }
        }
        Ok(Dense { packed, depth, vectors })
    }

    pub(super) fn run(&self, threads: &Threads, call: &Call<'_>, out: &mut [f32]) {
        let sizes = call.sizes;
        let (height, width) = (sizes.out_height, sizes.out_width);
        let seen = Seen {
            width: (width - 1) * sizes.strides.1 + (sizes.kernel.1 - 1) * sizes.dilations.1 + 1,
            above: (sizes.kernel.0 - 1) * sizes.dilations.0 + 1,
        };
        let work = width * self.depth * sizes.outputs.next_multiple_of(LANES);
        let fit = (COPY / (sizes.inputs * seen.width)).saturating_sub(seen.above) / sizes.strides.0 + 1;
        let rows = (TASK / work.max(1)).clamp(1, fit.min(height));
        let bands = height.div_ceil(rows);
        let rows = height.div_ceil(bands);
        let bands = height.div_ceil(rows);
        let most = sizes.inputs * seen.width * seen.lines(rows, sizes.strides.0);
        let cells = Cells::new(out);
        threads.for_each(sizes.batch * bands, &|task| {
            let (item, band) = (task / bands, task % bands);
            let rows = (band * rows, ((band + 1) * rows).min(height));
            // Scratch is taken outside: what runs inside of a closure is not compiled for the instruction set.
            with_aligned(most, |lines| {
                dispatch(Band { dense: self, call, cells: &cells, item, rows, seen, lines });
            });
        });
    }
}

struct Most;

impl Work for Most {
    type Output = (usize, usize);
    #[inline(always)]
    fn run<V: Vector>(self) -> (usize, usize) {
        V::TILE
    }
}

/// What windows see of the input.
#[derive(Clone, Copy)]
struct Seen {
    /// Columns that the windows of a row see, with pads.
    width: usize,
    /// Lines that one window sees.
    above: usize,
}

impl Seen {
    /// Lines that the windows of so many rows see.
    fn lines(self, rows: usize, stride: usize) -> usize {
        (rows - 1) * stride + self.above
    }
}

/// Rows of one image.
struct Band<'a> {
    dense: &'a Dense,
    call: &'a Call<'a>,
    cells: &'a Cells<'a, f32>,
    item: usize,
    rows: (usize, usize),
    seen: Seen,
    /// For each channel the lines that the windows see.
    lines: &'a mut [f32],
}

impl Work for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        self.pad();
        let wide = V::TILE.1 > 1 && self.dense.vectors > 1;
        match (wide, self.call.sizes.strides.1) {
            (true, 1) => self.multiply::<V, 2, 1>(),
            (true, 2) => self.multiply::<V, 2, 2>(),
            (true, _) => self.multiply::<V, 2, 0>(),
            (false, 1) => self.multiply::<V, 1, 1>(),
            (false, 2) => self.multiply::<V, 1, 2>(),
            (false, _) => self.multiply::<V, 1, 0>(),
        }
    }
}

impl Band<'_> {
    /// Copies the lines that the windows see, zeros around them.
    #[inline(always)]
    fn pad(&mut self) {
        let (sizes, width) = (self.call.sizes, self.seen.width);
        let lines = self.seen.lines(self.rows.1 - self.rows.0, sizes.strides.0);
        let left = sizes.begins.1.min(width);
        let columns = sizes.width.min(width - left);
        for (at, to) in self.lines.chunks_exact_mut(width).take(sizes.inputs * lines).enumerate() {
            let (channel, line) = (at / lines, at % lines);
            let row = (self.rows.0 * sizes.strides.0 + line).checked_sub(sizes.begins.0);
            let Some(row) = row.filter(|&row| row < sizes.height) else {
                to.fill(0.0);
                continue;
            };
            let from = ((self.item * sizes.inputs + channel) * sizes.height + row) * sizes.width;
            to[..left].fill(0.0);
            to[left..left + columns].copy_from_slice(&self.call.x[from..from + columns]);
            to[left + columns..].fill(0.0);
        }
    }

    /// All panels over all rows; the stride is known where it is not 0.
    #[inline(always)]
    fn multiply<V: Vector, const C: usize, const S: usize>(&self) {
        let (sizes, dense) = (self.call.sizes, self.dense);
        let (blocks, line) = (sizes.outputs.div_ceil(LANES), C * LANES);
        for panel in 0..blocks.div_ceil(C) {
            let b = &dense.packed.get()[panel * dense.depth * line..][..dense.depth * line];
            // The last panel may have less than its width.
            if blocks - panel * C >= C {
                self.panel::<V, C, S>(b, line, panel * C);
            } else {
                self.panel::<V, 1, S>(b, line, panel * C);
            }
        }
    }

    /// `C` blocks of output channels from `block` on.
    #[inline(always)]
    fn panel<V: Vector, const C: usize, const S: usize>(&self, b: &[f32], line: usize, block: usize) {
        let sizes = self.call.sizes;
        let mut bias = [V::zero(); C];
        for (j, bias) in bias.iter_mut().enumerate() {
            *bias = V::of(&self.call.bias[(block + j) * LANES..][..LANES]);
        }
        for row in self.rows.0..self.rows.1 {
            // The last tile of a row may write columns again; rows shorter than a tile are written one by one.
            macro_rules! tiles {
                ($($rows:literal)*) => {
                    match V::TILE.0 {
                        $($rows if sizes.out_width >= $rows => {
                            let mut column = 0;
                            loop {
                                self.tile::<V, $rows, C, S>(b, line, (row, column), block, bias);
                                if column + $rows == sizes.out_width {
                                    break;
                                }
                                column = (column + $rows).min(sizes.out_width - $rows);
                            }
                        })*
                        _ => {
                            for column in 0..sizes.out_width {
                                self.tile::<V, 1, C, S>(b, line, (row, column), block, bias);
                            }
                        }
                    }
                };
            }
            tiles!(4 6 14);
        }
    }

    #[inline(always)]
    fn tile<V: Vector, const R: usize, const C: usize, const S: usize>(
        &self,
        b: &[f32],
        line: usize,
        (row, column): (usize, usize),
        block: usize,
        bias: [V; C],
    ) {
        let (sizes, width) = (self.call.sizes, self.seen.width);
        let (kernel, dilations) = (sizes.kernel, sizes.dilations);
        let stride = if S > 0 { S } else { sizes.strides.1 };
        let lines = self.seen.lines(self.rows.1 - self.rows.0, sizes.strides.0);
        let first = (row - self.rows.0) * sizes.strides.0 * width + column * stride;
        let last = first
            + ((sizes.inputs - 1) * lines + (kernel.0 - 1) * dilations.0) * width
            + (R - 1) * stride
            + (kernel.1 - 1) * dilations.1;
        assert!(last < self.lines.len() && b.len() >= (self.dense.depth - 1) * line + C * LANES);
        let (positions, blocks) = (sizes.positions(), sizes.outputs.div_ceil(LANES));
        let offset = ((self.item * blocks + block) * positions + row * sizes.out_width + column) * LANES;
        let last = offset + ((C - 1) * positions + R) * LANES;
        // SAFETY: bands are disjoint, and this one writes `R` vectors in each of `C` blocks of its rows.
        let start = unsafe { self.cells.piece(offset, last - offset) }.as_mut_ptr();
        let sum = self.call.sum.map_or(std::ptr::null(), |sum| sum[offset..last].as_ptr());
        let target = Target { start, block: positions * LANES, sum, far: self.call.is_far() };
        let mut near = target.lines::<R, C>(sizes.inputs * kernel.0);
        let mut sums = [bias; R];
        // SAFETY: the weights have `depth` lines of `line` floats, and `last` is the last float that is read.
        unsafe {
            let x = self.lines.as_ptr().add(first);
            let mut at = b.as_ptr();
            for channel in 0..sizes.inputs {
                for i in 0..kernel.0 {
                    near.bring();
                    let x = x.add((channel * lines + i * dilations.0) * width);
                    for j in 0..kernel.1 {
                        let x = x.add(j * dilations.1);
                        let mut w = [V::zero(); C];
                        for (j, w) in w.iter_mut().enumerate() {
                            *w = V::load(at.add(j * LANES));
                        }
                        at = at.wrapping_add(line);
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let factor = V::splat(*x.add(r * stride));
                            for (sum, &w) in sums.iter_mut().zip(&w) {
                                *sum = factor.mul_add(w, *sum);
                            }
                        }
                    }
                }
            }
        }
        // SAFETY: as above.
        unsafe { write::<V, R, C>(sums, target, self.call.after) };
    }
}
