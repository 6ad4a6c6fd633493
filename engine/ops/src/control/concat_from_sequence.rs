//! [ConcatFromSequence](https://onnx.ai/onnx/operators/onnx__ConcatFromSequence.html): a sequence as one tensor.

use super::sequence::{ITEM, SEQUENCE, item, items};
use super::sequence_at::three;
use crate::tensor::concat::concat;
use crate::{Case, Form, Room, attributes, floats, of_room};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, axis_index, kernel, shared,
};
use oxidane_tensor::{Datum, Tensor};
use std::sync::Arc;

attributes! {
    /// The items one after another along `axis`, or, with `new_axis`, along a dimension made for that.
    pub struct ConcatFromSequence { axis: i64, new_axis: bool = false }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input_sequence", SEQUENCE, "S")],
    outputs: &[Param::one("concat_result", ITEM, "T")],
};

/// The room of ConcatFromSequence.
pub static ROOM: Room = Room {
    domain: "",
    name: "ConcatFromSequence",
    since: &[11],
    signature: &SIGNATURE,
    read: |a| Ok(shared(ConcatFromSequence::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let pair = || {
            let items = [[1.0, 2.0], [3.0, 4.0]].map(|v| Datum::Tensor(floats(&[2], &v)));
            Datum::Sequence(Arc::new(items.to_vec()))
        };
        // NumPy: concatenate and stack.
        vec![
            Case::new("along", ConcatFromSequence { axis: 0, new_axis: false })
                .input(pair())
                .expect(floats(&[4], &[1.0, 2.0, 3.0, 4.0])),
            Case::new("stacked", ConcatFromSequence { axis: -1, new_axis: true })
                .input(pair())
                .expect(floats(&[2, 2], &[1.0, 3.0, 2.0, 4.0])),
            Case::new("sizes that differ", ConcatFromSequence { axis: 1, new_axis: false }).input(three(
                &[2, 1],
                &[2, 3],
                &[2, 0],
            )),
        ]
    },
};

impl Op for ConcatFromSequence {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let Some(item) = item(ctx.ty(0)).cloned() else {
            return Err(Unknown::Because("the type of the sequence is not known".into()));
        };
        let Some(dtype) = item.dtype() else {
            return Err(Unknown::Because("the element type of the sequence is not known".into()));
        };
        let Some(mut dims) = item.shape().map(Dims::from_slice) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let rank = dims.len() + usize::from(self.new_axis);
        let axis = axis_index(self.axis, rank)?;
        let length = ctx.unknown_dim(0, axis);
        match self.new_axis {
            true => dims.insert(axis, length),
            false => dims[axis] = length,
        }
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let tensors: Vec<Tensor> = items(run, 0)?
                .iter()
                .map(|item| item.as_tensor().cloned().ok_or_else(|| OpError::new("an item is no tensor")))
                .collect::<Result<_, _>>()?;
            let tensors = match op.new_axis {
                false => tensors,
                true => tensors.into_iter().map(|t| with_axis(&t, op.axis)).collect::<Result<_, _>>()?,
            };
            let tensors: Vec<&Tensor> = tensors.iter().collect();
            concat(run, 0, &tensors, op.axis)
        })
    }
}

fn with_axis(tensor: &Tensor, axis: i64) -> Result<Tensor, OpError> {
    let mut shape = tensor.shape().to_vec();
    shape.insert(axis_index(axis, shape.len() + 1)?, 1);
    Ok(tensor.reshape(&shape)?)
}
