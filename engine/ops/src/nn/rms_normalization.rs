//! [RMSNormalization](https://onnx.ai/onnx/operators/onnx__RMSNormalization.html): the last dimensions of each row
//! divided by the root of the mean of their squares.

use super::layer_normalization::{combined, of_row};
use crate::formula::Formula;
use crate::math::by_type::by_type;
use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{
    Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature, Type, Unknown, ValueId,
    axis_index, kernel, shared,
};
use oxidane_kernels::Float;
use oxidane_kernels::map::Binary;
use oxidane_kernels::norm::rms_norm;
use oxidane_tensor::{CastRules, DType, element_count};

attributes! {
    /// `x / sqrt(mean(x^2) + epsilon) * scale` over the dimensions from `axis` on.
    pub struct RMSNormalization {
        axis: i64 = -1,
        epsilon: f32 = 1e-5,
        /// The type that the mean is formed in; the kernel never uses a smaller one than `float`.
        stash_type: i64 = 1,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT, "T"), Param::one("scale", types::FLOAT, "V")],
    outputs: &[Param::one("Y", types::FLOAT, "V")],
};

/// The room of RMSNormalization.
pub static ROOM: Room = Room {
    domain: "",
    name: "RMSNormalization",
    since: &[23],
    signature: &SIGNATURE,
    read: |a| Ok(shared(RMSNormalization::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |axis| RMSNormalization { axis, epsilon: 1e-5, stash_type: 1 };
        let mut cases = vec![
            // By hand: the mean squares are 4 and 25.
            Case::new("rows", RMSNormalization { epsilon: 0.0, ..op(-1) })
                .input(floats(&[2, 2], &[2.0, -2.0, 1.0, 7.0]))
                .input(floats(&[2], &[1.0, 2.0]))
                .expect(floats(&[2, 2], &[1.0, -2.0, 0.2, 2.8])),
            Case::new("from the second", op(1)).input(noise(&[2, 3, 4], 1)).input(noise(&[3, 4], 2)),
            Case::new("a scale of each row", op(-1)).input(noise(&[2, 3], 3)).input(noise(&[2, 1], 4)),
            Case::new("mixed", op(-1)).input(noise_of(DType::F16, &[2, 3], 5)).input(noise(&[3], 6)),
        ];
        for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
            cases.push(Case::new(name, op(-1)).input(noise_of(dtype, &[2, 4, 5], 7)).input(noise_of(
                dtype,
                &[5],
                8,
            )));
        }
        cases
    },
};

impl RMSNormalization {
    fn run<T: Float>(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let x = run.dense(0)?;
        let axis = axis_index(self.axis, x.rank())?;
        let size = element_count(&x.shape()[axis..])?;
        let result = run.tensor(1)?.dtype();
        let scale = run.tensor(1)?.cast(T::DTYPE, CastRules::default())?.to_dense()?;
        let placed = of_row(&scale, &x, axis)?;
        let pool = run.pool();
        let mut out = run.allocate(0, T::DTYPE, x.shape())?;
        let place = placed.as_ref().map(|p| p.slice()).transpose()?;
        rms_norm::<T>(pool, x.slice()?, size, place, self.epsilon, out.slice_mut()?)?;
        let mut y = out.freeze();
        if placed.is_none() {
            y = combined::<T>(run, Binary::Mul, &y, &scale)?;
        }
        run.set(0, y.cast(result, CastRules::default())?);
        Ok(())
    }
}

impl Op for RMSNormalization {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(1)?;
        let ty = match ctx.shape(0) {
            Some(shape) => {
                axis_index(self.axis, shape.len())?;
                Type::tensor(dtype, shape.iter().copied())
            }
            None => Type::unranked(dtype),
        };
        ctx.set(0, ty);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let (x, scale) = (f.need(0)?, f.need(1)?);
        let (narrow, dtype, rank) = (f.dtype(x)?, f.dtype(scale)?, f.rank(x)?);
        // Of two types each rounds on the way.
        if narrow != dtype {
            return Ok(None);
        }
        let first = axis_index(self.axis, rank)? as i64;
        let axes = f.ints(&(first..rank as i64).collect::<Vec<_>>())?;
        let x = f.widened(x)?;
        let own = f.dtype(x)?;
        let square = f.op("Mul", &[x, x])?;
        let mean = f.op("ReduceMean", &[square, axes])?;
        let epsilon = f.number(self.epsilon.into(), x)?;
        let mean = f.op("Add", &[mean, epsilon])?;
        let root = f.op("Sqrt", &[mean])?;
        let normal = f.op("Div", &[x, root])?;
        let scale = f.cast(scale, own)?;
        let y = f.op("Mul", &[normal, scale])?;
        Ok(Some(vec![f.cast(y, dtype)?]))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| by_type!(run.tensor(0)?.dtype(), float T => op.run::<T>(run)))
    }
}
