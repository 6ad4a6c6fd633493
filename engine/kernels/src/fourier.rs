//! Discrete Fourier transforms of any length in `f32` or `f64`: mixed radices where the prime factors are small, and
//! [Bluestein's](https://doi.org/10.1109/TAU.1970.1162132) convolution where they are not. Roots of unity are
//! computed in `f64`.

use crate::{KernelError, Real};
use oxidane_tensor::TensorError;
use oxidane_tensor::complex::Complex;
use std::f64::consts::PI;

type C<T> = Complex<T>;

/// Lengths with a larger prime factor go by convolution.
const LARGEST_RADIX: usize = 13;

/// A transform of one length, to be used as often as one likes and from several threads.
#[derive(Debug)]
pub struct Fourier<T> {
    len: usize,
    plan: Plan<T>,
}

#[derive(Debug)]
enum Plan<T> {
    /// The radices, and all roots of unity of the length.
    Mixed { radices: Vec<usize>, roots: Vec<C<T>> },
    /// A transform of a power of two, the chirp, and the spectrum of its conjugate.
    Chirp { inner: Box<Fourier<T>>, chirp: Vec<C<T>>, spectrum: Vec<C<T>> },
}

/// Whether a length has small prime factors alone, so that the rounding of a transform grows but with its logarithm.
pub fn is_smooth(len: usize) -> bool {
    len > 0 && radices(len).1 == 1
}

impl<T: Real> Fourier<T> {
    /// Plans transforms of `len` elements.
    ///
    /// # Errors
    /// When the length is zero or there is no memory.
    pub fn new(len: usize) -> Result<Fourier<T>, KernelError> {
        if len == 0 {
            return Err(KernelError::Shape("a Fourier transform needs at least one element".into()));
        }
        let (radices, rest) = radices(len);
        if rest == 1 {
            let roots = table(len, |k| root(k as u128, len))?;
            return Ok(Fourier { len, plan: Plan::Mixed { radices, roots } });
        }
        let size =
            len.checked_mul(2).and_then(usize::checked_next_power_of_two).ok_or_else(|| too_large(len))?;
        let inner = Box::new(Fourier::new(size)?);
        let chirp = table(len, |k| root((k as u128).pow(2), 2 * len))?;
        let mut spectrum = table(size, |_| C::<T>::default())?;
        for (k, c) in chirp.iter().enumerate() {
            spectrum[k] = conjugate(*c);
            spectrum[(size - k) % size] = conjugate(*c);
        }
        let mut scratch = table(inner.scratch_len(), |_| C::default())?;
        inner.forward(&mut spectrum, &mut scratch);
        Ok(Fourier { len, plan: Plan::Chirp { inner, chirp, spectrum } })
    }

    /// How many elements it transforms.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it transforms nothing, which it never does.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many elements of scratch a transform needs.
    pub fn scratch_len(&self) -> usize {
        match &self.plan {
            Plan::Mixed { .. } => self.len,
            Plan::Chirp { inner, .. } => 2 * inner.len,
        }
    }

    /// Bytes that a plan of this length and the scratch of one transform take together, roughly.
    pub fn bytes(len: usize) -> usize {
        let elements = match radices(len.max(1)) {
            (_, 1) => len.saturating_mul(2),
            // The chirp, and spectrum, roots and two of scratch of up to four times the length.
            _ => len.saturating_mul(17),
        };
        elements.saturating_mul(size_of::<C<T>>())
    }

