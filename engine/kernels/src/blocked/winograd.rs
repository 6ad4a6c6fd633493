//! Winograd's minimal filtering for windows of 3 x 3 without strides: F(2x2, 3x3) and F(4x4, 3x3).
//!
//! A tile of M x M outputs comes from T x T products for each pair of channels, T = M + 2, in place of 9 M^2: 2.25 and
//! 4 times fewer. Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2015), whose matrices
//! these are. The transformed weights are 1.8 and 4 times larger, and must be read from memory where they do not
//! stay in the cache: which of the two pays depends on how many tiles share them.

use super::shape::{Sizes, Spec};
use super::tile::{Left, Right, Target, tile};
use super::{After, Aligned, Call, Input, with_aligned};
use crate::KernelError;
use crate::isa::{LANES, Vector, Work, dispatch};
use oxidane_pool::{Cells, Pool as Threads};

/// The tile that pays for a convolution, by its side; `None` where direct sums are quicker.
pub(super) fn choose(spec: &Spec, input: Input, sizes: &Sizes, forced: Option<usize>) -> Option<usize> {
    if spec.groups != 1 || input != Input::Blocked || !spec.is_three_by_three() {
        return None;
    }
    if let Some(side) = forced {
        return Some(side).filter(|side| [2, 4].contains(side));
    }
    let (inputs, outputs) = (spec.inputs, spec.outputs);
    if inputs < 32 || outputs < 32 {
        return None;
    }
    let cost = |m: usize| cost(inputs, outputs, sizes, m);
    let (direct, small, large) = (cost(0), cost(2), cost(4));
    match (small < direct, large < small.min(direct)) {
        (_, true) => Some(4),
        (true, false) => Some(2),
        _ => None,
    }
}

/// Cycles, roughly, for tiles of side `m`; 0 stands for direct sums.
fn cost(inputs: usize, outputs: usize, sizes: &Sizes, m: usize) -> f64 {
    /// Bytes a cycle of weights that come from beyond the second-level cache.
    const STREAM: f64 = 3.0;
    let (inputs, outputs) = (inputs as f64, outputs as f64);
    let channels = inputs * outputs;
    let positions = (sizes.batch * sizes.positions()) as f64;
    if m == 0 {
        let products = positions * 9.0 * channels / 32.0;
        let weights = 9.0 * channels * 4.0;
        return products.max(weights / STREAM) * 1.03;
    }
    let t = (m + 2) as f64;
    let tiles = (sizes.batch * sizes.out_height.div_ceil(m) * sizes.out_width.div_ceil(m)) as f64;
    let products = tiles * t * t * channels / 32.0;
    let weights = t * t * channels * 4.0;
    let transforms = tiles * (inputs + outputs) / 16.0 * t * t * 4.0;
    products.max(weights / STREAM) + transforms
}

/// Multiply-adds of a convolution by tiles of side `m`, those of its transforms not counted.
pub(super) fn multiply_adds(sizes: &Sizes, m: usize) -> u128 {
    let tiles = sizes.batch as u128 * (sizes.out_height.div_ceil(m) * sizes.out_width.div_ceil(m)) as u128;
    let t = m as u128 + 2;
    tiles * t * t * (sizes.inputs as u128 * sizes.outputs as u128)
}

/// Transformed weights: for each panel of output channels and each of the products of a tile, a line for each input
/// channel.
pub(super) struct Winograd {
    packed: Aligned,
    vectors: usize,
    /// Outputs of a tile along a side.
    m: usize,
}

/// Floats of transformed inputs and of products of a group of tiles.
const GROUP: usize = 256 << 10;

/// Multiply-adds of a task at least.
const TASK: usize = 1 << 19;

/// Tasks that a convolution is cut into at most where inputs are transformed once.
const TASKS: usize = 8;

