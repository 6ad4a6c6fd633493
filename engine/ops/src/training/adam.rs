//! [Adam](https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Adam.html) (Kingma and Ba, 2014).

use super::step::{self, DOMAIN, SIGNATURE};
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room};
use oxidane_graph::{Build, InferCtx, NodeId, Op, OpError, Unknown, ValueId, shared};
use oxidane_tensor::Tensor;

attributes! {
    /// A step along the averaged gradient over the root of the averaged squared gradient. For each tensor it takes
    /// the tensor, its gradient, and both averages, and gives the tensor and the averages anew.
    pub struct Adam {
        /// What stays of the averaged gradient.
        alpha: f32 = 0.9,
        /// What stays of the averaged squared gradient.
        beta: f32 = 0.999,
        epsilon: f32 = 1e-6,
        /// How much of the tensor counts as gradient.
        norm_coefficient: f32 = 0.0,
        /// How much of the tensor is taken away after the step.
        norm_coefficient_post: f32 = 0.0,
    }
}

/// The room of Adam.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "Adam",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Adam::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op =
            Adam { alpha: 0.9, beta: 0.95, epsilon: 1e-6, norm_coefficient: 0.1, norm_coefficient_post: 0.2 };
        let case = |name, turns: i64| {
            Case::new(name, op.clone())
                .input(floats(&[], &[0.1]))
                .input(Tensor::scalar(turns))
                .input(floats(&[2], &[1.2, 2.8]))
                .input(floats(&[2], &[-0.94, -2.5]))
                .input(floats(&[2], &[1.7, 3.6]))
                .input(floats(&[2], &[0.1, 0.1]))
                .outputs(3)
        };
        // The specification's pseudo code, in NumPy.
        vec![
            case("first", 0)
                .expect(floats(&[2], &[0.6369996, 1.8267965]))
                .expect(floats(&[2], &[1.448, 3.018]))
                .expect(floats(&[2], &[0.12862, 0.34142])),
            case("third", 3)
                .expect(floats(&[2], &[0.50987655, 1.6641723]))
                .expect(floats(&[2], &[1.448, 3.018]))
                .expect(floats(&[2], &[0.12862, 0.34142])),
        ]
    },
};

impl Op for Adam {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        step::infer(ctx, 4, &[0, 2, 3])
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let [alpha, beta, epsilon] = [self.alpha, self.beta, self.epsilon].map(f64::from);
        step::expand(
            build,
            node,
            4,
            |a, rate, turns| {
                let one = a.number(1.0)?;
                let left_after = |a: &mut step::Arithmetic<'_, '_>, stays: f64| -> Result<ValueId, OpError> {
                    let stays = a.number(stays)?;
                    let left = a.pow(stays, turns);
                    Ok(a.sub(one, left))
                };
                let (squares, mean) = (left_after(a, beta)?, left_after(a, alpha)?);
                let root = a.sqrt(squares)?;
                let scaled = a.mul(rate, root);
                let adjusted = a.div(scaled, mean);
                Ok(vec![a.if_positive(turns, adjusted, rate)?])
            },
            |a, shared, own| {
                let &[x, gradient, mean, squares] = own else { return Ok(Vec::new()) };
                let gradient = a.plus_scaled(gradient, x, self.norm_coefficient.into())?;
                let old = a.scaled(mean, alpha)?;
                let mean = a.plus_scaled(old, gradient, 1.0 - alpha)?;
                let old = a.scaled(squares, beta)?;
                let square = a.mul(gradient, gradient);
                let squares = a.plus_scaled(old, square, 1.0 - beta)?;
                let root = a.sqrt(squares)?;
                let epsilon = a.number(epsilon)?;
                let root = a.add(root, epsilon);
                let step = a.mul(shared[0], mean);
                let step = a.div(step, root);
                let moved = a.sub(x, step);
                let moved = a.scaled(moved, 1.0 - f64::from(self.norm_coefficient_post))?;
                Ok(vec![moved, mean, squares])
            },
        )
    }
}
