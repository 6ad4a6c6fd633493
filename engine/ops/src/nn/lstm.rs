//! [LSTM](https://onnx.ai/onnx/operators/onnx__LSTM.html): a recurrent layer with cells that forget.

use super::recurrent::{LAYOUT, Layer, NO_SEQUENCE_FLAG, bind};
use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, shared};
use oxidane_kernels::rnn::Cell;
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// Gates input, output, forget and cell; the state is the output gate times the activated cell.
    pub struct LSTM {
        activation_alpha: Option<Vec<f32>>,
        activation_beta: Option<Vec<f32>>,
        activations: Option<Vec<String>>,
        clip: Option<f32>,
        direction: String = "forward".into(),
        hidden_size: Option<i64>,
        /// Whether the forget gate is one minus the input gate.
        input_forget: bool = false,
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
        Param::optional("initial_c", types::FLOAT, "T"),
        Param::optional("P", types::FLOAT, "T"),
    ],
    outputs: &[
        Param::optional("Y", types::FLOAT, "T"),
        Param::optional("Y_h", types::FLOAT, "T"),
        Param::optional("Y_c", types::FLOAT, "T"),
    ],
};

/// The room of LSTM.
pub static ROOM: Room = Room {
    domain: "",
    name: "LSTM",
    since: &[1, 7, 14, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(LSTM::read(a)?)),
    steps: &[NO_SEQUENCE_FLAG, LAYOUT],
    cases,
};

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let plain = |hidden| LSTM {
        activation_alpha: None,
        activation_beta: None,
        activations: None,
        clip: None,
        direction: "forward".into(),
        hidden_size: Some(hidden),
        input_forget: false,
        layout: false,
    };
    let mut cases = vec![
        // The specification's example: all weights 0.1, no state to begin with.
        Case::new("constant weights", plain(3))
            .input(floats(&[1, 3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
            .input(floats(&[1, 12, 2], &[0.1; 24]))
            .input(floats(&[1, 12, 3], &[0.1; 36]))
            .outputs(2)
            .expect(floats(
                &[1, 1, 3, 3],
                &[
                    0.0952412, 0.0952412, 0.0952412, 0.25606447, 0.25606447, 0.25606447, 0.40323776,
                    0.40323776, 0.40323776,
                ],
            ))
            .expect(floats(
                &[1, 3, 3],
                &[
                    0.0952412, 0.0952412, 0.0952412, 0.25606447, 0.25606447, 0.25606447, 0.40323776,
                    0.40323776, 0.40323776,
                ],
            )),
        Case::new("both ways", LSTM { direction: "bidirectional".into(), ..plain(3) })
            .input(noise(&[4, 2, 5], 1))
            .input(noise(&[2, 12, 5], 2))
            .input(noise(&[2, 12, 3], 3))
            .input(noise(&[2, 24], 4))
            .input(Tensor::new(&[2], &[4i32, 2]).expect("two lengths"))
            .input(noise(&[2, 2, 3], 5))
            .outputs(3),
        Case::new("reverse", LSTM { direction: "reverse".into(), clip: Some(0.5), ..plain(3) })
            .input(noise(&[4, 2, 5], 6))
            .input(noise(&[1, 12, 5], 7))
            .input(noise(&[1, 12, 3], 8))
            .outputs(2),
        Case::new("batch first", LSTM { layout: true, ..plain(3) })
            .input(noise(&[2, 4, 5], 9))
            .input(noise(&[1, 12, 5], 10))
            .input(noise(&[1, 12, 3], 11))
            .outputs(2),
        Case::new("peepholes", LSTM { input_forget: true, ..plain(3) })
            .input(noise(&[2, 2, 5], 15))
            .input(noise(&[1, 12, 5], 16))
            .input(noise(&[1, 12, 3], 17))
            .absent()
            .absent()
            .input(noise(&[1, 2, 3], 18))
            .input(noise(&[1, 2, 3], 19))
            .input(noise(&[1, 9], 20))
            .outputs(3),
    ];
    for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
        cases.push(
            Case::new(name, plain(2))
                .input(noise_of(dtype, &[3, 2, 4], 12))
                .input(noise_of(dtype, &[1, 8, 4], 13))
                .input(noise_of(dtype, &[1, 8, 2], 14))
                .outputs(2),
        );
    }
    cases
}

impl LSTM {
    fn layer(&self) -> Layer<'_> {
        Layer {
            cell: Cell::Lstm { input_forget: self.input_forget },
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

impl Op for LSTM {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        self.layer().infer(ctx)
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        bind(&self.layer(), call)
    }
}
