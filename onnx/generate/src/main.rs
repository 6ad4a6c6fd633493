//! Writes `onnx/src/proto/generated.rs`, the messages, `onnx/src/proto/fields.rs`, the table of their
//! fields, and `onnx/src/proto/descriptor.bin`, their description for JSON, from `onnx/proto/onnx.proto`.
//!
//! Run it after the `.proto` changes: `cargo run --manifest-path onnx/generate/Cargo.toml`. It needs no
//! `protoc`: protox reads the `.proto`, prost-build writes the Rust.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};

fn main() -> Result<(), Box<dyn Error>> {
    let onnx = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no parent folder")?;
    let descriptors = protox::compile([onnx.join("proto/onnx.proto")], [onnx.join("proto")])?;
    let out = onnx.join("src/proto");
    std::fs::write(out.join("fields.rs"), fields(&descriptors)?)?;
    std::fs::write(out.join("descriptor.bin"), bare(descriptors.clone()).encode_to_vec())?;
    prost_build::Config::new()
        // `bytes::Bytes` fields are slices of the buffer they are decoded from: weights stay in the
        // mapped file.
        .bytes([".onnx"])
        .out_dir(&out)
        .compile_fds(descriptors)?;
    std::fs::rename(out.join("onnx.rs"), out.join("generated.rs"))?;
    Ok(())
}

/// The descriptors without comments and places in the source.
fn bare(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    descriptors.file.iter_mut().for_each(|file| file.source_code_info = None);
    descriptors
}

/// The table by which the reader checks a file's structure before it decodes it.
fn fields(descriptors: &FileDescriptorSet) -> Result<String, Box<dyn Error>> {
    let mut messages = Vec::new();
    for file in &descriptors.file {
        for message in &file.message_type {
            collect(&format!(".{}", file.package()), "", message, &mut messages);
        }
    }
    // The root of the walk comes first.
    messages.sort_by_key(|(name, ..)| name != ".onnx.ModelProto");
    let mut text = String::from("&[\n");
    for (name, rust, message) in &messages {
        writeln!(text, "    Message {{")?;
        writeln!(text, "        name: \"{}\",", name.trim_start_matches(".onnx."))?;
        writeln!(text, "        size: size_of::<super::{rust}>(),")?;
        writeln!(text, "        fields: &[")?;
        for field in &message.field {
            let kind = match field.r#type() {
                Type::Message => {
                    let index = messages.iter().position(|(name, ..)| name == field.type_name());
                    format!("Kind::Message({})", index.ok_or("a field of an unknown message")?)
                }
                Type::Float => "Kind::Fixed32".into(),
                Type::Double => "Kind::Fixed64".into(),
                Type::String => "Kind::Text".into(),
                Type::Bytes => "Kind::Bytes".into(),
                Type::Int32 | Type::Enum => "Kind::Varint(4)".into(),
                Type::Int64 | Type::Uint64 => "Kind::Varint(8)".into(),
                other => return Err(format!("a field of type {other:?}").into()),
            };
            let repeated = field.label() == Label::Repeated;
            writeln!(
                text,
                "            Field {{ number: {}, name: \"{}\", kind: {kind}, repeated: {repeated} }},",
                field.number(),
                field.name(),
            )?;
        }
        writeln!(text, "        ],\n    }},")?;
    }
    text.push_str("]\n");
    Ok(text)
}

fn collect<'a>(
    scope: &str,
    module: &str,
    message: &'a DescriptorProto,
    out: &mut Vec<(String, String, &'a DescriptorProto)>,
) {
    let name = format!("{scope}.{}", message.name());
    out.push((name.clone(), format!("{module}{}", message.name()), message));
    let mut snake = String::new();
    for c in message.name().chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    for nested in &message.nested_type {
        collect(&name, &format!("{module}{snake}::"), nested, out);
    }
}
