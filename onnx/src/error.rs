use std::io;
use std::path::PathBuf;

use crate::text::TextError;

/// What can be wrong with a model's file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The bytes are of another kind of file.
    #[error("{file} is not an ONNX model: {what}")]
    NotOnnx {
        /// The file's name.
        file: String,
        /// What it looks like, and what to do.
        what: String,
    },
    /// The file ends too early.
    #[error(
        "{file} is truncated: {field}, at byte {at}, should be {declared} bytes long, but the file ends \
         after {have} of them, at byte {end}; fetch or copy the file again"
    )]
    Truncated {
        /// The file's name.
        file: String,
        /// The field that is cut short, as a path from the model.
        field: String,
        /// Where the field's content starts.
        at: u64,
        /// The length that the file declares.
        declared: u64,
        /// How much of it there is.
        have: u64,
        /// The file's length.
        end: u64,
    },
    /// The bytes break protobuf's or ONNX's format.
    #[error("{file} is damaged at byte {at}, in {field}: {what}")]
    Malformed {
        /// The file's name.
        file: String,
        /// Where in the file.
        at: u64,
        /// The field, as a path from the model.
        field: String,
        /// What is wrong.
        what: String,
    },
    /// Messages are nested too deeply.
    #[error(
        "{file} nests too deeply at byte {at}, in {field}: more than {limit} messages inside each other \
         (a subgraph in a subgraph takes three, so about {} levels of If, Loop or Scan); flatten the \
         control flow, or move inner graphs into model-local functions", limit / 3
    )]
    TooDeep {
        /// The file's name.
        file: String,
        /// Where in the file.
        at: u64,
        /// The field, as a path from the model.
        field: String,
        /// The limit, in messages.
        limit: usize,
    },
    /// Decoding would take more memory than allowed.
    #[error(
        "{file} needs more than {limit} bytes of memory when decoded (found at byte {at}, in {field}); raise \
         DecodeLimits::memory if you trust the file"
    )]
    TooLarge {
        /// The file's name.
        file: String,
        /// Where in the file the limit was reached.
        at: u64,
        /// The field, as a path from the model.
        field: String,
        /// The limit.
        limit: u64,
    },
    /// A field holds what it must not.
    #[error("{file} does not decode: {source}")]
    Decode {
        /// The file's name.
        file: String,
        /// Where and why.
        source: prost::DecodeError,
    },
    /// The model does not fit one protobuf file.
    #[error(
        "the model takes {bytes} bytes and a protobuf file holds at most {}: save it with external data \
         (onnx-convert --external-data)",
        i32::MAX
    )]
    Over2Gb {
        /// The encoded size.
        bytes: u64,
    },
    /// A tensor's external data cannot be had.
    #[error("tensor {tensor:?}: external data {location:?}: {what}")]
    External {
        /// The tensor's name.
        tensor: String,
        /// The file, as the model spells it.
        location: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// A text in ONNX's syntax has an error.
    #[error("{file}: {source}")]
    Text {
        /// The file's name.
        file: String,
        /// Where and what.
        source: TextError,
    },
    /// The file is in order, the model in it is not.
    #[error("{0}")]
    Model(oxidane_graph::Problems),
}
