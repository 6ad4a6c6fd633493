//! [QLinearAdd](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearAdd):
//! the sum of quantized tensors.

use super::quantized::{DOMAIN, Inputs, binary, codes, dequantize, dtype, quantize};
use crate::math::binary::ADD;
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room, types};
use oxidane_graph::{Build, NodeId, Op, OpError, Param, Signature, ValueId, shared};
use oxidane_tensor::DType;

attributes! {
    /// The sum of two tensors, all in scales and zero points of their own.
    pub struct QLinearAdd {}
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

/// The room of QLinearAdd.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "QLinearAdd",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QLinearAdd::read(a)?)),
    steps: &[],
    cases: || {
        // ONNX Runtime 1.32.
        vec![
            Case::new("broadcast", QLinearAdd {})
                .input(codes(DType::U8, &[2, 3], &[113, 122, 129, 149, 141, 130]))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::U8, &[], &[120]))
                .input(codes(DType::U8, &[3], &[254, 206, 202]))
                .input(floats(&[], &[0.1]))
                .input(codes(DType::U8, &[], &[100]))
                .input(floats(&[], &[0.23]))
                .input(codes(DType::U8, &[], &[110]))
                .expect(codes(DType::U8, &[2, 3], &[175, 157, 156, 183, 161, 157])),
            Case::new("signed", QLinearAdd {})
                .input(codes(DType::I8, &[4], &[51, 31, -41, 125]))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::I8, &[], &[3]))
                .input(codes(DType::I8, &[4], &[-9, -73, 88, -87]))
                .input(floats(&[], &[0.1]))
                .input(codes(DType::I8, &[], &[-5]))
                .input(floats(&[], &[0.23]))
                .input(codes(DType::I8, &[], &[7]))
                .expect(codes(DType::I8, &[4], &[16, -16, 38, -2])),
            Case::new("no zero points", QLinearAdd {})
                .input(codes(DType::U8, &[4], &[219, 156, 29, 11]))
                .input(floats(&[], &[0.05]))
                .absent()
                .input(codes(DType::U8, &[4], &[113, 9, 36, 131]))
                .input(floats(&[], &[0.1]))
                .absent()
                .input(floats(&[], &[0.23]))
                .absent()
                .expect(codes(DType::U8, &[4], &[97, 38, 22, 59])),
        ]
    },
};

impl Op for QLinearAdd {
    of_room!();
    of_expansion!(infer);

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let Some(to) = dtype(build, inputs.need(0)?) else { return Ok(None) };
        let (a, b) = (dequantize(build, &inputs, 0)?, dequantize(build, &inputs, 3)?);
        let result = binary(build, &ADD, a, b);
        Ok(Some(vec![quantize(build, result, &inputs, 6, to)?]))
    }
}
