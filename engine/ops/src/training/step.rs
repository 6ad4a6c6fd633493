//! What the optimizers share: groups of tensors, and arithmetic on values of one type.

use crate::math::binary::{ADD, Binary, DIV, GREATER, MUL, POW, Row, SUB};
use crate::math::cast::Cast;
use crate::math::unary::Unary;
use crate::math::where_::Where;
use crate::tensor::squeeze::Squeeze;
use oxidane_graph::{Build, InferCtx, NodeId, OpError, Param, Signature, Type, Types, Unknown, ValueId};
use oxidane_kernels::Function;
use oxidane_tensor::{DType, Tensor};

/// The domain of the optimizers.
pub(crate) const DOMAIN: &str = "ai.onnx.preview.training";

const FLOATS: Types = Types::tensors(&[DType::F32, DType::F64]);

/// The learning rate, how many steps there were, and groups of tensors.
pub(crate) static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("R", FLOATS, "T1"),
        Param::one("T", crate::types::INT64, "T2"),
        Param::heterogeneous("inputs", FLOATS, 1),
    ],
    outputs: &[Param::heterogeneous("outputs", FLOATS, 1)],
};

/// How many tensors a call optimizes, each with `kinds` inputs.
///
/// # Errors
/// When the inputs cannot be shared out.
pub(crate) fn count(inputs: usize, kinds: usize) -> Result<usize, OpError> {
    match inputs.checked_sub(2) {
        Some(n) if n > 0 && n % kinds == 0 => Ok(n / kinds),
        _ => Err(OpError::new(format!(
            "has {inputs} inputs, but takes the rate, the count, and {kinds} for each tensor"
        ))),
    }
}

/// Sets the types of the outputs: for each group of `kept` inputs (counted behind the rate and the count) one.
///
/// # Errors
/// When the inputs cannot be shared out, or there are other than that many outputs.
pub(crate) fn infer(ctx: &mut InferCtx<'_>, kinds: usize, kept: &[usize]) -> Result<(), Unknown> {
    let count = count(ctx.input_count(), kinds)?;
    if ctx.output_count() > count * kept.len() {
        return Err(Unknown::wrong(format!(
            "has {} outputs, but gives {} for each of {count} tensors",
            ctx.output_count(),
            kept.len()
        )));
    }
    for (group, kind) in kept.iter().enumerate() {
        for i in 0..count {
            if let Some(ty) = ctx.ty(2 + kind * count + i).cloned() {
                ctx.set(group * count + i, ty);
            }
        }
    }
    Ok(())
}

/// Adds arithmetic on values of one float type to a graph.
pub(crate) struct Arithmetic<'b, 'g> {
    pub(crate) build: &'b mut Build<'g>,
    pub(crate) dtype: DType,
}

impl Arithmetic<'_, '_> {
    pub(crate) fn number(&mut self, value: f64) -> Result<ValueId, OpError> {
        Ok(self.build.constant(Tensor::from_f64s(self.dtype, &[], &[value])?))
    }

    fn binary(&mut self, row: &'static Row, a: ValueId, b: ValueId) -> ValueId {
        self.build.add(Binary::of(row), &[a, b])
    }

    pub(crate) fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&ADD, a, b)
    }

    pub(crate) fn sub(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&SUB, a, b)
    }

    pub(crate) fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&MUL, a, b)
    }

    pub(crate) fn div(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&DIV, a, b)
    }

    pub(crate) fn pow(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&POW, a, b)
    }

    pub(crate) fn sqrt(&mut self, a: ValueId) -> Result<ValueId, OpError> {
        Ok(self.build.add(Unary::new(Function::Sqrt)?, &[a]))
    }

    /// `value * factor`.
    pub(crate) fn scaled(&mut self, value: ValueId, factor: f64) -> Result<ValueId, OpError> {
        if factor == 1.0 {
            return Ok(value);
        }
        let factor = self.number(factor)?;
        Ok(self.mul(value, factor))
    }

    /// `addend + value * factor`.
    pub(crate) fn plus_scaled(
        &mut self,
        addend: ValueId,
        value: ValueId,
        factor: f64,
    ) -> Result<ValueId, OpError> {
        if factor == 0.0 {
            return Ok(addend);
        }
        let scaled = self.scaled(value, factor)?;
        Ok(self.add(addend, scaled))
    }

    /// `yes` where the scalar `count` is more than 0, otherwise `no`.
    pub(crate) fn if_positive(
        &mut self,
        count: ValueId,
        yes: ValueId,
        no: ValueId,
    ) -> Result<ValueId, OpError> {
        let zero = self.number(0.0)?;
        let positive = self.binary(&GREATER, count, zero);
        Ok(self.build.add(Where {}, &[positive, yes, no]))
    }

    /// A scalar in the type that is computed in.
    pub(crate) fn cast(&mut self, value: ValueId) -> ValueId {
        let to = self.dtype;
        self.build.add(Cast { round_mode: "up".to_owned(), saturate: true, to }, &[value])
    }
}

/// The expansion of an optimizer: `scalars` works out what all tensors share from rate and count, and `step` the
/// outputs of one tensor from that and its inputs. `None` where types are not known.
///
/// # Errors
/// When the inputs cannot be shared out, or those of the two closures.
pub(crate) fn expand(
    build: &mut Build<'_>,
    node: NodeId,
    kinds: usize,
    scalars: impl Fn(&mut Arithmetic<'_, '_>, ValueId, ValueId) -> Result<Vec<ValueId>, OpError>,
    step: impl Fn(&mut Arithmetic<'_, '_>, &[ValueId], &[ValueId]) -> Result<Vec<ValueId>, OpError>,
) -> Result<Option<Vec<ValueId>>, OpError> {
    let inputs: Option<Vec<ValueId>> = build.graph().node(node).formal_inputs().iter().copied().collect();
    let Some(inputs) = inputs else { return Ok(None) };
    let count = count(inputs.len(), kinds)?;
    let Some(dtype) = build.ty(inputs[0]).and_then(Type::dtype) else { return Ok(None) };
    // Writers give both as scalars or as vectors of one element.
    let [rate, turns] = [0, 1].map(|i| build.add(Squeeze {}, &[inputs[i]]));
    let mut arithmetic = Arithmetic { build, dtype };
    let turns = arithmetic.cast(turns);
    let shared = scalars(&mut arithmetic, rate, turns)?;
    let mut groups: Vec<Vec<ValueId>> = Vec::new();
    for i in 0..count {
        let own: Vec<ValueId> = (0..kinds).map(|kind| inputs[2 + kind * count + i]).collect();
        let Some(dtype) = arithmetic.build.ty(own[0]).and_then(Type::dtype) else { return Ok(None) };
        let mut arithmetic = Arithmetic { build: &mut *arithmetic.build, dtype };
        let given: Vec<ValueId> = shared.iter().map(|&value| arithmetic.cast(value)).collect();
        for (group, value) in step(&mut arithmetic, &given, &own)?.into_iter().enumerate() {
            if groups.len() <= group {
                groups.push(Vec::new());
            }
            groups[group].push(value);
        }
    }
    Ok(Some(groups.concat()))
}
