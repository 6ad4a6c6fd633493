//! Operators that the standard defines as functions of others have the function as their expansion. (Which agrees with
//! the kernel: `rooms.rs`.)

use oxidane_graph::{Build, infer};
use oxidane_ops::{Case, room};

const NAMES: [&str; 48] = [
    "AffineGrid",
    "Attention",
    "Bernoulli",
    "BlackmanWindow",
    "CastLike",
    "CausalConvWithState",
    "Celu",
    "CenterCropPad",
    "Clip",
    "DepthToSpace",
    "DynamicQuantizeLinear",
    "Elu",
    "Gelu",
    "GreaterOrEqual",
    "GroupNormalization",
    "HammingWindow",
    "HannWindow",
    "HardSigmoid",
    "HardSwish",
    "LayerNormalization",
    "LeakyRelu",
    "LessOrEqual",
    "LinearAttention",
    "LogSoftmax",
    "MeanVarianceNormalization",
    "Mish",
    "NegativeLogLikelihoodLoss",
    "PRelu",
    "RMSNormalization",
    "Range",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
    "Relu",
    "RotaryEmbedding",
    "Selu",
    "SequenceMap",
    "Shrink",
    "Softmax",
    "SoftmaxCrossEntropyLoss",
    "Softplus",
    "Softsign",
    "SpaceToDepth",
    "SwiGLU",
    "Swish",
    "ThresholdedRelu",
];

fn expands(case: &Case) -> bool {
    let mut graph = case.graph();
    infer(&mut graph);
    let Some((id, _)) = graph.nodes().next() else { return false };
    matches!(case.op.expand(&mut Build::new(&mut graph, "test"), id), Ok(Some(_)))
}

#[test]
fn each_expands() {
    let missing: Vec<&str> = NAMES
        .into_iter()
        .filter(|name| {
            let room = room("", name).unwrap_or_else(|| panic!("there is no room for {name}"));
            !(room.cases)().iter().any(expands)
        })
        .collect();
    assert!(missing.is_empty(), "no expansion: {missing:?}");
}
