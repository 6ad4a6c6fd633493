//! The input of a convolution, rounded to bfloat16, with the zeros of the pads around it.
//!
//! A blocked input becomes planes of 32 channels; where the window moves by strides, each phase of the strides has a
//! plane of its own, so that neighbouring windows begin at neighbouring positions of a plane. The pads at the end of a line
//! are those at the beginning of the next. A dense input becomes one plane of pixels that hold all phases.

use super::bf16::{DEPTH, Step};
use super::shape::Sizes;
use super::{Call, Input};
use crate::gemm::rounded;
use crate::isa::LANES;
use std::ops::Range;

/// Bytes of a frame at most, where lines are short enough.
const BYTES: usize = 384 << 10;

/// Positions of a band at least.
const POSITIONS: usize = 192;

/// Bands that an image is cut into where it is large enough.
const BANDS: usize = 8;

/// Phases of the strides that a window meets: the combinations of some rows and some columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phases {
    rows: Axis,
    columns: Axis,
}

/// Phases along an axis: `tap * dilation % stride` for all taps.
#[derive(Clone, Copy, Debug)]
struct Axis {
    count: usize,
    dilation: usize,
    stride: usize,
}

impl Axis {
    fn new(taps: usize, stride: usize, dilation: usize) -> Axis {
        // They repeat after so many taps.
        let period = stride / gcd(stride, dilation);
        Axis { count: taps.min(period), dilation, stride }
    }

