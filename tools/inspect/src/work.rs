//! What nodes compute and move: multiply-adds and bytes, from the sizes of their inputs and outputs.

use oxidane::Type;
use oxidane::graph::{Node, ValueId};
use oxidane::ops::native::{conv::Conv, product::Product};

/// The multiply-adds of a node that multiplies matrices or convolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// How many there are; `None` where sizes are not known.
    pub multiply_adds: Option<u128>,
    /// What is multiplied.
    pub numbers: Numbers,
}

/// Numbers that are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// `float32`, or what is computed as that.
    Floats,
    /// `bfloat16`.
    Halves,
    /// Quantized to bytes.
    Bytes,
}

/// The sizes of a value, where they are known.
pub type Shapes<'a> = dyn Fn(ValueId) -> Option<Vec<usize>> + 'a;

impl Work {
    /// The work of a node in one call, its bodies not counted; `None` for operators that only move data or compute each
    /// element by itself. Convolutions of the domain `oxidane` count what their kernels do, which is less than plain sums
    /// where those take minimal filtering (Winograd); all others count plain sums.
    pub fn of(node: &Node, shapes: &Shapes<'_>) -> Option<Work> {
        let op = node.op();
        let numbers = match op.name() {
            "ConvInteger"
            | "QLinearConv"
            | "QuantizedConv"
            | "MatMulInteger"
            | "QLinearMatMul"
            | "QGemm"
            | "DynamicQuantizeMatMul"
            | "MatMulIntegerToFloat" => Numbers::Bytes,
            "Product" if op.downcast::<Product>().is_some_and(Product::is_rounded) => Numbers::Halves,
            _ => Numbers::Floats,
        };
        let input = |slot: usize| shapes(node.input(slot)?);
        let output = || shapes(node.outputs().first().copied().flatten()?);
        let number = |name: &str| op.attributes().value::<i64>(name).ok().flatten();
        // Each number of the result is a sum over all but the first dimension of the weights.
        let sums = |weights: usize| times(&output()?, input(weights)?.get(1..)?);
        // Each number of the result is a sum over the last dimension of the left side.
        let rows = |turned: bool| {
            let left = input(0)?;
            let depth = if turned { left.iter().rev().nth(1) } else { left.last() };
            times(&output()?, &[*depth?])
        };
        // Each step of each sequence by the weights of the input and of the state, for all gates and directions.
        let recurrent = || {
            let (x, w, r) = (input(0)?, input(1)?, input(2)?);
            let steps = x.split_last()?.1;
            times(steps, &w)?.checked_add(times(steps, &r)?)
        };
        // Scores, and their products with the values, masked ones included. Lengths stand before the last dimension, whether
        // heads have a dimension of their own or not.
        let attention = || {
            let length = |slot: usize| input(slot)?.iter().rev().nth(1).copied();
            let past = if node.input(4).is_some() { length(4)? } else { 0 };
            let keys = length(1)?.checked_add(past)?;
            times(&input(0)?, &[keys])?.checked_add(times(&output()?, &[keys])?)
        };
        if let Some(conv) = op.downcast::<Conv>() {
            let products = input(0).zip(input(1)).and_then(|(x, w)| conv.products(&x, &w));
            let rounded = products.is_some_and(|products| products.rounded);
            let numbers = if rounded { Numbers::Halves } else { Numbers::Floats };
            return Some(Work { multiply_adds: products.map(|products| products.count), numbers });
        }
        let multiply_adds = match (op.domain(), op.name()) {
            ("" | "ai.onnx" | "com.microsoft", "Conv" | "FusedConv" | "ConvInteger" | "DeformConv") => {
                sums(1)
            }
            (_, "QLinearConv" | "QuantizedConv") => sums(3),
            ("" | "ai.onnx", "ConvTranspose") => {
                input(0).zip(input(1)).and_then(|(x, w)| times(&x, w.get(1..)?))
            }
            (_, "MatMul" | "MatMulInteger" | "QLinearMatMul" | "Product" | "DynamicQuantizeMatMul") => {
                rows(false)
            }
            (_, "MatMulIntegerToFloat" | "MatMulNBits") => rows(false),
            (_, "Gemm" | "FusedGemm" | "QGemm" | "FusedMatMul") => rows(number("transA").unwrap_or(0) != 0),
            ("" | "ai.onnx", "LSTM" | "GRU" | "RNN") => recurrent(),
            ("" | "ai.onnx", "Attention") => attention(),
            _ => return None,
        };
        Some(Work { multiply_adds, numbers })
    }
}

/// The bytes that a node reads and writes in one call: its inputs and outputs, each once. What picks elements reads as
/// many bytes as it writes, and what only gives data another shape moves none.
pub fn bytes(node: &Node, size: &dyn Fn(ValueId) -> usize) -> usize {
    let total =
        |values: &[Option<ValueId>]| values.iter().flatten().map(|&v| size(v)).fold(0, usize::saturating_add);
    let (inputs, outputs) = (total(node.formal_inputs()), total(node.outputs()));
    match (node.op().domain(), node.op().name()) {
        ("" | "ai.onnx", "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Shape" | "Size") => {
            0
        }
        ("" | "ai.onnx", "Gather" | "GatherElements" | "GatherND" | "Slice") => {
            let data = node.input(0).map_or(0, size);
            (inputs - data).saturating_add(data.min(outputs)).saturating_add(outputs)
        }
        _ => inputs.saturating_add(outputs),
    }
}

