//! [MeanVarianceNormalization](https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html): mean 0 and
//! variance 1 over some dimensions.

use crate::formula::Formula;
use crate::math::by_type::by_type;
use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{
    Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature, Unknown, ValueId, axis_index,
    kernel, shared,
};
use oxidane_kernels::Float;
use oxidane_kernels::norm::layer_norm;
use oxidane_tensor::{DType, TensorMut, element_count};

attributes! {
    /// `(x - mean) / (deviation + 1e-9)` over the dimensions `axes`.
    pub struct MeanVarianceNormalization { axes: Vec<i64> = vec![0, 2, 3] }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT, "T")],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The specification adds 1e-9 to the deviation; under the root of the variance its square does the same where
/// the variance is 0, and nothing anywhere else.
const EPSILON: f32 = 1e-18;

/// The room of MeanVarianceNormalization.
pub static ROOM: Room = Room {
    domain: "",
    name: "MeanVarianceNormalization",
    since: &[9, 13],
    signature: &SIGNATURE,
    read: |a| Ok(shared(MeanVarianceNormalization::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |axes: &[i64]| MeanVarianceNormalization { axes: axes.to_vec() };
        let mut cases = vec![
            // By hand: the channels have the means 2 and 3 and the variances 1 and 4.
            Case::new("channels", op(&[0, 2, 3]))
                .input(floats(&[2, 2, 1, 1], &[1.0, 5.0, 3.0, 1.0]))
                .expect(floats(&[2, 2, 1, 1], &[-1.0, 1.0, 1.0, -1.0])),
            Case::new("constant", op(&[-1]))
                .input(floats(&[1, 2], &[3.0, 3.0]))
                .expect(floats(&[1, 2], &[0.0, 0.0])),
            Case::new("all", op(&[])).input(noise(&[2, 3], 1)),
        ];
        for (name, dtype) in [
            ("float", DType::F32),
            ("double", DType::F64),
            ("float16", DType::F16),
            ("bfloat16", DType::BF16),
        ] {
            cases.push(Case::new(name, op(&[1, -1])).input(noise_of(dtype, &[3, 4, 2, 3], 2)));
        }
        cases
    },
};

impl MeanVarianceNormalization {
    /// The dimensions in the order of the input; all where none is named, as reductions take it.
    fn axes(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        if self.axes.is_empty() {
            return Ok((0..rank).collect());
        }
        let mut axes = self.axes.iter().map(|&a| axis_index(a, rank)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        if axes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(OpError::new(format!("attribute `axes` {:?} names a dimension twice", self.axes)));
        }
        Ok(axes)
    }

    fn run<T: Float>(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let x = run.tensor(0)?;
        let axes = self.axes(x.rank())?;
        // The dimensions that are normalized go last, and back afterwards.
        let mut order: Vec<usize> = (0..x.rank()).filter(|a| !axes.contains(a)).collect();
        order.extend(&axes);
        let rows = x.permute(&order)?.to_dense()?;
        let size = element_count(&rows.shape()[x.rank() - axes.len()..])?;
        let mut out = TensorMut::zeroed(T::DTYPE, rows.shape())?;
        layer_norm::<T>(run.pool(), rows.slice()?, size, (None, None), EPSILON, out.slice_mut()?, None)?;
        let mut back = vec![0; order.len()];
        for (at, &axis) in order.iter().enumerate() {
            back[axis] = at;
        }
        run.set(0, out.freeze().permute(&back)?.to_dense()?);
        Ok(())
    }
}

impl Op for MeanVarianceNormalization {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let x = ctx.known_ty(0)?.clone();
        if let Some(shape) = x.shape() {
            self.axes(shape.len())?;
        }
        ctx.set(0, x);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let x = f.need(0)?;
        let dtype = f.dtype(x)?;
        let (x, axes) = (f.widened(x)?, f.ints(&self.axes)?);
        let mean = f.op("ReduceMean", &[x, axes])?;
        let off = f.op("Sub", &[x, mean])?;
        let square = f.op("Mul", &[off, off])?;
        let variance = f.op("ReduceMean", &[square, axes])?;
        let deviation = f.op("Sqrt", &[variance])?;
        let least = f.number(1e-9, x)?;
        let deviation = f.op("Add", &[deviation, least])?;
        let y = f.op("Div", &[off, deviation])?;
        Ok(Some(vec![f.cast(y, dtype)?]))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| by_type!(run.tensor(0)?.dtype(), float T => op.run::<T>(run)))
    }
}