    fn get(self, i: usize) -> usize {
        i * self.dilation % self.stride
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

/// The phases of a window.
pub(super) fn phases(kernel: (usize, usize), strides: (usize, usize), dilations: (usize, usize)) -> Phases {
    Phases {
        rows: Axis::new(kernel.0, strides.0, dilations.0),
        columns: Axis::new(kernel.1, strides.1, dilations.1),
    }
}

impl Phases {
    pub(super) fn len(&self) -> usize {
        self.rows.count * self.columns.count
    }

    /// Row and column of a phase.
    pub(super) fn get(&self, i: usize) -> (usize, usize) {
        (self.rows.get(i / self.columns.count), self.columns.get(i % self.columns.count))
    }
}

/// The frames of the bands of an image.
pub(super) struct Frame<'a> {
    sizes: &'a Sizes,
    phases: Phases,
    dense: bool,
    /// Values from a position to the next.
    pixel: usize,
    /// Positions of a line.
    width: usize,
    /// Lines that windows reach beyond that of their beginning.
    below: usize,
    /// Lines of the output that a band has.
    band: usize,
    groups: usize,
    /// Values of a line, of a plane, and of the planes of a group of channels.
    line: usize,
    plane: usize,
    of_group: usize,
}

impl<'a> Frame<'a> {
    /// `None` where it would be too large.
    pub(super) fn new(sizes: &'a Sizes, input: Input) -> Option<Frame<'a>> {
        let (kernel, strides, dilations) = (sizes.kernel, sizes.strides, sizes.dilations);
        let phases = phases(kernel, strides, dilations);
        let dense = input == Input::Dense;
        let pixel = if dense { strides.0.checked_mul(strides.1)?.checked_mul(sizes.inputs)? } else { DEPTH };
        let groups = if dense { 1 } else { sizes.inputs.div_ceil(DEPTH) };
        let beyond = |taps: usize, stride: usize, dilation: usize| {
            Some(taps.saturating_sub(1).checked_mul(dilation)? / stride)
        };
        let below = beyond(kernel.0, strides.0, dilations.0)?;
        let width = sizes.out_width.checked_add(beyond(kernel.1, strides.1, dilations.1)?)?;
        let mut frame = Frame {
            sizes,
            phases,
            dense,
            pixel,
            width,
            below,
            band: 1,
            groups,
            line: 0,
            plane: 0,
            of_group: 0,
        };
        // All of it, before its size is trusted.
        let planes = if dense { 1 } else { groups.checked_mul(phases.len())? };
        let lines = sizes.out_height.checked_add(below)?.checked_mul(planes)?;
        let bytes = lines.checked_mul(width)?.checked_mul(pixel)?.checked_mul(2 * sizes.batch.max(1))?;
        if bytes > isize::MAX as usize / 4 {
            return None;
        }
        if !dense {
            let shared = (0..phases.columns.count).map(|i| {
                let inside = frame.inside(phases.columns.get(i));
                inside.start.min(width - inside.end)
            });
            frame.width = (width - shared.min().unwrap_or(0)).max(sizes.out_width);
        }
        let least = POSITIONS.div_ceil(frame.width);
        let bands = (sizes.out_height / least).clamp(1, BANDS);
        frame.line = frame.width * pixel;
        let fit = (BYTES / (planes * frame.line * size_of::<u16>()).max(1)).saturating_sub(below).max(least);
        frame.band = sizes.out_height.div_ceil(bands).min(fit).max(1);
        frame.plane = (frame.band + below) * frame.line;
        frame.of_group = if dense { frame.plane } else { phases.len() * frame.plane };
        Some(frame)
    }

    /// Columns of a phase that are inside of the input.
    fn inside(&self, phase: usize) -> Range<usize> {
        let (stride, begin) = (self.sizes.strides.1, self.sizes.begins.1);
        let first = begin.saturating_sub(phase).div_ceil(stride).min(self.width);
        let last = (self.sizes.width + begin).saturating_sub(phase).div_ceil(stride);
        first..last.clamp(first, self.width)
    }

    pub(super) fn bands(&self) -> usize {
        self.sizes.out_height.div_ceil(self.band)
    }

    /// The first line of the output that a band has.
    pub(super) fn first(&self, band: usize) -> usize {
        band * self.band
    }

    /// Positions of a band from its first to its last, those between the lines among them.
    pub(super) fn positions(&self, band: usize) -> usize {
        let lines = self.band.min(self.sizes.out_height - self.first(band));
        (lines - 1) * self.width + self.sizes.out_width
    }

    pub(super) fn pixel(&self) -> usize {
        self.pixel
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn groups(&self) -> usize {
        self.groups
    }

    /// Values of a frame: behind the planes there are zeros, as many as the last tile may read.
    pub(super) fn len(&self) -> usize {
        (self.groups * self.of_group + LANES * self.pixel + DEPTH).next_multiple_of(DEPTH)
    }

    /// Values of all frames.
    pub(super) fn total(&self) -> usize {
        self.len().saturating_mul(self.bands()).saturating_mul(self.sizes.batch)
    }

    /// The values of a group of channels; the last one has what lies behind the planes.
    pub(super) fn range(&self, group: usize) -> Range<usize> {
        let end = if group + 1 == self.groups { self.len() } else { (group + 1) * self.of_group };
        group * self.of_group..end
    }

    #[inline(always)]
    pub(super) fn offset(&self, step: &Step) -> usize {
        step.plane * self.plane + step.row * self.line + step.at
    }

    /// Makes the values of a group for a band of an image.
    pub(super) fn fill(&self, call: &Call<'_>, item: usize, band: usize, group: usize, to: &mut [u16]) {
        to[self.of_group..].fill(0);
        if self.dense {
            return self.fill_dense(call, item, band, to);
        }
        let sizes = self.sizes;
        let blocks = sizes.inputs.div_ceil(LANES);
        let area = sizes.height * sizes.width * LANES;
        let (first, strides) = (self.first(band), sizes.strides);
        let lines = self.band.min(sizes.out_height - first) + self.below;
        let channels = (sizes.inputs - group * DEPTH).min(DEPTH);
        let low = &call.x[(item * blocks + 2 * group) * area..];
        let high = if channels > LANES { &low[area..] } else { low };
        for phase in 0..self.phases.len() {
            let (py, px) = self.phases.get(phase);
            let inside = self.inside(px);
            let plane = &mut to[phase * self.plane..];
            // Behind the last line of a short band stands one more, whose beginning is the pad of the last.
            let all = (lines + 1).min(self.band + self.below);
            for (row, line) in plane.chunks_exact_mut(self.line).take(all).enumerate() {
                let y = ((first + row) * strides.0 + py).checked_sub(sizes.begins.0);
                let Some(y) = y.filter(|&y| row < lines && y < sizes.height && !inside.is_empty()) else {
                    line.fill(0);
                    continue;
                };
                line[..inside.start * DEPTH].fill(0);
                line[inside.end * DEPTH..].fill(0);
                let line = &mut line[inside.start * DEPTH..inside.end * DEPTH];
                let x = inside.start * strides.1 + px - sizes.begins.1;
                let at = (y * sizes.width + x) * LANES;
                let step = strides.1 * LANES;
                round_line(line, (&low[at..], &high[at..]), step, channels);
            }
        }
    }

    fn fill_dense(&self, call: &Call<'_>, item: usize, band: usize, to: &mut [u16]) {
        let sizes = self.sizes;
        let (first, strides) = (self.first(band), sizes.strides);
        let lines = self.band.min(sizes.out_height - first) + self.below;
        let area = sizes.height * sizes.width;
        let image = &call.x[item * sizes.inputs * area..][..sizes.inputs * area];
        for (row, line) in to.chunks_exact_mut(self.line).take(lines).enumerate() {
            line.fill(0);
            for py in 0..strides.0 {
                let y = ((first + row) * strides.0 + py).checked_sub(sizes.begins.0);
                let Some(y) = y.filter(|&y| y < sizes.height) else { continue };
                for px in 0..strides.1 {
                    let inside = self.inside(px);
                    if inside.is_empty() {
                        continue;
                    }
                    let x = inside.start * strides.1 + px - sizes.begins.1;
                    for c in 0..sizes.inputs {
                        let from = image[c * area + y * sizes.width + x..].iter().step_by(strides.1);
                        let place = (py * strides.1 + px) * sizes.inputs + c;
                        let to = line[inside.start * self.pixel + place..].iter_mut().step_by(self.pixel);
                        to.zip(from).take(inside.len()).for_each(|(to, &v)| *to = rounded(v) as u16);
                    }
                }
            }
        }
    }
}

/// Pixels of 32 channels, of which there are so many, from the vectors of two blocks that lie `step` floats apart.
fn round_line(to: &mut [u16], (low, high): (&[f32], &[f32]), step: usize, channels: usize) {
    let pixels = to.len() / DEPTH;
    let needed = pixels.saturating_sub(1) * step + LANES;
    assert!(pixels == 0 || low.len() >= needed && high.len() >= needed, "a line is too short");
    #[cfg(target_arch = "x86_64")]
    if crate::isa::bf16_products() {
        // SAFETY: the machine has the instructions, and the lengths were checked.
        unsafe { round_pixels(to.as_mut_ptr(), low.as_ptr(), high.as_ptr(), pixels, step, channels) };
        return;
    }
    for (i, pixel) in to.chunks_exact_mut(DEPTH).enumerate() {
        let both = low[i * step..][..LANES].iter().chain(&high[i * step..][..LANES]);
        pixel.fill(0);
        pixel.iter_mut().zip(both).take(channels).for_each(|(to, &v)| *to = rounded(v) as u16);
    }
}

/// # Safety
/// The machine has the features; so many pixels can be written, and a vector for each of them read from both.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn round_pixels(
    to: *mut u16,
    low: *const f32,
    high: *const f32,
    pixels: usize,
    step: usize,
    channels: usize,
) {
    use std::arch::x86_64::*;
    // Lanes without a channel hold anything, and become zeros.
    let lanes = |count: usize| if count >= LANES { u16::MAX } else { (1 << count) - 1 };
    let (first, second) = (lanes(channels), lanes(channels.saturating_sub(LANES)));
    for i in 0..pixels {
        // SAFETY: the caller's promise.
        unsafe {
            let a = _mm512_maskz_loadu_ps(first, low.add(i * step));
            let b = _mm512_maskz_loadu_ps(second, high.add(i * step));
            let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(b, a));
            _mm512_storeu_si512(to.add(i * DEPTH).cast(), both);
        }
    }
}
