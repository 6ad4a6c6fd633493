//! [QLinearMul](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearMul):
//! the product of quantized tensors.

use super::quantized::{DOMAIN, Inputs, binary, codes, dequantize, dtype, quantize};
use crate::math::binary::MUL;
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room, types};
use oxidane_graph::{Build, NodeId, Op, OpError, Param, Signature, ValueId, shared};
use oxidane_tensor::DType;

attributes! {
    /// The product of two tensors, all in scales and zero points of their own.
    pub struct QLinearMul {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("A", types::BYTES, "T"),
        Param::one("A_scale", types::FLOAT32, ""),
        Param::optional("A_zero_point", types::BYTES, "T"),
        Param::one("B", types::BYTES, "T"),
        Param::one("B_scale", types::FLOAT32, ""),
        Param::optional("B_zero_point", types::BYTES, "T"),
        Param::one("C_scale", types::FLOAT32, ""),
        Param::optional("C_zero_point", types::BYTES, "T"),
    ],
    outputs: &[Param::one("C", types::BYTES, "T")],
};

/// The room of QLinearMul.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "QLinearMul",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QLinearMul::read(a)?)),
    steps: &[],
    cases: || {
        // ONNX Runtime 1.32.
        vec![
            Case::new("broadcast", QLinearMul {})
                .input(codes(DType::U8, &[2, 3], &[248, 119, 206, 234, 210, 161]))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::U8, &[], &[120]))
                .input(codes(DType::U8, &[3], &[112, 131, 68]))
                .input(floats(&[], &[0.1]))
                .input(codes(DType::U8, &[], &[100]))
                .input(floats(&[], &[0.6]))
                .input(codes(DType::U8, &[], &[110]))
                .expect(codes(DType::U8, &[2, 3], &[123, 110, 87, 121, 133, 99])),
            Case::new("signed", QLinearMul {})
                .input(codes(DType::I8, &[4], &[-1, -31, -65, 126]))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::I8, &[], &[3]))
                .input(codes(DType::I8, &[4], &[-125, -104, -79, 120]))
                .input(floats(&[], &[0.1]))
                .input(codes(DType::I8, &[], &[-5]))
                .input(floats(&[], &[0.9]))
                .input(codes(DType::I8, &[], &[7]))
                .expect(codes(DType::I8, &[4], &[10, 26, 35, 92])),
            Case::new("no zero points", QLinearMul {})
                .input(codes(DType::U8, &[4], &[177, 225, 51, 184]))
                .input(floats(&[], &[0.05]))
                .absent()
                .input(codes(DType::U8, &[4], &[94, 125, 0, 158]))
                .input(floats(&[], &[0.1]))
                .absent()
                .input(floats(&[], &[3.0]))
                .absent()
                .expect(codes(DType::U8, &[4], &[28, 47, 0, 48])),
        ]
    },
};

impl Op for QLinearMul {
    of_room!();
    of_expansion!(infer);

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let Some(to) = dtype(build, inputs.need(0)?) else { return Ok(None) };
        let (a, b) = (dequantize(build, &inputs, 0)?, dequantize(build, &inputs, 3)?);
        let result = binary(build, &MUL, a, b);
        Ok(Some(vec![quantize(build, result, &inputs, 6, to)?]))
    }
}