    /// `X[k] = sum over n of x[n] e^(-2 pi i k n / len)`, in place.
    ///
    /// # Panics
    /// When `data` has not [`Fourier::len`] elements, or `scratch` fewer than [`Fourier::scratch_len`].
    pub fn forward(&self, data: &mut [C<T>], scratch: &mut [C<T>]) {
        assert_eq!(data.len(), self.len, "a transform of another length");
        match &self.plan {
            Plan::Mixed { radices, roots } => {
                let scratch = &mut scratch[..self.len];
                let (mut from, mut to) = (&mut *data, &mut *scratch);
                let mut step = 1;
                for &radix in radices {
                    pass(from, to, radix, step, roots);
                    std::mem::swap(&mut from, &mut to);
                    step *= radix;
                }
                if radices.len() % 2 == 1 {
                    // The result lies in the scratch.
                    to.copy_from_slice(from);
                }
            }
            Plan::Chirp { inner, chirp, spectrum } => {
                let (line, scratch) = scratch.split_at_mut(inner.len);
                line.fill(C::default());
                for ((to, x), c) in line.iter_mut().zip(&*data).zip(chirp) {
                    *to = times(*x, *c);
                }
                inner.forward(line, scratch);
                // The way back is the way forth with real and imaginary parts exchanged.
                for (x, s) in line.iter_mut().zip(spectrum) {
                    *x = exchange(times(*x, *s));
                }
                inner.forward(line, scratch);
                let share = T::ONE.over(T::of(inner.len as f64));
                for ((to, x), c) in data.iter_mut().zip(&*line).zip(chirp) {
                    let x = exchange(*x);
                    *to = times(C { re: x.re.times(share), im: x.im.times(share) }, *c);
                }
            }
        }
    }

    /// `x[n] = 1 / len * sum over k of X[k] e^(2 pi i k n / len)`, in place.
    ///
    /// # Panics
    /// As [`Fourier::forward`].
    pub fn inverse(&self, data: &mut [C<T>], scratch: &mut [C<T>]) {
        data.iter_mut().for_each(|x| *x = exchange(*x));
        self.forward(data, scratch);
        let share = T::ONE.over(T::of(self.len as f64));
        data.iter_mut().for_each(|x| *x = C { re: x.im.times(share), im: x.re.times(share) });
    }
}

/// The radices of a length, and what remains when they are taken out.
fn radices(mut len: usize) -> (Vec<usize>, usize) {
    let mut found = Vec::new();
    for radix in std::iter::once(4).chain(2..=LARGEST_RADIX) {
        while len.is_multiple_of(radix) {
            found.push(radix);
            len /= radix;
        }
    }
    (found, len)
}

/// One step of Stockham's algorithm: `step` interleaved transforms, of which each `radix` become one. (All sizes
/// below are those of the transforms before it.)
fn pass<T: Real>(from: &[C<T>], to: &mut [C<T>], radix: usize, step: usize, roots: &[C<T>]) {
    let len = from.len();
    let rest = len / step / radix;
    let mut x = [C::default(); LARGEST_RADIX];
    let mut y = [C::default(); LARGEST_RADIX];
    for j in 0..rest {
        for q in 0..step {
            for (r, x) in x[..radix].iter_mut().enumerate() {
                *x = from[q + step * (j + rest * r)];
            }
            let at = q + step * radix * j;
            match radix {
                2 => (y[0], y[1]) = (plus(x[0], x[1]), minus(x[0], x[1])),
                4 => {
                    let (a, b) = (plus(x[0], x[2]), minus(x[0], x[2]));
                    let (c, d) = (plus(x[1], x[3]), turned(minus(x[1], x[3])));
                    (y[0], y[1], y[2], y[3]) = (plus(a, c), plus(b, d), minus(a, c), minus(b, d));
                }
                _ => odd(&x[..radix], &mut y[..radix], len / radix, roots),
            }
            to[at] = y[0];
            for (k, &y) in y[..radix].iter().enumerate().skip(1) {
                to[at + k * step] = if j == 0 { y } else { times(y, roots[k * j * step]) };
            }
        }
    }
}

/// A transform of an odd length from sums and differences of the elements that lie opposite each other, which are
/// multiplied by cosines and sines alone. `quarter` roots of unity are one of this length.
fn odd<T: Real>(x: &[C<T>], y: &mut [C<T>], quarter: usize, roots: &[C<T>]) {
    let len = x.len();
    let pairs = || (1..=len / 2).map(|r| (r, x[r], x[len - r]));
    y[0] = pairs().fold(x[0], |sum, (_, a, b)| plus(sum, plus(a, b)));
    for k in 1..=len / 2 {
        let (mut even, mut odd) = (x[0], C::default());
        for (r, a, b) in pairs() {
            let root = roots[r * k % len * quarter];
            even = plus(even, scaled(plus(a, b), root.re));
            odd = plus(odd, scaled(minus(a, b), root.im.negative()));
        }
        let odd = turned(odd);
        (y[k], y[len - k]) = (plus(even, odd), minus(even, odd));
    }
}

