//! What DFT and STFT share: lengths from inputs, scratch memory, and transforms of many lines.

use oxidane_graph::{OpError, Run};
use oxidane_kernels::{Real, fourier::Fourier};
use oxidane_tensor::{DType, complex::Complex};

/// A length or step from a scalar input, at least 1; `None` where the input is absent.
///
/// # Errors
/// When it has not one element, or is less than 1.
pub(super) fn positive(run: &Run<'_>, input: usize, name: &str) -> Result<Option<usize>, OpError> {
    let Some(values) = run.try_ints(input)? else { return Ok(None) };
    match values[..] {
        [value] if value >= 1 => Ok(Some(usize::try_from(value)?)),
        [value] => Err(OpError::new(format!("`{name}` is {value}, but must be at least 1"))),
        _ => Err(OpError::new(format!("`{name}` has {} elements, but must be a scalar", values.len()))),
    }
}

/// A plan of transforms of `len` elements, whose memory is counted.
///
/// # Errors
/// When it does not fit the budget or memory.
pub(super) fn plan<T: Real>(run: &Run<'_>, len: usize) -> Result<Fourier<T>, OpError> {
    // The plan lives outside of the run's memory; asking for as much keeps it within the budget.
    drop(run.allocate(0, DType::U8, &[Fourier::<T>::bytes(len)])?);
    Ok(Fourier::new(len)?)
}

/// A line of a transform and the scratch that goes with it, one a task.
pub(super) struct Line<T> {
    pub data: Vec<Complex<T>>,
    scratch: Vec<Complex<T>>,
}

impl<T: Real> Line<T> {
    pub(super) fn new(fourier: &Fourier<T>) -> Line<T> {
        Line {
            data: vec![Complex::default(); fourier.len()],
            scratch: vec![Complex::default(); fourier.scratch_len()],
        }
    }

    pub(super) fn transform(&mut self, fourier: &Fourier<T>, inverse: bool) {
        if inverse {
            fourier.inverse(&mut self.data, &mut self.scratch);
        } else {
            fourier.forward(&mut self.data, &mut self.scratch);
        }
    }
}

/// The number at place `at` of numbers that lie as real parts alone, or as real and imaginary parts.
pub(super) fn number<T: Real>(data: &[T], parts: usize, at: usize) -> Complex<T> {
    match parts {
        1 => Complex { re: data[at], im: T::ZERO },
        _ => Complex { re: data[2 * at], im: data[2 * at + 1] },
    }
}

/// Whether the last dimension of a signal holds real numbers (1) or complex ones (2).
///
/// # Errors
/// When it is something else.
pub(super) fn parts(shape: &[usize]) -> Result<usize, OpError> {
    match shape.last() {
        Some(&parts @ (1 | 2)) => Ok(parts),
        _ => Err(OpError::new(format!(
            "the signal has the shape {shape:?}, whose last size is neither 1 nor 2"
        ))
        .help("add a dimension of size 1 for real numbers; complex ones have real and imaginary part in it")),
    }
}
