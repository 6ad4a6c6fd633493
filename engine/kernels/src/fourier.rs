//! Discrete Fourier transforms of any length in `f64`: mixed radices where the prime factors are small, and
//! [Bluestein's](https://doi.org/10.1109/TAU.1970.1162132) convolution where they are not.

use crate::KernelError;
use oxidane_tensor::TensorError;
use oxidane_tensor::complex::Complex;
use std::f64::consts::PI;

type C = Complex<f64>;

/// Lengths with a larger prime factor go by convolution.
const LARGEST_RADIX: usize = 13;

/// A transform of one length, to be used as often as one likes and from several threads.
#[derive(Debug)]
pub struct Fourier {
    len: usize,
    plan: Plan,
}

#[derive(Debug)]
enum Plan {
    /// The radices, and all roots of unity of the length.
    Mixed { radices: Vec<usize>, roots: Vec<C> },
    /// A transform of a power of two, the chirp, and the spectrum of its conjugate.
    Chirp { inner: Box<Fourier>, chirp: Vec<C>, spectrum: Vec<C> },
}

impl Fourier {
    /// Plans transforms of `len` elements.
    ///
    /// # Errors
    /// When the length is zero or there is no memory.
    pub fn new(len: usize) -> Result<Fourier, KernelError> {
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
        let mut spectrum = table(size, |_| C::default())?;
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
        elements.saturating_mul(size_of::<C>())
    }

    /// `X[k] = sum over n of x[n] e^(-2 pi i k n / len)`, in place.
    ///
    /// # Panics
    /// When `data` has not [`Fourier::len`] elements, or `scratch` fewer than [`Fourier::scratch_len`].
    pub fn forward(&self, data: &mut [C], scratch: &mut [C]) {
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
                let share = 1.0 / inner.len as f64;
                for ((to, x), c) in data.iter_mut().zip(&*line).zip(chirp) {
                    let x = exchange(*x);
                    *to = times(C { re: x.re * share, im: x.im * share }, *c);
                }
            }
        }
    }

    /// `x[n] = 1 / len * sum over k of X[k] e^(2 pi i k n / len)`, in place.
    ///
    /// # Panics
    /// As [`Fourier::forward`].
    pub fn inverse(&self, data: &mut [C], scratch: &mut [C]) {
        data.iter_mut().for_each(|x| *x = exchange(*x));
        self.forward(data, scratch);
        let share = 1.0 / self.len as f64;
        data.iter_mut().for_each(|x| *x = C { re: x.im * share, im: x.re * share });
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
fn pass(from: &[C], to: &mut [C], radix: usize, step: usize, roots: &[C]) {
    let len = from.len();
    let rest = len / step / radix;
    let quarter = len / radix;
    let mut x = [C::default(); LARGEST_RADIX];
    for j in 0..rest {
        for q in 0..step {
            for (r, x) in x[..radix].iter_mut().enumerate() {
                *x = from[q + step * (j + rest * r)];
            }
            let at = q + step * radix * j;
            match radix {
                2 => {
                    to[at] = plus(x[0], x[1]);
                    to[at + step] = times(minus(x[0], x[1]), roots[j * step]);
                }
                4 => {
                    let (a, b) = (plus(x[0], x[2]), minus(x[0], x[2]));
                    let (c, d) = (plus(x[1], x[3]), minus(x[1], x[3]));
                    // -i d
                    let d = C { re: d.im, im: -d.re };
                    to[at] = plus(a, c);
                    to[at + step] = times(plus(b, d), roots[j * step]);
                    to[at + 2 * step] = times(minus(a, c), roots[2 * j * step]);
                    to[at + 3 * step] = times(minus(b, d), roots[3 * j * step]);
                }
                _ => {
                    for k in 0..radix {
                        let sum = (1..radix)
                            .fold(x[0], |sum, r| plus(sum, times(x[r], roots[(r * k % radix) * quarter])));
                        to[at + k * step] = times(sum, roots[k * j * step]);
                    }
                }
            }
        }
    }
}

/// e^(-2 pi i k / len).
fn root(k: u128, len: usize) -> C {
    let turn = (k % len as u128) as f64 / len as f64;
    let (sin, cos) = (2.0 * PI * turn).sin_cos();
    C { re: cos, im: -sin }
}

fn table(len: usize, entry: impl Fn(usize) -> C) -> Result<Vec<C>, KernelError> {
    let mut all = Vec::new();
    all.try_reserve_exact(len).map_err(|_| too_large(len))?;
    all.extend((0..len).map(entry));
    Ok(all)
}

fn too_large(len: usize) -> KernelError {
    TensorError::TooLarge { shape: vec![len] }.into()
}

fn plus(a: C, b: C) -> C {
    C { re: a.re + b.re, im: a.im + b.im }
}

fn minus(a: C, b: C) -> C {
    C { re: a.re - b.re, im: a.im - b.im }
}

fn times(a: C, b: C) -> C {
    C { re: a.re * b.re - a.im * b.im, im: a.re * b.im + a.im * b.re }
}

fn conjugate(a: C) -> C {
    C { re: a.re, im: -a.im }
}

fn exchange(a: C) -> C {
    C { re: a.im, im: a.re }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_agrees_with_the_sum_and_comes_back() {
        for len in (1..70).chain([97, 128, 143, 210, 256, 289]) {
            let signal: Vec<C> = (0..len)
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
        assert!(Fourier::new(0).is_err());
    }
}
