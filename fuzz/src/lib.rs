//! What the fuzz targets do: the paths that a file takes, and mutations that keep a file a model.
//!
//! `tools/api/tests/mutations.rs` takes the same paths in a bounded test.

#![forbid(unsafe_code)]

pub mod mutate;
pub mod paths;
