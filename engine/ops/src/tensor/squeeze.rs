//! [Squeeze](https://onnx.ai/onnx/operators/onnx__Squeeze.html): dimensions of size 1 removed.

use super::axes::{distinct_axes, front_axes};
use crate::formula::Formula;
use crate::{Case, Form, Room, Step, attributes, floats, ints, noise, of_room, types};
use oxidane_graph::{
    Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, ShownDims, Signature, Unknown,
    ValueId, kernel, shared,
};
use oxidane_tensor::Shape;
use smallvec::SmallVec;

attributes! {
    /// The dimensions of size 1 that the second input names are removed; without it, all of them.
    pub struct Squeeze {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("data", types::ALL, "T"), Param::optional("axes", types::INT64, "")],
    outputs: &[Param::one("squeezed", types::ALL, "T")],
};

/// The room of Squeeze.
pub static ROOM: Room = Room {
    domain: "",
    name: "Squeeze",
    since: &[1, 11, 13, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Squeeze::read(a)?)),
    steps: &[
        Step { to: 11, up: |_| Ok(()), down: |d| front_axes(d, 0) },
        Step { to: 13, up: |d| d.ints_to_input("axes", 1), down: |d| d.input_to_ints(1, "axes") },
    ],
    cases: || {
        crate::with_cases!();
        vec![
            Case::new("one", Squeeze {})
                .input(noise(&[1, 3, 1, 5], 1))
                .input(ints(&[1], &[0]))
                .expect(noise(&[3, 1, 5], 1)),
            Case::new("negative", Squeeze {})
                .input(noise(&[1, 3, 1, 5], 1))
                .input(ints(&[2], &[-2, 0]))
                .expect(noise(&[3, 5], 1)),
            Case::new("all", Squeeze {}).input(noise(&[1, 3, 1, 5], 1)).expect(noise(&[3, 5], 1)),
            Case::new("to a scalar", Squeeze {}).input(floats(&[1, 1], &[2.0])).expect(floats(&[], &[2.0])),
        ]
    },
};

impl Op for Squeeze {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let (Some(shape), axes) = (ctx.shape(0).map(Dims::from_slice), ctx.known_ints(1)) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let one = Dim::known(1);
        let dropped = match (ctx.has_input(1), axes) {
            (true, Some(axes)) => distinct_axes(&axes, shape.len())?,
            (false, _) if shape.iter().all(|d| d.as_known().is_some()) => {
                (0..shape.len()).filter(|&a| shape[a] == one).collect()
            }
            (true, None) => match ctx.shape(1).and_then(|s| s.first()?.as_size()) {
                Some(count) if count <= shape.len() => {
                    let dims: Dims = (0..shape.len() - count).map(|a| ctx.unknown_dim(0, a)).collect();
                    ctx.set_tensor(0, dtype, dims);
                    return Ok(());
                }
                _ => {
                    ctx.set_unranked(0, dtype);
                    return Ok(());
                }
            },
            (false, _) => {
                ctx.set_unranked(0, dtype);
                return Ok(());
            }
        };
        if let Some(&axis) = dropped.iter().find(|&&a| shape[a].as_known().is_some_and(|n| n != 1)) {
            let shown = ShownDims(&shape);
            return Err(Unknown::wrong(format!("axis {axis} of {shown} is not of size 1")));
        }
        let left: Dims =
            shape.iter().enumerate().filter(|(a, _)| !dropped.contains(a)).map(|(_, &d)| d).collect();
        if let Some(ints) = ctx.ints(0) {
            ctx.set_ints(0, ints.dims, left.is_empty());
        }
        ctx.set_tensor(0, dtype, left);
        Ok(())
    }

    fn in_place(&self) -> &[usize] {
        &[0]
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
        gradients[0] = Some(f.reshaped_like(gradient, x)?);
        Ok(gradients)
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let axes = run.try_ints(1)?;
            let data = run.take(0)?;
            let shape = data.shape();
            let mut dropped: SmallVec<[bool; 8]> = SmallVec::from_elem(false, shape.len());
            match axes {
                Some(axes) => {
                    for axis in distinct_axes(&axes, shape.len())? {
                        if shape[axis] != 1 {
                            return Err(OpError::new(format!("axis {axis} of {shape:?} is not of size 1")));
                        }
                        dropped[axis] = true;
                    }
                }
                None => dropped.iter_mut().zip(shape).for_each(|(dropped, &size)| *dropped = size == 1),
            }
            let left: Shape =
                shape.iter().zip(&dropped).filter(|(_, d)| !**d).map(|(&size, _)| size).collect();
            run.set(0, data.reshape(&left)?);
            Ok(())
        })
    }
}
