//! Expansions and gradients written by the names of standard operators.

use crate::math::broadcast::unbroadcast;
use crate::room;
use oxidane_graph::{Attributes, Build, Dim, Graph, InferCtx, NodeId, OpError, Type, Unknown, ValueId};
use oxidane_tensor::{DType, Tensor};
use smallvec::SmallVec;

/// A node on its way into standard operators.
pub(crate) struct Formula<'b, 'g> {
    build: &'b mut Build<'g>,
    inputs: Vec<Option<ValueId>>,
    outputs: Vec<bool>,
}

/// The attributes of a node without any.
pub(crate) fn plain() -> Attributes {
    Attributes::new()
}

impl<'b, 'g> Formula<'b, 'g> {
    pub(crate) fn new(build: &'b mut Build<'g>, node: NodeId) -> Formula<'b, 'g> {
        let at = build.graph().node(node);
        let inputs = at.formal_inputs().to_vec();
        let outputs = at.outputs().iter().map(Option::is_some).collect();
        Formula { build, inputs, outputs }
    }

    /// One that reads no node's inputs.
    pub(crate) fn free(build: &'b mut Build<'g>) -> Formula<'b, 'g> {
        Formula { build, inputs: Vec::new(), outputs: Vec::new() }
    }

    /// The graph that is built.
    pub(crate) fn build(&mut self) -> &mut Build<'g> {
        self.build
    }

    /// An input, where it is given.
    pub(crate) fn input(&self, slot: usize) -> Option<ValueId> {
        self.inputs.get(slot).copied().flatten()
    }

    /// An input.
    pub(crate) fn need(&self, slot: usize) -> Result<ValueId, OpError> {
        self.input(slot).ok_or_else(|| OpError::new(format!("input {slot} is missing")))
    }

    /// Refuses inputs that the expansion does not know what to do with.
    pub(crate) fn without(&self, slots: &[(usize, &str)]) -> Result<(), OpError> {
        match slots.iter().find(|s| self.input(s.0).is_some()) {
            None => Ok(()),
            Some((slot, name)) => Err(OpError::unsupported(format!(
                "input {slot} (`{name}`) of this operator is not supported"
            ))),
        }
    }

    /// Whether somebody uses an output.
    pub(crate) fn wants(&self, output: usize) -> bool {
        self.outputs.get(output).copied().unwrap_or(false)
    }

    /// The sizes of a value; an error where they are not known before it runs.
    pub(crate) fn shape(&self, value: ValueId) -> Result<Vec<i64>, OpError> {
        let dims = self.build.ty(value).and_then(Type::shape);
        dims.and_then(|dims| dims.iter().map(|d| d.as_known()).collect()).ok_or_else(|| {
            OpError::new(format!("the sizes of `{}` are not known", self.build.graph().value(value).name()))
                .help("declare the model's input shapes")
        })
    }

    /// The sizes of a value, of which there must be `N`.
    pub(crate) fn sizes<const N: usize>(&self, value: ValueId) -> Result<[i64; N], OpError> {
        let shape = self.shape(value)?;
        <[i64; N]>::try_from(shape.as_slice()).map_err(|_| {
            OpError::new(format!(
                "`{}` is of shape {shape:?}, but must have rank {N}",
                self.build.graph().value(value).name()
            ))
        })
    }

    /// The number of dimensions of a value.
    pub(crate) fn rank(&self, value: ValueId) -> Result<usize, OpError> {
        self.build.ty(value).and_then(Type::shape).map(<[Dim]>::len).ok_or_else(|| {
            OpError::new(format!("the rank of `{}` is not known", self.build.graph().value(value).name()))
        })
    }

    /// The element type of a value.
    pub(crate) fn dtype(&self, value: ValueId) -> Result<DType, OpError> {
        self.build.ty(value).and_then(Type::dtype).ok_or_else(|| {
            OpError::new(format!("the type of `{}` is not known", self.build.graph().value(value).name()))
        })
    }

    pub(crate) fn ints(&mut self, values: &[i64]) -> Result<ValueId, OpError> {
        Ok(self.build.constant(Tensor::new(&[values.len()], values)?))
    }

    /// A scalar of the element type of `like`.
    pub(crate) fn number(&mut self, value: f64, like: ValueId) -> Result<ValueId, OpError> {
        let dtype = self.dtype(like)?;
        self.scalar(value, dtype)
    }

    pub(crate) fn scalar(&mut self, value: f64, dtype: DType) -> Result<ValueId, OpError> {
        Ok(self.build.constant(Tensor::from_f64s(dtype, &[], &[value])?))
    }

    /// A node of a standard operator with several outputs.
    pub(crate) fn node(
        &mut self,
        name: &str,
        attributes: &Attributes,
        inputs: &[Option<ValueId>],
        outputs: usize,
    ) -> Result<SmallVec<[ValueId; 2]>, OpError> {
        let room =
            room("", name).ok_or_else(|| OpError::unsupported(format!("there is no operator {name}")))?;
        Ok(self.build.add_node((room.read)(attributes)?, inputs, outputs))
    }

    /// A node of a standard operator with attributes and one output.
    pub(crate) fn with(
        &mut self,
        name: &str,
        attributes: Attributes,
        inputs: &[ValueId],
    ) -> Result<ValueId, OpError> {
        let inputs: Vec<_> = inputs.iter().map(|&v| Some(v)).collect();
        Ok(self.node(name, &attributes, &inputs, 1)?[0])
    }

    /// A node of a standard operator with one output.
    pub(crate) fn op(&mut self, name: &str, inputs: &[ValueId]) -> Result<ValueId, OpError> {
        self.with(name, plain(), inputs)
    }

    pub(crate) fn reshape(&mut self, value: ValueId, shape: &[i64]) -> Result<ValueId, OpError> {
        let shape = self.ints(shape)?;
        self.op("Reshape", &[value, shape])
    }

    pub(crate) fn transpose(&mut self, value: ValueId, order: &[i64]) -> Result<ValueId, OpError> {
        self.with("Transpose", plain().with("perm", order.to_vec()), &[value])
    }

    /// The matrices of a value, transposed.
    pub(crate) fn turned(&mut self, value: ValueId) -> Result<ValueId, OpError> {
        let rank = self.rank(value)?;
        let mut order: Vec<i64> = (0..rank as i64).collect();
        if let [.., a, b] = &mut order[..] {
            std::mem::swap(a, b);
        }
        self.transpose(value, &order)
    }

    pub(crate) fn cast(&mut self, value: ValueId, to: DType) -> Result<ValueId, OpError> {
        if self.dtype(value).is_ok_and(|own| own == to) {
            return Ok(value);
        }
        self.with("Cast", plain().with("to", to), &[value])
    }

    pub(crate) fn concat(&mut self, values: &[ValueId], axis: i64) -> Result<ValueId, OpError> {
        self.with("Concat", plain().with("axis", axis), values)
    }

    /// From `start` to before `end` along an axis.
    pub(crate) fn slice(
        &mut self,
        value: ValueId,
        axis: i64,
        start: i64,
        end: i64,
    ) -> Result<ValueId, OpError> {
        let (start, end, axis) = (self.ints(&[start])?, self.ints(&[end])?, self.ints(&[axis])?);
        self.op("Slice", &[value, start, end, axis])
    }

    /// The numbers from 0 to before `end`, a scalar of `int64`.
    pub(crate) fn count(&mut self, end: ValueId) -> Result<ValueId, OpError> {
        let (zero, one) = (self.scalar(0.0, DType::I64)?, self.scalar(1.0, DType::I64)?);
        self.op("Range", &[zero, end, one])
    }

    /// A value as `float` where it is a float of fewer bits, in which sums would lose digits.
    pub(crate) fn widened(&mut self, value: ValueId) -> Result<ValueId, OpError> {
        match self.dtype(value)? {
            DType::F16 | DType::BF16 => self.cast(value, DType::F32),
            _ => Ok(value),
        }
    }

    /// A value with the shape of another, which has as many elements.
    pub(crate) fn reshaped_like(&mut self, value: ValueId, like: ValueId) -> Result<ValueId, OpError> {
        let shape = self.op("Shape", &[like])?;
        self.with("Reshape", plain().with("allowzero", true), &[value, shape])
    }

    /// A gradient summed over what was broadcast from `operand`.
    pub(crate) fn unbroadcast(&mut self, gradient: ValueId, operand: ValueId) -> Result<ValueId, OpError> {
        unbroadcast(self.build, gradient, operand)
    }

    /// What an activation of the fused operators makes of a value; `params` in the order of the operator's own.
    pub(crate) fn activated(
        &mut self,
        value: ValueId,
        activation: &str,
        params: [Option<f32>; 2],
    ) -> Result<ValueId, OpError> {
        let set = |names: [&str; 2]| {
            let mut attributes = plain();
            for (name, value) in names.iter().zip(params) {
                if let Some(value) = value
                    && !name.is_empty()
                {
                    attributes.set(name, value);
                }
            }
            attributes
        };
        match activation {
            "" => Ok(value),
            "Relu" | "Sigmoid" | "Tanh" | "Softplus" | "Softsign" | "HardSwish" => {
                self.op(activation, &[value])
            }
            "LeakyRelu" | "Elu" | "ThresholdedRelu" => self.with(activation, set(["alpha", ""]), &[value]),
            "HardSigmoid" | "Selu" => {
                let second = if activation == "Selu" { "gamma" } else { "beta" };
                self.with(activation, set(["alpha", second]), &[value])
            }
            "Clip" => {
                let [low, high] = params;
                let low = self.number(low.unwrap_or(f32::MIN).into(), value)?;
                let high = self.number(high.unwrap_or(f32::MAX).into(), value)?;
                self.op("Clip", &[value, low, high])
            }
            other => Err(OpError::unsupported(format!("activation `{other}` is not supported"))),
        }
    }
}

/// A further input of a body, of a type that the body declares.
pub(crate) fn body_input(body: &mut Graph, name: &str, ty: Option<Type>) -> Result<ValueId, OpError> {
    let id = body.add_input(name, ty.clone(), None)?;
    body.set_declared(id, ty);
    Ok(id)
}

/// Output 0 has the type of input 0.
pub(crate) fn like_first(ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
    let ty = ctx.known_ty(0)?.clone();
    ctx.set(0, ty);
    Ok(())
}

/// The sizes of an input where it has rank `N`; an error where it has another.
pub(crate) fn ranked<const N: usize>(ctx: &InferCtx<'_>, input: usize) -> Result<Option<[Dim; N]>, Unknown> {
    let Some(shape) = ctx.shape(input) else { return Ok(None) };
    match <[Dim; N]>::try_from(shape) {
        Ok(dims) => Ok(Some(dims)),
        Err(_) => {
            Err(Unknown::wrong(format!("{} must have rank {N}, but has {}", ctx.called(input), shape.len())))
        }
    }
}
