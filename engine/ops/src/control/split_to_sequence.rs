//! [SplitToSequence](https://onnx.ai/onnx/operators/onnx__SplitToSequence.html): a tensor cut into a sequence.

use super::sequence::{ITEM, SEQUENCE};
use crate::{Case, Form, Room, attributes, ints, noise, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Type, Unknown, axis_index, kernel,
    shared,
};
use oxidane_tensor::Datum;
use std::sync::Arc;

attributes! {
    /// Pieces along `axis`: of the lengths that a vector states, or all of the length that a scalar states but for
    /// the last; without the second input single slices, which lose the axis unless `keepdims`.
    pub struct SplitToSequence { axis: i64 = 0, keepdims: bool = true }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", ITEM, "T"), Param::optional("split", types::INDEX, "I")],
    outputs: &[Param::one("output_sequence", SEQUENCE, "S")],
};

/// The room of SplitToSequence.
pub static ROOM: Room = Room {
    domain: "",
    name: "SplitToSequence",
    since: &[11, 24],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SplitToSequence::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let of = |keepdims| SplitToSequence { axis: 1, keepdims };
        vec![
            Case::new("slices", of(true)).input(noise(&[2, 3], 1)),
            Case::new("slices without the axis", of(false)).input(noise(&[2, 3], 1)),
            Case::new("of one length", of(true)).input(noise(&[2, 7], 1)).input(ints(&[], &[3])),
            Case::new("of several lengths", of(true)).input(noise(&[2, 7], 1)).input(ints(&[3], &[3, 0, 4])),
        ]
    },
};

/// The lengths of the pieces of `size` elements.
fn lengths(split: Option<(&[i64], bool)>, size: usize) -> Result<Vec<usize>, OpError> {
    let fault = |split: &[i64]| {
        OpError::new(format!("the split {split:?} does not fit an axis of size {size}"))
            .help("lengths may not be negative and must add up to the size")
    };
    match split {
        None => Ok(vec![1; size]),
        Some((split @ [length], true)) => {
            let length = usize::try_from(*length).ok().filter(|&n| n > 0).ok_or_else(|| fault(split))?;
            let (whole, rest) = (size / length, size % length);
            Ok(std::iter::repeat_n(length, whole).chain((rest > 0).then_some(rest)).collect())
        }
        Some((split, _)) => {
            let each: Option<Vec<usize>> = split.iter().map(|&n| usize::try_from(n).ok()).collect();
            each.filter(|each| each.iter().try_fold(0usize, |sum, &n| sum.checked_add(n)) == Some(size))
                .ok_or_else(|| fault(split))
        }
    }
}

impl Op for SplitToSequence {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let item = match ctx.shape(0).map(Dims::from_slice) {
            None => Type::unranked(dtype),
            Some(mut dims) => {
                let axis = axis_index(self.axis, dims.len())?;
                match (ctx.has_input(1), self.keepdims) {
                    (false, false) => drop(dims.remove(axis)),
                    (false, true) => dims[axis] = Dim::known(1),
                    (true, _) => dims[axis] = ctx.unknown_dim(0, axis),
                }
                Type::tensor(dtype, dims)
            }
        };
        ctx.set(0, Type::Sequence(Box::new(item)));
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let split = run.try_ints(1)?;
            let scalar = run.try_tensor(1)?.is_some_and(|t| t.rank() == 0);
            let data = run.take(0)?;
            let axis = axis_index(op.axis, data.rank())?;
            // An axis may be longer than there are elements, of an empty tensor.
            if data.is_empty() && data.shape()[axis] > 1 << 24 {
                return Err(OpError::new(format!("{:?} has too many empty slices", data.shape())));
            }
            let mut items = Vec::new();
            let mut start = 0;
            for length in lengths(split.as_deref().map(|s| (s, scalar)), data.shape()[axis])? {
                let mut piece = data.slice_axis(axis, start, length, 1)?;
                if split.is_none() && !op.keepdims {
                    let mut shape = piece.shape().to_vec();
                    shape.remove(axis);
                    piece = piece.reshape(&shape)?;
                }
                items.push(Datum::Tensor(piece));
                start += length;
            }
            run.set(0, Datum::Sequence(Arc::new(items)));
            Ok(())
        })
    }
}
