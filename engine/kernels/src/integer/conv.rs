//! Convolutions of bytes in two dimensions with the channels last, as products whose rows are gathered by the loads
//! themselves.
//!
//! The input is copied once into a frame that holds its padding, cut into one image for each phase of the strides, so
//! that windows of neighbouring outputs begin one pixel apart: each tap is then an offset. Outputs are computed along
//! the whole frame; what lies between two lines is left out. Where there are few
//! channels, the phases of a pixel lie together, so that few runs of bytes make a window. A pointwise convolution reads the input where it lies.

use super::finish::{Addend, Codes, Coding, Out, bounded};
use super::left::Left;
use super::packed::{HOLE, PAIR, Packed, STEP};
use super::{aligned, run};
use crate::KernelError;
use crate::scratch::with_scratch;
use crate::window::Window;
use oxidane_pool::Pool;

/// With fewer channels than this, the phases of a pixel lie together.
const FEW: usize = 16;

/// Bytes that one task copies.
const COPIED: usize = 32 << 10;

/// What a convolution of codes is made of.
pub struct ConvSpec<'a> {
    /// Channels, height and width of the input.
    pub input: [usize; 3],
    /// Whether the channels of the input are its last dimension.
    pub channels_last: bool,
    /// The window, its pads final.
    pub window: &'a Window,
    /// The weights: output channels, channels, height, width; whether they have signs.
    pub weights: (&'a [u8], bool),
    /// Output channels.
    pub outputs: usize,
    /// The scales of the weights: one, or one an output channel.
    pub scales: &'a [f32],
    /// The zero points of the weights: one, or one an output channel.
    pub zeros: &'a [i32],
    /// What is added to the sums: nothing, or a number for each output channel.
    pub bias: &'a [i32],
    /// The codes of the input, and of the result.
    pub codings: (Coding, Coding),
    /// Whether numbers below zero become zero.
    pub rectified: bool,
    /// The codes that the convolution is rounded to before another tensor is added, and those of that tensor.
    pub addend: Option<(Coding, Coding)>,
}

/// A convolution of bytes, its weights packed.
pub struct Conv {
    packed: Packed,
    frame: Frame,
    /// Starting values of the sums.
    start: Vec<i32>,
    /// Factors of the sums, padded to whole pairs.
    scales: Vec<f32>,
    zero: i32,
    range: (u8, u8),
    /// What is flipped in the codes of the result.
    flip: u8,
    /// What an addend is worth; its codes come with the call.
    addend: Option<Addend<'static>>,
    bounded: bool,
}

/// How the input lies in front of the product.
struct Frame {
    input: [usize; 3],
    channels_last: bool,
    /// What is flipped in the bytes of the input.
    flip: u8,
    /// The byte of padding, flipped already.
    padding: u8,
    strides: [usize; 2],
    begins: [usize; 2],
    output: [usize; 2],
    /// Phases that are used; where those of a pixel lie together, one.
    phases: Vec<(usize, usize)>,
    /// Height and width of a phase's image.
    size: [usize; 2],
    /// Whether the phases of a pixel lie together.
    deep: bool,
    /// Whether the input may be read where it lies.
    direct: bool,
}

