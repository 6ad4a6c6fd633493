use std::path::{Path, PathBuf};

use bytes::Bytes;
use oxidane_tensor::map_file;
use prost::Message;

use crate::error::Error;
use crate::json::is_json;
use crate::proto::ModelProto;
use crate::scan::scan;
use crate::text;

/// What decoding a file may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeLimits {
    /// Memory of the decoded messages in bytes, beyond the length of the file; weights in `raw_data` stay in
    /// the mapped file and do not count. By default 2 GiB.
    pub memory: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        DecodeLimits { memory: 2 << 30 }
    }
}

/// A model as its file has it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelFile {
    /// The model; its weights are slices of the mapped file.
    pub model: ModelProto,
    /// Where the file is; external data are looked for in its folder. None for a model from memory.
    pub path: Option<PathBuf>,
    /// How many fields of the file this version of ONNX does not know. They are not kept.
    pub unknown_fields: u64,
}

impl ModelFile {
    /// Reads the model at `path`: protobuf, or ONNX's text syntax if the file is called `.onnxtxt`, `.txt`
    /// or `.text`. External data are not read.
    ///
    /// A file may nest messages at most 100 deep, the limit of protobuf libraries; an If, Loop or Scan
    /// inside another takes three, so about 33 levels of control flow fit.
    ///
    /// # Errors
    /// Every variant of [`Error`] that reading can give: the file cannot be read, is something else than
    /// a model, is cut short, damaged, nested too deeply, or would take too much memory.
    pub fn open(path: impl AsRef<Path>) -> Result<ModelFile, Error> {
        Self::open_within(path, &DecodeLimits::default())
    }

    /// As [`ModelFile::open`], within other limits.
    ///
    /// # Errors
    /// Those of [`ModelFile::open`].
    pub fn open_within(path: impl AsRef<Path>, limits: &DecodeLimits) -> Result<ModelFile, Error> {
        let path = path.as_ref();
        let bytes = map_file(path).map_err(|source| Error::Read { path: path.into(), source })?;
        let name = path.display().to_string();
        let mut file = if is_text(path) {
            let text = std::str::from_utf8(&bytes).map_err(|error| Error::NotOnnx {
                file: name.clone(),
                what: format!("a text must be UTF-8, and byte {} is not", error.valid_up_to()),
            })?;
            let model =
                text::parse_model(text).map_err(|source| Error::Text { file: name.clone(), source })?;
            ModelFile { model, path: None, unknown_fields: 0 }
        } else if is_json(path) {
            Self::decode(crate::json::bytes_of_json(&bytes, &name)?.into(), &name, limits)?
        } else {
            Self::decode(bytes, &name, limits)?
        };
        file.path = Some(path.into());
        Ok(file)
    }

    /// Decodes the bytes of a protobuf file. `name` is what errors call it.
    ///
    /// # Errors
    /// Those of [`ModelFile::open`], but for reading.
    pub fn decode(bytes: Bytes, name: &str, limits: &DecodeLimits) -> Result<ModelFile, Error> {
        if let Some(what) = other_format(&bytes) {
            return Err(Error::NotOnnx { file: name.into(), what });
        }
        let summary = scan(&bytes, name, limits.memory.saturating_add(bytes.len() as u64));
        let plausible = bytes.first().is_some_and(|first| MODEL_KEYS.contains(first));
        let summary = match summary {
            // Nothing of the file is like a model.
            Err(_) if !plausible => {
                return Err(Error::NotOnnx { file: name.into(), what: foreign(&bytes) });
            }
            other => other?,
        };
        let model =
            ModelProto::decode(bytes).map_err(|source| Error::Decode { file: name.into(), source })?;
        if model.graph.is_none() {
            let what = "it has no graph; is it a tensor or data of another program?";
            return Err(Error::NotOnnx { file: name.into(), what: what.into() });
        }
        Ok(ModelFile { model, path: None, unknown_fields: summary.unknown_fields })
    }
}

/// The first bytes that a ModelProto can start with: the keys of its fields.
const MODEL_KEYS: &[u8] = &[0x08, 0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42, 0x72, 0xa2, 0xca, 0xd2];

/// Whether a file of this name is in ONNX's text syntax: `.onnxtxt`, `.txt` or `.text`.
pub fn is_text(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    ["onnxtxt", "txt", "text"].iter().any(|text| extension.eq_ignore_ascii_case(text))
}

/// What the bytes are if they are recognizably not an ONNX model.
fn other_format(bytes: &[u8]) -> Option<String> {
    let says = |what: &str| Some(what.to_owned());
    if bytes.is_empty() {
        return says("the file is empty");
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return says(
            "it is a Git LFS pointer, which stands for the file; fetch the file itself with `git lfs pull`",
        );
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return says(
            "it is a zip archive; a PyTorch checkpoint (.pt, .pth) must be exported with torch.onnx.export, an \
             archive must be unpacked",
        );
    }
    let head = bytes.get(..8).and_then(|head| head.try_into().ok()).map(u64::from_le_bytes);
    if let Some(len) = head
        && len < bytes.len() as u64
        && bytes.get(8..10).is_some_and(|start| start == b"{\"" || start == b"{}" || start == b"{ ")
    {
        return says("it is a safetensors file: weights without a graph; export the model to ONNX");
    }
    match bytes.get(4..8) {
        Some(b"TFL3") => return says("it is a TensorFlow Lite model; convert it with tf2onnx"),
        Some(b"ORTM") => {
            return says("it is in ONNX Runtime's own format (.ort); use the .onnx file it was made from");
        }
        _ => {}
    }
    let signatures: [(&[u8], &str); 12] = [
        (b"GGUF", "it is a GGUF file: weights without a graph"),
        (b"\x89HDF", "it is an HDF5 file (Keras?); convert it with tf2onnx"),
        (b"\x93NUMPY", "it is a NumPy array; give it as an input, not as a model"),
        (b"\x89PNG", "it is a PNG picture; give it as an input, not as a model"),
        (b"\xff\xd8\xff", "it is a JPEG picture; give it as an input, not as a model"),
        (b"\x1f\x8b", "it is compressed with gzip; unpack it first"),
        (b"\x28\xb5\x2f\xfd", "it is compressed with zstd; unpack it first"),
        (b"BZh", "it is compressed with bzip2; unpack it first"),
        (b"\xfd7zXZ", "it is compressed with xz; unpack it first"),
        (b"\x80\x02", "it is a Python pickle (an old PyTorch checkpoint?); export it with torch.onnx.export"),
        (b"\x7fELF", "it is a program"),
        (b"\x00asm", "it is WebAssembly"),
    ];
    for (signature, what) in signatures {
        if bytes.starts_with(signature) {
            return says(what);
        }
    }
    let start = &bytes[..bytes.len().min(512)];
    let trimmed = start.trim_ascii_start();
    let lower = trimmed[..trimmed.len().min(20)].to_ascii_lowercase();
    if lower.starts_with(b"<!doctype") || lower.starts_with(b"<html") || lower.starts_with(b"<?xml") {
        return says("it is a web page; the download gave an error page or a page about the file");
    }
    if lower.starts_with(b"<") && start.windows(10).any(|window| window == b"ir_version") {
        return says("it is in ONNX's text syntax; name the file .onnxtxt");
    }
    if lower.starts_with(b"{") && start.is_ascii() {
        return says("it is JSON");
    }
    None
}

/// What to say of bytes that are no protobuf message.
fn foreign(bytes: &[u8]) -> String {
    let start: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("its first bytes ({}) start no model", start.join(" "))
}
