//! One way to write each thing: nothing without effect, nothing twice.

mod cast_of_sizes;
mod chain;
pub(crate) mod cse;
pub(crate) mod dead;
mod identity;
mod quantize_of_dequantize;
mod reshape;
mod split_and_concat;
mod transpose_between_reshapes;
mod transpose_of_ones;

use crate::Rule;

pub(crate) fn rules() -> Vec<Box<dyn Rule>> {
    vec![
        Box::new(identity::Identity),
        Box::new(reshape::Reshape),
        Box::new(transpose_between_reshapes::TransposeBetweenReshapes),
        Box::new(chain::TransposeOfTranspose),
        Box::new(transpose_of_ones::TransposeOfOnes),
        Box::new(chain::SliceOfSlice),
        Box::new(chain::ConcatOfConcat),
        Box::new(split_and_concat::SplitOfConcat),
        Box::new(split_and_concat::ConcatOfSplit),
        Box::new(chain::CastOfCast),
        Box::new(cast_of_sizes::CastOfSizes),
        Box::new(quantize_of_dequantize::QuantizeOfDequantize),
    ]
}
