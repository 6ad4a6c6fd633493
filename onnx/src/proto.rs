//! ONNX's protobuf messages, generated from `onnx/proto/onnx.proto` (ONNX 1.23, IR version 14).
//!
//! The Rust is checked in; `cargo run --manifest-path onnx/generate/Cargo.toml` writes it again after the
//! `.proto` changes, without `protoc`. Every `bytes` field is a [`bytes::Bytes`]: decoded from the bytes
//! of a mapped file it is a slice of the file, not a copy. Fields that this version of ONNX does not know
//! are not kept; [`crate::ModelFile::unknown_fields`] counts them.

// The file is written by prost-build, whose layout and comments are those of the `.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
mod generated {
    include!("proto/generated.rs");
}

/// The fields of every message, as a table.
pub(crate) mod fields {
    /// How a field is written.
    pub(crate) enum Kind {
        /// A number of varying length; the size of its decoded form in bytes.
        Varint(u8),
        /// Four bytes.
        Fixed32,
        /// Eight bytes.
        Fixed64,
        /// A UTF-8 string.
        Text,
        /// Bytes.
        Bytes,
        /// A message; its index in [`MESSAGES`].
        Message(usize),
    }

    /// A field of a message.
    pub(crate) struct Field {
        pub(crate) number: u32,
        pub(crate) name: &'static str,
        pub(crate) kind: Kind,
        pub(crate) repeated: bool,
    }

    /// A message.
    pub(crate) struct Message {
        pub(crate) name: &'static str,
        /// The size of its Rust struct in bytes.
        pub(crate) size: usize,
        pub(crate) fields: &'static [Field],
    }

    /// Every message; ModelProto comes first.
    pub(crate) static MESSAGES: &[Message] = include!("proto/fields.rs");
}

pub use generated::*;
