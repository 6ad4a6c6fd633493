//! What only this engine has: operators and layouts that a compiled graph runs fastest.

mod quantized;

use crate::Rule;

pub(crate) fn rules() -> Vec<Box<dyn Rule>> {
    quantized::rules()
}