impl Conv {
    /// A convolution whose weights are packed; `None` where it has no such form: zero points of weights that differ from
    /// the middle of their range.
    ///
    /// # Errors
    /// When sizes do not fit.
    pub fn new(spec: &ConvSpec<'_>) -> Result<Option<Conv>, KernelError> {
        let window = spec.window;
        let [channels, height, width] = spec.input;
        let fault = |what: &str| KernelError::Shape(format!("a convolution of bytes: {what}"));
        let (&[kh, kw], &[sh, sw]) = (&window.kernel[..], &window.strides[..]) else {
            return Err(fault("the window must have two dimensions"));
        };
        let (dh, dw) = (window.dilations[0], window.dilations[1]);
        let output = window.output(&[height, width], false)?;
        let one_or_all = |n: usize| n == 1 || n == spec.outputs;
        if !one_or_all(spec.scales.len()) || !one_or_all(spec.zeros.len()) {
            return Err(fault("scales or zero points of the weights do not fit"));
        }
        if !spec.bias.is_empty() && spec.bias.len() != spec.outputs {
            return Err(fault("the bias does not fit"));
        }
        let size = |n: usize, m: usize| n.checked_mul(m).ok_or_else(|| fault("it is too large"));
        let taps = size(kh, kw)?;
        let depth = size(channels, taps)?;
        if size(depth, spec.outputs)? != spec.weights.0.len() {
            return Err(fault("the weights do not fit"));
        }
        let deep = channels < FEW && (sh > 1 || sw > 1);
        let phase = |y: usize, x: usize| (y * dh % sh, x * dw % sw);
        let mut phases = Vec::new();
        for y in 0..kh {
            for x in 0..kw {
                if !phases.contains(&phase(y, x)) {
                    phases.push(phase(y, x));
                }
            }
        }
        let frame_size = [output[0] + (kh - 1) * dh / sh, output[1] + (kw - 1) * dw / sw];
        let pixel = if deep { size(size(sh, sw)?, channels)? } else { channels };
        let line = size(frame_size[1], pixel)?;
        let image = size(line, frame_size[0])?;
        size(image, phases.len())?;
        let mut begins: Vec<(usize, usize)> = Vec::new();
        for tap in 0..taps {
            let (y, x) = (tap / kw, tap % kw);
            let (py, px) = phase(y, x);
            let first = if deep {
                (py * sw + px) * channels
            } else {
                phases.iter().position(|&of| of == (py, px)).unwrap_or(0) * image
            };
            begins.push((first + y * dh / sh * line + x * dw / sw * pixel, tap));
        }
        begins.sort_unstable();
        // Taps that touch each other, or almost so inside of a step, are one run.
        let mut runs: Vec<(usize, Vec<usize>)> = Vec::new();
        for (offset, tap) in begins {
            let depth = (0..channels).map(|c| c * taps + tap);
            match runs.last_mut() {
                Some((first, run)) if *first + run.len() == offset || offset + channels <= *first + STEP => {
                    run.resize(offset - *first, HOLE);
                    run.extend(depth);
                }
                _ => runs.push((offset, depth.collect())),
            }
        }
        let runs: Vec<(usize, &[usize])> = runs.iter().map(|(offset, run)| (*offset, &run[..])).collect();
        let (bytes, signed) = spec.weights;
        let packed = Packed::runs(bytes, signed, &runs, spec.outputs, (1, depth))?;
        if packed.needs_rows(spec.zeros) {
            return Ok(None);
        }
        let (x, y) = spec.codings;
        let mut start = packed.start(x.unsigned_zero(), spec.zeros);
        start.iter_mut().zip(spec.bias).for_each(|(start, bias)| *start = start.wrapping_add(*bias));
        let to = spec.addend.map_or(y, |(rounded, _)| rounded);
        let mut scales = vec![0.0; packed.pairs() * PAIR];
        for (n, scale) in scales[..spec.outputs].iter_mut().enumerate() {
            *scale = x.scale * spec.scales[n.min(spec.scales.len() - 1)] / to.scale;
        }
        let zero = y.unsigned_zero();
        let addend = spec.addend.map(|(rounded, other)| {
            let zero = rounded.unsigned_zero() as f32;
            let worth = (rounded.scale / y.scale, other.scale / y.scale);
            Addend {
                codes: &[],
                flip: if other.signed { 0x80 } else { 0 },
                bounds: (-zero, 255.0 - zero),
                worth,
                offset: -(other.unsigned_zero() as f32) * worth.1,
            }
        });
        let flip = if x.signed { 0x80 } else { 0 };
        let unpadded = window.begins.iter().chain(&window.ends).all(|&n| n == 0);
        let frame = Frame {
            input: spec.input,
            channels_last: spec.channels_last,
            flip,
            padding: x.unsigned_zero() as u8,
            strides: [sh, sw],
            begins: [window.begins[0], window.begins[1]],
            output: [output[0], output[1]],
            phases: if deep { vec![(0, 0)] } else { phases },
            size: frame_size,
            deep,
            direct: spec.channels_last && flip == 0 && unpadded && sh == 1 && sw == 1,
        };
        let lowest = if spec.rectified { zero.clamp(0, 255) as u8 } else { 0 };
        // With an addend, what is rounded is bounded, and cut before it is added.
        let bounded = match spec.addend {
            None => bounded(depth, &start, &scales),
            Some((rounded, other)) => {
                let most = 256.0 * (rounded.scale + other.scale) / y.scale;
                bounded(depth, &start, &scales) && most < 1e9
            }
        };
        Ok(Some(Conv {
            packed,
            bounded,
            frame,
            start,
            scales,
            zero,
            range: (lowest, 255),
            flip: if y.signed { 0x80 } else { 0 },
            addend,
        }))
    }

    /// Height, width and channels of the result.
    pub fn output(&self) -> [usize; 3] {
        [self.frame.output[0], self.frame.output[1], self.packed.columns()]
    }

