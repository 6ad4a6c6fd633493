//! ONNX's own text syntax, read and written.
//!
//! The grammar is that of ONNX's `docs/Syntax.md`, as `onnx.parser` and `onnx.printer` of ONNX 1.23 have it. Where
//! ONNX's printer writes something that ONNX's parser reads, this printer writes the same, and what is read
//! back prints the same again.
//!
//! What the syntax has no place for is kept too:
//!
//! * *Notes*, comments that begin with `#@`, which ONNX's parser skips. They stand before the node, or
//!   before the `{` of the graph or function, or before the graph for the model, to which they belong:
//!
//!   ```text
//!   #@ doc_string: "a line\nanother"
//!   #@ metadata_props: ["key": "value"]
//!   #@ input 0 denotation: "IMAGE"
//!   #@ input 0 dim 2 denotation: "DATA_CHANNEL"
//!   #@ initializer 3 doc_string: "weights"
//!   #@ attribute 0 bits: [5: 2141192193]
//!   #@ quantization_annotation: "x" ["SCALE_TENSOR": "s"]
//!   #@ sparse_initializer: sparse([3,4], float[2] w {1,2}, int64[2] {0,5})
//!   ```
//!
//!   Names of subgraphs and of tensors in attributes, which ONNX's parser reads only without quotes, are
//!   in a note `name` if they need some: `#@ name: "a/b"`, `#@ attribute 0 t name: "a/b"`.
//!
//!   In the strings of notes `\n` and `\r` are line breaks. `bits` gives the bits of the NaNs of a tensor
//!   or attribute that are not the usual one. Messages that hardly anyone writes (training information,
//!   device configurations) stand there in hexadecimal.
//! * `x"00ff"`, bytes in hexadecimal, for a string that is not UTF-8 and for tensor data in the layout of
//!   `raw_data`: `float[1] w = x"0000803f"`.
//! * `sparse(dims, values, indices)` for attributes, `?99` for an element type whose number has no name, and
//!   quotes around every name.
//!
//! Elements of float16, bfloat16 and the eight-bit floats are the integers of their bits; those of the
//! four- and two-bit types are the bytes they are packed in, or, when read, one integer each.

mod lex;
mod note;
mod number;
mod parse;
mod print;
mod tensor;

use std::fmt;

pub use parse::{parse_function, parse_graph, parse_model, parse_node, parse_tensor, parse_type};
pub use print::{
    TextOptions, print_function, print_graph, print_model, print_node, print_tensor, print_type, save_text,
    write_model,
};

/// An error in a text in ONNX's syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What stands there.
    pub found: String,
    /// What belongs there, or what is wrong with it.
    pub expected: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TextError { line, column, found, expected } = self;
        write!(f, "line {line}, column {column}: expected {expected}, found {found}")
    }
}

impl std::error::Error for TextError {}

/// Whether `name` can stand without quotes.
fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether `word` begins a type.
fn is_type_word(word: &str) -> bool {
    oxidane_tensor::DType::from_name(word).is_some()
        || matches!(word, "seq" | "map" | "optional" | "sparse_tensor" | "opaque")
}
