//! [GRU](https://onnx.ai/onnx/operators/onnx__GRU.html): a recurrent layer with gates.

use super::recurrent::{LAYOUT, Layer, NO_SEQUENCE_FLAG, bind};
use crate::{Case, Form, Room, Step, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, shared};
use oxidane_kernels::rnn::Cell;
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// Gates update, reset and hidden; the state moves towards the hidden gate by one minus the update gate.
    pub struct GRU {
        activation_alpha: Option<Vec<f32>>,
        activation_beta: Option<Vec<f32>>,
        activations: Option<Vec<String>>,
        clip: Option<f32>,
        direction: String = "forward".into(),
        hidden_size: Option<i64>,
        /// Whether the batch is the first dimension.
        layout: bool = false,
        /// Whether the reset gate applies after the recurrent product.
        linear_before_reset: bool = false,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT, "T"),
        Param::one("W", types::FLOAT, "T"),
        Param::one("R", types::FLOAT, "T"),
        Param::optional("B", types::FLOAT, "T"),
        Param::optional("sequence_lens", types::INT32, "T1"),
        Param::optional("initial_h", types::FLOAT, "T"),
    ],
    outputs: &[Param::optional("Y", types::FLOAT, "T"), Param::optional("Y_h", types::FLOAT, "T")],
};

/// The room of GRU.
pub static ROOM: Room = Room {
    domain: "",
    name: "GRU",
    since: &[1, 3, 7, 14, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(GRU::read(a)?)),
    steps: &[
        Step {
            to: 3,
            // The first schema's default direction is spelled wrongly.
            up: |d| {
                if d.attributes.value::<String>("direction")?.as_deref() == Some("foward") {
                    d.attributes.take("direction");
                }
                Ok(())
            },
            down: |d| d.drop_default("linear_before_reset", false),
        },
        NO_SEQUENCE_FLAG,
        LAYOUT,
    ],
    cases,
};

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let plain = |hidden| GRU {
        activation_alpha: None,
        activation_beta: None,
        activations: None,
        clip: None,
        direction: "forward".into(),
        hidden_size: Some(hidden),
        layout: false,
        linear_before_reset: false,
    };
    let mut cases = vec![
        // The specification's example: all weights 0.1, no state to begin with.
        Case::new("constant weights", plain(5))
            .input(floats(&[1, 3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
            .input(floats(&[1, 15, 2], &[0.1; 30]))
            .input(floats(&[1, 15, 5], &[0.1; 75]))
            .outputs(2)
            .expect(floats(
                &[1, 1, 3, 5],
                &[
                    0.12397028, 0.12397028, 0.12397028, 0.12397028, 0.12397028, 0.20053661, 0.20053661,
                    0.20053661, 0.20053661, 0.20053661, 0.19991653, 0.19991653, 0.19991653, 0.19991653,
                    0.19991653,
                ],
            ))
            .expect(floats(
                &[1, 3, 5],
                &[
                    0.12397028, 0.12397028, 0.12397028, 0.12397028, 0.12397028, 0.20053661, 0.20053661,
                    0.20053661, 0.20053661, 0.20053661, 0.19991653, 0.19991653, 0.19991653, 0.19991653,
                    0.19991653,
                ],
            )),
        Case::new("both ways", GRU { direction: "bidirectional".into(), ..plain(3) })
            .input(noise(&[4, 2, 5], 1))
            .input(noise(&[2, 9, 5], 2))
            .input(noise(&[2, 9, 3], 3))
            .input(noise(&[2, 18], 4))
            .input(Tensor::new(&[2], &[4i32, 2]).expect("two lengths"))
            .input(noise(&[2, 2, 3], 5))
            .outputs(2),
        Case::new("reverse", GRU { direction: "reverse".into(), clip: Some(0.5), ..plain(3) })
            .input(noise(&[4, 2, 5], 6))
            .input(noise(&[1, 9, 5], 7))
            .input(noise(&[1, 9, 3], 8))
            .outputs(2),
        Case::new("batch first", GRU { layout: true, ..plain(3) })
            .input(noise(&[2, 4, 5], 9))
            .input(noise(&[1, 9, 5], 10))
            .input(noise(&[1, 9, 3], 11))
            .outputs(2),
        Case::new("linear before reset", GRU { linear_before_reset: true, ..plain(3) })
            .input(noise(&[3, 2, 5], 15))
            .input(noise(&[1, 9, 5], 16))
            .input(noise(&[1, 9, 3], 17))
            .input(noise(&[1, 18], 18))
            .outputs(2),
    ];
    for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
        cases.push(
            Case::new(name, plain(2))
                .input(noise_of(dtype, &[3, 2, 4], 12))
                .input(noise_of(dtype, &[1, 6, 4], 13))
                .input(noise_of(dtype, &[1, 6, 2], 14))
                .outputs(2),
        );
    }
    cases
}

impl GRU {
    fn layer(&self) -> Layer<'_> {
        Layer {
            cell: Cell::Gru { linear_before_reset: self.linear_before_reset },
            activations: self.activations.as_deref(),
            alphas: self.activation_alpha.as_deref(),
            betas: self.activation_beta.as_deref(),
            clip: self.clip,
            direction: &self.direction,
            hidden_size: self.hidden_size,
            batch_first: self.layout,
        }
    }
}

impl Op for GRU {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        self.layer().infer(ctx)
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        bind(&self.layer(), call)
    }
}
