//! Operators of ONNX Runtime's domain `com.microsoft`. Each states simpler standard operators that compute the same, and
//! most run by those.

pub mod dequantize_linear;
pub mod dynamic_quantize_mat_mul;
pub mod mat_mul_integer_to_float;
pub mod mat_mul_n_bits;
pub mod q_gemm;
pub mod q_linear_add;
pub mod q_linear_average_pool;
pub mod q_linear_concat;
pub mod q_linear_global_average_pool;
pub mod q_linear_leaky_relu;
pub mod q_linear_mul;
pub mod q_linear_sigmoid;
pub mod quantize_linear;
mod quantized;
