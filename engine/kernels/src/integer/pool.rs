//! Poolings of bytes with the channels last.

use crate::KernelError;
use crate::isa::{Vector, Work, dispatch};
use crate::scratch::with_scratch;
use crate::window::Window;
use oxidane_pool::Pool;

/// Channels of an image whose mean one task finds.
const CHANNELS: usize = 256;

/// The largest byte of each window over height and width of `batch` images; windows that lie in the padding alone give
/// the smallest byte.
///
/// # Errors
/// When lengths do not fit.
pub fn max_pool(
    pool: &Pool,
    (x, signed): (&[u8], bool),
    batch: usize,
    [height, width, channels]: [usize; 3],
    window: &Window,
    [oh, ow]: [usize; 2],
    out: &mut [u8],
) -> Result<(), KernelError> {
    let image = height * width * channels;
    if window.rank() != 2 || x.len() != batch * image || out.len() != batch * oh * ow * channels {
        return Err(KernelError::Shape(format!(
            "pooling {batch} images of {height} x {width} x {channels} to {oh} x {ow} got {} and {} bytes",
            x.len(),
            out.len()
        )));
    }
    struct Line<'a> {
        x: &'a [u8],
        signed: bool,
        window: &'a Window,
        size: [usize; 3],
        y: usize,
        /// Room for a line of the image.
        largest: &'a mut [u8],
        out: &'a mut [u8],
    }
    impl Work for Line<'_> {
        type Output = ();

        /// The largest of each column first, then those of the columns of each window.
        #[inline(always)]
        fn run<V: Vector>(self) {
            let [height, width, channels] = self.size;
            let w = self.window;
            // Flipped so, bytes with signs are in the order of those without.
            let flip = if self.signed { 0x80 } else { 0 };
            let largest = self.largest;
            largest.fill(0);
            for tap in 0..w.kernel[0] {
                let row = (self.y * w.strides[0] + tap * w.dilations[0]).wrapping_sub(w.begins[0]);
                if row < height {
                    let line = &self.x[row * width * channels..][..width * channels];
                    largest.iter_mut().zip(line).for_each(|(most, &v)| *most = (*most).max(v ^ flip));
                }
            }
            for (ox, out) in self.out.chunks_exact_mut(channels).enumerate() {
                out.fill(0);
                for tap in 0..w.kernel[1] {
                    let column = (ox * w.strides[1] + tap * w.dilations[1]).wrapping_sub(w.begins[1]);
                    if column < width {
                        let pixel = &largest[column * channels..][..channels];
                        out.iter_mut().zip(pixel).for_each(|(most, &v)| *most = (*most).max(v));
                    }
                }
                if self.signed {
                    out.iter_mut().for_each(|v| *v ^= flip);
                }
            }
        }
    }
    if out.is_empty() {
        return Ok(());
    }
    pool.for_each_piece(out, ow * channels, |i, out| {
        let x = &x[i / oh * image..][..image];
        with_scratch(width * channels, |largest: &mut [u8]| {
            dispatch(Line { x, signed, window, size: [height, width, channels], y: i % oh, largest, out });
        });
    });
    Ok(())
}

