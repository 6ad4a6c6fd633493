//! Numeric loops on slices and views.
//!
//! Elementwise loops, reductions and gathers take dense slices with their shapes and a [`oxidane_pool::Pool`],
//! and write into slices of the result's size; products and convolutions take tensors. Every length and index is
//! checked against the shapes before the loops run. Loops are cut by shape, so that the same input gives the same
//! bits for every number of threads.

pub mod attention;
pub mod blocked;
pub mod contract;
pub mod conv;
pub mod conv_transpose;
pub mod deform;
mod error;
pub mod fold;
pub mod fourier;
mod function;
pub mod gather;
pub mod gemm;
mod half_floats;
pub mod integer;
pub mod isa;
mod lanes;
pub mod machine;
pub mod map;
pub mod matmul;
pub mod norm;
mod number;
mod panel;
pub mod pooling;
pub mod quantize;
mod real;
pub mod reduce;
pub mod resize;
pub mod rnn;
pub mod roi;
pub mod sample;
mod scalar;
mod scratch;
pub mod shuffle;
pub mod softmax;
pub mod sort;
pub mod unique;
mod walk;
pub mod window;

pub use error::KernelError;
pub use function::{Function, Operand, apply_in_place};
pub use number::Number;
pub use real::{Float, Real};
pub use scalar::Scalar;
