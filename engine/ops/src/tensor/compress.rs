//! [Compress](https://onnx.ai/onnx/operators/onnx__Compress.html): the slices for which a condition holds.

use super::axes::front_axis;
use super::gather::Slices;
use super::moves::move_elements;
use crate::{Case, Form, Room, Step, attributes, bools, floats, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, axis_index, kernel, shared,
};
use oxidane_tensor::Tensor;

attributes! {
    /// The slices along `axis` (without it, the elements in row-major order) whose condition is true.
    pub struct Compress { axis: Option<i64> }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::PLAIN, "T"), Param::one("condition", types::BOOL, "T1")],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of Compress.
pub static ROOM: Room = Room {
    domain: "",
    name: "Compress",
    since: &[9, 11, 28],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Compress::read(a)?)),
    steps: &[Step { to: 11, up: |_| Ok(()), down: front_axis }],
    cases: || {
        crate::with_cases!();
        let x = || floats(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        // The official cases test_compress_*.
        vec![
            Case::new("rows", Compress { axis: Some(0) })
                .input(x())
                .input(bools(&[3], &[false, true, true]))
                .expect(floats(&[2, 2], &[3.0, 4.0, 5.0, 6.0])),
            Case::new("columns", Compress { axis: Some(-1) })
                .input(x())
                .input(bools(&[2], &[false, true]))
                .expect(floats(&[3, 1], &[2.0, 4.0, 6.0])),
            Case::new("flat", Compress { axis: None })
                .input(x())
                .input(bools(&[5], &[false, true, false, false, true]))
                .expect(floats(&[2], &[2.0, 5.0])),
        ]
    },
};

/// The positions at which a condition holds.
fn places(condition: &Tensor) -> Result<Vec<i64>, OpError> {
    let values = condition.values::<u8>()?;
    Ok(values.iter().zip(0i64..).filter(|(v, _)| **v != 0).map(|(_, at)| at).collect())
}

impl Op for Compress {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let count = match ctx.constant(1) {
            Some(condition) => Some(Dim::from(places(condition)?.len())),
            None => None,
        };
        match (self.axis, ctx.shape(0).map(Dims::from_slice)) {
            (None, _) => {
                let count = count.unwrap_or_else(|| ctx.unknown_dim(0, 0));
                ctx.set_tensor(0, dtype, [count]);
            }
            (Some(axis), Some(mut dims)) => {
                let axis = axis_index(axis, dims.len())?;
                dims[axis] = count.unwrap_or_else(|| ctx.unknown_dim(0, axis));
                ctx.set_tensor(0, dtype, dims);
            }
            (Some(_), None) => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let axis = self.axis;
        kernel(move |run| {
            let places = places(run.tensor(1)?)?;
            let mut data = run.take(0)?;
            let axis = match axis {
                Some(axis) => axis_index(axis, data.rank())?,
                None => {
                    data = data.reshape(&[data.len()])?;
                    0
                }
            };
            let mut shape = data.shape().to_vec();
            shape[axis] = places.len();
            move_elements(run, 0, &[&data], &shape, &Slices { shape: data.shape(), axis, indices: &places })
        })
    }
}
