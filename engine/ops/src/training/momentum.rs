//! [Momentum](https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Momentum.html): gradient descent that goes on
//! in its direction, in the standard form or Nesterov's.

use super::step::{self, DOMAIN, SIGNATURE};
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room};
use oxidane_graph::{Build, InferCtx, NodeId, Op, OpError, Unknown, ValueId, shared};
use oxidane_tensor::Tensor;

attributes! {
    /// A step along the sum of the gradient and what stays of the last step. For each tensor it takes the tensor, its
    /// gradient and its momentum, and gives the tensor and the momentum anew.
    pub struct Momentum {
        /// What stays of the momentum.
        alpha: f32,
        /// How much of the gradient counts after the first step.
        beta: f32,
        /// `standard` or `nesterov`.
        mode: String,
        /// How much of the tensor counts as gradient.
        norm_coefficient: f32,
    }
}

/// The room of Momentum.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "Momentum",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| {
        let op = Momentum::read(a)?;
        op.is_nesterov()?;
        Ok(shared(op))
    },
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op =
            |mode: &str| Momentum { alpha: 0.95, beta: 0.1, mode: mode.to_owned(), norm_coefficient: 0.5 };
        let case = |name, mode, turns: i64| {
            Case::new(name, op(mode))
                .input(floats(&[], &[0.1]))
                .input(Tensor::scalar(turns))
                .input(floats(&[2], &[1.0, 2.0]))
                .input(floats(&[2], &[-1.0, -3.0]))
                .input(floats(&[2], &[2.0, 4.0]))
                .outputs(2)
        };
        // By hand: the gradients are -0.5 and -2, the momenta 1.9 and 3.8 and beta times those.
        vec![
            case("first", "standard", 0)
                .expect(floats(&[2], &[0.86, 1.82]))
                .expect(floats(&[2], &[1.4, 1.8])),
            case("later", "standard", 2)
                .expect(floats(&[2], &[0.815, 1.64]))
                .expect(floats(&[2], &[1.85, 3.6])),
            case("nesterov", "nesterov", 2)
                .expect(floats(&[2], &[0.87425, 1.858]))
                .expect(floats(&[2], &[1.85, 3.6])),
        ]
    },
};

impl Momentum {
    fn is_nesterov(&self) -> Result<bool, OpError> {
        match self.mode.as_str() {
            "standard" => Ok(false),
            "nesterov" => Ok(true),
            other => {
                Err(OpError::new(format!("attribute `mode` is `{other}`, but must be standard or nesterov")))
            }
        }
    }
}

impl Op for Momentum {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        step::infer(ctx, 3, &[0, 2])
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let (alpha, nesterov) = (f64::from(self.alpha), self.is_nesterov()?);
        step::expand(
            build,
            node,
            3,
            |a, rate, turns| {
                let (beta, one) = (a.number(self.beta.into())?, a.number(1.0)?);
                Ok(vec![rate, a.if_positive(turns, beta, one)?])
            },
            |a, shared, own| {
                let (&[rate, beta], &[x, gradient, momentum]) = (shared, own) else { return Ok(Vec::new()) };
                let gradient = a.plus_scaled(gradient, x, self.norm_coefficient.into())?;
                let old = a.scaled(momentum, alpha)?;
                let new = a.mul(beta, gradient);
                let momentum = a.add(old, new);
                let direction = if nesterov { a.plus_scaled(gradient, momentum, alpha)? } else { momentum };
                let step = a.mul(rate, direction);
                Ok(vec![a.sub(x, step), momentum])
            },
        )
    }
}
