//! [QLinearConcat](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearConcat):
//! quantized tensors one behind the other.

use super::quantized::{DOMAIN, Inputs, codes, dequantize, dtype, quantize};
use crate::tensor::concat::Concat;
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room, types};
use oxidane_graph::{Build, NodeId, Op, OpError, Param, Signature, ValueId, shared};
use oxidane_tensor::DType;

attributes! {
    /// Tensors put together along an axis, all in scales and zero points of their own.
    pub struct QLinearConcat { axis: i64 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("Y_scale", types::FLOAT32, ""),
        Param::one("Y_zero_point", types::BYTES, "T8"),
        Param::heterogeneous("inputs", types::BYTES.or(types::FLOAT32), 3),
    ],
    outputs: &[Param::one("Y", types::BYTES, "T8")],
};

/// The room of QLinearConcat.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "QLinearConcat",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QLinearConcat::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // ONNX Runtime 1.32.
        vec![
            Case::new("rows", QLinearConcat { axis: 0 })
                .input(floats(&[], &[0.1]))
                .input(codes(DType::U8, &[], &[100]))
                .input(codes(DType::U8, &[2, 3], &[15, 169, 99, 153, 82, 57]))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::U8, &[], &[120]))
                .input(codes(DType::U8, &[1, 3], &[38, 97, 208]))
                .input(floats(&[], &[0.2]))
                .input(codes(DType::U8, &[], &[90]))
                .expect(codes(DType::U8, &[3, 3], &[48, 124, 89, 116, 81, 68, 0, 114, 255])),
            Case::new("columns", QLinearConcat { axis: -1 })
                .input(floats(&[], &[0.1]))
                .input(codes(DType::I8, &[], &[10]))
                .input(codes(DType::I8, &[2, 1], &[-26, -31]))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::I8, &[], &[3]))
                .input(codes(DType::I8, &[2, 2], &[19, 122, -28, 23]))
                .input(floats(&[], &[0.2]))
                .input(codes(DType::I8, &[], &[-90]))
                .expect(codes(DType::I8, &[2, 3], &[-4, 127, 127, -7, 127, 127])),
        ]
    },
};

impl Op for QLinearConcat {
    of_room!();
    of_expansion!(infer);

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        if inputs.len() % 3 != 2 {
            return Err(OpError::new(format!(
                "has {} inputs, but takes scale and zero point of the result, and three for each tensor",
                inputs.len()
            )));
        }
        let mut parts = Vec::new();
        for slot in (2..inputs.len()).step_by(3) {
            parts.push(dequantize(build, &inputs, slot)?);
        }
        let whole = build.add(Concat { axis: self.axis }, &parts);
        let Some(to) = dtype(build, inputs.need(1)?) else { return Ok(None) };
        Ok(Some(vec![quantize(build, whole, &inputs, 0, to)?]))
    }
}
