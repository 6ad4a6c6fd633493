//! Models that are wrong: each gives an error that says where and what to do, soon.

use std::time::{Duration, Instant};

use oxidane_onnx::proto::attribute_proto::AttributeType;
use oxidane_onnx::proto::tensor_proto::DataLocation;
use oxidane_onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, ValueInfoProto,
};
use oxidane_onnx::text::parse_model;
use oxidane_onnx::{Error, Model};

/// The text of the error that a model gives.
fn refused(model: ModelProto, folder: Option<&std::path::Path>) -> String {
    let start = Instant::now();
    let error = Model::from_proto(model, folder).expect_err("the model is wrong");
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    assert!(matches!(error, Error::Model(_)), "{error}");
    error.to_string()
}

fn model(body: &str) -> ModelProto {
    parse_model(&format!("<ir_version: 8, opset_import: [\"\" : 18, \"own\" : 1]>\n{body}"))
        .expect("good syntax")
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn a_cycle() {
    let text =
        refused(model("g (float[2] x) => (float[2] y) { a = Add(x, b)\n b = Relu(a)\n y = Relu(b) }"), None);
    has(&text, &["node 0", "(Add)", "cycle", "node 1", "help: "]);
}

#[test]
fn an_undefined_name() {
    let text = refused(model("g (float[2] x) => (float[2] y) { y = Add(x, nowhere) }"), None);
    has(&text, &["node 0", "(Add)", "`nowhere`", "nothing defines", "x: float[2]", "help: "]);
    let text = refused(model("g (float[2] x) => (float[2] y) { z = Relu(x) }"), None);
    has(&text, &["output `y`", "defined by nothing", "help: "]);
}

#[test]
fn an_undefined_name_in_a_body() {
    let body = "g (bool c) => (float[2] y) { y = If (c) <
        then_branch = t () => (float[2] a) { a = Relu(nowhere) },
        else_branch = e () => (float[2] b) { b = Relu(nowhere) }> }";
    has(&refused(model(body), None), &["then_branch", "else_branch", "node 0 (Relu)", "`nowhere`", "help: "]);
}

#[test]
fn an_output_made_twice() {
    let text = refused(model("g (float[2] x) => (float[2] y) { y = Relu(x)\n y = Abs(x) }"), None);
    has(&text, &["node 1", "(Abs)", "`y`", "node 0", "help: "]);
    let text = refused(model("g (float[2] x) => (float[2] x) { x = Relu(x) }"), None);
    has(&text, &["node 0", "input or initializer", "help: "]);
}

#[test]
fn types_that_differ() {
    let text = refused(model("g (float[2] x, int64[2] n) => (float[2] y) { y = Add(x, n) }"), None);
    has(&text, &["node 0", "(Add)", "int64", "float", "help: "]);
}

#[test]
fn everything_wrong_is_said_at_once() {
    let text = refused(
        model(
            "g (float[2] x, int64[2] n) => (float[2] y) { a = Relu(p)\n b = Add(x, n)\n y = Relu <alpha = 1.0> (q) }",
        ),
        None,
    );
    has(&text, &["`p`", "`q`", "(Add)", "alpha"]);
}

fn with_initializer(tensor: TensorProto) -> ModelProto {
    let mut model = model("g (float[2] x) => (float[2] y) { y = Relu(x) }");
    model.graph.as_mut().expect("a graph").initializer.push(tensor);
    model
}

fn tensor(dims: &[i64], bytes: usize) -> TensorProto {
    TensorProto {
        name: Some("w".into()),
        dims: dims.to_vec(),
        data_type: Some(1),
        raw_data: Some(vec![0; bytes].into()),
        ..TensorProto::default()
    }
}

#[test]
fn data_shorter_or_longer_than_the_shape() {
    let text = refused(with_initializer(tensor(&[4, 4], 60)), None);
    has(&text, &["initializer `w`", "64 bytes", "60", "cut short", "help: "]);
    has(&refused(with_initializer(tensor(&[4, 4], 68)), None), &["initializer `w`", "too long", "help: "]);
}

