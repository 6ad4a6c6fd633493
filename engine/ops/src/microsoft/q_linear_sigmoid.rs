//! [QLinearSigmoid](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearSigmoid):
//! Sigmoid of a quantized tensor.

use super::quantized::{DOMAIN, Inputs, codes, dequantize, dtype, quantize};
use crate::math::unary::Unary;
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room, types};
use oxidane_graph::{Build, NodeId, Op, OpError, Param, Signature, ValueId, shared};
use oxidane_kernels::Function;
use oxidane_tensor::DType;

attributes! {
    /// Sigmoid of the input, both sides in scales and zero points of their own.
    pub struct QLinearSigmoid {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::BYTES, "T"),
        Param::one("X_scale", types::FLOAT32, ""),
        Param::optional("X_zero_point", types::BYTES, "T"),
        Param::one("Y_scale", types::FLOAT32, ""),
        Param::optional("Y_zero_point", types::BYTES, "T"),
    ],
    outputs: &[Param::one("Y", types::BYTES, "T")],
};

/// The room of QLinearSigmoid.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "QLinearSigmoid",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QLinearSigmoid::read(a)?)),
    steps: &[],
    cases: || {
        // ONNX Runtime 1.32.
        vec![
            Case::new("unsigned", QLinearSigmoid {})
                .input(codes(DType::U8, &[2, 3], &[212, 169, 39, 136, 68, 247]))
                .input(floats(&[], &[0.04]))
                .input(codes(DType::U8, &[], &[120]))
                .input(floats(&[], &[0.004]))
                .input(codes(DType::U8, &[], &[5]))
                .expect(codes(DType::U8, &[2, 3], &[249, 224, 14, 169, 33, 253])),
            Case::new("signed", QLinearSigmoid {})
                .input(codes(DType::I8, &[4], &[97, -81, 2, 112]))
                .input(floats(&[], &[0.04]))
                .input(codes(DType::I8, &[], &[3]))
                .input(floats(&[], &[0.008]))
                .input(codes(DType::I8, &[], &[-7]))
                .expect(codes(DType::I8, &[4], &[115, -3, 54, 116])),
            Case::new("no zero points", QLinearSigmoid {})
                .input(codes(DType::U8, &[4], &[216, 181, 163, 10]))
                .input(floats(&[], &[0.01]))
                .absent()
                .input(floats(&[], &[0.004]))
                .absent()
                .expect(codes(DType::U8, &[4], &[224, 215, 209, 131])),
        ]
    },
};

impl Op for QLinearSigmoid {
    of_room!();
    of_expansion!(infer);

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let Some(to) = dtype(build, inputs.need(0)?) else { return Ok(None) };
        let x = dequantize(build, &inputs, 0)?;
        let y = build.add(Unary::new(Function::Sigmoid)?, &[x]);
        Ok(Some(vec![quantize(build, y, &inputs, 3, to)?]))
    }
}
