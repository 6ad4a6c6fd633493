//! [Expand](https://onnx.ai/onnx/operators/onnx__Expand.html): a tensor broadcast together with a shape.

use super::moves::spread;
use crate::formula::Formula;
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Build, Call, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId,
    broadcast_dims, kernel, shared,
};
use oxidane_tensor::{Shape, Tensor, broadcast};
use std::sync::Arc;

attributes! {
    /// The input repeated along dimensions of size 1, so that it has the shape that its own and the second
    /// input broadcast to.
    pub struct Expand {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::PLAIN, "T"), Param::one("shape", types::INT64, "")],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of Expand.
pub static ROOM: Room = Room {
    domain: "",
    name: "Expand",
    since: &[8, 13],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Expand::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let column = || floats(&[3, 1], &[1.0, 2.0, 3.0]);
        let text = |values: &[&str], shape: &[usize]| {
            Tensor::from_strings(shape, values.iter().map(|&s| Arc::from(s)).collect())
                .expect("as many as fit")
        };
        // NumPy: x * ones(shape).
        vec![
            Case::new("more dimensions", Expand {})
                .input(column())
                .input(ints(&[3], &[2, 1, 2]))
                .expect(floats(&[2, 3, 2], &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0])),
            Case::new("a shape of fewer dimensions", Expand {})
                .input(column())
                .input(ints(&[1], &[2]))
                .expect(floats(&[3, 2], &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0])),
            Case::new("to nothing", Expand {})
                .input(column())
                .input(ints(&[2], &[3, 0]))
                .expect(floats(&[3, 0], &[])),
            Case::new("strings", Expand {})
                .input(text(&["a", "b"], &[2, 1]))
                .input(ints(&[2], &[2, 2]))
                .expect(text(&["a", "a", "b", "b"], &[2, 2])),
        ]
    },
};

impl Op for Expand {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let own = ctx.shape(0).map(Dims::from_slice);
        let Some(target) = ctx.ints(1) else {
            let wanted = ctx.shape(1).and_then(|s| s.first()?.as_size()).filter(|&rank| rank <= 64);
            match (own, wanted) {
                (Some(own), Some(wanted)) => {
                    let rank = own.len().max(wanted);
                    // A size other than 1 stays, and so does all in front of where the shape begins.
                    let stays = |axis: usize| {
                        let size = *own.get((axis + own.len()).checked_sub(rank)?)?;
                        let front = axis + wanted < rank;
                        (front || size.as_known().is_some_and(|n| n != 1)).then_some(size)
                    };
                    let dims: Dims = (0..rank)
                        .map(|axis| stays(axis).unwrap_or_else(|| ctx.unknown_dim(0, axis)))
                        .collect();
                    ctx.set_tensor(0, dtype, dims);
                }
                _ => ctx.set_unranked(0, dtype),
            }
            return Ok(());
        };
        if target.dims.iter().any(|d| d.as_known().is_some_and(|n| n < 0)) {
            return Err(Unknown::wrong("the shape to expand to has negative sizes"));
        }
        let Some(own) = own else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let dims = broadcast_dims(&own, &target.dims)?;
        if let Some(ints) = ctx.ints(0)
            && dims.len() <= 1
        {
            match (ints.dims.as_slice(), dims.first().map(|d| d.as_size())) {
                (_, None) => ctx.set_ints(0, ints.dims, true),
                ([one], Some(Some(count))) if count <= 256 => {
                    ctx.set_ints(0, Dims::from_elem(*one, count), false);
                }
                (several, Some(Some(count))) if several.len() == count => ctx.set_ints(0, ints.dims, false),
                _ => {}
            }
        }
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn gradient(
        &self,
        build: &mut Build<'_>,
        node: NodeId,
        outputs: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, OpError> {
        let inputs = build.graph().node(node).formal_inputs().len();
        let mut gradients = vec![None; inputs];
        let Some(&Some(gradient)) = outputs.first() else { return Ok(gradients) };
        let f = &mut Formula::new(build, node);
        let x = f.need(0)?;
        gradients[0] = Some(f.unbroadcast(gradient, x)?);
        Ok(gradients)
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let target = sizes(&run.ints(1)?)?;
            let data = run.take(0)?;
            let shape = broadcast(data.shape(), &target)?;
            spread(run, 0, &data, &shape)
        })
    }
}

/// Sizes as a tensor states them.
///
/// # Errors
/// When one is negative.
pub(crate) fn sizes(values: &[i64]) -> Result<Shape, OpError> {
    let size =
        |&n: &i64| usize::try_from(n).map_err(|_| OpError::new(format!("the shape {values:?} is negative")));
    values.iter().map(size).collect()
}
