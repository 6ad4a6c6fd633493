//! Sums over all taps and channels, tile by tile.
//!
//! The windows of a few tiles of positions are gathered into scratch (those of single positions lie already as they
//! should), and packed weights pass over them: a panel of weights is read once a group of tiles.

use super::tile::{Left, ROWS, Target, tile};
use super::{Aligned, Call, Input, Spec, with_aligned};
use crate::KernelError;
use crate::isa::{LANES, Vector, Work, dispatch};
use oxidane_pool::{Cells, Pool as Threads};

/// Packed weights: for each group and panel of output channels, for each block of depth, tap and channel of the block a
/// line of the panel.
pub(super) struct Direct {
    packed: Aligned,
    /// Lines of a panel.
    depth: usize,
    /// Vectors of a line.
    vectors: usize,
    /// Floats of a run of dense input that belong to one row of taps, padded to a part of a vector or to whole ones.
    run: usize,
}

/// Floats of gathered windows of a group of tiles: they and a panel of weights stay in the second-level cache.
const GROUP: usize = 160 * 1024;

/// Output channels that a task takes at least, where their windows are gathered.
const CHANNELS: usize = 128;

/// Multiply-adds of a task at least.
const TASK: usize = 1 << 19;

impl Direct {
    pub(super) fn new(spec: &Spec, input: Input, weights: &[f32]) -> Result<Direct, KernelError> {
        let kernel = super::shape::pair(&spec.window.kernel, 1);
        let (taps, channels) = (kernel.0 * kernel.1, spec.inputs / spec.groups);
        let run = kernel.1.next_multiple_of(match kernel.1 {
            0..=4 => 4,
            5..=8 => 8,
            _ => LANES,
        });
        let depth = match input {
            Input::Dense => channels * kernel.0 * run,
            Input::Blocked => channels.next_multiple_of(LANES) * taps,
        };
        let outputs = spec.outputs / spec.groups;
        let vectors = dispatch(Vectors).min(outputs.div_ceil(LANES)).max(1);
        let panels = outputs.div_ceil(vectors * LANES);
        let mut packed = Aligned::zeroed(spec.groups * panels * depth * vectors * LANES)?;
        let lines = packed.get_mut();
        let line = vectors * LANES;
        for (o, from) in weights.chunks_exact(channels * taps).enumerate() {
            let (group, o) = (o / outputs, o % outputs);
            let panel = &mut lines[(group * panels + o / line) * depth * line..][..depth * line];
            for (c, from) in from.chunks_exact(taps).enumerate() {
                for (tap, &w) in from.iter().enumerate() {
                    let row = match input {
                        Input::Dense => (c * kernel.0 + tap / kernel.1) * run + tap % kernel.1,
                        Input::Blocked => (c / LANES * taps + tap) * LANES + c % LANES,
                    };
                    panel[row * line + o % line] = w;
                }
            }
        }
        Ok(Direct { packed, depth, vectors, run })
    }

    pub(super) fn run(&self, threads: &Threads, call: &Call<'_>, out: &mut [f32]) {
        let sizes = call.sizes;
        let positions = sizes.positions();
        let in_place = sizes.is_pointwise() && sizes.input == Input::Blocked;
        let rows_at_most = dispatch(Rows);
        // Tiles of even heights, in groups of even counts.
        let tiles = positions.div_ceil(rows_at_most);
        let rows = positions.div_ceil(tiles);
        let tiles = positions.div_ceil(rows);
        let of_group = if in_place { 8 } else { (GROUP / (self.depth.max(1) * rows)).clamp(1, 16) };
        let groups = tiles.div_ceil(of_group);
        let of_group = tiles.div_ceil(groups);
        let outputs = sizes.outputs / sizes.groups;
        let line = self.vectors * LANES;
        let panels = outputs.div_ceil(line);
        // Panels of a task: few enough for all threads to have work, enough to pay for the gathering.
        let work = of_group * rows * self.depth * line;
        let least = TASK.div_ceil(work.max(1)).max(if in_place { 1 } else { CHANNELS.div_ceil(line) });
        let chunks = (panels / least).clamp(1, 8usize.div_ceil(groups * sizes.batch * sizes.groups).max(1));
        let of_chunk = panels.div_ceil(chunks);
        let chunks = panels.div_ceil(of_chunk);
        let cells = Cells::new(out);
        threads.for_each(sizes.batch * sizes.groups * groups * chunks, &|task| {
            // Neighbouring tasks share weights: they are read once from memory where two threads run side by side.
            let (chunk, rest) = (task % chunks, task / chunks);
            let (group, item) = (rest % groups, rest / groups);
            let first = group * of_group * rows;
            let to = (first + of_group * rows).min(positions);
            let depth = self.depth.next_multiple_of(LANES);
            let band = Band {
                direct: self,
                call,
                cells: &cells,
                item: item / sizes.groups,
                group: item % sizes.groups,
                panels: (chunk * of_chunk, ((chunk + 1) * of_chunk).min(panels)),
                from: first,
                to,
                rows,
                windows: None,
            };
            if in_place {
                return dispatch(band);
            }
            // Scratch is taken outside: what runs inside of a closure is not compiled for the instruction set.
            with_aligned(depth * (to - first), |windows| dispatch(Band { windows: Some(windows), ..band }));
        });
    }
}

