//! One channel a group: sixteen groups a vector, several columns of a row in registers.

use super::shape::{Sizes, pair};
use super::{Aligned, Call, Spec, with_aligned};
use crate::KernelError;
use crate::isa::{LANES, Vector, Work, dispatch};
use oxidane_pool::{Cells, Pool as Threads};

/// Weights: for each block and tap a vector.
pub(super) struct Depthwise {
    packed: Aligned,
}

/// Columns of a row that are summed at a time.
const COLUMNS: usize = 7;

/// Multiply-adds of vectors of a task at least.
const TASK: usize = 1 << 14;

impl Depthwise {
    pub(super) fn new(spec: &Spec, weights: &[f32]) -> Result<Depthwise, KernelError> {
        let kernel = pair(&spec.window.kernel, 1);
        let taps = kernel.0 * kernel.1;
        let mut packed = Aligned::zeroed(spec.groups.next_multiple_of(LANES) * taps)?;
        for (channel, from) in weights.chunks_exact(taps).enumerate() {
            let block = &mut packed.get_mut()[channel / LANES * taps * LANES..][..taps * LANES];
            for (tap, &w) in from.iter().enumerate() {
                block[tap * LANES + channel % LANES] = w;
            }
        }
        Ok(Depthwise { packed })
    }

    pub(super) fn run(&self, threads: &Threads, call: &Call<'_>, out: &mut [f32]) {
        let sizes = call.sizes;
        let blocks = sizes.batch * sizes.outputs.div_ceil(LANES);
        // Rows of a task, and planes where they are small.
        let row = (sizes.out_width * sizes.taps()).max(1);
        let rows = (TASK / row).clamp(1, sizes.out_height);
        let bands = sizes.out_height.div_ceil(rows);
        let rows = sizes.out_height.div_ceil(bands);
        let together = (TASK / (row * sizes.out_height)).clamp(1, blocks);
        let plane = sizes.positions() * LANES;
        let padded = padded_width(sizes) * LANES * ((rows - 1) * sizes.strides.0 + span(sizes).0);
        let cells = Cells::new(out);
        threads.for_each(blocks.div_ceil(together) * bands, &|task| {
            let (group, band) = (task / bands, task % bands);
            let rows = (band * rows, ((band + 1) * rows).min(sizes.out_height));
            for block in group * together..((group + 1) * together).min(blocks) {
                let at = block * plane + rows.0 * sizes.out_width * LANES;
                let len = (rows.1 - rows.0) * sizes.out_width * LANES;
                // SAFETY: bands of rows of the blocks are disjoint.
                let out = unsafe { cells.piece(at, len) };
                let sum = call.sum.map(|sum| &sum[at..at + len]);
                with_aligned(padded, |seen| {
                    dispatch(Band { weights: self.packed.get(), call, block, rows, seen, sum, out });
                });
            }
        });
    }
}

/// Positions that a window spans.
fn span(sizes: &Sizes) -> (usize, usize) {
    ((sizes.kernel.0 - 1) * sizes.dilations.0 + 1, (sizes.kernel.1 - 1) * sizes.dilations.1 + 1)
}

/// Columns of the input, with pads, that the windows of a row see, those of a whole last group of columns included.
fn padded_width(sizes: &Sizes) -> usize {
    (sizes.out_width.next_multiple_of(COLUMNS) - 1) * sizes.strides.1 + span(sizes).1
}

struct Band<'a> {
    weights: &'a [f32],
    call: &'a Call<'a>,
    block: usize,
    rows: (usize, usize),
    /// The rows that the windows see, with their pads.
    seen: &'a mut [f32],
    sum: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Work for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        self.pad::<V>();
        let sizes = self.call.sizes;
        match (sizes.kernel, sizes.strides, sizes.dilations) {
            ((3, 3), (_, 1), (1, 1)) => self.rows::<V, 3, 3, 1>(),
            ((3, 3), (_, 2), (1, 1)) => self.rows::<V, 3, 3, 2>(),
            ((5, 5), (_, 1), (1, 1)) => self.rows::<V, 5, 5, 1>(),
            ((5, 5), (_, 2), (1, 1)) => self.rows::<V, 5, 5, 2>(),
            _ => self.rows::<V, 0, 0, 0>(),
        }
    }
}

