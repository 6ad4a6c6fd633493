//! [RNN](https://onnx.ai/onnx/operators/onnx__RNN.html): the simple recurrent layer.

use super::recurrent::{LAYOUT, Layer, NO_SEQUENCE_FLAG, bind};
use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, shared};
use oxidane_kernels::rnn::Cell;
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// The state is the activated sum of the products of input and state.
    pub struct RNN {
        activation_alpha: Option<Vec<f32>>,
        activation_beta: Option<Vec<f32>>,
        activations: Vec<String> = vec!["Tanh".into(), "Tanh".into()],
        clip: Option<f32>,
        direction: String = "forward".into(),
        hidden_size: Option<i64>,
        /// Whether the batch is the first dimension.
        layout: bool = false,
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

/// The room of RNN.
pub static ROOM: Room = Room {
    domain: "",
    name: "RNN",
    since: &[1, 7, 14, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(RNN::read(a)?)),
    steps: &[NO_SEQUENCE_FLAG, LAYOUT],
    cases,
};

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let plain = |hidden| RNN {
        activation_alpha: None,
        activation_beta: None,
        activations: vec!["Tanh".into(), "Tanh".into()],
        clip: None,
        direction: "forward".into(),
        hidden_size: Some(hidden),
        layout: false,
    };
    let mut cases = vec![
        // The specification's example: all weights 0.1, no state to begin with.
        Case::new("constant weights", plain(4))
            .input(floats(&[1, 3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
            .input(floats(&[1, 4, 2], &[0.1; 8]))
            .input(floats(&[1, 4, 4], &[0.1; 16]))
            .outputs(2)
            .expect(floats(
                &[1, 1, 3, 4],
                &[
                    0.29131263, 0.29131263, 0.29131263, 0.29131263, 0.6043678, 0.6043678, 0.6043678,
                    0.6043678, 0.800499, 0.800499, 0.800499, 0.800499,
                ],
            ))
            .expect(floats(
                &[1, 3, 4],
                &[
                    0.29131263, 0.29131263, 0.29131263, 0.29131263, 0.6043678, 0.6043678, 0.6043678,
                    0.6043678, 0.800499, 0.800499, 0.800499, 0.800499,
                ],
            )),
        Case::new("both ways", RNN { direction: "bidirectional".into(), ..plain(3) })
            .input(noise(&[4, 2, 5], 1))
            .input(noise(&[2, 3, 5], 2))
            .input(noise(&[2, 3, 3], 3))
            .input(noise(&[2, 6], 4))
            .input(Tensor::new(&[2], &[4i32, 2]).expect("two lengths"))
            .input(noise(&[2, 2, 3], 5))
            .outputs(2),
        Case::new("reverse", RNN { direction: "reverse".into(), clip: Some(0.5), ..plain(3) })
            .input(noise(&[4, 2, 5], 6))
            .input(noise(&[1, 3, 5], 7))
            .input(noise(&[1, 3, 3], 8))
            .outputs(2),
        Case::new("batch first", RNN { layout: true, ..plain(3) })
            .input(noise(&[2, 4, 5], 9))
            .input(noise(&[1, 3, 5], 10))
            .input(noise(&[1, 3, 3], 11))
            .outputs(2),
        Case::new(
            "activations",
            RNN { activations: vec!["LeakyRelu".into()], activation_alpha: Some(vec![0.3]), ..plain(3) },
        )
        .input(noise(&[3, 2, 5], 15))
        .input(noise(&[1, 3, 5], 16))
        .input(noise(&[1, 3, 3], 17))
        .outputs(2),
    ];
    for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
        cases.push(
            Case::new(name, plain(2))
                .input(noise_of(dtype, &[3, 2, 4], 12))
                .input(noise_of(dtype, &[1, 2, 4], 13))
                .input(noise_of(dtype, &[1, 2, 2], 14))
                .outputs(2),
        );
    }
    cases
}

impl RNN {
    fn layer(&self) -> Layer<'_> {
        Layer {
            cell: Cell::Rnn,
            activations: Some(&self.activations),
            alphas: self.activation_alpha.as_deref(),
            betas: self.activation_beta.as_deref(),
            clip: self.clip,
            direction: &self.direction,
            hidden_size: self.hidden_size,
            batch_first: self.layout,
        }
    }
}

impl Op for RNN {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        self.layer().infer(ctx)
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        bind(&self.layer(), call)
    }
}
