//! [Unsqueeze](https://onnx.ai/onnx/operators/onnx__Unsqueeze.html): dimensions of size 1 inserted.

use super::axes::{distinct_axes, front_axes};
use crate::formula::Formula;
use crate::{Case, Form, Room, Step, attributes, ints, noise, of_room, types};
use oxidane_graph::{
    Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId,
    kernel, shared,
};
use oxidane_tensor::Shape;
use smallvec::SmallVec;

attributes! {
    /// Dimensions of size 1 at the positions, in the result, that the second input names.
    pub struct Unsqueeze {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("data", types::ALL, "T"), Param::one("axes", types::INT64, "")],
    outputs: &[Param::one("expanded", types::ALL, "T")],
};

/// The room of Unsqueeze.
pub static ROOM: Room = Room {
    domain: "",
    name: "Unsqueeze",
    since: &[1, 11, 13, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Unsqueeze::read(a)?)),
    steps: &[
        Step {
            to: 11,
            up: |_| Ok(()),
            down: |d| {
                let more = d.attributes.value::<Vec<i64>>("axes")?.map_or(0, |axes| axes.len());
                front_axes(d, more)
            },
        },
        Step { to: 13, up: |d| d.ints_to_input("axes", 1), down: |d| d.input_to_ints(1, "axes") },
    ],
    cases: || {
        crate::with_cases!();
        let case = |name, axes: &[i64], shape: &[usize]| {
            Case::new(name, Unsqueeze {})
                .input(noise(&[3, 4, 5], 1))
                .input(ints(&[axes.len()], axes))
                .expect(noise(shape, 1))
        };
        // The official cases test_unsqueeze_*.
        vec![
            case("one", &[1], &[3, 1, 4, 5]),
            case("two", &[1, 4], &[3, 1, 4, 5, 1]),
            case("unsorted", &[5, 4, 2], &[3, 4, 1, 5, 1, 1]),
            case("negative", &[-1, 0], &[1, 3, 4, 5, 1]),
        ]
    },
};

/// The sizes with `one` inserted where `axes` say, in terms of the result.
fn inserted<T: Copy>(shape: &[T], axes: &[i64], one: T) -> Result<SmallVec<[T; 6]>, OpError> {
    let axes = distinct_axes(axes, shape.len() + axes.len())?;
    let mut result: SmallVec<[Option<T>; 6]> = SmallVec::from_elem(None, shape.len() + axes.len());
    for axis in axes {
        result[axis] = Some(one);
    }
    let mut own = shape.iter().copied();
    Ok(result.into_iter().filter_map(|size| size.or_else(|| own.next())).collect())
}

impl Op for Unsqueeze {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let shape = ctx.shape(0).map(Dims::from_slice);
        match (shape, ctx.known_ints(1)) {
            (Some(shape), Some(axes)) => {
                let dims = inserted(&shape, &axes, Dim::known(1))?;
                if let Some(ints) = ctx.ints(0)
                    && dims.len() == 1
                {
                    ctx.set_ints(0, ints.dims, false);
                }
                ctx.set_tensor(0, dtype, dims);
            }
            _ => ctx.set_unranked(0, dtype),
        }
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
            let axes = run.ints(1)?;
            let data = run.take(0)?;
            let shape: Shape = inserted(data.shape(), &axes, 1)?;
            run.set(0, data.reshape(&shape)?);
            Ok(())
        })
    }
}
