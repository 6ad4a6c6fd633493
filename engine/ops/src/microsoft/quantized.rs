//! What the quantized operators share: their values made floats, computed with, and quantized again.

use crate::math::binary::{Binary, Row};
use crate::math::cast::Cast;
use crate::quantization::dequantize_linear::DequantizeLinear;
use crate::quantization::quantize_linear::QuantizeLinear;
use crate::tensor::transpose::Transpose;
use oxidane_graph::{Build, NodeId, OpError, Type, ValueId};
use oxidane_tensor::{DType, Tensor};
use std::sync::Arc;

/// The domain of ONNX Runtime's own operators.
pub(crate) const DOMAIN: &str = "com.microsoft";

/// The inputs of a node, absent ones at the end included.
pub(crate) struct Inputs(Vec<Option<ValueId>>);

impl Inputs {
    pub(crate) fn of(build: &Build<'_>, node: NodeId) -> Inputs {
        Inputs(build.graph().node(node).formal_inputs().to_vec())
    }

    pub(crate) fn get(&self, slot: usize) -> Option<ValueId> {
        self.0.get(slot).copied().flatten()
    }

    /// An input that the signature requires.
    ///
    /// # Errors
    /// When it is absent.
    pub(crate) fn need(&self, slot: usize) -> Result<ValueId, OpError> {
        self.get(slot).ok_or_else(|| OpError::new(format!("input {slot} is missing")))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The element type of a value, where it is known.
pub(crate) fn dtype(build: &Build<'_>, value: ValueId) -> Option<DType> {
    build.ty(value).and_then(Type::dtype)
}

pub(crate) fn binary(build: &mut Build<'_>, row: &'static Row, a: ValueId, b: ValueId) -> ValueId {
    build.add(Binary::of(row), &[a, b])
}

pub(crate) fn cast(build: &mut Build<'_>, value: ValueId, to: DType) -> ValueId {
    if dtype(build, value) == Some(to) {
        return value;
    }
    build.add(Cast { round_mode: "up".to_owned(), saturate: true, to }, &[value])
}

pub(crate) fn transpose(build: &mut Build<'_>, value: ValueId, perm: &[usize]) -> ValueId {
    let perm = perm.iter().map(|&axis| axis as i64).collect();
    build.add(Transpose { perm: Some(perm) }, &[value])
}

/// The float values of codes whose value, scale and zero point are the inputs from `slot` on.
///
/// # Errors
/// When a required input is absent.
pub(crate) fn dequantize(build: &mut Build<'_>, inputs: &Inputs, slot: usize) -> Result<ValueId, OpError> {
    let given = [Some(inputs.need(slot)?), Some(inputs.need(slot + 1)?), inputs.get(slot + 2)];
    Ok(build.add_node(Arc::new(DequantizeLinear::default()), &given, 1)[0])
}

/// A value as codes of type `to`, by the scale and zero point that are the inputs from `slot` on.
///
/// # Errors
/// When the scale is absent.
pub(crate) fn quantize(
    build: &mut Build<'_>,
    value: ValueId,
    inputs: &Inputs,
    slot: usize,
    to: DType,
) -> Result<ValueId, OpError> {
    let zero = inputs.get(slot + 1);
    let output_dtype = if zero.is_some() { 0 } else { i64::from(to.to_onnx()) };
    let op = QuantizeLinear { output_dtype, ..QuantizeLinear::default() };
    Ok(build.add_node(Arc::new(op), &[Some(value), Some(inputs.need(slot)?), zero], 1)[0])
}

/// Perms that bring channels from the last place to the second, and back.
pub(crate) fn channel_perms(rank: usize) -> [Vec<usize>; 2] {
    let mut first: Vec<usize> = (0..rank).collect();
    let mut last = first.clone();
    if rank > 2 {
        let channels = first.remove(rank - 1);
        first.insert(1, channels);
        last.remove(1);
        last.push(1);
    }
    [first, last]
}

/// Integers of a type, for cases.
///
/// # Panics
/// When the number of values is not that of the shape.
pub(crate) fn codes(dtype: DType, shape: &[usize], values: &[i64]) -> Tensor {
    Tensor::from_i64s(dtype, shape, values).expect("as many values as the shape has")
}
