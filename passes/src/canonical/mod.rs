//! One way to write each thing: nothing without effect, nothing twice.

mod chain;
pub(crate) mod cse;
pub(crate) mod dead;
mod identity;
mod reshape;

use crate::Rule;

pub(crate) fn rules() -> Vec<Box<dyn Rule>> {
    vec![
        Box::new(identity::Identity),
        Box::new(reshape::Reshape),
        Box::new(chain::TransposeOfTranspose),
        Box::new(chain::SliceOfSlice),
        Box::new(chain::ConcatOfConcat),
        Box::new(chain::CastOfCast),
    ]
}