/// e^(-2 pi i k / len).
fn root<T: Real>(k: u128, len: usize) -> C<T> {
    let turn = (k % len as u128) as f64 / len as f64;
    let (sin, cos) = (2.0 * PI * turn).sin_cos();
    C { re: T::of(cos), im: T::of(-sin) }
}

fn table<T>(len: usize, entry: impl Fn(usize) -> C<T>) -> Result<Vec<C<T>>, KernelError> {
    let mut all = Vec::new();
    all.try_reserve_exact(len).map_err(|_| too_large(len))?;
    all.extend((0..len).map(entry));
    Ok(all)
}

fn too_large(len: usize) -> KernelError {
    TensorError::TooLarge { shape: vec![len] }.into()
}

fn plus<T: Real>(a: C<T>, b: C<T>) -> C<T> {
    C { re: a.re.plus(b.re), im: a.im.plus(b.im) }
}

fn minus<T: Real>(a: C<T>, b: C<T>) -> C<T> {
    C { re: a.re.minus(b.re), im: a.im.minus(b.im) }
}

fn times<T: Real>(a: C<T>, b: C<T>) -> C<T> {
    C { re: a.re.times(b.re).minus(a.im.times(b.im)), im: a.re.times(b.im).plus(a.im.times(b.re)) }
}

fn scaled<T: Real>(a: C<T>, by: T) -> C<T> {
    C { re: a.re.times(by), im: a.im.times(by) }
}

/// Times -i.
fn turned<T: Real>(a: C<T>) -> C<T> {
    C { re: a.im, im: a.re.negative() }
}

fn conjugate<T: Real>(a: C<T>) -> C<T> {
    C { re: a.re, im: a.im.negative() }
}

fn exchange<T: Real>(a: C<T>) -> C<T> {
    C { re: a.im, im: a.re }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_agrees_with_the_sum_and_comes_back() {
        for len in (1..70).chain([97, 128, 143, 210, 256, 289]) {
            let signal: Vec<C<f64>> = (0..len)
                .map(|n| C { re: (n as f64 * 1.7).sin() + 0.3, im: (n as f64 * n as f64 * 0.31).cos() })
                .collect();
            let fourier = Fourier::new(len).unwrap();
            let mut scratch = vec![C::default(); fourier.scratch_len()];
            let mut data = signal.clone();
            fourier.forward(&mut data, &mut scratch);
            for (k, x) in data.iter().enumerate() {
                let sum = signal
                    .iter()
                    .enumerate()
                    .fold(C::default(), |sum, (n, x)| plus(sum, times(*x, root((n * k) as u128, len))));
                let off = minus(sum, *x);
                assert!(off.re.hypot(off.im) < 1e-11, "length {len}, element {k}: {x:?}, not {sum:?}");
            }
            fourier.inverse(&mut data, &mut scratch);
            for (x, y) in data.iter().zip(&signal) {
                let off = minus(*x, *y);
                assert!(off.re.hypot(off.im) < 1e-13, "length {len}: {x:?}, not {y:?}");
            }
        }
        assert!(Fourier::<f64>::new(0).is_err());
    }

    #[test]
    fn single_precision_stays_near() {
        for len in [8, 10, 15, 49, 97, 143, 400, 512, 1000] {
            let signal: Vec<C<f64>> = (0..len)
                .map(|n| C { re: (n as f64 * 1.7).sin() + 0.3, im: (n as f64 * n as f64 * 0.31).cos() })
                .collect();
            let fourier = Fourier::<f64>::new(len).unwrap();
            let mut exact = signal.clone();
            fourier.forward(&mut exact, &mut vec![C::default(); fourier.scratch_len()]);
            let fourier = Fourier::<f32>::new(len).unwrap();
            let mut data: Vec<C<f32>> =
                signal.iter().map(|x| C { re: x.re as f32, im: x.im as f32 }).collect();
            fourier.forward(&mut data, &mut vec![C::default(); fourier.scratch_len()]);
            let norm = exact.iter().map(|x| x.re.hypot(x.im)).fold(0.0, f64::max);
            for (x, y) in data.iter().zip(&exact) {
                let off = (f64::from(x.re) - y.re).hypot(f64::from(x.im) - y.im) / norm;
                assert!(off < if is_smooth(len) { 3e-7 } else { 3e-6 }, "length {len}: off by {off:e}");
            }
        }
    }
}
