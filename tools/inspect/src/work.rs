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