impl Winograd {
    pub(super) fn new(
        threads: &Threads,
        spec: &Spec,
        weights: &[f32],
        m: usize,
    ) -> Result<Winograd, KernelError> {
        let t = m + 2;
        let inputs = spec.inputs;
        let depth = inputs.next_multiple_of(LANES);
        let vectors = dispatch(Vectors).min(spec.outputs.div_ceil(LANES)).max(1);
        let line = vectors * LANES;
        let panels = spec.outputs.div_ceil(line);
        let mut packed = Aligned::zeroed(panels * t * t * depth * line)?;
        threads.for_each_piece(packed.get_mut(), (t * t * depth * line).max(1), |at, panel| {
            let count = line.min(spec.outputs - at * line);
            let weights = &weights[at * line * inputs * 9..][..count * inputs * 9];
            dispatch(Pack { weights, count, inputs, m, line, panel });
        });
        Ok(Winograd { packed, vectors, m })
    }

    pub(super) fn run(&self, threads: &Threads, call: &Call<'_>, out: &mut [f32]) {
        let sizes = call.sizes;
        let t = self.m + 2;
        let depth = sizes.inputs.next_multiple_of(LANES);
        let line = self.vectors * LANES;
        let grid = (sizes.out_height.div_ceil(self.m), sizes.out_width.div_ceil(self.m));
        let tiles = grid.0 * grid.1;
        let most = dispatch(Rows);
        let of_group = (GROUP / (t * t * (depth + line))).max(1);
        // Whole register tiles of even heights.
        let of_group = if of_group > most { of_group / most * most } else { most };
        let groups = tiles.div_ceil(of_group);
        let of_group = tiles.div_ceil(groups);
        let panels = sizes.outputs.div_ceil(line);
        let cells = Cells::new(out);
        let all = (0, panels);
        let band =
            Band { winograd: self, call, cells: &cells, item: 0, grid, tiles: (0, tiles), panels: all, most };
        if groups == 1 {
            // All inputs of an image are transformed once, and threads share its panels: each weight is read once.
            let chunks = (panels / TASK.div_ceil((t * t * tiles * depth * line).max(1))).clamp(1, TASKS);
            let blocks = depth / LANES;
            let each = (TASK / 16 / (t * t * t * tiles * LANES)).clamp(1, blocks);
            with_aligned(t * t * tiles * depth, |seen| {
                for item in 0..sizes.batch {
                    let band = Band { item, ..band };
                    let lines = Cells::new(seen);
                    threads.for_each(blocks.div_ceil(each), &|task| {
                        let blocks = (task * each, ((task + 1) * each).min(blocks));
                        dispatch(Transform { band, blocks, seen: &lines });
                    });
                    let seen = &*seen;
                    threads.for_each(chunks, &|chunk| {
                        let panels = (chunk * panels / chunks, (chunk + 1) * panels / chunks);
                        with_aligned(t * t * tiles * line, |products| {
                            dispatch(Multiply { band: Band { panels, ..band }, seen, products });
                        });
                    });
                }
            });
            return;
        }
        // Each task transforms inputs for itself.
        let chunks = (4usize.div_ceil(groups * sizes.batch)).min(panels.div_ceil(2)).max(1);
        threads.for_each(sizes.batch * groups * chunks, &|task| {
            let (chunk, rest) = (task % chunks, task / chunks);
            let (group, item) = (rest % groups, rest / groups);
            let tiles = (group * of_group, ((group + 1) * of_group).min(tiles));
            let count = tiles.1 - tiles.0;
            let panels = (chunk * panels / chunks, (chunk + 1) * panels / chunks);
            let band = Band { item, tiles, panels, ..band };
            // Scratch is taken outside: what runs inside of a closure is not compiled for the instruction set.
            with_aligned(t * t * count * (depth + line), |scratch| {
                let (seen, products) = scratch.split_at_mut(t * t * count * depth);
                dispatch(Transform { band, blocks: (0, depth / LANES), seen: &Cells::new(seen) });
                dispatch(Multiply { band, seen, products });
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

/// G of F(2x2, 3x3).
const SMALL: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
/// G of F(4x4, 3x3).
const LARGE: [[f64; 3]; 6] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// Transforms the weights of a panel.
struct Pack<'a> {
    weights: &'a [f32],
    /// Output channels.
    count: usize,
    inputs: usize,
    m: usize,
    line: usize,
    panel: &'a mut [f32],
}

impl Work for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        if self.m == 2 { self.transform(&SMALL) } else { self.transform(&LARGE) }
    }
}

/// Output channels whose weights are transformed at a time, a lane each.
const TOGETHER: usize = 8;

impl Pack<'_> {
    /// `G w G^T` for each pair of channels, in double precision.
    #[inline(always)]
    fn transform<const T: usize>(self, g: &[[f64; 3]; T]) {
        let depth = self.inputs.next_multiple_of(LANES);
        for first in (0..self.count).step_by(TOGETHER) {
            let lanes = TOGETHER.min(self.count - first);
            for c in 0..self.inputs {
                let mut w = [[0.0f64; TOGETHER]; 9];
                for lane in 0..lanes {
                    let from = &self.weights[((first + lane) * self.inputs + c) * 9..][..9];
                    for (w, &v) in w.iter_mut().zip(from) {
                        w[lane] = f64::from(v);
                    }
                }
                for (i, row) in g.iter().enumerate() {
                    let mut half = [[0.0f64; TOGETHER]; 3];
                    for (j, half) in half.iter_mut().enumerate() {
                        for (lane, half) in half.iter_mut().enumerate() {
                            *half = row[0] * w[j][lane] + row[1] * w[3 + j][lane] + row[2] * w[6 + j][lane];
                        }
                    }
                    for (j, g) in g.iter().enumerate() {
                        let to = ((i * T + j) * depth + c) * self.line + first;
                        let mut out = [0.0f32; TOGETHER];
                        for (lane, out) in out.iter_mut().enumerate() {
                            *out =
                                (half[0][lane] * g[0] + half[1][lane] * g[1] + half[2][lane] * g[2]) as f32;
                        }
                        self.panel[to..to + lanes].copy_from_slice(&out[..lanes]);
                    }
                }
            }
        }
    }
}

/// `B^T d` along one side: T inputs become the left sides of T products.
#[inline(always)]
fn transform_input<V: Vector, const T: usize>(d: &[V; T]) -> [V; T] {
    let mut out = [V::zero(); T];
    if T == 4 {
        out[0] = d[0].sub(d[2]);
        out[1] = d[1].add(d[2]);
        out[2] = d[2].sub(d[1]);
        out[3] = d[1].sub(d[3]);
    } else {
        let (two, four, five) = (V::splat(2.0), V::splat(4.0), V::splat(5.0));
        let (even, odd) = (d[2].neg_mul_add(four, d[4]), d[1].neg_mul_add(four, d[3]));
        out[0] = d[0].mul_add(four, d[2].neg_mul_add(five, d[4]));
        out[1] = even.add(odd);
        out[2] = even.sub(odd);
        let (even, odd) = (d[4].sub(d[2]), d[3].sub(d[1]));
        out[3] = odd.mul_add(two, even);
        out[4] = odd.neg_mul_add(two, even);
        out[5] = d[1].mul_add(four, d[3].neg_mul_add(five, d[5]));
    }
    out
}

/// `A^T p` along one side: T products become M outputs.
#[inline(always)]
fn transform_output<V: Vector, const T: usize, const M: usize>(p: &[V; T]) -> [V; M] {
    let mut out = [V::zero(); M];
    if T == 4 {
        out[0] = p[0].add(p[1]).add(p[2]);
        out[1] = p[1].sub(p[2]).sub(p[3]);
    } else {
        let (plus, minus) = (p[1].add(p[2]), p[1].sub(p[2]));
        let (wide, narrow) = (p[3].add(p[4]), p[3].sub(p[4]));
        out[0] = p[0].add(plus).add(wide);
        out[1] = narrow.mul_add(V::splat(2.0), minus);
        out[2] = wide.mul_add(V::splat(4.0), plus);
        out[3] = narrow.mul_add(V::splat(8.0), minus).add(p[5]);
    }
    out
}

/// A group of tiles of one image, and panels of output channels.
#[derive(Clone, Copy)]
struct Band<'a> {
    winograd: &'a Winograd,
    call: &'a Call<'a>,
    cells: &'a Cells<'a, f32>,
    item: usize,
    /// Tiles of an image: rows and columns of them.
    grid: (usize, usize),
    tiles: (usize, usize),
    panels: (usize, usize),
    /// Rows of a register tile.
    most: usize,
}

/// Transforms the inputs of a band in these blocks of channels.
struct Transform<'a> {
    band: Band<'a>,
    blocks: (usize, usize),
    /// For each product, block of channels and tile a vector.
    seen: &'a Cells<'a, f32>,
}

