//! Sums over all taps and channels of numbers that are rounded to bfloat16, in single precision.
//!
//! The input is rounded into a frame: planes of 32 channels (or of the whole pixel, where it is dense) with the zeros of
//! the pads around them. Positions of the frame are rows of a matrix, and for each tap the same rows begin elsewhere: a
//! tile of 16 positions by 32 channels is loaded as it lies. Sums of positions between the lines are thrown away.

use super::frame::Frame;
use super::shape::{Sizes, pair};
use super::{After, Aligned, Call, Input, Spec, winograd};
use crate::KernelError;
use crate::gemm::rounded;
use crate::isa::fetch::fetch;
use crate::isa::{Isa, LANES, Vector, Work, bf16_pays, bf16_products, dispatch, isa};
use crate::scratch::with_scratch;
use oxidane_pool::{Cells, Pool as Threads};

/// Values of a pixel that a step takes, and output channels of a panel.
pub(super) const DEPTH: usize = 2 * LANES;

/// Words of a step of a panel: two halves of 16 output channels, each of 16 lines of pairs of values.
const STEP: usize = DEPTH * LANES;

/// Positions of a tile at most, by tiles and by vectors.
const ROWS: (usize, usize) = (16, 14);

/// Bands of an image from which each makes its own frame.
const APART: usize = 4;

/// Tasks that one frame is shared by.
const TASKS: usize = 8;

/// Whether this kernel is quicker than those of single precision.
pub(super) fn pays(spec: &Spec, input: Input, sizes: &Sizes) -> bool {
    /// Values of a frame for each of the input and of the output: beyond that, pads or dilations are out of proportion.
    const MOST: usize = 8;
    let depth = sizes.taps() * spec.inputs;
    if !bf16_pays() || spec.groups != 1 || depth <= LANES {
        return false;
    }
    let frame = Frame::new(sizes, input).map(|frame| frame.total());
    if frame.is_none_or(|total| total / MOST > sizes.input_len() + sizes.output_len() + (1 << 16)) {
        return false;
    }
    // Dot products of vectors do twice what those of single precision do, minimal filtering more.
    isa() == Isa::Amx || winograd::choose(spec, input, sizes, None).is_none()
}

/// 32 values, side by side in a line of a plane of the frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) plane: usize,
    /// The line, from that of the first tap.
    pub(super) row: usize,
    /// Values from the beginning of the line.
    pub(super) at: usize,
}

/// A value of a step: its place in the step, the channel, and the tap.
type Value = (usize, usize, usize);

/// Packed weights: for each panel of 32 output channels and each step a [`STEP`] of words.
pub(super) struct Rounded {
    packed: Aligned,
    steps: Vec<Step>,
}

/// Where the values of a window lie.
fn steps(spec: &Spec, input: Input) -> Vec<(Step, Vec<Value>)> {
    let window = &spec.window;
    let (kernel, strides) = (pair(&window.kernel, 1), pair(&window.strides, 1));
    let dilations = pair(&window.dilations, 1);
    let (taps, channels) = (kernel.0 * kernel.1, spec.inputs);
    let places: Vec<[usize; 2]> =
        (0..taps).map(|tap| [tap / kernel.1 * dilations.0, tap % kernel.1 * dilations.1]).collect();
    let phases = super::frame::phases(kernel, strides, dilations);
    let mut steps = Vec::new();
    if input == Input::Blocked {
        for group in 0..channels.div_ceil(DEPTH) {
            for (tap, [y, x]) in places.iter().enumerate() {
                let phase = (y % strides.0, x % strides.1);
                let phase = (0..phases.len()).find(|&i| phases.get(i) == phase).unwrap_or(0);
                let plane = group * phases.len() + phase;
                let step = Step { plane, row: y / strides.0, at: x / strides.1 * DEPTH };
                let values = (0..DEPTH.min(channels - group * DEPTH)).map(|i| (i, group * DEPTH + i, tap));
                steps.push((step, values.collect()));
            }
        }
        return steps;
    }
    let pixel = strides.0 * strides.1 * channels;
    let mut all = Vec::new();
    for (tap, [y, x]) in places.iter().enumerate() {
        let first = x / strides.1 * pixel + (y % strides.0 * strides.1 + x % strides.1) * channels;
        all.extend((0..channels).map(|c| (y / strides.0, first + c, c, tap)));
    }
    all.sort_unstable();
    for (row, at, c, tap) in all {
        match steps.last_mut() {
            Some((step, values)) if step.row == row && at - step.at < DEPTH => {
                values.push((at - step.at, c, tap));
            }
            _ => steps.push((Step { plane: 0, row, at }, vec![(0, c, tap)])),
        }
    }
    steps
}