/// The sizes of a tensor type, where all are known.
pub fn known(ty: &Type) -> Option<Vec<usize>> {
    ty.shape()?.iter().map(|d| d.as_size()).collect()
}

/// The product of all sizes.
fn times(some: &[usize], others: &[usize]) -> Option<u128> {
    some.iter().chain(others).try_fold(1u128, |n, &d| n.checked_mul(d as u128))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxidane::Model;

    /// The work and bytes of the first node of a model, as its types say.
    fn first(graph: &str) -> (Option<Work>, usize) {
        let text = format!("<ir_version: 10, opset_import: [\"\" : 23, \"com.microsoft\" : 1]>\n{graph}");
        let proto = oxidane::onnx::text::parse_model(&text).expect("text");
        let model = Model::from_proto(proto, None).expect("a model");
        let graph = model.graph();
        let (_, node) = graph.nodes().next().expect("a node");
        let shape = |v| known(graph.value(v).ty()?);
        let size = |v: ValueId| {
            let ty = graph.value(v).ty().and_then(Type::as_tensor).expect("a tensor");
            ty.dtype.byte_len(shape(v).expect("sizes").iter().product()).expect("bytes")
        };
        let known = node.inputs().iter().flatten().all(|&v| shape(v).is_some());
        (Work::of(node, &shape), if known { bytes(node, &size) } else { 0 })
    }

    fn floats(n: u128) -> Option<Work> {
        Some(Work { multiply_adds: Some(n), numbers: Numbers::Floats })
    }

    #[test]
    fn products_and_convolutions() {
        let product = "g (float[2,5,7] a, float[7,3] b) => (float[2,5,3] y) { y = MatMul(a, b) }";
        assert_eq!(first(product), (floats(2 * 5 * 7 * 3), 4 * (70 + 21 + 30)));
        let turned = "g (float[7,5] a, float[7,3] b) => (float[5,3] y) { y = Gemm<transA = 1>(a, b) }";
        assert_eq!(first(turned).0, floats(5 * 7 * 3));
        let grouped = "g (float[1,4,9,9] x, float[6,2,3,3] w) => (float[1,6,4,4] y) \
                       { y = Conv<group = 2, strides = [2, 2]>(x, w) }";
        assert_eq!(first(grouped).0, floats(6 * 4 * 4 * 2 * 9));
        let integers = "g (uint8[2,5] a, int8[5,3] b) => (int32[2,3] y) { y = MatMulInteger(a, b) }";
        let bytes = Work { multiply_adds: Some(2 * 5 * 3), numbers: Numbers::Bytes };
        assert_eq!(first(integers), (Some(bytes), 10 + 15 + 24));
        let unknown = "g (float[n,7] a, float[7,3] b) => (float[n,3] y) { y = MatMul(a, b) }";
        assert_eq!(first(unknown).0, Some(Work { multiply_adds: None, numbers: Numbers::Floats }));
    }

    #[test]
    fn sequences_and_attention() {
        let gates = "g (float[10,2,3] x, float[1,16,3] w, float[1,16,4] r) => (float[10,1,2,4] y) \
                     { y = LSTM<hidden_size = 4>(x, w, r) }";
        // Four gates of four states for each step and sequence.
        assert_eq!(first(gates).0, floats(10 * 2 * 16 * (3 + 4)));
        // Two heads of 4 with values of 8, 5 queries, 6 keys.
        let heads = "g (float[1,2,5,4] q, float[1,2,6,4] k, float[1,2,6,8] v) => (float[1,2,5,8] y) \
                     { y = Attention(q, k, v) }";
        assert_eq!(first(heads).0, floats(2 * 5 * 6 * (4 + 8)));
        let flat = "g (float[1,5,8] q, float[1,6,8] k, float[1,6,16] v) => (float[1,5,16] y) \
                    { y = Attention<q_num_heads = 2, kv_num_heads = 2>(q, k, v) }";
        assert_eq!(first(flat).0, floats(2 * 5 * 6 * (4 + 8)));
    }

    #[test]
    fn what_moves_data_multiplies_nothing() {
        let sum = "g (float[5] a, float[5] b) => (float[5] y) { y = Add(a, b) }";
        assert_eq!(first(sum), (None, 60));
        // The rows that are picked, their numbers and the result.
        let picked = "g (float[1000,8] a, int64[3] i) => (float[3,8] y) { y = Gather(a, i) }";
        assert_eq!(first(picked), (None, 96 + 24 + 96));
        let view = "g (float[4,2] a, int64[1] s) => (float[8] y) { y = Reshape(a, s) }";
        assert_eq!(first(view).1, 0);
    }
}
