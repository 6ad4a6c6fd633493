//! Operators of the domain `com.microsoft`, which ONNX Runtime brings: each is what it expands to.

pub mod attention;
pub mod bias_gelu;
pub mod bias_split_gelu;
pub mod embed_layer_normalization;
pub mod fast_gelu;
mod formula;
pub mod fused_conv;
pub mod fused_gemm;
pub mod fused_mat_mul;
pub mod gelu;
pub mod group_norm;
pub mod group_query_attention;
mod heads;
pub mod multi_head_attention;
pub mod nhwc_conv;
pub mod q_attention;
pub mod quick_gelu;
pub mod rotary_embedding;
pub mod simplified_layer_normalization;
pub mod skip_layer_normalization;
pub mod skip_simplified_layer_normalization;
