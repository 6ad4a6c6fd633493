use oxidane_graph::{Graph, Node};

/// What a node costs, in a unit of its own: no rule may raise the sum over the nodes that it touches. The
/// figures rank operators by what they move and compute, whatever the sizes; bodies count with their nodes.
pub fn cost(node: &Node) -> u64 {
    let own = match node.op().domain() {
        "" | "ai.onnx" => match node.op().name() {
            "Constant" | "Identity" => 1,
            "Shape" | "Size" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => 2,
            "MatMul" | "Conv" | "ConvTranspose" | "ConvInteger" | "MatMulInteger" | "QLinearMatMul"
            | "QLinearConv" | "Einsum" => 32,
            "Gemm" => 33,
            "LSTM" | "GRU" | "RNN" => 128,
            // What the turns give is put together at the end.
            "Loop" | "Scan" => 4 + 4 * node.outputs().len() as u64,
            name if name.starts_with("Reduce") || name == "Softmax" || name == "LogSoftmax" => 8,
            name if name.ends_with("Normalization") => 12,
            // No scores in memory: less than the two products and the softmax that it stands for.
            "Attention" => 56,
            _ => 4,
        },
        "com.microsoft" => match node.op().name() {
            "FusedConv" => 32,
            "FusedGemm" => 33,
            _ => 8,
        },
        // Whatever follows them is done while their results are in registers.
        "oxidane" => match node.op().name() {
            // Whether a change of layout pays is counted where it is decided.
            "Block" | "Unblock" => 0,
            "Conv" | "Product" => 32,
            _ => 4,
        },
        _ => 8,
    };
    node.bodies().iter().map(graph_cost).fold(own, u64::saturating_add)
}

/// The sum over all nodes of a graph.
pub fn graph_cost(graph: &Graph) -> u64 {
    graph.nodes().map(|(_, node)| cost(node)).fold(0, u64::saturating_add)
}
