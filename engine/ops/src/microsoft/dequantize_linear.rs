//! [DequantizeLinear](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.DequantizeLinear):
//! the standard operator, from before it had 16-bit numbers.

use super::quantized::{DOMAIN, Inputs, codes};
use crate::quantization::dequantize_linear::DequantizeLinear as Standard;
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room};
use oxidane_graph::{Build, NodeId, Op, OpError, Param, Signature, Types, ValueId, shared};
use oxidane_tensor::{CastRules, DType};
use std::sync::Arc;

attributes! {
    /// As the standard operator of the same name.
    pub struct DequantizeLinear { axis: i64 = 1 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("x", CODES, "T1"),
        Param::one("x_scale", FLOATS, "T2"),
        Param::optional("x_zero_point", CODES, "T1"),
    ],
    outputs: &[Param::one("y", FLOATS, "T2")],
};

/// The room of DequantizeLinear.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "DequantizeLinear",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(DequantizeLinear::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // ONNX Runtime 1.32.
        vec![
            Case::new("one", DequantizeLinear { axis: 1 })
                .input(codes(DType::U8, &[2, 3], &[233, 1, 127, 210, 33, 204]))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::U8, &[], &[3]))
                .expect(floats(&[2, 3], &[11.5, -0.1, 6.2000003, 10.35, 1.5, 10.05])),
            Case::new("axis", DequantizeLinear { axis: 0 })
                .input(codes(DType::I8, &[2, 3], &[-98, -9, 81, -51, -41, -57]))
                .input(floats(&[2], &[0.05, 0.1]))
                .input(codes(DType::I8, &[2], &[3, -4]))
                .expect(floats(&[2, 3], &[-5.05, -0.6, 3.9, -4.7000003, -3.7, -5.3])),
            Case::new("int32", DequantizeLinear { axis: 1 })
                .input(codes(DType::I32, &[2], &[5, -70000]))
                .input(floats(&[], &[0.05]))
                .absent()
                .expect(floats(&[2], &[0.25, -3500.0])),
            Case::new("half", DequantizeLinear { axis: 1 })
                .input(codes(DType::I8, &[3], &[56, -63, 125]))
                .input(floats(&[], &[0.049987793]).cast(DType::F16, CastRules::default()).expect("floats"))
                .input(codes(DType::I8, &[], &[3]))
                .expect(
                    floats(&[3], &[2.6484375, -3.2988281, 6.0976562])
                        .cast(DType::F16, CastRules::default())
                        .expect("floats"),
                ),
        ]
    },
};

const FLOATS: Types = Types::tensors(&[DType::F32, DType::F16]);
const CODES: Types =
    Types::tensors(&[DType::I8, DType::U8, DType::I16, DType::U16, DType::I32, DType::I4, DType::U4]);

impl Op for DequantizeLinear {
    of_room!();
    of_expansion!(infer);

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let given = [Some(inputs.need(0)?), Some(inputs.need(1)?), inputs.get(2)];
        let op = Standard { axis: self.axis, ..Standard::default() };
        Ok(Some(build.add_node(Arc::new(op), &given, 1).to_vec()))
    }
}