    /// Bytes of scratch that a call on `batch` images takes.
    pub fn scratch(&self, batch: usize) -> Option<usize> {
        self.frame.image().checked_mul(batch)?.checked_add(2 * STEP)
    }

    /// Convolves `batch` images; `addend` holds the codes of the tensor that is added, where there is one. The channels
    /// of the result and of the addend are their last dimension.
    ///
    /// # Errors
    /// When lengths do not fit.
    pub fn run(
        &self,
        pool: &Pool,
        batch: usize,
        x: &[u8],
        addend: Option<&[u8]>,
        out: &mut [u8],
    ) -> Result<(), KernelError> {
        let [oh, ow] = self.frame.output;
        let (inside, outside) = (self.frame.input.iter().product::<usize>(), oh * ow);
        let wanted = batch * outside * self.packed.columns();
        if x.len() != batch * inside
            || out.len() != wanted
            || addend.is_some() != self.addend.is_some()
            || addend.is_some_and(|a| a.len() != wanted)
        {
            return Err(KernelError::Shape(format!(
                "a convolution of {batch} images of {:?} to {oh} x {ow} x {} got {} bytes, {:?} to add, and {} to write",
                self.frame.input,
                self.packed.columns(),
                x.len(),
                addend.map(<[u8]>::len),
                out.len()
            )));
        }
        if out.is_empty() {
            return Ok(());
        }
        let furthest = self.packed.steps().iter().map(|s| s.offset).max().unwrap_or(0);
        let direct = self.frame.left(x, batch);
        if self.frame.direct && direct.reach(furthest) <= x.len() {
            return self.multiply(pool, &direct, addend, out);
        }
        with_scratch(self.frame.image() * batch + 2 * STEP, |frame: &mut [u8]| {
            let frame = &mut aligned(frame)[..self.frame.image() * batch + STEP];
            let (images, rest) = frame.split_at_mut(self.frame.image() * batch);
            rest.fill(0);
            self.frame.fill(pool, x, images);
            self.multiply(pool, &self.frame.left(frame, batch), addend, out)
        })
    }

    fn multiply(
        &self,
        pool: &Pool,
        left: &Left<'_>,
        addend: Option<&[u8]>,
        out: &mut [u8],
    ) -> Result<(), KernelError> {
        let addend = self.addend.zip(addend).map(|(worth, codes)| Addend { codes, ..worth });
        let finish = Codes {
            out: Out::new(out, left.count(), self.packed.columns()),
            scales: &self.scales,
            zero: self.zero,
            range: self.range,
            flip: self.flip,
            addend,
            bounded: self.bounded,
        };
        run(pool, left, &self.packed, &self.start, &[], &finish);
        Ok(())
    }
}

impl Frame {
    /// Bytes of a pixel.
    fn pixel(&self) -> usize {
        if self.deep { self.strides[0] * self.strides[1] * self.input[0] } else { self.input[0] }
    }

    /// Bytes of the frame of one image.
    fn image(&self) -> usize {
        self.phases.len() * self.size[0] * self.size[1] * self.pixel()
    }

