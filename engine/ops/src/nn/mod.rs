//! Layers of neural networks: convolutions, poolings, normalizations, recurrent layers, losses.

pub mod average_pool;
pub mod batch_normalization;
pub mod conv;
pub mod conv_integer;
pub mod conv_transpose;
pub mod deform_conv;
pub mod global_pool;
pub mod group_normalization;
pub mod gru;
pub mod instance_normalization;
pub mod layer_normalization;
pub mod lp_normalization;
pub mod lp_pool;
pub mod lrn;
pub mod lstm;
pub mod max_pool;
pub mod max_unpool;
pub mod mean_variance_normalization;
mod recurrent;
pub mod resize;
pub mod rms_normalization;
pub mod rnn;
pub mod softmax;
pub(crate) mod window;
