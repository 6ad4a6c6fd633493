//! Sums over all taps and channels, tile by tile.
//!
//! The windows of a few tiles of positions are gathered into scratch (those of single positions lie already as they
//! should), and packed weights pass over them: a panel of weights is read once a group of tiles.

use super::tile::{Left, ROWS, Right, Target, tile};
use super::{After, Aligned, Call, Spec, with_aligned};
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
}

/// Floats of gathered windows that are multiplied at a time: they and a panel of weights stay in the second-level cache.
const GROUP: usize = 128 << 10;

/// Floats of all windows up to which they are gathered once for all tasks.
const SHARED: usize = 512 << 10;

/// Lines of a panel that are multiplied at a time, where windows are gathered.
const PART: usize = 640;

/// Output channels that a task takes at least, where it gathers windows for itself.
const CHANNELS: usize = 128;

/// Multiply-adds of a task at least.
const TASK: usize = 1 << 19;

/// Positions that take as long as a single one: weights come from memory meanwhile.
const FEW: usize = 6;

/// Tasks that a convolution is cut into at most where windows are gathered once.
const TASKS: usize = 8;

impl Direct {
    pub(super) fn new(threads: &Threads, spec: &Spec, weights: &[f32]) -> Result<Direct, KernelError> {
        let kernel = super::shape::pair(&spec.window.kernel, 1);
        let (taps, channels) = (kernel.0 * kernel.1, spec.inputs / spec.groups);
        // Channels beyond the last are left out where they are the last lines.
        let depth = if taps == 1 { channels } else { channels.next_multiple_of(LANES) * taps };
        let outputs = spec.outputs / spec.groups;
        let vectors = dispatch(Vectors).min(outputs.div_ceil(LANES)).max(1);
        let panels = outputs.div_ceil(vectors * LANES);
        let mut packed = Aligned::zeroed(spec.groups * panels * depth * vectors * LANES)?;
        let line = vectors * LANES;
        let of_output = channels * taps;
        threads.for_each_piece(packed.get_mut(), (depth * line).max(1), |at, panel| {
            let (group, first) = (at / panels, at % panels * line);
            let weights = &weights[(group * outputs + first) * of_output..];
            // A block of channels at a time, so that its lines stay near.
            for (block, to) in panel.chunks_mut(taps * LANES * line).enumerate() {
                let channels = LANES.min(channels - block * LANES);
                for o in 0..line.min(outputs - first) {
                    let from = &weights[o * of_output + block * LANES * taps..][..channels * taps];
                    for (c, from) in from.chunks_exact(taps).enumerate() {
                        for (tap, &w) in from.iter().enumerate() {
                            to[(tap * LANES + c) * line + o] = w;
                        }
                    }
                }
            }
        });
        Ok(Direct { packed, depth, vectors })
    }

    pub(super) fn run(&self, threads: &Threads, call: &Call<'_>, out: &mut [f32]) {
        let sizes = call.sizes;
        let positions = sizes.positions();
        // Tiles of even heights.
        let tiles = positions.div_ceil(dispatch(Rows));
        let rows = positions.div_ceil(tiles);
        let tiles = positions.div_ceil(rows);
        let panels = (sizes.outputs / sizes.groups).div_ceil(self.vectors * LANES);
        let cells = Cells::new(out);
        let band = Band {
            direct: self,
            call,
            cells: &cells,
            item: 0,
            group: 0,
            panels: (0, panels),
            from: 0,
            to: positions,
            rows,
            part: self.depth,
            parts: 1,
        };
        if sizes.is_pointwise() {
            self.run_in_place(threads, band, tiles);
            return;
        }
        // Parts of whole blocks of channels.
        let taps = sizes.taps();
        let blocks = self.depth.div_ceil(taps * LANES);
        let parts = blocks.div_ceil((PART / (taps * LANES)).max(1));
        let band = Band { part: blocks.div_ceil(parts) * taps * LANES, parts, ..band };
        let band = Band { parts: self.depth.div_ceil(band.part), ..band };
        if positions * self.depth <= SHARED && positions * band.part <= 2 * GROUP {
            self.run_shared(threads, band, tiles);
        } else {
            self.run_groups(threads, band, tiles);
        }
    }

    /// Windows of single positions, which lie as they should.
    fn run_in_place(&self, threads: &Threads, band: Band<'_>, tiles: usize) {
        let (sizes, panels) = (band.call.sizes, band.panels.1);
        // Groups of even counts.
        let groups = tiles.div_ceil(8);
        let of_group = tiles.div_ceil(groups);
        // A few positions wait for the weights.
        let work = (of_group * band.rows).max(FEW) * self.depth * self.vectors * LANES;
        let least = TASK.div_ceil(work.max(1));
        let chunks = (panels / least).clamp(1, 8usize.div_ceil(groups * sizes.batch * sizes.groups).max(1));
        // Neighbouring tasks are run by one thread: they share what is larger, weights or input.
        let by_panels = self.depth * sizes.outputs > sizes.positions() * sizes.inputs;
        threads.for_each(sizes.batch * sizes.groups * groups * chunks, &|task| {
            let (at, item) = (task % (groups * chunks), task / (groups * chunks));
            let (chunk, group) =
                if by_panels { (at / groups, at % groups) } else { (at % chunks, at / chunks) };
            let band = band.of_item(item).of_chunk(chunk, chunks).of_group(group, of_group);
            dispatch(Multiply { band, part: 0, windows: None });
        });
    }

