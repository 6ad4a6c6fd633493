use crate::DType;

/// What can go wrong when a tensor is made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The element type is not the one asked for.
    #[error("element type is {found}, expected {expected}")]
    Type {
        /// The type that was asked for.
        expected: DType,
        /// The type that is there.
        found: DType,
    },
    /// The number of bytes or elements does not fit the shape.
    #[error("shape {shape:?} of {dtype} needs {needed} bytes, but {found} bytes are there")]
    Length {
        /// The element type.
        dtype: DType,
        /// The shape asked for.
        shape: Vec<usize>,
        /// Bytes that the shape needs.
        needed: usize,
        /// Bytes that exist.
        found: usize,
    },
    /// The product of the dimensions does not fit in memory.
    #[error("shape {shape:?} has more elements than memory can address")]
    TooLarge {
        /// The shape.
        shape: Vec<usize>,
    },
    /// Two shapes do not agree.
    #[error("{0}")]
    Shape(String),
    /// Not enough memory for a buffer.
    #[error("cannot allocate {bytes} bytes")]
    Memory {
        /// The size that was asked for.
        bytes: usize,
    },
    /// There is no conversion between two element types.
    #[error("{from} cannot be converted to {to}")]
    Conversion {
        /// The type that is there.
        from: DType,
        /// The type asked for.
        to: DType,
    },
    /// An element's text is no number of the type asked for.
    #[error("element {at}, {text:?}, cannot be read as {to}")]
    Text {
        /// The element as text.
        text: String,
        /// Its position in row-major order.
        at: usize,
        /// The type asked for.
        to: DType,
    },
}
