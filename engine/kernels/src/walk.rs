//! How several arrays that broadcast to one shape are walked: as few and as long rows as possible.

use crate::KernelError;
use oxidane_tensor::element_count;
use smallvec::SmallVec;

/// `N` dense arrays broadcast to one shape. Dimensions of size 1 are dropped and neighbours that all arrays
/// step through alike are merged, so that the innermost dimension is a long row in which an array either
/// advances by one or stands still.
pub(crate) struct Walk<const N: usize> {
    /// Outermost first; never empty.
    sizes: SmallVec<[usize; 6]>,
    /// Steps of each array along each dimension, in elements.
    steps: SmallVec<[[usize; N]; 6]>,
    count: usize,
}

impl<const N: usize> Walk<N> {
    /// The walk over `shape` of arrays of these shapes.
    pub(crate) fn new(inputs: [&[usize]; N], shape: &[usize]) -> Result<Walk<N>, KernelError> {
        let count = element_count(shape)?;
        let mut dense = [1usize; N];
        let mut sizes: SmallVec<[usize; 6]> = SmallVec::new();
        let mut steps: SmallVec<[[usize; N]; 6]> = SmallVec::new();
        for input in inputs {
            if input.len() > shape.len() {
                return Err(mismatch(input, shape));
            }
        }
        // Innermost first; turned round at the end.
        for axis in (0..shape.len()).rev() {
            let size = shape[axis];
            let mut step = [0; N];
            for (i, input) in inputs.iter().enumerate() {
                let from_end = shape.len() - axis;
                let own = if from_end <= input.len() { input[input.len() - from_end] } else { 1 };
                if own == size && size != 1 {
                    step[i] = dense[i];
                    dense[i] = dense[i].saturating_mul(own);
                } else if own != 1 {
                    return Err(mismatch(input, shape));
                }
            }
            if size == 1 {
                continue;
            }
            match (sizes.last_mut(), steps.last()) {
                (Some(inner), Some(inner_step))
                    if (0..N).all(|i| step[i] == inner_step[i].saturating_mul(*inner)) =>
                {
                    *inner = inner.saturating_mul(size);
                }
                _ => {
                    sizes.push(size);
                    steps.push(step);
                }
            }
        }
        if sizes.is_empty() {
            sizes.push(1);
            steps.push([0; N]);
        }
        sizes.reverse();
        steps.reverse();
        Ok(Walk { sizes, steps, count })
    }

    /// Elements of the common shape.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The steps of the arrays in a row: 1 or 0 each.
    pub(crate) fn inner(&self) -> [usize; N] {
        self.steps[self.steps.len() - 1]
    }

    /// Calls `row(at, positions, length)` for the rows of the `len` elements from `start` on; `at` counts from
    /// `start`, `positions` are those of the row's first elements in each array.
    #[inline]
    pub(crate) fn rows(&self, start: usize, len: usize, mut row: impl FnMut(usize, [usize; N], usize)) {
        let inner = self.sizes.len() - 1;
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, self.sizes.len());
        let mut base = [0usize; N];
        let mut rest = start;
        for axis in (0..self.sizes.len()).rev() {
            index[axis] = rest % self.sizes[axis].max(1);
            rest /= self.sizes[axis].max(1);
            for (base, step) in base.iter_mut().zip(self.steps[axis]) {
                *base += index[axis] * step;
            }
        }
        let mut at = 0;
        while at < len {
            let length = (self.sizes[inner] - index[inner]).min(len - at);
            row(at, base, length);
            at += length;
            for (base, step) in base.iter_mut().zip(self.steps[inner]) {
                *base -= index[inner] * step;
            }
            index[inner] = 0;
            for axis in (0..inner).rev() {
                index[axis] += 1;
                for (base, step) in base.iter_mut().zip(self.steps[axis]) {
                    *base += step;
                }
                if index[axis] < self.sizes[axis] {
                    break;
                }
                for (base, step) in base.iter_mut().zip(self.steps[axis]) {
                    *base -= step * self.sizes[axis];
                }
                index[axis] = 0;
            }
        }
    }
}

fn mismatch(input: &[usize], shape: &[usize]) -> KernelError {
    KernelError::Shape(format!("shape {input:?} does not broadcast to {shape:?}"))
}
