//! Several nodes become one that does the same in fewer passes over memory.

mod layer_normalization;

use crate::Rule;
use crate::absorb::conv_arithmetic::ConvArithmetic;

pub(crate) fn rules() -> Vec<Box<dyn Rule>> {
    vec![Box::new(ConvArithmetic::Scale), Box::new(layer_normalization::LayerNormalization::new())]
}
