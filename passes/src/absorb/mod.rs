//! Additions, factors and normalizations go into the node before them; what comes out is an operator of every opset.

pub(crate) mod conv_arithmetic;
mod conv_batch_normalization;
mod convolution;
mod gemm_bias;
mod matmul_add;
mod mul_of_mul;

use crate::Rule;

pub(crate) fn rules() -> Vec<Box<dyn Rule>> {
    vec![
        Box::new(conv_batch_normalization::rule()),
        Box::new(conv_arithmetic::ConvArithmetic::Bias),
        Box::new(matmul_add::rule()),
        Box::new(gemm_bias::GemmBias),
        Box::new(mul_of_mul::rule()),
    ]
}
