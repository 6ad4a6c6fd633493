//! Official cases imported.

mod archive;

use oxidane_onnx::{DecodeLimits, Model, ModelFile};

#[test]
fn every_official_case_is_read() {
    let (mut bad, mut count) = (Vec::new(), 0);
    for (name, bytes) in archive::models() {
        let file = ModelFile::decode(bytes.into(), &name, &DecodeLimits::default()).expect("a good file");
        let (model, findings) = Model::from_proto_leniently(file.model, None);
        count += model.graph.node_count();
        if let Err(problems) = model.graph.verify() {
            bad.push(format!("{name}: broken graph: {problems}"));
        }
        bad.extend(findings.problems.iter().map(|p| format!("{name}: {p}")));
    }
    assert!(count > 2000);
    assert!(bad.is_empty(), "{} problems:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn every_official_case_is_written_and_read_again() {
    let mut bad = Vec::new();
    for (name, bytes) in archive::models() {
        let file = ModelFile::decode(bytes.into(), &name, &DecodeLimits::default()).expect("a good file");
        let before = file.model.clone();
        let (model, _) = Model::from_proto_leniently(file.model, None);
        let after = match model.to_proto(None) {
            Ok(after) => after,
            Err(error) => {
                bad.push(format!("{name}: {error}"));
                continue;
            }
        };
        let (a, b) = (before.graph.clone().unwrap_or_default(), after.graph.clone().unwrap_or_default());
        if a.input != b.input || a.output != b.output || a.name != b.name {
            bad.push(format!("{name}: the interface differs"));
        }
        if before.opset_import != after.opset_import || before.functions != after.functions {
            bad.push(format!("{name}: opsets or functions differ"));
        }
        if model.to_proto(None).ok() != Some(after.clone()) {
            bad.push(format!("{name}: written twice, it differs"));
        }
        let (again, _) = Model::from_proto_leniently(after.clone(), None);
        // Broadcasting by axis, of opsets before 7, is written with a Reshape each time.
        let reshaped = name.ends_with("_multiparam") || name.ends_with("add_size1_broadcast");
        if !reshaped && again.to_proto(None).ok().as_ref() != Some(&after) {
            let shown = |m: &oxidane_onnx::proto::ModelProto| {
                let graph = m.graph.clone().unwrap_or_default();
                oxidane_onnx::text::print_graph(&graph).unwrap_or_default()
            };
            let second = again.to_proto(None).unwrap_or_default();
            bad.push(format!("{name}: not a fixed point:\n{}\n{}", shown(&after), shown(&second)));
        }
    }
    assert!(bad.is_empty(), "{} problems:\n{}", bad.len(), bad.join("\n"));
}