impl Rounded {
    pub(super) fn new(
        threads: &Threads,
        spec: &Spec,
        input: Input,
        weights: &[f32],
    ) -> Result<Rounded, KernelError> {
        let kernel = pair(&spec.window.kernel, 1);
        let (taps, outputs) = (kernel.0 * kernel.1, spec.outputs);
        let steps = steps(spec, input);
        let panels = outputs.div_ceil(DEPTH);
        let mut packed = Aligned::zeroed(panels * steps.len() * STEP)?;
        let words: &mut [u32] = bytemuck::cast_slice_mut(packed.get_mut());
        let of_output = spec.inputs * taps;
        threads.for_each_piece(words, (steps.len() * STEP).max(1), |panel, words| {
            for (i, half) in words.chunks_exact_mut(STEP / 2).enumerate() {
                let first = panel * DEPTH + i % 2 * LANES;
                let count = LANES.min(outputs.saturating_sub(first));
                for &(at, c, tap) in &steps[i / 2].1 {
                    let line = &mut half[at / 2 * LANES..][..count];
                    let from = weights[(first * of_output + c * taps + tap).min(weights.len())..].iter();
                    for (word, &w) in line.iter_mut().zip(from.step_by(of_output)) {
                        *word |= rounded(w) << (at % 2 * 16);
                    }
                }
            }
        });
        Ok(Rounded { packed, steps: steps.into_iter().map(|(step, _)| step).collect() })
    }

    pub(super) fn run(&self, threads: &Threads, call: &Call<'_>, out: &mut [f32]) {
        let sizes = call.sizes;
        let Some(frame) = Frame::new(sizes, sizes.input) else {
            debug_assert!(false, "sizes that do not pay");
            return;
        };
        let panels = sizes.outputs.div_ceil(DEPTH);
        let pieces = sizes.batch * frame.bands();
        let len = frame.len();
        let cells = Cells::new(out);
        let band = |piece: usize, frame_of: &[u16], panels: (usize, usize)| {
            let (item, band) = (piece / frame.bands(), piece % frame.bands());
            dispatch(Band {
                of: self,
                call,
                cells: &cells,
                frame: &frame,
                values: frame_of,
                item,
                band,
                panels,
            });
        };
        if pieces >= APART {
            threads.for_each(pieces, &|piece| {
                with_values(len, |values| {
                    for group in 0..frame.groups() {
                        let values = &mut values[frame.range(group)];
                        frame.fill(call, piece / frame.bands(), piece % frame.bands(), group, values);
                    }
                    band(piece, values, (0, panels));
                });
            });
            return;
        }
        with_values(len * pieces, |values| {
            let shared = Cells::new(&mut *values);
            threads.for_each(pieces * frame.groups(), &|task| {
                let (piece, group) = (task / frame.groups(), task % frame.groups());
                let range = frame.range(group);
                // SAFETY: the groups of a frame have ranges of their own, and so have the frames.
                let values = unsafe { shared.piece(piece * len + range.start, range.len()) };
                frame.fill(call, piece / frame.bands(), piece % frame.bands(), group, values);
            });
            let values = &*values;
            let chunks = (TASKS / pieces).clamp(1, panels);
            let of_chunk = panels.div_ceil(chunks);
            let chunks = panels.div_ceil(of_chunk);
            threads.for_each(pieces * chunks, &|task| {
                let (piece, chunk) = (task / chunks, task % chunks);
                let panels = (chunk * of_chunk, ((chunk + 1) * of_chunk).min(panels));
                band(piece, &values[piece * len..][..len], panels);
            });
        });
    }
}

/// Runs `work` on scratch that begins on a boundary of 64 bytes.
fn with_values<R>(len: usize, work: impl FnOnce(&mut [u16]) -> R) -> R {
    with_scratch(len + DEPTH, |scratch: &mut [u16]| {
        let at = scratch.as_ptr().align_offset(64).min(DEPTH);
        work(&mut scratch[at..at + len])
    })
}