impl Work for Transform<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        if self.band.winograd.m == 2 { self.compute::<V, 4, 2>() } else { self.compute::<V, 6, 4>() }
    }
}

/// Multiplies transformed inputs by the panels of a band.
struct Multiply<'a> {
    band: Band<'a>,
    seen: &'a [f32],
    /// Products: for each product and vector of the panel, for each tile a vector.
    products: &'a mut [f32],
}

impl Work for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        if self.band.winograd.m == 2 { self.compute::<V, 4, 2>() } else { self.compute::<V, 6, 4>() }
    }
}

impl Multiply<'_> {
    #[inline(always)]
    fn compute<V: Vector, const T: usize, const M: usize>(self) {
        let Band { winograd, call, tiles, panels, most, .. } = self.band;
        let depth = call.sizes.inputs.next_multiple_of(LANES);
        let count = tiles.1 - tiles.0;
        let line = winograd.vectors * LANES;
        // Even heights of register tiles.
        let rows = count.div_ceil(count.div_ceil(most));
        let tiles = count.div_ceil(rows);
        let all = call.sizes.outputs.div_ceil(line);
        for panel in panels.0..panels.1 {
            let b = &winograd.packed.get()[panel * T * T * depth * line..][..T * T * depth * line];
            for i in 0..T * T {
                // After the last panel the task of the next ones is likely to follow.
                let next = match i + 1 < T * T || panel + 1 < all {
                    true => b.as_ptr().wrapping_add((i + 1) * depth * line),
                    false => std::ptr::null(),
                };
                for tile_at in 0..tiles {
                    let at = tile_at * rows;
                    let rows = rows.min(count - at);
                    let a = Left {
                        start: self.seen[(i * depth / LANES * count + at) * LANES..].as_ptr(),
                        step: count * LANES,
                    };
                    let b = Right::new(&b[i * depth * line..], line, depth, next, (tile_at, tiles));
                    let start = self.products[(i * winograd.vectors * count + at) * LANES..].as_mut_ptr();
                    let target = Target { start, block: count * LANES, sum: std::ptr::null(), far: false };
                    // SAFETY: each block has `count` rows and there are `depth` lines; the products have room for all
                    // tiles of the panel's vectors.
                    unsafe {
                        if V::TILE.1 > 1 && winograd.vectors > 1 {
                            tile::<V, 2>(rows, depth, a, b, [V::zero(); 2], target, After::Nothing);
                        } else {
                            tile::<V, 1>(rows, depth, a, b, [V::zero()], target, After::Nothing);
                        }
                    }
                }
            }
            self.band.transform_outputs::<V, T, M>(panel, self.products);
        }
    }
}

