//! Attention and what comes with it: rotary positions, caches, recurrent states.

#[allow(clippy::module_inception, reason = "the operator has the name of the family")]
pub mod attention;
pub mod causal_conv_with_state;
mod expand;
pub mod flex_attention;
mod layout;
pub mod linear_attention;
pub mod rotary_embedding;
pub mod tensor_scatter;
