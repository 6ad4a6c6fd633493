//! Operators on numbers stored as a few bits: linear quantization and products of quantized matrices.

pub mod dequantize_linear;
pub mod dynamic_quantize_linear;
pub(crate) mod integer;
mod linear;
pub mod mat_mul_integer;
pub mod q_linear_conv;
pub mod q_linear_mat_mul;
pub mod quantize_linear;
