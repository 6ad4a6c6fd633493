//! Files of every kind and damage: what is read, what is refused, and what the refusal says.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use oxidane_onnx::proto::attribute_proto::AttributeType;
use oxidane_onnx::proto::tensor_proto::{DataLocation, DataType};
use oxidane_onnx::proto::*;
use oxidane_onnx::{
    DecodeLimits, Error, ExternalData, ExternalWriter, ModelFile, raw_bytes, save, save_with_external_data,
};
use prost::Message;

fn text(text: &str) -> Option<String> {
    Some(text.into())
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: text(key), value: text(value) }
}

fn tensor(name: &str, dtype: DataType, dims: &[i64]) -> TensorProto {
    TensorProto {
        name: text(name),
        data_type: Some(dtype as i32),
        dims: dims.to_vec(),
        ..TensorProto::default()
    }
}

/// A model with something in every field that the writer takes apart.
fn model() -> ModelProto {
    let raw = TensorProto {
        raw_data: Some(Bytes::from((0..200_000u32).map(|i| i as u8).collect::<Vec<_>>())),
        doc_string: text("weights"),
        ..tensor("w", DataType::Float, &[50, 1000])
    };
    let typed = TensorProto {
        float_data: (0..5000).map(|i| i as f32 * 0.5).collect(),
        ..tensor("f", DataType::Float, &[5000])
    };
    let ints = TensorProto {
        int32_data: (-3000..3000).collect(),
        int64_data: (-3000..3000).collect(),
        uint64_data: (0..3000).map(|i| i << 40).collect(),
        double_data: vec![0.5; 3000],
        string_data: vec![Bytes::from_static(b"a"), Bytes::new()],
        metadata_props: vec![entry("k", "v")],
        ..tensor("odd", DataType::Int32, &[6000])
    };
    let sparse = SparseTensorProto {
        values: Some(TensorProto { float_data: vec![1.0], ..tensor("s", DataType::Float, &[1]) }),
        indices: Some(TensorProto { int64_data: vec![7], ..tensor("", DataType::Int64, &[1]) }),
        dims: vec![10],
    };
    let attribute = |name: &str, kind: AttributeType| AttributeProto {
        name: text(name),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    };
    let body = GraphProto {
        name: text("body"),
        initializer: vec![raw.clone()],
        metadata_props: vec![entry("a", "b")],
        ..GraphProto::default()
    };
    let node = NodeProto {
        input: vec!["x".into(), String::new()],
        output: vec!["y".into()],
        name: text("n"),
        op_type: text("Everything"),
        domain: text("test"),
        doc_string: text("doc"),
        overload: text("o"),
        metadata_props: vec![entry("m", "n")],
        attribute: vec![
            AttributeProto { t: Some(raw.clone()), ..attribute("t", AttributeType::Tensor) },
            AttributeProto { g: Some(body.clone()), ..attribute("g", AttributeType::Graph) },
            AttributeProto {
                graphs: vec![body.clone(), body],
                tensors: vec![raw.clone(), ints.clone()],
                sparse_tensors: vec![sparse.clone()],
                sparse_tensor: Some(sparse.clone()),
                floats: vec![1.0, 2.0],
                ints: vec![1, -1],
                strings: vec![Bytes::from_static(b"\xff")],
                s: Some(Bytes::from_static(b"s")),
                f: Some(0.5),
                i: Some(-1),
                doc_string: text("d"),
                ref_attr_name: text("r"),
                tp: Some(TypeProto::default()),
                type_protos: vec![TypeProto::default()],
                ..attribute("all", AttributeType::Graphs)
            },
        ],
        ..NodeProto::default()
    };
    let value = |name: &str| ValueInfoProto { name: text(name), ..ValueInfoProto::default() };
    ModelProto {
        ir_version: Some(14),
        producer_name: text("test"),
        producer_version: text("1"),
        domain: text("d"),
        model_version: Some(3),
        doc_string: text("doc"),
        opset_import: vec![OperatorSetIdProto { domain: text(""), version: Some(28) }],
        metadata_props: vec![entry("k", "v")],
        functions: vec![FunctionProto { name: text("f"), ..FunctionProto::default() }],
        training_info: vec![TrainingInfoProto::default()],
        configuration: vec![DeviceConfigurationProto::default()],
        graph: Some(GraphProto {
            name: text("g"),
            node: vec![node, NodeProto { op_type: text("Relu"), ..NodeProto::default() }],
            initializer: vec![raw, typed, ints],
            sparse_initializer: vec![sparse],
            doc_string: text("graph"),
            input: vec![value("x")],
            output: vec![value("y")],
            value_info: vec![value("v")],
            quantization_annotation: vec![TensorAnnotation::default()],
            metadata_props: vec![entry("g", "h")],
        }),
    }
}

