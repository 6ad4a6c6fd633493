//! [Adagrad](https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Adagrad.html) (Duchi, Hazan and Singer, 2011).

use super::step::{self, DOMAIN, SIGNATURE};
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room};
use oxidane_graph::{Build, InferCtx, NodeId, Op, OpError, Unknown, ValueId, shared};
use oxidane_tensor::Tensor;

attributes! {
    /// A step along the gradient over the root of the sum of its squares. For each tensor it takes the tensor, its
    /// gradient and the sum, and gives the tensor and the sum anew.
    pub struct Adagrad {
        /// How fast the rate falls.
        decay_factor: f32 = 0.0,
        epsilon: f32 = 1e-6,
        /// How much of the tensor counts as gradient.
        norm_coefficient: f32 = 0.0,
    }
}

/// The room of Adagrad.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "Adagrad",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Adagrad::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = Adagrad { decay_factor: 0.1, epsilon: 1e-5, norm_coefficient: 0.001 };
        // The specification's pseudo code, in NumPy.
        vec![
            Case::new("two", op)
                .input(floats(&[1], &[0.1]))
                .input(Tensor::scalar(2i64))
                .input(floats(&[1], &[1.0]))
                .input(floats(&[2], &[1.0, 2.0]))
                .input(floats(&[1], &[-1.0]))
                .input(floats(&[2], &[-1.0, -3.0]))
                .input(floats(&[1], &[2.0]))
                .input(floats(&[2], &[4.0, 1.0]))
                .outputs(4)
                .expect(floats(&[1], &[1.0480802]))
                .expect(floats(&[2], &[1.0372378, 2.0790515]))
                .expect(floats(&[1], &[2.998001]))
                .expect(floats(&[2], &[4.998001, 9.988004])),
        ]
    },
};

impl Op for Adagrad {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        step::infer(ctx, 3, &[0, 2])
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        step::expand(
            build,
            node,
            3,
            |a, rate, turns| {
                let one = a.number(1.0)?;
                let slower = a.plus_scaled(one, turns, self.decay_factor.into())?;
                Ok(vec![a.div(rate, slower)])
            },
            |a, shared, own| {
                let &[x, gradient, squares] = own else { return Ok(Vec::new()) };
                let gradient = a.plus_scaled(gradient, x, self.norm_coefficient.into())?;
                let square = a.mul(gradient, gradient);
                let squares = a.add(squares, square);
                let root = a.sqrt(squares)?;
                let epsilon = a.number(self.epsilon.into())?;
                let root = a.add(root, epsilon);
                let step = a.mul(shared[0], gradient);
                let step = a.div(step, root);
                Ok(vec![a.sub(x, step), squares])
            },
        )
    }
}
