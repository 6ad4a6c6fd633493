//! Operators of ONNX Runtime's domain `com.microsoft`. Each states simpler standard operators that compute the same, and
//! most run by those.

pub mod attention;
pub mod beam_search;
pub mod bias_gelu;
pub mod bias_split_gelu;
pub mod dequantize_linear;
pub mod dynamic_quantize_mat_mul;
pub mod embed_layer_normalization;
pub mod fast_gelu;
pub mod fused_conv;
pub mod fused_gemm;
pub mod fused_mat_mul;
pub mod gelu;
pub mod greedy_search;
pub mod group_norm;
pub mod group_query_attention;
mod heads;
pub mod mat_mul_integer_to_float;
pub mod mat_mul_n_bits;
pub mod multi_head_attention;
pub mod nhwc_conv;
pub mod q_attention;
pub mod q_gemm;
pub mod q_linear_average_pool;
pub mod q_linear_concat;
pub mod q_linear_elementwise;
pub mod q_linear_global_average_pool;
pub mod quantize_linear;
pub(crate) mod quantized;
pub mod quick_gelu;
pub mod rotary_embedding;
mod search;
pub mod simplified_layer_normalization;
pub mod skip_layer_normalization;
pub mod skip_simplified_layer_normalization;