impl Band<'_> {
    /// Copies the rows that the windows see, zeros around them.
    #[inline(always)]
    fn pad<V: Vector>(&mut self) {
        let sizes = self.call.sizes;
        let plane = sizes.height * sizes.width * LANES;
        let x = &self.call.x[self.block * plane..(self.block + 1) * plane];
        let width = padded_width(sizes);
        let lines = (self.rows.1 - self.rows.0 - 1) * sizes.strides.0 + span(sizes).0;
        let left = sizes.begins.1.min(width);
        let columns = sizes.width.min(width - left);
        for (line, to) in self.seen.chunks_exact_mut(width * LANES).take(lines).enumerate() {
            let row = (self.rows.0 * sizes.strides.0 + line).checked_sub(sizes.begins.0);
            let Some(row) = row.filter(|&row| row < sizes.height) else {
                to.fill(0.0);
                continue;
            };
            let (pad, rest) = to.split_at_mut(left * LANES);
            let (copy, end) = rest.split_at_mut(columns * LANES);
            pad.fill(0.0);
            end.fill(0.0);
            let from = &x[row * sizes.width * LANES..][..columns * LANES];
            for (to, from) in copy.chunks_exact_mut(LANES).zip(from.chunks_exact(LANES)) {
                V::of(from).put(to);
            }
        }
    }

    /// All rows of the band. The kernel and the stride are known where they are not 0.
    #[inline(always)]
    fn rows<V: Vector, const KH: usize, const KW: usize, const S: usize>(self) {
        let sizes = self.call.sizes;
        let (kh, kw) = if KH > 0 { (KH, KW) } else { sizes.kernel };
        let stride = if S > 0 { S } else { sizes.strides.1 };
        let (dh, dw) = if KH > 0 { (1, 1) } else { sizes.dilations };
        let width = padded_width(sizes);
        let blocks = sizes.outputs.div_ceil(LANES);
        let weights = &self.weights[self.block % blocks * kh * kw * LANES..][..kh * kw * LANES];
        let bias = V::of(&self.call.bias[self.block % blocks * LANES..][..LANES]);
        let after = self.call.after;
        for (row, out) in self.out.chunks_exact_mut(sizes.out_width * LANES).enumerate() {
            let lines = &self.seen[row * sizes.strides.0 * width * LANES..];
            // The last line read ends within the rows that were copied.
            assert!(lines.len() >= ((kh - 1) * dh + 1) * width * LANES);
            let mut column = 0;
            while column < sizes.out_width {
                let mut sums = [bias; COLUMNS];
                for i in 0..kh {
                    for j in 0..kw {
                        let start = (i * dh * width + column * stride + j * dw) * LANES;
                        // SAFETY: a padded line holds the windows of whole groups of columns, and `kh` lines follow.
                        unsafe {
                            let w = V::load(weights.as_ptr().add((i * kw + j) * LANES));
                            let seen = lines.as_ptr().add(start);
                            for (c, sum) in sums.iter_mut().enumerate() {
                                *sum = V::load(seen.add(c * stride * LANES)).mul_add(w, *sum);
                            }
                        }
                    }
                }
                let count = COLUMNS.min(sizes.out_width - column);
                let at = (row * sizes.out_width + column) * LANES;
                for (c, &v) in sums[..count].iter().enumerate() {
                    let v = match self.sum {
                        Some(sum) => v.add(V::of(&sum[at + c * LANES..][..LANES])),
                        None => v,
                    };
                    after.in_registers(v).put(&mut out[(column + c) * LANES..][..LANES]);
                }
                column += COLUMNS;
            }
            after.on_row(out);
        }
    }
}