#[test]
fn huge_and_negative_sizes() {
    for dims in [&[1 << 62][..], &[1 << 62, 1 << 62], &[-1], &[i64::MIN, 2], &[1 << 40, 1 << 40, 0, -5]] {
        has(&refused(with_initializer(tensor(dims, 8)), None), &["initializer `w`", "help: "]);
    }
    let mut model = model("g (float[2] x) => (float[2] y) { y = Constant <value_float = 1.0> () }");
    let node = &mut model.graph.as_mut().expect("a graph").node[0];
    let value = TensorProto { name: None, ..tensor(&[1 << 62], 4) };
    node.attribute = vec![AttributeProto {
        name: Some("value".into()),
        r#type: Some(AttributeType::Tensor as i32),
        t: Some(value),
        ..AttributeProto::default()
    }];
    has(&refused(model, None), &["node 0", "(Constant)", "attribute `value`", "help: "]);
}

#[test]
fn external_data_that_point_outside() {
    let folder = tempfile::tempdir().expect("a folder");
    for location in ["../secret", "/etc/passwd", "a/../../secret", "missing"] {
        let entry = StringStringEntryProto { key: Some("location".into()), value: Some(location.into()) };
        let tensor = TensorProto {
            raw_data: None,
            data_location: Some(DataLocation::External as i32),
            external_data: vec![entry],
            ..tensor(&[2], 0)
        };
        let text = refused(with_initializer(tensor), Some(folder.path()));
        has(&text, &["initializer `w`", location, "model's folder"]);
    }
}

/// An If in an If, so many times.
fn nest(levels: usize) -> ModelProto {
    let output = |name: &str| ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() };
    let relu = NodeProto {
        op_type: Some("Relu".into()),
        input: vec!["x".into()],
        output: vec!["y0".into()],
        ..NodeProto::default()
    };
    let mut graph = GraphProto {
        name: Some("g".into()),
        node: vec![relu],
        output: vec![output("y0")],
        ..GraphProto::default()
    };
    for level in 1..=levels {
        let name = format!("y{level}");
        let branch = |name: &str, g: GraphProto| AttributeProto {
            name: Some(name.into()),
            r#type: Some(AttributeType::Graph as i32),
            g: Some(g),
            ..AttributeProto::default()
        };
        let simple = GraphProto {
            name: Some("s".into()),
            node: vec![NodeProto {
                op_type: Some("Relu".into()),
                input: vec!["x".into()],
                output: vec!["s".into()],
                ..NodeProto::default()
            }],
            output: vec![output("s")],
            ..GraphProto::default()
        };
        let node = NodeProto {
            op_type: Some("If".into()),
            input: vec!["c".into()],
            output: vec![name.clone()],
            attribute: vec![branch("then_branch", graph), branch("else_branch", simple)],
            ..NodeProto::default()
        };
        graph = GraphProto {
            name: Some("g".into()),
            node: vec![node],
            output: vec![output(&name)],
            ..GraphProto::default()
        };
    }
    let mut outer = model("g (bool c, float[2] x) => (float[2] y) { y = Relu(x) }");
    let inside = outer.graph.as_mut().expect("a graph");
    inside.node = graph.node;
    inside.output = graph.output;
    outer
}

#[test]
fn a_deep_nest_of_subgraphs() {
    has(&refused(nest(80), None), &["nest more than 64 deep", "(If)", "help: "]);
    let model = Model::from_proto(nest(30), None).expect("deep, but not too deep");
    let written = model.to_proto(None).expect("can be written");
    Model::from_proto(written, None).expect("can be read again");
}

