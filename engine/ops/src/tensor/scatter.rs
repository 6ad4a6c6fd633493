//! [Scatter](https://onnx.ai/onnx/operators/onnx__Scatter.html): the name of ScatterElements before opset 11.

use super::scatter_elements::{along, like_data};
use crate::{Case, Form, Room, Step, attributes, floats, ints, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_kernels::gather::Scatter as How;

attributes! {
    /// The data with the updates put in the same place but along `axis`, where the index says.
    pub struct Scatter { axis: i64 = 0 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("data", types::PLAIN, "T"),
        Param::one("indices", types::INDEX, "Tind"),
        Param::one("updates", types::PLAIN, "T"),
    ],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// Opset 11 gave the operator its new name and kept the old one, deprecated.
const NAME: Step = Step {
    to: 11,
    up: |d| {
        "ScatterElements".clone_into(&mut d.name);
        Ok(())
    },
    down: |d| {
        "Scatter".clone_into(&mut d.name);
        Ok(())
    },
};

/// The room of Scatter, which goes back under its own name to the opsets that had it.
pub static ROOM: Room = Room {
    domain: "",
    name: "Scatter",
    since: &[9, 11],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Scatter::read(a)?)),
    steps: &[NAME],
    cases: || {
        crate::with_cases!();
        // The official case test_scatter_with_axis.
        vec![
            Case::new("axis", Scatter { axis: 1 })
                .input(floats(&[1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]))
                .input(ints(&[1, 2], &[1, 3]))
                .input(floats(&[1, 2], &[1.1, 2.1]))
                .expect(floats(&[1, 5], &[1.0, 1.1, 3.0, 2.1, 5.0])),
        ]
    },
};

impl Op for Scatter {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        like_data(ctx)
    }

    fn in_place(&self) -> &[usize] {
        &[0]
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let axis = self.axis;
        kernel(move |run| along(run, axis, How::Replace))
    }
}