    /// All windows of an image are gathered once, and threads share its panels: each weight is read once.
    fn run_shared(&self, threads: &Threads, band: Band<'_>, tiles: usize) {
        let sizes = band.call.sizes;
        let (positions, panels) = (band.to, band.panels.1);
        let work = positions * self.depth * self.vectors * LANES;
        let chunks = (panels / TASK.div_ceil(work.max(1))).clamp(1, TASKS);
        let each = (TASK / 8 / (band.rows * self.depth)).clamp(1, tiles);
        with_aligned(positions * self.depth.next_multiple_of(LANES), |windows| {
            for item in 0..sizes.batch * sizes.groups {
                let band = band.of_item(item);
                let gathered = Cells::new(windows);
                threads.for_each(tiles.div_ceil(each), &|task| {
                    let band = band.of_group(task, each);
                    for part in 0..band.parts {
                        let (first, depth) = band.lines(part);
                        let at = positions * first + band.from * depth.next_multiple_of(LANES);
                        // SAFETY: parts and tiles are disjoint.
                        let windows = unsafe {
                            gathered.piece(at, (band.to - band.from) * depth.next_multiple_of(LANES))
                        };
                        dispatch(Gather { band, part, windows });
                    }
                });
                let windows = &*windows;
                threads.for_each(chunks, &|chunk| {
                    let band = band.of_chunk(chunk, chunks);
                    for part in 0..band.parts {
                        let (first, depth) = band.lines(part);
                        let windows =
                            Some(&windows[positions * first..][..positions * depth.next_multiple_of(LANES)]);
                        dispatch(Multiply { band, part, windows });
                    }
                });
            }
        });
    }

    /// Groups of tiles, each of which gathers its windows part by part.
    fn run_groups(&self, threads: &Threads, band: Band<'_>, tiles: usize) {
        let (sizes, panels) = (band.call.sizes, band.panels.1);
        let of_group = (GROUP / (band.part.max(1) * band.rows)).clamp(1, 32);
        let groups = tiles.div_ceil(of_group);
        let of_group = tiles.div_ceil(groups);
        let least = CHANNELS.div_ceil(self.vectors * LANES);
        let chunks = (panels / least).clamp(1, 8usize.div_ceil(groups * sizes.batch * sizes.groups).max(1));
        threads.for_each(sizes.batch * sizes.groups * groups * chunks, &|task| {
            let (chunk, rest) = (task % chunks, task / chunks);
            let (group, item) = (rest % groups, rest / groups);
            let band = band.of_item(item).of_chunk(chunk, chunks).of_group(group, of_group);
            // Scratch is taken outside: what runs inside of a closure is not compiled for the instruction set.
            with_aligned(band.part * (band.to - band.from), |windows| {
                for part in 0..band.parts {
                    let depth = band.lines(part).1.next_multiple_of(LANES);
                    let windows = &mut windows[..(band.to - band.from) * depth];
                    dispatch(Gather { band, part, windows });
                    dispatch(Multiply { band, part, windows: Some(windows) });
                }
            });
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
#[derive(Clone, Copy)]
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
    /// Lines of a panel that are multiplied at a time, and how many such parts there are.
    part: usize,
    parts: usize,
}

impl Band<'_> {
    fn of_item(self, item: usize) -> Self {
        let groups = self.call.sizes.groups;
        Band { item: item / groups, group: item % groups, ..self }
    }

    /// Part `i` of `count` of the panels.
    fn of_chunk(self, i: usize, count: usize) -> Self {
        let panels = self.panels.1;
        Band { panels: (i * panels / count, (i + 1) * panels / count), ..self }
    }

    /// Group `i` of so many tiles.
    fn of_group(self, i: usize, tiles: usize) -> Self {
        let to = self.to.min((i + 1) * tiles * self.rows);
        Band { from: i * tiles * self.rows, to, ..self }
    }

    /// The first line of a part, and how many it has.
    #[inline(always)]
    fn lines(&self, part: usize) -> (usize, usize) {
        let first = part * self.part;
        (first, self.part.min(self.direct.depth - first))
    }
}

/// Gathers the windows of a band's positions in the channels of a part.
struct Gather<'a> {
    band: Band<'a>,
    part: usize,
    windows: &'a mut [f32],
}

impl Work for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        self.band.gather::<V>(self.part, self.windows);
    }
}

/// Multiplies the windows of a band by a part of its panels.
struct Multiply<'a> {
    band: Band<'a>,
    part: usize,
    /// `None` where they lie in the input.
    windows: Option<&'a [f32]>,
}