/// The mean of each channel over the places of `batch` images, `factor` times what its zero point leaves of it, plus
/// another zero point, as a byte.
///
/// # Errors
/// When lengths do not fit.
pub fn mean(
    pool: &Pool,
    (x, signed): (&[u8], bool),
    (batch, places, channels): (usize, usize, usize),
    (factor, zero): (f32, i32),
    (out, out_zero): (&mut [u8], i32),
) -> Result<(), KernelError> {
    if x.len() != batch * places * channels || out.len() != batch * channels {
        return Err(KernelError::Shape(format!(
            "the means of {batch} images of {places} x {channels} got {} and {} bytes",
            x.len(),
            out.len()
        )));
    }
    struct Sums<'a>(&'a [u8], usize, bool, &'a mut [i32]);
    impl Work for Sums<'_> {
        type Output = ();

        #[inline(always)]
        fn run<V: Vector>(self) {
            let Sums(x, distance, signed, sums) = self;
            sums.fill(0);
            for row in x.chunks(distance) {
                if signed {
                    sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum += i32::from(v as i8));
                } else {
                    sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum += i32::from(v));
                }
            }
        }
    }
    if out.is_empty() {
        return Ok(());
    }
    let (low, high) = if signed { (-128, 127) } else { (0, 255) };
    let pieces = channels.div_ceil(CHANNELS);
    let cells = oxidane_pool::Cells::new(out);
    pool.for_each(batch * pieces, &|i| {
        let (image, first) = (i / pieces, i % pieces * CHANNELS);
        let count = CHANNELS.min(channels - first);
        // SAFETY: images and pieces of their channels are disjoint.
        let out = unsafe { cells.piece(image * channels + first, count) };
        with_scratch::<i32, _>(count, |sums| {
            let x = &x[image * places * channels..][..places * channels];
            dispatch(Sums(x.get(first..).unwrap_or_default(), channels, signed, sums));
            for (out, &sum) in out.iter_mut().zip(&*sums) {
                let mean = sum as f32 / places as f32 - zero as f32;
                let steps = (mean * factor).round_ties_even() as i32;
                *out = steps.saturating_add(out_zero).clamp(low, high) as u8;
            }
        });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{noise, value};
    use super::*;

    #[test]
    fn windows_and_means() {
        let pool = Pool::new(2);
        for (batch, [h, w, c], kernel, strides, dilations, pads) in [
            (1, [5, 7, 64], [3, 3], [2, 2], [1, 1], [1, 1, 1, 1]),
            (2, [6, 5, 3], [2, 3], [1, 2], [2, 1], [0, 1, 2, 1]),
            (1, [1, 1, 300], [1, 1], [1, 1], [1, 1], [0; 4]),
        ] {
            let window = Window::new(&kernel, &strides, &dilations, &pads).unwrap();
            let size = window.output(&[h, w], false).unwrap();
            let (oh, ow) = (size[0], size[1]);
            let x = noise(batch * h * w * c, 8);
            for signed in [false, true] {
                let mut out = vec![0; batch * oh * ow * c];
                max_pool(&pool, (&x, signed), batch, [h, w, c], &window, [oh, ow], &mut out).unwrap();
                for (i, &got) in out.iter().enumerate() {
                    let (channel, ox, oy, n) = (i % c, i / c % ow, i / c / ow % oh, i / c / ow / oh);
                    let mut want = None;
                    for tap in 0..kernel[0] * kernel[1] {
                        let y = (oy as i64 * strides[0]) + (tap / kernel[1]) as i64 * dilations[0] - pads[0];
                        let x_ = (ox as i64 * strides[1]) + (tap % kernel[1]) as i64 * dilations[1] - pads[1];
                        if (0..h as i64).contains(&y) && (0..w as i64).contains(&x_) {
                            let at = ((n * h + y as usize) * w + x_ as usize) * c + channel;
                            want = want.max(Some(value(x[at], signed)));
                        }
                    }
                    assert_eq!(value(got, signed), want.unwrap_or(if signed { -128 } else { 0 }), "{i}");
                }
                let mut means = vec![0; batch * c];
                let shape = (batch, h * w, c);
                mean(&pool, (&x, signed), shape, (0.7, 5), (&mut means, 9)).unwrap();
                for (i, &got) in means.iter().enumerate() {
                    let all = (0..h * w).map(|p| value(x[(i / c * h * w + p) * c + i % c], signed));
                    let mean = f64::from(all.sum::<i32>()) / (h * w) as f64;
                    let want = (((mean - 5.0) * 0.7) as f32).round_ties_even() as i32 + 9;
                    let want = want.clamp(if signed { -128 } else { 0 }, if signed { 127 } else { 255 });
                    assert!((value(got, signed) - want).abs() <= 1, "{i}");
                }
            }
        }
        let window = Window::new(&[1, 1], &[], &[], &[]).unwrap();
        assert!(max_pool(&pool, (&[0; 3], false), 1, [2, 2, 1], &window, [2, 2], &mut [0; 4]).is_err());
        assert!(mean(&pool, (&[0; 3], false), (1, 2, 2), (1.0, 0), (&mut [0; 2], 0)).is_err());
    }
}
