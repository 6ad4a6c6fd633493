//! [QLinearLeakyRelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearLeakyRelu):
//! LeakyRelu of a quantized tensor.

use super::quantized::{DOMAIN, Inputs, codes, dequantize, dtype, quantize};
use crate::math::unary::Unary;
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room, types};
use oxidane_graph::{Build, NodeId, Op, OpError, Param, Signature, ValueId, shared};
use oxidane_kernels::Function;
use oxidane_tensor::DType;

attributes! {
    /// LeakyRelu of the input, both sides in scales and zero points of their own.
    pub struct QLinearLeakyRelu { alpha: f32 = 0.01 }
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

/// The room of QLinearLeakyRelu.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "QLinearLeakyRelu",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QLinearLeakyRelu::read(a)?)),
    steps: &[],
    cases: || {
        // ONNX Runtime 1.32.
        vec![
            Case::new("unsigned", QLinearLeakyRelu { alpha: 0.3 })
                .input(codes(DType::U8, &[2, 3], &[189, 121, 23, 62, 138, 186]))
                .input(floats(&[], &[0.04]))
                .input(codes(DType::U8, &[], &[120]))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::U8, &[], &[60]))
                .expect(codes(DType::U8, &[2, 3], &[115, 61, 37, 46, 74, 113])),
            Case::new("signed", QLinearLeakyRelu { alpha: 0.3 })
                .input(codes(DType::I8, &[4], &[1, 28, 95, 47]))
                .input(floats(&[], &[0.04]))
                .input(codes(DType::I8, &[], &[3]))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::I8, &[], &[-7]))
                .expect(codes(DType::I8, &[4], &[-7, 13, 67, 28])),
            Case::new("no zero points", QLinearLeakyRelu { alpha: 0.3 })
                .input(codes(DType::U8, &[4], &[92, 164, 153, 27]))
                .input(floats(&[], &[0.01]))
                .absent()
                .input(floats(&[], &[0.05]))
                .absent()
                .expect(codes(DType::U8, &[4], &[18, 33, 31, 5])),
        ]
    },
};

impl Op for QLinearLeakyRelu {
    of_room!();
    of_expansion!(infer);

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let Some(to) = dtype(build, inputs.need(0)?) else { return Ok(None) };
        let x = dequantize(build, &inputs, 0)?;
        let y = build.add(Unary::new(Function::LeakyRelu { alpha: self.alpha })?, &[x]);
        Ok(Some(vec![quantize(build, y, &inputs, 3, to)?]))
    }
}
