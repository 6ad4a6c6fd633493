//! Several nodes become one that does the same in fewer passes over memory.

mod conv_batch_normalization;
mod layer_normalization;
mod matmul_add;

use crate::Rule;

pub(crate) fn rules() -> Vec<Box<dyn Rule>> {
    vec![
        Box::new(conv_batch_normalization::rule()),
        Box::new(layer_normalization::LayerNormalization::new()),
        Box::new(matmul_add::rule()),
    ]
}
