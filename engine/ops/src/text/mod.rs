//! Operators on text.

pub mod regex_full_match;
pub mod string_concat;
pub mod string_normalizer;
pub mod string_split;
pub mod tfidf_vectorizer;
pub mod tokenizer;

use oxidane_graph::{OpError, Run};
use oxidane_tensor::{DType, Tensor, TensorError};
use std::sync::Arc;

/// A dense string input, and its strings by [`texts`].
pub(crate) fn text_input(run: &Run<'_>, input: usize) -> Result<Tensor, OpError> {
    let tensor = run.dense(input)?;
    texts(&tensor)?;
    Ok(tensor)
}

/// The strings of a dense string tensor.
pub(crate) fn texts(tensor: &Tensor) -> Result<&[Arc<str>], OpError> {
    Ok(tensor.as_strings().ok_or(TensorError::Type { expected: DType::String, found: tensor.dtype() })?)
}