    /// The rows of the product.
    fn left<'a>(&self, bytes: &'a [u8], batch: usize) -> Left<'a> {
        let ([oh, ow], width) = (self.output, self.size[1]);
        Left {
            bytes,
            stride: self.pixel(),
            images: (batch, self.image()),
            runs: (1, 0),
            rows: (oh - 1) * width + ow,
            period: width,
            valid: ow,
            results: oh * ow,
        }
    }

    /// Copies the input into the frame.
    fn fill(&self, pool: &Pool, x: &[u8], frame: &mut [u8]) {
        if self.deep {
            return self.fill_deep(pool, x, frame);
        }
        let ([channels, height, width], [rows, columns]) = (self.input, self.size);
        let line = columns * channels;
        if line == 0 {
            return;
        }
        let [sh, sw] = self.strides;
        let flip = self.flip;
        let lines = (COPIED / line).max(1);
        pool.for_each_piece(frame, lines * line, |i, piece| {
            for (k, to) in piece.chunks_exact_mut(line).enumerate() {
                let index = i * lines + k;
                let (image, phase) = (index / rows / self.phases.len(), index / rows % self.phases.len());
                let (py, px) = self.phases[phase];
                let y = (index % rows * sh + py).checked_sub(self.begins[0]).filter(|&y| y < height);
                let Some(y) = y else {
                    to.fill(self.padding);
                    continue;
                };
                // The pixels of the line that are inside the input: xx * sw + px - begin is at least 0, below width.
                let first = self.begins[1].saturating_sub(px).div_ceil(sw).min(columns);
                let last = (width + self.begins[1]).saturating_sub(px).div_ceil(sw).clamp(first, columns);
                to[..first * channels].fill(self.padding);
                to[last * channels..].fill(self.padding);
                let to = &mut to[first * channels..last * channels];
                if to.is_empty() {
                    continue;
                }
                let x0 = first * sw + px - self.begins[1];
                let image = &x[image * channels * height * width..][..channels * height * width];
                if self.channels_last {
                    let from = &image[(y * width + x0) * channels..];
                    if sw == 1 {
                        to.copy_from_slice(&from[..to.len()]);
                    } else {
                        for (to, from) in to.chunks_exact_mut(channels).zip(from.chunks(sw * channels)) {
                            to.copy_from_slice(&from[..channels]);
                        }
                    }
                } else if let [r, g, b] = [0, 1, 2].map(|c| {
                    let plane = if c < channels { c * height * width } else { 0 };
                    &image[plane + y * width + x0..]
                }) && channels == 3
                    && sw == 1
                {
                    for (((to, r), g), b) in to.as_chunks_mut::<3>().0.iter_mut().zip(r).zip(g).zip(b) {
                        *to = [*r, *g, *b];
                    }
                } else {
                    for c in 0..channels {
                        let from = &image[(c * height + y) * width + x0..];
                        let from = from.iter().step_by(sw);
                        to[c..].iter_mut().step_by(channels).zip(from).for_each(|(to, from)| *to = *from);
                    }
                }
                if flip != 0 {
                    to.iter_mut().for_each(|byte| *byte ^= flip);
                }
            }
        });
    }

    /// As [`Frame::fill`] where the phases of a pixel lie together.
    fn fill_deep(&self, pool: &Pool, x: &[u8], frame: &mut [u8]) {
        let ([channels, height, width], [rows, columns], [sh, sw]) = (self.input, self.size, self.strides);
        let (pixel, plane) = (self.pixel(), height * width);
        if columns * pixel == 0 {
            return;
        }
        let lines = (COPIED / (columns * pixel)).max(1);
        pool.for_each_piece(frame, lines * columns * pixel, |i, piece| {
            piece.fill(self.padding);
            for (k, to) in piece.chunks_exact_mut(columns * pixel).enumerate() {
                let index = i * lines + k;
                let image = &x[index / rows * channels * plane..][..channels * plane];
                for py in 0..sh {
                    let y = (index % rows * sh + py).checked_sub(self.begins[0]).filter(|&y| y < height);
                    let Some(y) = y else { continue };
                    let to = &mut to[py * sw * channels..];
                    // Columns whose phases are all inside the input: theirs lie one after the other in it.
                    let first = self.begins[1].div_ceil(sw).min(columns);
                    let last = ((width + self.begins[1]) / sw).clamp(first, columns);
                    let (step, apart) = if self.channels_last { (channels, 1) } else { (1, plane) };
                    let line = &image[y * width * step..];
                    for px in 0..sw {
                        for column in (0..first).chain(last..columns) {
                            let x = (column * sw + px).checked_sub(self.begins[1]).filter(|&x| x < width);
                            let Some(x) = x else { continue };
                            for c in 0..channels {
                                to[column * pixel + px * channels + c] =
                                    line[x * step + c * apart] ^ self.flip;
                            }
                        }
                    }
                    if first == last {
                        continue;
                    }
                    let line = &line[(first * sw - self.begins[1]) * step..];
                    let to = to[first * pixel..].chunks_mut(pixel).take(last - first);
                    if self.channels_last {
                        for (to, from) in to.zip(line.chunks_exact(sw * channels)) {
                            to.iter_mut().zip(from).for_each(|(to, from)| *to = from ^ self.flip);
                        }
                    } else if channels == 3 && sw == 2 {
                        let planes = [0, 1, 2].map(|c| line[c * plane..].as_chunks::<2>().0);
                        let [red, green, blue] = planes;
                        for (((to, r), g), b) in to.zip(red).zip(green).zip(blue) {
                            let bytes = [r[0], g[0], b[0], r[1], g[1], b[1]];
                            if let Some(to) = to.first_chunk_mut::<6>() {
                                *to = bytes.map(|byte| byte ^ self.flip);
                            }
                        }
                    } else {
                        for (at, to) in to.enumerate() {
                            for (i, to) in to[..sw * channels].iter_mut().enumerate() {
                                *to = line[at * sw + i / channels + i % channels * plane] ^ self.flip;
                            }
                        }
                    }
                }
            }
        });
    }
}