/// Panels over the positions of a band.
struct Band<'a> {
    of: &'a Rounded,
    call: &'a Call<'a>,
    cells: &'a Cells<'a, f32>,
    frame: &'a Frame<'a>,
    values: &'a [u16],
    item: usize,
    band: usize,
    panels: (usize, usize),
}

/// Sums of two tiles, the one below the other, in each of two halves.
#[repr(C, align(64))]
struct Sums([f32; 4 * 16 * LANES]);

/// Floats of a half of the sums.
const HALF: usize = 2 * 16 * LANES;

/// Sums that are finished and written bit by bit.
struct Unwritten {
    /// Halves and positions of each.
    halves: usize,
    count: usize,
    /// The half, the position and its column that come next.
    half: usize,
    at: usize,
    column: usize,
    first_column: usize,
    to: *mut f32,
    sum: *const f32,
    /// Where the second half goes, and what is added to it. No arrays: they would be copied by vectors right after they
    /// were written by halves, and that has to wait for the tiles that are stored before.
    second_to: *mut f32,
    second_sum: *const f32,
    /// How many positions of a half are written.
    valid: usize,
}

impl Work for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let (sizes, frame) = (self.call.sizes, self.frame);
        let amx = isa() == Isa::Amx;
        let most = if amx { ROWS.0 } else { ROWS.1 };
        // Tiles of even heights.
        let count = frame.positions(self.band);
        let rows = count.div_ceil(count.div_ceil(most).max(1)).max(1);
        let tiles = count.div_ceil(rows);
        let (steps, pixel) = (&self.of.steps[..], frame.pixel());
        let furthest = steps.iter().map(|step| frame.offset(step)).max().unwrap_or(0);
        assert!(furthest + (tiles * rows - 1) * pixel + DEPTH <= self.values.len(), "a frame is too small");
        #[cfg(target_arch = "x86_64")]
        if amx {
            // SAFETY: the machine has tiles.
            unsafe { crate::isa::tiles::configure([rows, rows, rows, rows, rows, rows, 16, 16]) };
        }
        let words: &[u32] = bytemuck::cast_slice(self.of.packed.get());
        let panel_words = steps.len() * STEP;
        let mut sums = [Sums([0.0; 4 * 16 * LANES]), Sums([0.0; 4 * 16 * LANES])];
        let mut unwritten = Unwritten::none();
        let blocks = tiles.div_ceil(2);
        // What the sums of a panel begin with; the last one may lack its second half.
        let mut start;
        let mut last = [0.0; DEPTH];
        for panel in self.panels.0..self.panels.1 {
            let lines = &words[panel * panel_words..][..panel_words];
            let next = words[((panel + 1) * panel_words).min(words.len())..].get(..panel_words);
            let next = if panel + 1 < self.panels.1 { next.unwrap_or_default() } else { &[] };
            let halves = (sizes.outputs.div_ceil(LANES) - 2 * panel).min(2);
            let bias = &self.call.bias[panel * DEPTH..][..halves * LANES];
            if let Some(bias) = bias.first_chunk() {
                start = bias;
            } else {
                last[..bias.len()].copy_from_slice(bias);
                start = &last;
            }
            for block in 0..blocks {
                let first = 2 * block * rows;
                let both = 2 * block + 1 < tiles;
                // The share of this block in bringing the next panel near.
                let near = &next[next.len() / LANES * block / blocks * LANES..];
                let near = &near[..near.len().min(next.len().div_ceil(blocks))];
                let mut near = near.chunks((near.len() / LANES).div_ceil(steps.len()).max(1) * LANES);
                let [a, b] = &mut sums;
                let turn = (panel - self.panels.0) * blocks + block;
                let (own, other) = if turn.is_multiple_of(2) { (a, b) } else { (b, a) };
                let from = self.values[first * pixel..].as_ptr();
                let all = unwritten.left();
                if amx {
                    let second = if both { rows } else { 0 };
                    // SAFETY: tiles are configured; the assertion above says that the values can be read.
                    unsafe {
                        tile_starts(start.as_ptr());
                        for (i, step) in steps.iter().enumerate() {
                            for line in near.next().unwrap_or_default().chunks(LANES) {
                                fetch(line.as_ptr().cast());
                            }
                            let a = from.add(frame.offset(step));
                            tile_step(a, a.add(second * pixel), both, pixel, lines[i * STEP..].as_ptr());
                            let done = all - unwritten.left();
                            unwritten.write::<V>(
                                self.call,
                                other,
                                ((i + 1) * all / steps.len()).saturating_sub(done),
                                (sizes.out_width, frame.width()),
                            );
                        }
                        tile_stores(own, rows, both);
                    }
                } else {
                    for tile in 0..1 + usize::from(both) {
                        let sums = own.0[tile * rows * LANES..].as_mut_ptr();
                        // SAFETY: as above.
                        unsafe { self.products(from.add(tile * rows * pixel), rows, lines, start, sums) };
                    }
                    for line in near.flat_map(|lines| lines.chunks(LANES)) {
                        fetch(line.as_ptr().cast());
                    }
                    unwritten.write::<V>(self.call, other, all, (sizes.out_width, frame.width()));
                }
                let here = (2 * rows).min(count - first).min(if both { 2 * rows } else { rows });
                unwritten = self.unwritten(panel, halves, first, here);
                if block + 1 == blocks && panel + 1 == self.panels.1 {
                    let all = unwritten.left();
                    unwritten.write::<V>(self.call, own, all, (sizes.out_width, frame.width()));
                }
            }
        }
        #[cfg(target_arch = "x86_64")]
        if amx {
            // SAFETY: the machine has tiles.
            unsafe { crate::isa::tiles::release() };
        }
    }
}

