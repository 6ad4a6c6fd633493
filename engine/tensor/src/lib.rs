//! Element types, tensors and views.
//!
//! A [`Tensor`] is an n-dimensional array of one [`DType`]: shared and immutable, so that cloning one costs
//! a reference count. Its bytes are owned, borrowed from a mapped file, or recycled by a runtime's memory
//! ([`Home`]). Strides let transposes and slices be views of the same bytes. A [`Datum`] is whatever can travel
//! on an edge of a graph: a tensor, a sequence, an optional or a map.

mod buffer;
mod convert;
mod datum;
mod dtype;
mod element;
mod error;
mod float8;
mod map;
mod print;
mod shape;
mod tensor;

pub use buffer::{Buffer, Home};
pub use convert::CastRules;
pub use datum::Datum;
pub use dtype::DType;
pub use element::{Element, complex};
pub use error::TensorError;
pub use float8::RoundMode;
pub use map::{STREAM_LIMIT, map_file, map_open_file};
pub use shape::{Shape, Strides, broadcast, dims, element_count, row_major};
pub use tensor::{Tensor, TensorMut};
