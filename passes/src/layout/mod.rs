//! Operators of this engine alone take the places of standard ones, in a graph that is about to run.

mod product;

use crate::Rule;

pub(crate) fn rules() -> Vec<Box<dyn Rule>> {
    let mut all: Vec<Box<dyn Rule>> = Vec::new();
    all.extend(product::rules());
    all
}