impl Transform<'_> {
    #[inline(always)]
    fn compute<V: Vector, const T: usize, const M: usize>(self) {
        let Band { call, item, grid, tiles, .. } = self.band;
        let sizes = call.sizes;
        let blocks = sizes.inputs.div_ceil(LANES);
        let plane = sizes.height * sizes.width * LANES;
        let count = tiles.1 - tiles.0;
        for block in self.blocks.0..self.blocks.1 {
            let x = &call.x[(item * blocks + block) * plane..][..plane];
            for at in 0..count {
                let tile = tiles.0 + at;
                let top = (tile / grid.1 * M) as isize - sizes.begins.0 as isize;
                let left = (tile % grid.1 * M) as isize - sizes.begins.1 as isize;
                let inside = top >= 0
                    && left >= 0
                    && top as usize + T <= sizes.height
                    && left as usize + T <= sizes.width;
                // Along the rows first.
                let mut half = [[V::zero(); T]; T];
                for (i, half) in half.iter_mut().enumerate() {
                    let mut d = [V::zero(); T];
                    let row = top + i as isize;
                    if inside {
                        let start = ((row as usize) * sizes.width + left as usize) * LANES;
                        let x = &x[start..start + T * LANES];
                        for (j, d) in d.iter_mut().enumerate() {
                            *d = V::of(&x[j * LANES..][..LANES]);
                        }
                    } else if (0..sizes.height as isize).contains(&row) {
                        for (j, d) in d.iter_mut().enumerate() {
                            let column = left + j as isize;
                            if (0..sizes.width as isize).contains(&column) {
                                let at = (row as usize * sizes.width + column as usize) * LANES;
                                *d = V::of(&x[at..at + LANES]);
                            }
                        }
                    }
                    *half = transform_input::<V, T>(&d);
                }
                for j in 0..T {
                    let mut d = [V::zero(); T];
                    for (d, half) in d.iter_mut().zip(&half) {
                        *d = half[j];
                    }
                    for (i, v) in transform_input::<V, T>(&d).into_iter().enumerate() {
                        let to = (((i * T + j) * blocks + block) * count + at) * LANES;
                        // SAFETY: each block of channels has vectors of its own.
                        v.put(unsafe { self.seen.piece(to, LANES) });
                    }
                }
            }
        }
    }
}