struct Vectors;

impl Work for Vectors {
    type Output = usize;
    #[inline(always)]
    fn run<V: Vector>(self) -> usize {
        V::TILE.1
    }
}

struct Rows;

impl Work for Rows {
    type Output = usize;
    #[inline(always)]
    fn run<V: Vector>(self) -> usize {
        V::TILE.0
    }
}

/// Positions and panels of one image and group.
struct Band<'a> {
    direct: &'a Direct,
    call: &'a Call<'a>,
    cells: &'a Cells<'a, f32>,
    item: usize,
    group: usize,
    panels: (usize, usize),
    from: usize,
    to: usize,
    /// Positions of a tile.
    rows: usize,
    /// Where windows are gathered; `None` where they lie in the input.
    windows: Option<&'a mut [f32]>,
}

impl Work for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let sizes = self.call.sizes;
        let Some(windows) = self.windows.take() else {
            let plane = sizes.height * sizes.width * LANES;
            let blocks = sizes.inputs.div_ceil(LANES);
            let of_group = blocks / sizes.groups;
            let start = (self.item * blocks + self.group * of_group) * plane;
            let x = &self.call.x[start..start + of_group * plane];
            self.multiply::<V>(Windows::Lying { start: x.as_ptr(), step: plane });
            return;
        };
        let depth = self.direct.depth.next_multiple_of(LANES);
        match sizes.input {
            Input::Blocked => self.gather::<V>(windows),
            Input::Dense => self.gather_dense(windows, depth),
        }
        self.multiply::<V>(Windows::Gathered { start: windows.as_ptr(), depth, from: self.from });
    }
}

/// Where the windows of a band lie.
#[derive(Clone, Copy)]
enum Windows {
    /// In the input itself, whose blocks are `step` floats apart.
    Lying { start: *const f32, step: usize },
    /// Tile after tile from position `from` on, `depth` floats for each position.
    Gathered { start: *const f32, depth: usize, from: usize },
}

impl Windows {
    /// Those of a tile of `rows` positions from `at` on.
    #[inline(always)]
    fn of(self, at: usize, rows: usize) -> Left {
        match self {
            Windows::Lying { start, step } => Left { start: start.wrapping_add(at * LANES), step },
            Windows::Gathered { start, depth, from } => {
                Left { start: start.wrapping_add((at - from) * depth), step: rows * LANES }
            }
        }
    }
}