fn decode(bytes: impl Into<Bytes>) -> Result<ModelFile, Error> {
    ModelFile::decode(bytes.into(), "m.onnx", &DecodeLimits::default())
}

fn small() -> Vec<u8> {
    let mut model = model();
    if let Some(graph) = &mut model.graph {
        graph.initializer.clear();
        graph.node[0].attribute.truncate(1);
        graph.node[0].attribute[0].t = Some(tensor("t", DataType::Float, &[]));
    }
    model.encode_to_vec()
}

#[test]
fn a_saved_model_is_what_prost_writes_and_reads_back() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("m.onnx");
    let model = model();
    save(&model, &path)?;
    assert!(fs::read(&path)? == model.encode_to_vec());
    let read = ModelFile::open(&path)?;
    assert!(read.model == model);
    assert_eq!(read.unknown_fields, 0);
    // Onto itself, while it is mapped.
    save(&read.model, &path)?;
    assert!(ModelFile::open(&path)?.model == model);
    assert_eq!(fs::read_dir(folder.path())?.count(), 1, "nothing is left beside it");
    Ok(())
}

#[test]
fn weights_are_slices_of_the_file() -> Result<(), Error> {
    let bytes = Bytes::from(model().encode_to_vec());
    let file = decode(bytes.clone())?;
    let graph = file.model.graph.unwrap_or_default();
    let raw = graph.initializer[0].raw_data.clone().unwrap_or_default();
    assert!(bytes.as_ptr_range().contains(&raw.as_ptr()));
    Ok(())
}

#[test]
fn every_prefix_is_an_error_or_a_model() {
    let bytes = Bytes::from(small());
    for len in 0..bytes.len() {
        match decode(bytes.slice(..len)) {
            Ok(_) => {}
            Err(Error::Truncated { end, at, have, .. }) => {
                assert_eq!((end, at + have), (len as u64, len as u64))
            }
            Err(Error::NotOnnx { .. }) => {}
            Err(other) => panic!("{len}: {other}"),
        }
    }
}

#[test]
fn truncation_says_where() {
    let bytes = model().encode_to_vec();
    let cut = bytes.len() - 300_000;
    let error = decode(bytes[..cut].to_vec()).unwrap_err().to_string();
    assert!(error.starts_with("m.onnx is truncated: graph, at byte 2"), "{error}");
    assert!(error.contains(&format!("at byte {cut};")), "{error}");
}

#[test]
fn mutated_files_do_no_harm() {
    let bytes = small();
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for _ in 0..20_000 {
        let mut bytes = bytes.clone();
        for _ in 0..1 + random(4) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = random(256) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, random(256) as u8),
            }
        }
        if let Ok(file) = decode(bytes) {
            let mut out = Vec::new();
            file.model.encode(&mut out).unwrap();
        }
    }
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..random(64)).map(|_| random(256) as u8).collect();
        let _ = decode(bytes);
    }
}

