//! [Transpose](https://onnx.ai/onnx/operators/onnx__Transpose.html): the dimensions in another order.

use super::axes::{Axes, distinct_axes};
use crate::{Case, Form, Room, attributes, floats, noise, of_room, types};
use oxidane_graph::{
    Build, Call, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, kernel,
    shared,
};

attributes! {
    /// Dimension `i` of the result is dimension `perm[i]` of the input; without it, the order is reversed.
    pub struct Transpose { perm: Option<Vec<i64>> }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("data", types::ALL, "T")],
    outputs: &[Param::one("transposed", types::ALL, "T")],
};

/// The room of Transpose.
pub static ROOM: Room = Room {
    domain: "",
    name: "Transpose",
    since: &[1, 13, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Transpose::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        vec![
            Case::new("matrix", Transpose { perm: None })
                .input(floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
                .expect(floats(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0])),
            Case::new("inner", Transpose { perm: Some(vec![0, 2, 1]) })
                .input(floats(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]))
                .expect(floats(&[1, 2, 2], &[1.0, 3.0, 2.0, 4.0])),
            Case::new("heads", Transpose { perm: Some(vec![0, 2, 1, 3]) }).input(noise(&[2, 5, 3, 4], 1)),
            Case::new("empty", Transpose { perm: None }).input(noise(&[2, 0], 1)).expect(noise(&[0, 2], 1)),
        ]
    },
};

impl Transpose {
    fn order(&self, rank: usize) -> Result<Axes, OpError> {
        let Some(perm) = &self.perm else { return Ok((0..rank).rev().collect()) };
        let order = distinct_axes(perm, rank)?;
        if order.len() != rank {
            return Err(OpError::new(format!("perm {perm:?} does not fit a tensor of rank {rank}")));
        }
        Ok(order)
    }
}

impl Op for Transpose {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        match (ctx.shape(0), &self.perm) {
            (Some(shape), _) => {
                let dims: Dims = self.order(shape.len())?.into_iter().map(|a| shape[a]).collect();
                if let Some(ints) = ctx.ints(0) {
                    ctx.set_ints(0, ints.dims, ints.scalar);
                }
                ctx.set_tensor(0, dtype, dims);
            }
            (None, Some(perm)) => {
                let dims: Dims = (0..perm.len()).map(|axis| ctx.unknown_dim(0, axis)).collect();
                ctx.set_tensor(0, dtype, dims);
            }
            (None, None) => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn gradient(
        &self,
        build: &mut Build<'_>,
        node: NodeId,
        outputs: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, OpError> {
        let Some(&Some(gradient)) = outputs.first() else { return Ok(vec![None]) };
        let perm = match &self.perm {
            None => None,
            Some(perm) => {
                let mut back = vec![0; perm.len()];
                for (to, from) in distinct_axes(perm, perm.len())?.into_iter().enumerate() {
                    back[from] = to as i64;
                }
                Some(back)
            }
        };
        let _ = node;
        Ok(vec![Some(build.add(Transpose { perm }, &[gradient]))])
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let data = run.take(0)?;
            let order = op.order(data.rank())?;
            run.set(0, data.permute(&order)?);
            Ok(())
        })
    }
}