impl Work for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let band = self.band;
        let windows = match self.windows {
            Some(windows) => Windows::Gathered {
                start: windows.as_ptr(),
                depth: band.lines(self.part).1.next_multiple_of(LANES),
                from: band.from,
            },
            None => {
                let sizes = band.call.sizes;
                let plane = sizes.height * sizes.width * LANES;
                let blocks = sizes.inputs.div_ceil(LANES);
                let of_group = blocks / sizes.groups;
                let start = (band.item * blocks + band.group * of_group) * plane;
                let x = &band.call.x[start..start + of_group * plane];
                Windows::Lying { start: x.as_ptr(), step: plane }
            }
        };
        if V::TILE.1 > 1 && band.direct.vectors > 1 {
            band.multiply::<V, 2>(self.part, windows);
        } else {
            band.multiply::<V, 1>(self.part, windows);
        }
    }
}

/// Where the windows of a band lie.
#[derive(Clone, Copy)]
enum Windows {
    /// In the input itself, whose blocks are `step` floats apart.
    Lying { start: *const f32, step: usize },
    /// Tile after tile from position `from` on, `depth` floats, whole blocks of them, for each position.
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
    /// A part of all panels over all tiles of the band.
    #[inline(always)]
    fn multiply<V: Vector, const C: usize>(&self, part: usize, windows: Windows) {
        let (sizes, direct) = (self.call.sizes, self.direct);
        let (positions, outputs) = (sizes.positions(), sizes.outputs / sizes.groups);
        let (blocks, line) = (sizes.outputs.div_ceil(LANES), C * LANES);
        let panels = outputs.div_ceil(line);
        let depth = self.lines(part).1;
        let lines = |panel: usize, part: usize| {
            let first = (self.group * panels + panel) * direct.depth + self.lines(part).0;
            &direct.packed.get()[first * line..]
        };
        // The first part adds bias and sum to its products, the others what is there; the last one finishes.
        let after = if part + 1 == self.parts { self.call.after } else { After::Nothing };
        let count = (self.to - self.from).div_ceil(self.rows);
        for panel in self.panels.0..self.panels.1 {
            let b = lines(panel, part);
            let next = match (panel + 1 < self.panels.1, part + 1 < self.parts) {
                (true, _) => lines(panel + 1, part).as_ptr(),
                (false, true) => lines(self.panels.0, part + 1).as_ptr(),
                // The task of the next panels is likely to be run next.
                (false, false) if self.panels.1 < panels => lines(self.panels.1, 0).as_ptr(),
                (false, false) => std::ptr::null(),
            };
            let block = (self.group * outputs + panel * line) / LANES;
            // The last panel may have less than its width.
            let vectors = C.min(outputs.div_ceil(LANES) - panel * C);
            let mut bias = [V::zero(); C];
            if part == 0 {
                for (j, bias) in bias[..vectors].iter_mut().enumerate() {
                    *bias = V::of(&self.call.bias[(block + j) * LANES..][..LANES]);
                }
            }
            for tile_at in 0..count {
                let at = self.from + tile_at * self.rows;
                let rows = self.rows.min(self.to - at);
                let offset = ((self.item * blocks + block) * positions + at) * LANES;
                let last = offset + (vectors - 1) * positions * LANES + rows * LANES;
                // SAFETY: bands are disjoint; the tile writes `rows` vectors in each of its blocks.
                let start = unsafe { self.cells.piece(offset, last - offset) }.as_mut_ptr();
                let sum = match self.call.sum {
                    _ if part > 0 => start.cast_const(),
                    Some(sum) => sum[offset..last].as_ptr(),
                    None => std::ptr::null(),
                };
                let target = Target { start, block: positions * LANES, sum, far: self.call.is_far() };
                let b = Right::new(b, line, depth, next, (tile_at, count));
                let a = windows.of(at, rows);
                // SAFETY: the panel has `depth` lines, the windows of the tile were gathered or lie in the input, and
                // the target was checked. Of a panel that is wider than its channels the first vector is computed.
                unsafe {
                    if vectors == C {
                        tile::<V, C>(rows, depth, a, b, bias, target, after);
                    } else {
                        tile::<V, 1>(rows, depth, a, b, [bias[0]], target, after);
                    }
                }
            }
        }
    }

    /// The windows of the band's positions in the channels of a part: a vector for each block, tap and position of a
    /// tile.
    #[inline(always)]
    fn gather<V: Vector>(&self, part: usize, windows: &mut [f32]) {
        let sizes = self.call.sizes;
        let (taps, blocks) = (sizes.taps(), sizes.inputs.div_ceil(LANES));
        let (first, depth) = self.lines(part);
        let (first, count) = (first / (taps * LANES), depth.div_ceil(taps * LANES));
        let plane = sizes.height * sizes.width * LANES;
        let start = (self.item * blocks + self.group * (blocks / sizes.groups) + first) * plane;
        let x = &self.call.x[start..start + count * plane];
        let mut rest = windows;
        let mut at = self.from;
        while at < self.to {
            let rows = self.rows.min(self.to - at);
            let (tile, after) = rest.split_at_mut(rows * taps * count * LANES);
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
                for block in 0..count {
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
}