#[test]
fn other_files_are_named() {
    let safetensors = {
        let mut bytes = 10u64.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"{\"a\": 1  }more");
        bytes
    };
    let cases: &[(&[u8], &str)] = &[
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12", "git lfs pull"),
        (b"PK\x03\x04 and so on", "torch.onnx.export"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"  <html>", "web page"),
        (b"<\n ir_version: 8>", "text syntax"),
        (b"{\"a\": 1}", "JSON"),
        (&safetensors, "safetensors"),
        (b"\x1c\0\0\0TFL3\0\0\0\0", "TensorFlow Lite"),
        (b"\x18\0\0\0ORTM", ".ort"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x80\x02}q\0", "pickle"),
        (b"hello world, this is no model", "(68 65 6c 6c 6f 20 77 6f) start no model"),
        (b"\x08\x0e", "it has no graph"),
    ];
    for (bytes, wanted) in cases {
        let error = decode(bytes.to_vec()).unwrap_err();
        assert!(matches!(error, Error::NotOnnx { .. }), "{error}");
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

/// Wraps `content` as a field of a length.
fn wrap(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(number << 3 | 2), &mut bytes);
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

/// A model of `depth` graphs inside each other, built inside out without recursion.
fn nested(depth: usize) -> Vec<u8> {
    let mut graph = Vec::new();
    for _ in 1..depth {
        // Copying everything at each level would take quadratic time; lengths in front are collected.
        graph = wrap(1, &wrap(5, &wrap(6, &graph)));
    }
    wrap(7, &graph)
}

#[test]
fn nesting_is_capped() {
    assert!(decode(nested(33)).is_ok());
    assert!(decode(nested(34)).is_ok());
    let error = decode(nested(35)).unwrap_err();
    assert!(matches!(error, Error::TooDeep { limit: 100, .. }), "{error}");
    let error = decode(nested(10_000)).unwrap_err();
    assert!(matches!(error, Error::TooDeep { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("about 33 levels of If, Loop or Scan"), "{error}");
    assert!(error.contains("in graph.node[0].attribute[0].g.node[0]"), "{error}");
    // Groups, which nothing of ONNX uses.
    let groups = [wrap(7, b""), [0xfb, 0x01].repeat(10_000)].concat();
    assert!(matches!(decode(groups).unwrap_err(), Error::TooDeep { .. }));
}

#[test]
fn lengths_are_checked_before_memory_is_taken() {
    // A tensor whose float_data says 4 GiB.
    let tensor = [&[0x22, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 16]].concat();
    let error = decode(wrap(7, &wrap(5, &tensor))).unwrap_err();
    assert!(error.to_string().contains("graph.initializer[0].float_data"), "{error}");
    // Two million empty nodes of two bytes each would take a hundred times their size.
    let graph = [0x0a, 0x00].repeat(2_000_000);
    let mut limits = DecodeLimits::default();
    limits.memory = 64 << 20;
    let error = ModelFile::decode(wrap(7, &graph).into(), "m.onnx", &limits).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[test]
fn damage_names_its_field() {
    let node = |content: &[u8]| wrap(7, &[wrap(1, b""), wrap(1, content)].concat());
    let cases: [(Vec<u8>, &str); 4] = [
        (node(&wrap(4, b"\xff")), "in graph.node[1].op_type: a string that is not UTF-8"),
        (node(&[0x21]), "in graph.node[1].op_type: a field of NodeProto in wire type 1 where 2 belongs"),
        (node(&[0x27]), "in graph.node[1].op_type"),
        (
            [node(&[0x22, 5, b'a']), wrap(2, b"more")].concat(),
            "5 bytes long, but the message around it ends after 1",
        ),
    ];
    for (bytes, wanted) in cases {
        let error = decode(bytes).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn unknown_fields_are_counted() -> Result<(), Error> {
    let bytes = [wrap(7, &wrap(99, b"x")), wrap(99, b"y")].concat();
    assert_eq!(decode(bytes)?.unknown_fields, 2);
    Ok(())
}

fn external(location: &str, offset: &str, length: &str) -> TensorProto {
    TensorProto {
        data_location: Some(DataLocation::External as i32),
        external_data: vec![entry("location", location), entry("offset", offset), entry("length", length)],
        ..tensor("w", DataType::Float, &[1])
    }
}

#[test]
fn external_data_come_and_go() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("m.onnx");
    let model = model();
    save_with_external_data(model.clone(), &path, 1024)?;
    assert!(fs::metadata(&path)?.len() < 20_000);
    let mut read = ModelFile::open(&path)?.model;
    let first = read.graph.as_ref().ok_or("a graph")?.initializer[0].clone();
    assert_eq!(first.data_location(), DataLocation::External);
    for entry in &first.external_data {
        if entry.key() == "offset" {
            assert_eq!(entry.value().parse::<u64>()? % 4096, 0);
        }
    }
    ExternalData::beside(Some(&path)).inline(&mut read)?;
    let graph = read.graph.as_ref().ok_or("a graph")?;
    let before = model.graph.as_ref().ok_or("a graph")?;
    for (a, b) in graph.initializer.iter().zip(&before.initializer) {
        assert!(raw_bytes(a) == raw_bytes(b), "{}", a.name());
    }
    // A model all of whose tensors are small has no side file.
    let small = ModelProto { graph: Some(GraphProto::default()), ..ModelProto::default() };
    save_with_external_data(small, folder.path().join("s.onnx"), 1024)?;
    assert!(!folder.path().join("s.onnx.data").exists());
    // An abandoned writer leaves nothing.
    let mut writer = ExternalWriter::create(&folder.path().join("a.onnx"), 0)?;
    writer.append(&[1, 2, 3])?;
    drop(writer);
    assert_eq!(fs::read_dir(folder.path())?.count(), 3);
    Ok(())
}

fn refused(folder: &Path, tensor: &TensorProto) -> String {
    let error = ExternalData::beside(Some(&folder.join("m.onnx"))).bytes(tensor).unwrap_err().to_string();
    assert!(error.contains("\"w\""), "{error}");
    error
}

#[test]
fn external_data_stay_in_the_folder() -> Result<(), Box<dyn std::error::Error>> {
    let outer = tempfile::tempdir()?;
    let folder = outer.path().join("model");
    fs::create_dir_all(folder.join("sub"))?;
    fs::write(outer.path().join("secret"), [0; 64])?;
    fs::write(folder.join("d"), [7; 64])?;
    fs::write(folder.join("sub/d"), [8; 64])?;
    let read = |tensor: &TensorProto| ExternalData::beside(Some(&folder.join("m.onnx"))).bytes(tensor);
    assert_eq!(read(&external("d", "60", "4"))?, vec![7; 4]);
    assert_eq!(read(&external("sub/d", "0", "64"))?, vec![8; 64]);
    assert_eq!(read(&external("./sub/d", "64", "0"))?, vec![0; 0]);
    let secret = outer.path().join("secret").display().to_string();
    let max = u64::MAX.to_string();
    let cases = [
        (external("../secret", "0", "4"), "`..`"),
        (external("sub/../../secret", "0", "4"), "`..`"),
        (external(&secret, "0", "4"), "absolute"),
        (external("..\\secret", "0", "4"), "not allowed"),
        (external("", "0", "4"), "does not say"),
        (external("none", "0", "4"), "cannot read"),
        (external("sub", "0", "4"), "no regular file"),
        (external("d", "61", "4"), "takes 4 bytes from byte 61 on, but the file has 64"),
        (external("d", "65", "0"), "takes 0 bytes from byte 65 on"),
        (external("d", &max, &max), "but the file has 64"),
        (external("d", "-1", "4"), "offset \"-1\" is no whole number"),
        (external("d", "0", "99999999999999999999999"), "no whole number"),
    ];
    for (tensor, wanted) in &cases {
        let error = refused(&folder, tensor);
        assert!(error.contains(wanted), "{error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(outer.path(), folder.join("out"))?;
        std::os::unix::fs::symlink("d", folder.join("link"))?;
        fs::hard_link(outer.path().join("secret"), folder.join("hard"))?;
        assert!(refused(&folder, &external("out/secret", "0", "4")).contains("is a link"));
        assert!(refused(&folder, &external("link", "0", "4")).contains("is a link"));
        assert!(refused(&folder, &external("hard", "0", "4")).contains("2 names"));
    }
    let error = ExternalData::beside(None).bytes(&external("d", "0", "4")).unwrap_err().to_string();
    assert!(error.contains("open it by its path"), "{error}");
    Ok(())
}

#[test]
fn a_model_of_more_than_2_gb_asks_for_external_data() {
    // The same bytes many times over: shared in memory, counted each time.
    let part = Bytes::from(vec![0u8; 64 << 20]);
    let tensor = TensorProto { raw_data: Some(part), ..tensor("w", DataType::Uint8, &[64 << 20]) };
    let graph = GraphProto { initializer: vec![tensor; 33], ..GraphProto::default() };
    let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
    let error = save(&model, std::env::temp_dir().join("oxidane-never.onnx")).unwrap_err();
    assert!(error.to_string().contains("--external-data"), "{error}");
}

#[test]
fn typed_fields_become_raw_bytes() {
    let ints = |dtype: DataType, values: &[i32]| {
        let tensor = TensorProto { int32_data: values.to_vec(), ..tensor("t", dtype, &[]) };
        raw_bytes(&tensor).unwrap_or_default().to_vec()
    };
    assert_eq!(ints(DataType::Int8, &[-1, 2]), [0xff, 2]);
    assert_eq!(ints(DataType::Float16, &[0x3c00, 0xfe00]), [0, 0x3c, 0, 0xfe]);
    assert_eq!(ints(DataType::Int4, &[0x21, 0xf3]), [0x21, 0xf3]);
    assert_eq!(ints(DataType::Int32, &[-2]), [0xfe, 0xff, 0xff, 0xff]);
    // 1, 2, 3, 4, 5 of six bits: 24 bits low first, then eight.
    assert_eq!(ints(DataType::Float6e2m3, &[1, 2, 3, 4, 5]), [0x81, 0x30, 0x10, 0x05]);
    let double = TensorProto { double_data: vec![1.0], ..tensor("t", DataType::Double, &[]) };
    assert_eq!(raw_bytes(&double).unwrap_or_default(), 1f64.to_le_bytes().to_vec());
    let wide = TensorProto { uint64_data: vec![5], ..tensor("t", DataType::Uint32, &[]) };
    assert_eq!(raw_bytes(&wide).unwrap_or_default(), vec![5, 0, 0, 0]);
    assert!(raw_bytes(&tensor("t", DataType::String, &[])).is_none());
}
