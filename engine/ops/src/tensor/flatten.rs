//! [Flatten](https://onnx.ai/onnx/operators/onnx__Flatten.html): a matrix of the sizes before an axis and after.

use super::axes::front_axis;
use crate::formula::Formula;
use crate::{Case, Form, Room, Step, attributes, noise, of_room, types};
use oxidane_graph::{
    Build, Call, Dim, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, axis_index,
    kernel, shared,
};
use oxidane_tensor::element_count;

attributes! {
    /// A matrix: the axes before `axis` make its rows, the others its columns.
    pub struct Flatten { axis: i64 = 1 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::ALL, "T")],
    outputs: &[Param::one("output", types::ALL, "T")],
};

/// The room of Flatten.
pub static ROOM: Room = Room {
    domain: "",
    name: "Flatten",
    since: &[1, 9, 11, 13, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Flatten::read(a)?)),
    steps: &[Step { to: 11, up: |_| Ok(()), down: front_axis }],
    cases: || {
        crate::with_cases!();
        let x = || noise(&[2, 3, 4], 1);
        let flat = |shape: &[usize]| noise(shape, 1);
        // NumPy: reshape of the same values.
        vec![
            Case::new("default", Flatten { axis: 1 }).input(x()).expect(flat(&[2, 12])),
            Case::new("front", Flatten { axis: 0 }).input(x()).expect(flat(&[1, 24])),
            Case::new("behind", Flatten { axis: 3 }).input(x()).expect(flat(&[24, 1])),
            Case::new("negative", Flatten { axis: -1 }).input(x()).expect(flat(&[6, 4])),
            Case::new("scalar", Flatten { axis: 0 }).input(noise(&[], 1)).expect(flat(&[1, 1])),
        ]
    },
};

impl Flatten {
    /// The number of axes that make the rows; the rank itself is allowed.
    fn split(&self, rank: usize) -> Result<usize, OpError> {
        if self.axis == rank as i64 { Ok(rank) } else { axis_index(self.axis, rank) }
    }
}

impl Op for Flatten {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let dims = match ctx.shape(0) {
            Some(shape) => {
                let (rows, columns) = shape.split_at(self.split(shape.len())?);
                [rows, columns].map(|dims| dims.iter().fold(Dim::known(1), |n, &d| n * d))
            }
            None => [ctx.unknown_dim(0, 0), ctx.unknown_dim(0, 1)],
        };
        ctx.set_tensor(0, dtype, dims);
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
        let op = self.clone();
        kernel(move |run| {
            let data = run.take(0)?;
            let (rows, columns) = data.shape().split_at(op.split(data.rank())?);
            let shape = [element_count(rows)?, element_count(columns)?];
            run.set(0, data.reshape(&shape)?);
            Ok(())
        })
    }
}