impl Band<'_> {
    /// All panels over all tiles of the band.
    #[inline(always)]
    fn multiply<V: Vector>(&self, windows: Windows) {
        if V::TILE.1 > 1 && self.direct.vectors > 1 {
            self.multiply_by::<V, 2>(windows);
        } else {
            self.multiply_by::<V, 1>(windows);
        }
    }

    #[inline(always)]
    fn multiply_by<V: Vector, const C: usize>(&self, windows: Windows) {
        let (sizes, direct) = (self.call.sizes, self.direct);
        let (positions, outputs) = (sizes.positions(), sizes.outputs / sizes.groups);
        let (blocks, line) = (sizes.outputs.div_ceil(LANES), C * LANES);
        let panels = outputs.div_ceil(line);
        for panel in self.panels.0..self.panels.1 {
            let b = &direct.packed.get()[(self.group * panels + panel) * direct.depth * line..];
            let block = (self.group * outputs + panel * line) / LANES;
            // The last panel may have less than its width.
            let vectors = C.min(outputs.div_ceil(LANES) - panel * C);
            let mut bias = [V::zero(); C];
            for (j, bias) in bias[..vectors].iter_mut().enumerate() {
                *bias = V::of(&self.call.bias[(block + j) * LANES..][..LANES]);
            }
            let mut at = self.from;
            while at < self.to {
                let rows = self.rows.min(self.to - at);
                let offset = ((self.item * blocks + block) * positions + at) * LANES;
                let last = offset + (vectors - 1) * positions * LANES + rows * LANES;
                // SAFETY: bands are disjoint; the tile writes `rows` vectors in each of its blocks.
                let start = unsafe { self.cells.piece(offset, last - offset) }.as_mut_ptr();
                let sum = match self.call.sum {
                    Some(sum) => sum[offset..last].as_ptr(),
                    None => std::ptr::null(),
                };
                let target = Target { start, block: positions * LANES, sum };
                let (a, b) = (windows.of(at, rows), (b.as_ptr(), line));
                // SAFETY: the panel has `depth` lines, the windows of the tile were gathered or lie in the input, and
                // the target was checked. Of a panel that is wider than its channels the first vector is computed.
                unsafe {
                    if vectors == C {
                        tile::<V, C>(rows, direct.depth, a, b, bias, target, self.call.after);
                    } else {
                        tile::<V, 1>(rows, direct.depth, a, b, [bias[0]], target, self.call.after);
                    }
                }
                at += rows;
            }
        }
    }

    /// The windows of the band's positions: a vector for each block, tap and position of a tile.
    #[inline(always)]
    fn gather<V: Vector>(&self, windows: &mut [f32]) {
        let sizes = self.call.sizes;
        let (taps, blocks) = (sizes.taps(), sizes.inputs.div_ceil(LANES));
        let of_group = blocks / sizes.groups;
        let plane = sizes.height * sizes.width * LANES;
        let start = (self.item * blocks + self.group * of_group) * plane;
        let x = &self.call.x[start..start + of_group * plane];
        let mut rest = windows;
        let mut at = self.from;
        while at < self.to {
            let rows = self.rows.min(self.to - at);
            let (tile, after) = rest.split_at_mut(rows * taps * of_group * LANES);
            rest = after;
            // Where each window begins; beyond the edges it is none.
            let mut corner = [(0isize, 0isize); ROWS];
            for (r, corner) in corner[..rows].iter_mut().enumerate() {
                let (row, column) = ((at + r) / sizes.out_width, (at + r) % sizes.out_width);
                *corner = (
                    (row * sizes.strides.0) as isize - sizes.begins.0 as isize,
                    (column * sizes.strides.1) as isize - sizes.begins.1 as isize,
                );
            }
            for tap in 0..taps {
                let shift = (
                    (tap / sizes.kernel.1 * sizes.dilations.0) as isize,
                    (tap % sizes.kernel.1 * sizes.dilations.1) as isize,
                );
                let mut places = [usize::MAX; ROWS];
                for (place, corner) in places[..rows].iter_mut().zip(&corner) {
                    let (row, column) = (corner.0 + shift.0, corner.1 + shift.1);
                    if (0..sizes.height as isize).contains(&row)
                        && (0..sizes.width as isize).contains(&column)
                    {
                        *place = (row as usize * sizes.width + column as usize) * LANES;
                    }
                }
                for block in 0..of_group {
                    let to = &mut tile[(block * taps + tap) * rows * LANES..][..rows * LANES];
                    let x = &x[block * plane..(block + 1) * plane];
                    for (to, &place) in to.chunks_exact_mut(LANES).zip(&places) {
                        let v = if place == usize::MAX { V::zero() } else { V::of(&x[place..place + LANES]) };
                        v.put(to);
                    }
                }
            }
            at += rows;
        }
    }

    /// As [`Band::gather`] for dense input: each row of taps of a channel fills a run, padded with zeros.
    #[inline(always)]
    fn gather_dense(&self, windows: &mut [f32], depth: usize) {
        let sizes = self.call.sizes;
        let run = self.direct.run;
        let plane = sizes.height * sizes.width;
        let x = &self.call.x[self.item * sizes.inputs * plane..][..sizes.inputs * plane];
        // Runs of several vectors lie in as many blocks.
        let (taps, part) = (sizes.kernel.1, run.min(LANES));
        let mut first = self.from;
        while first < self.to {
            let rows = self.rows.min(self.to - first);
            let tile = &mut windows[(first - self.from) * depth..][..rows * depth];
            tile[(depth / LANES - 1) * rows * LANES..].fill(0.0);
            for r in 0..rows {
                let (row, column) = ((first + r) / sizes.out_width, (first + r) % sizes.out_width);
                let left = (column * sizes.strides.1) as isize - sizes.begins.1 as isize;
                let inside = left >= 0
                    && left as usize + (taps - 1) * sizes.dilations.1 < sizes.width
                    && sizes.dilations.1 == 1;
                for channel in 0..sizes.inputs {
                    for tap in 0..sizes.kernel.0 {
                        let line = (row * sizes.strides.0 + tap * sizes.dilations.0)
                            .checked_sub(sizes.begins.0)
                            .filter(|&line| line < sizes.height);
                        for begin in (0..run).step_by(part) {
                            let at = (channel * sizes.kernel.0 + tap) * run + begin;
                            let to = &mut tile[at / LANES * rows * LANES + r * LANES + at % LANES..][..part];
                            let Some(line) = line else {
                                to.fill(0.0);
                                continue;
                            };
                            let seen = &x[channel * plane + line * sizes.width..][..sizes.width];
                            let lanes = part.min(taps - begin);
                            to[lanes..].fill(0.0);
                            if inside {
                                let seen = &seen[left as usize + begin..][..lanes];
                                match lanes {
                                    3 => to[..3].copy_from_slice(&seen[..3]),
                                    5 => to[..5].copy_from_slice(&seen[..5]),
                                    7 => to[..7].copy_from_slice(&seen[..7]),
                                    LANES => to[..LANES].copy_from_slice(&seen[..LANES]),
                                    _ => to[..lanes].copy_from_slice(seen),
                                }
                                continue;
                            }
                            for (i, cell) in to[..lanes].iter_mut().enumerate() {
                                let column = left + ((begin + i) * sizes.dilations.1) as isize;
                                *cell = usize::try_from(column)
                                    .ok()
                                    .and_then(|c| seen.get(c))
                                    .copied()
                                    .unwrap_or(0.0);
                            }
                        }
                    }
                }
            }
            first += rows;
        }
    }
}
