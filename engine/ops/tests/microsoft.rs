//! The operators of `com.microsoft` that exported models contain: each has a room whose cases go through standard
//! operators.

use oxidane_graph::{Build, infer};
use oxidane_ops::{Case, room};

const NAMES: [&str; 34] = [
    "Attention",
    "BeamSearch",
    "BiasGelu",
    "BiasSplitGelu",
    "DequantizeLinear",
    "DynamicQuantizeMatMul",
    "EmbedLayerNormalization",
    "FastGelu",
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "Gelu",
    "GreedySearch",
    "GroupNorm",
    "GroupQueryAttention",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "MultiHeadAttention",
    "NhwcConv",
    "QAttention",
    "QGemm",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearGlobalAveragePool",
    "QLinearLeakyRelu",
    "QLinearMul",
    "QLinearSigmoid",
    "QuantizeLinear",
    "QuickGelu",
    "RotaryEmbedding",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
];

/// The domains of what a case becomes, if it becomes something.
fn domains(case: &Case) -> Option<Vec<String>> {
    let mut graph = case.graph();
    infer(&mut graph);
    let (id, _) = graph.nodes().next()?;
    let made = case.op.expand(&mut Build::new(&mut graph, "test"), id).ok()??;
    assert!(!made.is_empty(), "{:?}", case.op);
    Some(graph.nodes().filter(|(at, _)| *at != id).map(|(_, node)| node.op().domain().to_owned()).collect())
}

#[test]
fn each_becomes_standard_operators() {
    for name in NAMES {
        // SimplifiedLayerNormalization is one of ONNX Runtime's too, but stands in ONNX's own domain.
        let room = room("com.microsoft", name).or_else(|| room("", name));
        let room = room.unwrap_or_else(|| panic!("there is no room for {name}"));
        let cases = (room.cases)();
        assert!(!cases.is_empty(), "{name} has no case");
        for case in &cases {
            let domains = domains(case).unwrap_or_else(|| panic!("{name} / {} has no expansion", case.name));
            assert!(domains.iter().all(String::is_empty), "{name} / {}: {domains:?}", case.name);
        }
    }
}
