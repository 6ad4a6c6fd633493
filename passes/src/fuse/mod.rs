//! Several nodes become one that does the same in fewer passes over memory.

mod activated;
mod activation;
mod attention;
mod attention_heads;
mod group_normalization;
mod instance_normalization;
mod integer_matmul;
mod layer_normalization;
mod moments;
pub(crate) mod quantized;
mod rms_normalization;
mod rotary_embedding;

use crate::Rule;
use crate::absorb::conv_arithmetic::ConvArithmetic;

pub(crate) fn rules() -> Vec<Box<dyn Rule>> {
    let mut all: Vec<Box<dyn Rule>> = vec![
        Box::new(ConvArithmetic::Scale),
        Box::new(layer_normalization::LayerNormalization::new()),
        Box::new(rms_normalization::RmsNormalization::new()),
        Box::new(instance_normalization::InstanceNormalization::new()),
        Box::new(group_normalization::GroupNormalization::new()),
    ];
    all.extend(activation::rules());
    all.push(Box::new(rotary_embedding::RotaryEmbedding::new()));
    all.push(Box::new(attention::Attention));
    all.push(Box::new(attention_heads::AttentionHeads));
    all.push(Box::new(quantized::Quantized::Conv));
    all.push(Box::new(quantized::Quantized::MatMul));
    all.push(Box::new(integer_matmul::IntegerMatMul::Scale));
    all.push(Box::new(integer_matmul::IntegerMatMul::Bias));
    all.push(Box::new(activated::ConvSum));
    all.push(Box::new(activated::Activated::Conv));
    all.push(Box::new(activated::Activated::Gemm));
    all
}