#[test]
fn a_file_that_nests_ten_thousand_subgraphs() {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut bytes);
        bytes.extend_from_slice(content);
        bytes
    }
    let mut graph = Vec::new();
    for _ in 0..10_000 {
        // Graph in attribute in node.
        graph = field(1, &field(5, &field(6, &graph)));
    }
    let mut bytes = vec![8, 8];
    bytes.extend(field(7, &graph));
    let start = Instant::now();
    let error = Model::from_bytes(bytes.into(), None).expect_err("too deep");
    assert!(start.elapsed() < Duration::from_secs(5));
    has(&error.to_string(), &["nests too deeply", "flatten"]);
}

#[test]
fn functions_that_call_themselves() {
    let once = "g (float[2] x) => (float[2] y) { y = own.f(x) }
        <domain: \"own\", opset_import: [\"\" : 18, \"own\" : 1]> f (a) => (b) { b = own.f(a) }";
    has(&refused(model(once), None), &["function `own.f`", "calls itself: own.f -> own.f", "help: "]);
    let mutual = "g (float[2] x) => (float[2] y) { y = own.f(x) }
        <domain: \"own\", opset_import: [\"\" : 18, \"own\" : 1]> f (a) => (b) { b = own.h(a) }
        <domain: \"own\", opset_import: [\"\" : 18, \"own\" : 1]> h (a) => (b) { c = Relu(a)\n b = own.f(c) }";
    has(&refused(model(mutual), None), &["calls itself: own.f -> own.h -> own.f", "help: "]);
}

#[test]
fn functions_that_multiply() {
    let mut body = String::from("g (float[2] x) => (float[2] y) { y = own.f0(x) }\n");
    for i in 0..40 {
        let next = i + 1;
        body += &format!(
            "<domain: \"own\", opset_import: [\"\" : 18, \"own\" : 1]> f{i} (a) => (b) {{ c = own.f{next}(a)\n b = own.f{next}(c) }}\n"
        );
    }
    body += "<domain: \"own\", opset_import: [\"\" : 18]> f40 (a) => (b) { b = Relu(a) }";
    let start = Instant::now();
    let error = Model::from_proto(model(&body), None).expect_err("too much");
    assert!(start.elapsed() < Duration::from_secs(60), "took {:?}", start.elapsed());
    has(&error.to_string(), &["nodes", "help: "]);
}

#[test]
fn an_attribute_of_a_function_outside_of_one() {
    let mut model = model("g (float[2] x) => (float[2] y) { y = LeakyRelu <alpha = 0.5> (x) }");
    let node = &mut model.graph.as_mut().expect("a graph").node[0];
    node.attribute[0].f = None;
    node.attribute[0].ref_attr_name = Some("slope".into());
    has(&refused(model, None), &["node 0", "`alpha`", "`slope`", "outside", "help: "]);
}

#[test]
fn a_model_without_opset() {
    let mut wrong = model("g (float[2] x) => (float[2] y) { y = Relu(x) }");
    wrong.opset_import.clear();
    has(&refused(wrong, None), &["imports no opset", "help: "]);
}

#[test]
fn a_split_into_more_pieces_than_it_has_outputs_is_not_written() {
    // The older form needs the lengths of the pieces: 4 billion of them would be 32 GiB.
    let text =
        "g (float[7] x) => (float[3] y, float[4] z) { y, z = Split <num_outputs: int = 4294967296> (x) }";
    let (model, findings) = Model::from_proto_leniently(model(text), None);
    assert_eq!(findings.problems.len(), 1, "{:?}", findings.problems);
    let error = model.to_proto(Some(13)).expect_err("opset 13 cannot say it").to_string();
    has(&error, &["num_outputs is 4294967296", "2 outputs"]);
}

#[test]
fn axes_of_two_dimensions_do_not_become_a_list() {
    let text = "g (float[3,n,2] x) => (float[3,1,2] y) <int64[1,1] axes = {2147483648}> { y = ReduceMean (x, axes) }";
    let (model, _) = Model::from_proto_leniently(model(text), None);
    let error = model.to_proto(Some(13)).expect_err("opset 13 has a list of axes").to_string();
    has(&error, &["`axes`", "[1, 1]", "must be a list"]);
}
