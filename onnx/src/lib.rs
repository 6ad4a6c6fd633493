//! ONNX files in and out.
//!
//! [`ModelFile::open`] maps a file, checks its structure and decodes it into the messages of [`proto`];
//! weights stay in the mapped file. [`ExternalData`] reads tensors that lie beside the model, [`save`] and
//! [`save_with_external_data`] write models.
//! [`text`] reads and writes ONNX's text syntax.

#![forbid(unsafe_code)]

mod attribute;
mod data;
mod encode;
mod error;
mod export;
mod external;
mod extra;
mod file;
mod function;
mod import;
mod json;
mod lower;
mod model;
mod names;
pub mod proto;
mod save;
mod scan;
mod storage;
mod tensors;
pub mod text;
mod types;
mod walk;

pub use data::{datum_from_bytes, datum_to_bytes};
pub use error::Error;
pub use export::SaveOptions;
pub use external::{EXTERNAL_THRESHOLD, ExternalData, ExternalWriter};
pub use file::{DecodeLimits, ModelFile, is_text};
pub use json::{is_json, parse_json, save_json, write_json};
pub use model::{IR_VERSION, Model, OPSET};
pub use save::{save, save_with_external_data, write_beside};
pub use storage::raw_bytes;
pub use tensors::{tensor_from_proto, tensor_to_proto};
pub use types::{type_from_proto, type_to_proto};
