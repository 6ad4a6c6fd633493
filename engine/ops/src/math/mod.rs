//! Operators that compute on elements: maths, comparisons, activations, reductions, products.

pub mod activation;
pub mod arg;
pub mod binary;
pub mod bitwise_not;
pub mod broadcast;
pub(crate) mod by_type;
pub mod cast;
pub mod cast_like;
pub mod clip;
pub mod cumulative;
mod derivative;
pub mod det;
pub mod einsum;
pub mod gemm;
pub mod is_inf;
pub mod is_nan;
pub mod matmul;
pub mod not;
pub mod reduce;
pub mod top_k;
pub mod unary;
pub mod variadic;
pub mod where_;
