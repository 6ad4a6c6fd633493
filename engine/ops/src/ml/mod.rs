//! Classical machine learning: the operators of the domain `ai.onnx.ml`.
//!
//! Where the specification leaves something open, results are those of ONNX Runtime, which converters are tested
//! with: how scores become those of two classes, when a transform applies, how ties are decided.

pub mod array_feature_extractor;
pub mod binarizer;
pub mod cast_map;
pub mod category_mapper;
pub mod dict_vectorizer;
pub mod feature_vectorizer;
mod features;
pub mod imputer;
pub mod label_encoder;
mod labels;
pub mod linear_classifier;
pub mod linear_regressor;
pub mod normalizer;
pub mod one_hot_encoder;
mod post_transform;
pub mod scaler;
mod support_vectors;
pub mod svm_classifier;
pub mod svm_regressor;
pub mod tree_ensemble;
pub mod tree_ensemble_classifier;
pub mod tree_ensemble_regressor;
mod trees;
pub mod zip_map;

/// The domain of all operators here.
const DOMAIN: &str = "ai.onnx.ml";
