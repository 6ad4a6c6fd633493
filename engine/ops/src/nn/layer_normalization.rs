//! [LayerNormalization](https://onnx.ai/onnx/operators/onnx__LayerNormalization.html): the last dimensions of each
//! row brought to mean 0 and variance 1.

use crate::formula::Formula;
use crate::math::by_type::by_type;
use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{
    Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature, Unknown, ValueId,
    axis_index, kernel, shared,
};
use oxidane_kernels::map::{Binary, binary};
use oxidane_kernels::norm::layer_norm;
use oxidane_kernels::{Float, Number};
use oxidane_tensor::{CastRules, DType, Shape, Tensor, TensorMut, element_count};

attributes! {
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias` over the dimensions from `axis` on.
    pub struct LayerNormalization {
        axis: i64 = -1,
        epsilon: f32 = 1e-5,
        /// The type of the outputs of statistics: 1 is `float`, 16 `bfloat16`.
        stash_type: DType = DType::F32,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT, "T"),
        Param::one("Scale", types::FLOAT, "T"),
        Param::optional("B", types::FLOAT, "T"),
    ],
    outputs: &[
        Param::one("Y", types::FLOAT, "T"),
        Param::optional("Mean", types::STATISTICS, "U"),
        Param::optional("InvStdDev", types::STATISTICS, "U"),
    ],
};

/// The room of LayerNormalization.
pub static ROOM: Room = Room {
    domain: "",
    name: "LayerNormalization",
    since: &[17],
    signature: &SIGNATURE,
    read: |a| Ok(shared(LayerNormalization::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |axis| LayerNormalization { axis, epsilon: 1e-5, stash_type: DType::F32 };
        let mut cases = vec![
            // By hand: the rows have the means 2 and 3 and the variances 1 and 4.
            Case::new("rows", LayerNormalization { epsilon: 0.0, ..op(-1) })
                .input(floats(&[2, 2], &[1.0, 3.0, 5.0, 1.0]))
                .input(floats(&[2], &[1.0, 2.0]))
                .input(floats(&[2], &[0.0, 1.0]))
                .outputs(3)
                .expect(floats(&[2, 2], &[-1.0, 3.0, 1.0, -1.0]))
                .expect(floats(&[2, 1], &[2.0, 3.0]))
                .expect(floats(&[2, 1], &[1.0, 0.5])),
            Case::new("from the second", op(1))
                .input(noise(&[2, 3, 4, 5], 1))
                .input(noise(&[3, 4, 5], 2))
                .outputs(3),
            Case::new("from the first", op(0)).input(noise(&[3, 4], 3)).input(noise(&[3, 4], 4)),
            Case::new("broadcast", op(1))
                .input(noise(&[2, 3, 4], 5))
                .input(noise(&[4], 6))
                .input(noise(&[3, 1], 7)),
            Case::new("a scale of each row", op(-1))
                .input(noise(&[2, 3, 4], 8))
                .input(noise(&[2, 1, 4], 9))
                .input(noise(&[4], 10)),
            Case::new("narrow statistics", LayerNormalization { stash_type: DType::BF16, ..op(-1) })
                .input(noise(&[3, 4], 11))
                .input(noise(&[4], 12))
                .outputs(3),
            Case::new("no rows", op(-1))
                .input(floats(&[0, 4], &[]))
                .input(noise(&[4], 13))
                .outputs(2)
                .expect(floats(&[0, 4], &[]))
                .expect(floats(&[0, 1], &[])),
        ];
        for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
            cases.push(
                Case::new(name, op(-2))
                    .input(noise_of(dtype, &[2, 4, 5], 14))
                    .input(noise_of(dtype, &[4, 5], 15))
                    .input(noise_of(dtype, &[4, 5], 16)),
            );
        }
        cases
    },
};

/// One element for each place of a row of shape `row`; `None` where rows have different ones.
///
/// # Errors
/// When there is no memory.
pub(super) fn of_row(tensor: &Tensor, x: &Tensor, axis: usize) -> Result<Option<Tensor>, OpError> {
    // A row may be of any size where there is none.
    if x.is_empty() {
        return Ok(None);
    }
    let row = &x.shape()[axis..];
    let extra = tensor.rank().saturating_sub(row.len());
    if tensor.shape()[..extra].iter().any(|&n| n != 1) {
        return Ok(None);
    }
    match tensor.reshape(&tensor.shape()[extra..])?.broadcast_to(row) {
        Ok(whole) => Ok(Some(whole.to_dense()?)),
        Err(_) => Ok(None),
    }
}

/// `x` combined with a tensor that broadcasts to its shape.
///
/// # Errors
/// When it does not, or there is no memory.
pub(super) fn combined<T: Number>(
    run: &Run<'_>,
    operator: Binary,
    x: &Tensor,
    other: &Tensor,
) -> Result<Tensor, OpError> {
    let other = other.to_dense()?;
    let mut out = TensorMut::zeroed(T::DTYPE, x.shape())?;
    let (a, b) = ((x.slice::<T>()?, x.shape()), (other.slice::<T>()?, other.shape()));
    binary(run.pool(), operator, a, b, (out.slice_mut()?, x.shape()))?;
    Ok(out.freeze())
}

impl LayerNormalization {
    fn run<T: Float>(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let x = run.dense(0)?;
        let axis = axis_index(self.axis, x.rank())?;
        let (rows, row) = x.shape().split_at(axis);
        let size = element_count(row)?;
        let (scale, bias) = (run.dense(1)?, run.try_tensor(2)?.map(Tensor::to_dense).transpose()?);
        let placed =
            (of_row(&scale, &x, axis)?, bias.as_ref().map(|b| of_row(b, &x, axis)).transpose()?.flatten());
        let simple = placed.0.is_some() && placed.1.is_some() == bias.is_some();
        let count = element_count(rows)?;
        let wanted = run.wants(1) || run.wants(2);
        // The mean of nothing is no number.
        if wanted {
            run.check_scratch(count.checked_mul(2 * size_of::<f32>()))?;
        }
        let mut means = vec![f32::NAN; if wanted { count } else { 0 }];
        let mut deviations = means.clone();
        let pool = run.pool();
        let mut out = run.allocate(0, T::DTYPE, x.shape())?;
        let statistics = (wanted && size > 0).then_some((&mut means[..], &mut deviations[..]));
        let (place_scale, place_bias) =
            if simple { (placed.0.as_ref(), placed.1.as_ref()) } else { (None, None) };
        let place = (
            place_scale.map(|t| t.slice::<T>()).transpose()?,
            place_bias.map(|t| t.slice::<T>()).transpose()?,
        );
        layer_norm::<T>(pool, x.slice()?, size, place, self.epsilon, out.slice_mut()?, statistics)?;
        let mut y = out.freeze();
        if !simple {
            y = combined::<T>(run, Binary::Mul, &y, &scale)?;
            if let Some(bias) = &bias {
                y = combined::<T>(run, Binary::Add, &y, bias)?;
            }
        }
        run.set(0, y);
        let mut shape = Shape::from_slice(rows);
        shape.resize(x.rank(), 1);
        for (output, values) in [(1, means), (2, deviations)] {
            if run.wants(output) {
                let tensor = Tensor::new(&shape, &values)?.cast(self.stash_type, CastRules::default())?;
                run.set(output, tensor);
            }
        }
        Ok(())
    }
}

impl Op for LayerNormalization {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let x = ctx.known_ty(0)?.clone();
        match x.shape() {
            Some(shape) => {
                let axis = axis_index(self.axis, shape.len())?;
                let mut dims = Dims::from_slice(&shape[..axis]);
                dims.resize(shape.len(), Dim::known(1));
                ctx.set_tensor(1, self.stash_type, dims.clone());
                ctx.set_tensor(2, self.stash_type, dims);
            }
            None => {
                ctx.set_unranked(1, self.stash_type);
                ctx.set_unranked(2, self.stash_type);
            }
        }
        ctx.set(0, x);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let (x, scale, bias) = (f.need(0)?, f.need(1)?, f.input(2));
        let (dtype, rank) = (f.dtype(x)?, f.rank(x)?);
        let first = axis_index(self.axis, rank)? as i64;
        let axes = f.ints(&(first..rank as i64).collect::<Vec<_>>())?;
        let x = f.widened(x)?;
        let mean = f.op("ReduceMean", &[x, axes])?;
        let off = f.op("Sub", &[x, mean])?;
        let square = f.op("Mul", &[off, off])?;
        let variance = f.op("ReduceMean", &[square, axes])?;
        let epsilon = f.number(self.epsilon.into(), x)?;
        let variance = f.op("Add", &[variance, epsilon])?;
        let deviation = f.op("Sqrt", &[variance])?;
        let inverse = f.op("Reciprocal", &[deviation])?;
        let normal = f.op("Mul", &[off, inverse])?;
        let own = f.dtype(x)?;
        let scale = f.cast(scale, own)?;
        let mut y = f.op("Mul", &[normal, scale])?;
        if let Some(bias) = bias {
            let bias = f.cast(bias, own)?;
            y = f.op("Add", &[y, bias])?;
        }
        let y = f.cast(y, dtype)?;
        Ok(Some(vec![y, f.cast(mean, self.stash_type)?, f.cast(inverse, self.stash_type)?]))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| by_type!(run.tensor(0)?.dtype(), float T => op.run::<T>(run)))
    }
}
