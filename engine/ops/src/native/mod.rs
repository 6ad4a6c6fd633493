//! Operators of this engine alone: what a compiled graph runs fastest. Each states the standard operators that compute
//! the same.

pub mod quantized_conv;
pub mod quantized_max_pool;

/// The domain of these operators.
pub(crate) const DOMAIN: &str = "oxidane";