impl Band<'_> {
    /// What is to be written of `count` positions from `first` on.
    #[inline(always)]
    fn unwritten(&self, panel: usize, halves: usize, first: usize, count: usize) -> Unwritten {
        let (sizes, frame) = (self.call.sizes, self.frame);
        let (width, seen) = (frame.width(), sizes.out_width);
        let place = |at: usize| at / width * seen + (at % width).min(seen);
        let (from, to) = (place(first), place(first + count));
        let len = (to - from) * LANES;
        let at = |half: usize| {
            let channels = self.item * sizes.outputs.div_ceil(LANES) + 2 * panel + half;
            (channels * sizes.positions() + frame.first(self.band) * seen + from) * LANES
        };
        // SAFETY: bands have positions, and panels channels, of their own.
        let to_of = |half: usize| unsafe { self.cells.piece(at(half), len) }.as_mut_ptr();
        let sum_of = |half: usize| match self.call.sum {
            Some(sum) => sum[at(half)..at(half) + len].as_ptr(),
            None => std::ptr::null(),
        };
        let second = halves - 1;
        let column = first % width;
        Unwritten {
            halves,
            count,
            half: 0,
            at: 0,
            column,
            first_column: column,
            to: to_of(0),
            sum: sum_of(0),
            second_to: to_of(second),
            second_sum: sum_of(second),
            valid: to - from,
        }
    }

    /// The sums of a tile by dot products of vectors.
    ///
    /// # Safety
    /// The values that the steps name can be read for each row, and the sums hold `rows` rows in both halves.
    #[inline(always)]
    unsafe fn products(
        &self,
        from: *const u16,
        rows: usize,
        lines: &[u32],
        start: &[f32; DEPTH],
        sums: *mut f32,
    ) {
        let (steps, frame) = (&self.of.steps[..], self.frame);
        #[cfg(target_arch = "x86_64")]
        if bf16_products() {
            macro_rules! rows {
                ($($r:literal)*) => {
                    match rows {
                        // SAFETY: the machine has the instructions, and the caller's promise.
                        $($r => unsafe { dots::<$r>(from, frame, steps, lines.as_ptr(), start, sums) },)*
                        _ => debug_assert!(false, "a tile of {rows} rows"),
                    }
                };
            }
            rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            return;
        }
        let wide = |word: u32| (f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000));
        for r in 0..rows {
            for half in 0..2 {
                let mut sum = [0.0f32; LANES];
                sum.copy_from_slice(&start[half * LANES..][..LANES]);
                for (step, lines) in steps.iter().zip(lines.chunks_exact(STEP)) {
                    for (p, line) in lines[half * STEP / 2..][..STEP / 2].chunks_exact(LANES).enumerate() {
                        // SAFETY: the caller's promise.
                        let word = unsafe {
                            let at = from.add(frame.offset(step) + r * frame.pixel() + 2 * p);
                            u32::from(*at) | u32::from(*at.add(1)) << 16
                        };
                        let a = wide(word);
                        for (sum, &word) in sum.iter_mut().zip(line) {
                            let b = wide(word);
                            *sum += a.0 * b.0 + a.1 * b.1;
                        }
                    }
                }
                // SAFETY: the caller's promise.
                unsafe { sums.add(half * HALF + r * LANES).cast::<[f32; LANES]>().write_unaligned(sum) };
            }
        }
    }
}

