//! How several arrays that broadcast to one shape are walked: as few and as long rows as possible.

use crate::KernelError;
use crate::error::check_len;
use smallvec::SmallVec;

/// `N` dense arrays broadcast to one shape. Dimensions of size 1 are dropped and neighbours that all arrays
/// step through alike are merged, so that the innermost dimension is a long row in which an array either
/// advances by one or stands still.
pub(crate) struct Walk<const N: usize> {
    /// Outermost first; never empty.
    sizes: SmallVec<[usize; 6]>,
    /// Steps of each array along each dimension, in elements.
    steps: SmallVec<[[usize; N]; 6]>,
}

impl<const N: usize> Walk<N> {
    /// The walk over an output of arrays, each given as the length of its slice and its shape.
    pub(crate) fn of(
        inputs: [(usize, &[usize]); N],
        (len, shape): (usize, &[usize]),
    ) -> Result<Walk<N>, KernelError> {
        for (len, shape) in inputs {
            check_len("input", len, shape)?;
        }
        check_len("output", len, shape)?;
        Walk::new(inputs.map(|(_, shape)| shape), shape)
    }

    fn new(inputs: [&[usize]; N], shape: &[usize]) -> Result<Walk<N>, KernelError> {
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
        Ok(Walk { sizes, steps })
    }

    /// The steps of the arrays in a row: 1 or 0 each.
    pub(crate) fn inner(&self) -> [usize; N] {
        self.steps[self.steps.len() - 1]
    }

    /// Where rows are short, and the next dimension repeats those of some arrays and goes on in the others: the walk over
    /// rows of both dimensions, in which the former stand still, their period, and which they are.
    pub(crate) fn periodic(&self) -> Option<(Walk<N>, usize, [bool; N])> {
        let last = self.sizes.len() - 1;
        let (period, times) = (self.sizes[last], *self.sizes.get(last.checked_sub(1)?)?);
        if !(2..=SHORT).contains(&period) || times < 2 {
            return None;
        }
        let (inner, outer) = (self.steps[last], self.steps[last - 1]);
        let mut repeated = [false; N];
        for (i, repeated) in repeated.iter_mut().enumerate() {
            *repeated = match (inner[i], outer[i]) {
                (1, 0) => true,
                (1, step) if step == period => false,
                (0, 0) => false,
                _ => return None,
            };
        }
        let mut walk = Walk { sizes: self.sizes.clone(), steps: self.steps.clone() };
        walk.sizes.pop();
        walk.steps.pop();
        walk.sizes[last - 1] = times * period;
        walk.steps[last - 1] = std::array::from_fn(|i| usize::from(inner[i] == 1 && !repeated[i]));
        Some((walk, period, repeated))
    }

    /// The rows of the `len` elements from `start` on.
    pub(crate) fn rows(&self, start: usize, len: usize) -> Rows<'_, N> {
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
        Rows { walk: self, index, base, at: 0, len }
    }
}

/// Rows of at most so many elements are short.
const SHORT: usize = 128;

/// A stretch of the common shape in which every array advances by one or stands still.
pub(crate) struct Row<const N: usize> {
    /// Where it begins, counted from where the walk started.
    pub(crate) at: usize,
    /// Where it begins in each array.
    pub(crate) positions: [usize; N],
    /// Where it begins along the innermost dimension.
    pub(crate) along: usize,
    /// How long it is.
    pub(crate) len: usize,
}

/// The rows of a walk, in order.
pub(crate) struct Rows<'a, const N: usize> {
    walk: &'a Walk<N>,
    index: SmallVec<[usize; 6]>,
    base: [usize; N],
    at: usize,
    len: usize,
}

impl<const N: usize> Iterator for Rows<'_, N> {
    type Item = Row<N>;

    // One copy for all loops: a row's work outweighs the call.
    #[inline(never)]
    fn next(&mut self) -> Option<Row<N>> {
        if self.at >= self.len {
            return None;
        }
        // As slices: where a SmallVec lies is asked once.
        let (sizes, steps, index) = (&*self.walk.sizes, &*self.walk.steps, &mut *self.index);
        let inner = sizes.len() - 1;
        let len = (sizes[inner] - index[inner]).min(self.len - self.at);
        let row = Row { at: self.at, positions: self.base, along: index[inner], len };
        self.at += len;
        for (base, step) in self.base.iter_mut().zip(steps[inner]) {
            *base -= index[inner] * step;
        }
        index[inner] = 0;
        for ((index, &size), step) in index.iter_mut().zip(sizes).zip(steps).take(inner).rev() {
            *index += 1;
            for (base, step) in self.base.iter_mut().zip(step) {
                *base += step;
            }
            if *index < size {
                break;
            }
            for (base, step) in self.base.iter_mut().zip(step) {
                *base -= step * size;
            }
            *index = 0;
        }
        Some(row)
    }
}

fn mismatch(input: &[usize], shape: &[usize]) -> KernelError {
    KernelError::Shape(format!("shape {input:?} does not broadcast to {shape:?}"))
}