impl Band<'_> {
    #[inline(always)]
    fn transform_outputs<V: Vector, const T: usize, const M: usize>(&self, panel: usize, products: &[f32]) {
        let sizes = self.call.sizes;
        let vectors = self.winograd.vectors;
        let blocks = sizes.outputs.div_ceil(LANES);
        let count = self.tiles.1 - self.tiles.0;
        let after = self.call.after;
        for vector in 0..vectors.min(blocks - panel * vectors) {
            let block = panel * vectors + vector;
            let bias = V::of(&self.call.bias[block * LANES..][..LANES]);
            let plane = (self.item * blocks + block) * sizes.positions() * LANES;
            for at in 0..count {
                let tile = self.tiles.0 + at;
                let (row, column) = (tile / self.grid.1 * M, tile % self.grid.1 * M);
                let mut half = [[V::zero(); M]; T];
                for (i, half) in half.iter_mut().enumerate() {
                    let mut p = [V::zero(); T];
                    for (j, p) in p.iter_mut().enumerate() {
                        let from = (((i * T + j) * vectors + vector) * count + at) * LANES;
                        *p = V::of(&products[from..from + LANES]);
                    }
                    *half = transform_output::<V, T, M>(&p);
                }
                let columns = M.min(sizes.out_width - column);
                let mut outputs = [[V::zero(); M]; M];
                for j in 0..M {
                    let mut p = [V::zero(); T];
                    for (p, half) in p.iter_mut().zip(&half) {
                        *p = half[j];
                    }
                    for (i, v) in transform_output::<V, T, M>(&p).into_iter().enumerate() {
                        outputs[i][j] = v;
                    }
                }
                for (i, line) in outputs.iter().enumerate().take(sizes.out_height - row) {
                    let to = plane + ((row + i) * sizes.out_width + column) * LANES;
                    // SAFETY: tiles are disjoint, and each belongs to one band for each panel.
                    let out = unsafe { self.cells.piece(to, columns * LANES) };
                    for (j, (&v, out)) in line.iter().zip(out.chunks_exact_mut(LANES)).enumerate() {
                        let mut v = v.add(bias);
                        if let Some(sum) = self.call.sum {
                            v = v.add(V::of(&sum[to + j * LANES..][..LANES]));
                        }
                        after.in_registers(v).put(out);
                    }
                    after.on_row(out);
                }
            }
        }
    }
}