impl Unwritten {
    fn none() -> Unwritten {
        Unwritten {
            halves: 0,
            count: 0,
            half: 0,
            at: 0,
            column: 0,
            first_column: 0,
            to: std::ptr::null_mut(),
            sum: std::ptr::null(),
            second_to: std::ptr::null_mut(),
            second_sum: std::ptr::null(),
            valid: 0,
        }
    }

    /// Vectors that are not written yet, those between the lines among them.
    #[inline(always)]
    fn left(&self) -> usize {
        (self.halves - self.half) * self.count - self.at
    }

    /// Finishes and writes the next vectors; `widths` are those of the output and of the frame.
    #[inline(always)]
    fn write<V: Vector>(
        &mut self,
        call: &Call<'_>,
        sums: &Sums,
        mut vectors: usize,
        (seen, width): (usize, usize),
    ) {
        while vectors > 0 && self.half < self.halves {
            let many = vectors.min(self.count - self.at);
            vectors -= many;
            let from = sums.0[self.half * HALF + self.at * LANES..][..many * LANES].as_ptr();
            let mut i = 0;
            while i < many {
                // Where lines are no longer than the output's, all positions are one line.
                let run = if width == seen {
                    many
                } else if self.column < seen {
                    (many - i).min(seen - self.column)
                } else {
                    0
                };
                // SAFETY: `many` sums were checked; the places of all valid positions of the half were.
                unsafe { self.write_line::<V>(call.after, from.add(i * LANES), run) };
                i += run;
                self.column += run;
                if self.column >= seen && width > seen {
                    let skipped = (many - i).min(width - self.column);
                    i += skipped;
                    self.column = (self.column + skipped) % width;
                }
            }
            self.at += many;
            if self.at == self.count {
                if let After::Other(_) = call.after {
                    let len = self.valid * LANES;
                    // SAFETY: the places of the half were checked and are written by now, up to `to`.
                    call.after.on_row(unsafe { std::slice::from_raw_parts_mut(self.to.sub(len), len) });
                }
                (self.half, self.at, self.column) = (self.half + 1, 0, self.first_column);
                (self.to, self.sum) = (self.second_to, self.second_sum);
            }
        }
    }
}

impl Unwritten {
    /// Finishes and writes some sums, side by side.
    ///
    /// # Safety
    /// They can be read, and as many places of the half are left.
    #[inline(always)]
    unsafe fn write_line<V: Vector>(&mut self, after: After, from: *const f32, run: usize) {
        macro_rules! each {
            ($v:ident => $body:expr) => {
                for i in 0..run {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let mut $v = V::load(from.add(i * LANES));
                        if !self.sum.is_null() {
                            $v = $v.add(V::load(self.sum.add(i * LANES)));
                        }
                        $body.store(self.to.add(i * LANES));
                    }
                }
            };
        }
        // One loop each, so that the choice is made once a line.
        match after {
            After::Nothing | After::Other(_) => each!(v => v),
            After::Clamp(lo, hi) => {
                let (lo, hi) = (V::splat(lo), V::splat(hi));
                each!(v => hi.min(lo.max(v)));
            }
            After::HardSigmoid(..) | After::HardSwish => each!(v => after.in_registers(v)),
        }
        // SAFETY: the caller's promise.
        unsafe {
            self.to = self.to.add(run * LANES);
            if !self.sum.is_null() {
                self.sum = self.sum.add(run * LANES);
            }
        }
    }
}

