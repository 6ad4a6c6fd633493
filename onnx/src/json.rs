//! Models as JSON: protobuf's own mapping, as `onnx.save(model, "model.json")` writes it.
//!
//! Fields have the names of `onnx.proto`; 64-bit integers are strings, enumerations their names, bytes (`raw_data`
//! among them) base64, and numbers that JSON does not have the strings `NaN`, `Infinity` and `-Infinity`.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::OnceLock;

use bytes::Bytes;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};

use crate::error::Error;
use crate::file::{DecodeLimits, ModelFile};
use crate::proto::ModelProto;
use crate::save::Beside;

/// Whether a file of this name holds JSON: `.json` or `.onnxjson`.
pub fn is_json(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    ["json", "onnxjson"].iter().any(|json| extension.eq_ignore_ascii_case(json))
}

fn descriptor() -> MessageDescriptor {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        let bytes: &[u8] = include_bytes!("proto/descriptor.bin");
        DescriptorPool::decode(bytes).expect("the descriptors are those that the generator wrote")
    });
    pool.get_message_by_name("onnx.ModelProto").expect("onnx.proto has a ModelProto")
}

/// Writes a model as JSON, indented by two.
///
/// # Errors
/// When writing fails, or a text in the model is not UTF-8.
pub fn write_json(model: &ModelProto, out: impl Write) -> io::Result<()> {
    let invalid =
        |error: &dyn std::error::Error| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let bytes = Bytes::from(model.encode_to_vec());
    let message = DynamicMessage::decode(descriptor(), bytes).map_err(|e| invalid(&e))?;
    let mut json = serde_json::Serializer::pretty(out);
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(&mut json, &options).map_err(io::Error::from)?;
    json.into_inner().write_all(b"\n")
}

/// Writes a model as JSON to `path`: beside it first, then renamed.
///
/// # Errors
/// [`Error::Write`] if writing fails, in which case `path` is as it was.
pub fn save_json(model: &ModelProto, path: impl AsRef<Path>) -> Result<(), Error> {
    let path = path.as_ref();
    let write = || {
        let mut out = BufWriter::with_capacity(1 << 16, Beside::create(path)?);
        write_json(model, &mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    };
    write().map_err(|source| Error::Write { path: path.into(), source })
}

/// A model from JSON. Names of fields may be those of `onnx.proto` or in camel case.
///
/// # Errors
/// Says in which line and column the text is no JSON of a model.
pub fn parse_json(json: &[u8]) -> Result<ModelProto, Error> {
    let bytes = bytes_of_json(json, "the model")?;
    Ok(ModelFile::decode(bytes.into(), "the model", &DecodeLimits::default())?.model)
}

/// The protobuf encoding of a model in JSON. Names of fields may be those of `onnx.proto` or in camel case.
///
/// # Errors
/// Says in which line and column the text is no JSON of a model.
pub(crate) fn bytes_of_json(json: &[u8], name: &str) -> Result<Vec<u8>, Error> {
    let damaged = |what: String| Error::NotOnnx { file: name.into(), what: format!("as JSON: {what}") };
    let mut reader = serde_json::Deserializer::from_slice(json);
    let options = DeserializeOptions::new();
    let message = DynamicMessage::deserialize_with_options(descriptor(), &mut reader, &options)
        .map_err(|e| damaged(e.to_string()))?;
    reader.end().map_err(|e| damaged(e.to_string()))?;
    Ok(message.encode_to_vec())
}
