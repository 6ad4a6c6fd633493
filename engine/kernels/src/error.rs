use oxidane_tensor::TensorError;

/// What can go wrong in a kernel: sizes, types or values that do not fit each other, or no memory for the result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// Sizes or attributes do not fit each other; the text names both sides.
    #[error("{0}")]
    Shape(String),
    /// The element type has no such kernel.
    #[error("{0}")]
    Type(String),
    /// An index points outside the dimension it counts along.
    #[error("index {index} is outside axis {axis}, which has {size} elements")]
    Index {
        /// The index as it was given, perhaps negative.
        index: i64,
        /// The axis of the tensor that is indexed.
        axis: usize,
        /// The size of that axis.
        size: usize,
    },
    /// An integer is divided by zero.
    #[error("integer division by zero: element {at} of the divisor is 0")]
    DivisionByZero {
        /// Position of the first zero in the divisor, in row-major order.
        at: usize,
    },
    /// A tensor could not be made or read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// An error about lengths, where a slice is not as long as its shape says.
pub(crate) fn check_len(what: &str, found: usize, shape: &[usize]) -> Result<(), KernelError> {
    let needed = oxidane_tensor::element_count(shape)?;
    if needed == found {
        return Ok(());
    }
    Err(KernelError::Shape(format!(
        "{what} of shape {shape:?} needs {needed} elements, but {found} are there"
    )))
}