/// `R` rows of sums by dot products of pairs.
///
/// # Safety
/// The machine has the features; the values that the steps name can be read for each row, there are as many lines as the
/// steps have, and the sums hold `R` rows in both halves.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn dots<const R: usize>(
    from: *const u16,
    frame: &Frame<'_>,
    steps: &[Step],
    mut lines: *const u32,
    start: &[f32; DEPTH],
    sums: *mut f32,
) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promise; 512 bits are 32 bfloat16 as well as 16 words.
    unsafe {
        let of = |v: __m512i| std::mem::transmute::<__m512i, __m512bh>(v);
        let begin = start.as_ptr();
        let mut own = [[_mm512_loadu_ps(begin), _mm512_loadu_ps(begin.add(LANES))]; R];
        let pixel = frame.pixel();
        for step in steps {
            let a = from.add(frame.offset(step));
            for p in 0..LANES {
                let b0 = of(_mm512_load_si512(lines.add(p * LANES).cast()));
                let b1 = of(_mm512_load_si512(lines.add((LANES + p) * LANES).cast()));
                for (r, own) in own.iter_mut().enumerate() {
                    let word = a.add(r * pixel + 2 * p).cast::<i32>().read_unaligned();
                    let word = of(_mm512_set1_epi32(word));
                    own[0] = _mm512_dpbf16_ps(own[0], word, b0);
                    own[1] = _mm512_dpbf16_ps(own[1], word, b1);
                }
            }
            lines = lines.add(STEP);
        }
        for (r, own) in own.into_iter().enumerate() {
            _mm512_storeu_ps(sums.add(r * LANES), own[0]);
            _mm512_storeu_ps(sums.add(HALF + r * LANES), own[1]);
        }
    }
}

/// The sums begin with a line for each half, repeated by a distance of zero.
///
/// # Safety
/// Tiles are configured, and the line holds 32 floats. The compiler makes no use of tile registers itself: what stands in
/// them stays from one instruction to the next.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn tile_starts(start: *const f32) {
    // SAFETY: the caller's promise.
    unsafe {
        std::arch::asm!(
            "tileloadd tmm0, [{start} + {by}]",
            "tileloadd tmm1, [{start} + {by} + 64]",
            "tileloadd tmm2, [{start} + {by}]",
            "tileloadd tmm3, [{start} + {by} + 64]",
            start = in(reg) start,
            by = in(reg) 0usize,
            options(nostack, readonly),
        );
    }
}

/// Adds the products of a step.
///
/// # Safety
/// Tiles are configured; for each row of them 32 values, `pixel` values apart, can be read, and the words of a step.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn tile_step(a: *const u16, b: *const u16, both: bool, pixel: usize, lines: *const u32) {
    use std::arch::asm;
    let stride = pixel * size_of::<u16>();
    // SAFETY: the caller's promise.
    unsafe {
        if both {
            asm!(
                "tileloadd tmm4, [{a} + {stride}]",
                "tileloadd tmm6, [{lines} + {by}]",
                "tileloadd tmm7, [{lines} + {by} + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{b} + {stride}]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                a = in(reg) a,
                b = in(reg) b,
                lines = in(reg) lines,
                stride = in(reg) stride,
                by = in(reg) 64usize,
                options(nostack, readonly),
            );
        } else {
            asm!(
                "tileloadd tmm4, [{a} + {stride}]",
                "tileloadd tmm6, [{lines} + {by}]",
                "tileloadd tmm7, [{lines} + {by} + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                a = in(reg) a,
                lines = in(reg) lines,
                stride = in(reg) stride,
                by = in(reg) 64usize,
                options(nostack, readonly),
            );
        }
    }
}

/// Writes the sums of the tiles.
///
/// # Safety
/// Tiles of so many rows are configured.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn tile_stores(sums: &mut Sums, rows: usize, both: bool) {
    use std::arch::asm;
    let out = sums.0.as_mut_ptr();
    // SAFETY: a half of the sums holds two tiles of 16 rows.
    unsafe {
        asm!(
            "tilestored [{out} + {by}], tmm0",
            "tilestored [{out} + {by} + 2048], tmm1",
            out = in(reg) out,
            by = in(reg) 64usize,
            options(nostack),
        );
        if both {
            asm!(
                "tilestored [{out} + {by}], tmm2",
                "tilestored [{out} + {by} + 2048], tmm3",
                out = in(reg) out.add(rows * LANES),
                by = in(reg) 64usize,
                options(nostack),
            );
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn tile_starts(_: *const f32) {}
#[cfg(not(target_arch = "x86_64"))]
unsafe fn tile_step(_: *const u16, _: *const u16, _: bool, _: usize, _: *const u32) {}
#[cfg(not(target_arch = "x86_64"))]
unsafe fn tile_stores(_: &mut Sums, _: usize, _: bool) {}
