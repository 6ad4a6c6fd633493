use crate::TensorError;
use smallvec::SmallVec;

/// The sizes of a tensor's dimensions, outermost first; empty for a scalar.
pub type Shape = SmallVec<[usize; 6]>;

/// Steps in elements between neighbours along each dimension; zero repeats an element, negative goes backwards.
pub type Strides = SmallVec<[isize; 6]>;

/// A shape from a slice.
pub fn dims(sizes: &[usize]) -> Shape {
    Shape::from_slice(sizes)
}

/// The most elements that a shape may stand for: their bytes fit an `isize` whatever their type.
const MAX_COUNT: usize = isize::MAX as usize / 16;

/// The number of elements of a shape: the product of its sizes, 1 for a scalar.
///
/// # Errors
/// When the product is so large that an offset computed from it could overflow. Sizes of 0 do not count for that:
/// whatever sizes of a tensor are multiplied, the product fits an `isize`, also where there is no element.
pub fn element_count(shape: &[usize]) -> Result<usize, TensorError> {
    let count = shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d.max(1)))
        .filter(|&n| n <= MAX_COUNT)
        .ok_or_else(|| TensorError::TooLarge { shape: shape.to_vec() })?;
    Ok(if shape.contains(&0) { 0 } else { count })
}

/// The strides of a dense, row-major tensor.
pub fn row_major(shape: &[usize]) -> Strides {
    let mut strides = Strides::from_elem(1, shape.len());
    let mut step = 1isize;
    for (stride, &size) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.wrapping_mul(size.max(1) as isize);
    }
    strides
}

/// The shape that two shapes broadcast to by NumPy's rule: aligned at the right, sizes equal or one of them 1.
///
/// # Errors
/// When two sizes differ and neither is 1; the text names both shapes.
pub fn broadcast(a: &[usize], b: &[usize]) -> Result<Shape, TensorError> {
    let rank = a.len().max(b.len());
    let mut out = Shape::from_elem(1, rank);
    for i in 0..rank {
        let x = if i + a.len() >= rank { a[i + a.len() - rank] } else { 1 };
        let y = if i + b.len() >= rank { b[i + b.len() - rank] } else { 1 };
        out[i] = match (x, y) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => return Err(TensorError::Shape(format!("shapes {a:?} and {b:?} do not broadcast"))),
        };
    }
    Ok(out)
}
