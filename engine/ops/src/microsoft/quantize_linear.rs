//! [QuantizeLinear](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QuantizeLinear):
//! the standard operator, from before it had 16-bit numbers.

use super::quantized::{DOMAIN, Inputs, codes};
use crate::quantization::quantize_linear::QuantizeLinear as Standard;
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room};
use oxidane_graph::{Build, NodeId, Op, OpError, Param, Signature, Types, ValueId, shared};
use oxidane_tensor::{CastRules, DType};
use std::sync::Arc;

attributes! {
    /// As the standard operator of the same name.
    pub struct QuantizeLinear { axis: i64 = 1 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("x", FLOATS, "T1"),
        Param::one("y_scale", FLOATS, "T1"),
        Param::optional("y_zero_point", CODES, "T2"),
    ],
    outputs: &[Param::one("y", CODES, "T2")],
};

/// The room of QuantizeLinear.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "QuantizeLinear",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QuantizeLinear::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // ONNX Runtime 1.32.
        vec![
            Case::new("one", QuantizeLinear { axis: 1 })
                .input(floats(
                    &[2, 3],
                    &[0.0036904602, 0.89623666, -0.82241356, -2.6717756, -1.3640124, -2.9749396],
                ))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::U8, &[], &[3]))
                .expect(codes(DType::U8, &[2, 3], &[3, 21, 0, 0, 0, 0])),
            Case::new("axis", QuantizeLinear { axis: 0 })
                .input(floats(
                    &[2, 3],
                    &[0.0036904602, 0.89623666, -0.82241356, -2.6717756, -1.3640124, -2.9749396],
                ))
                .input(floats(&[2], &[0.05, 0.1]))
                .input(codes(DType::I8, &[2], &[3, -4]))
                .expect(codes(DType::I8, &[2, 3], &[3, 21, -13, -31, -18, -34])),
            Case::new("no zero point", QuantizeLinear { axis: 1 })
                .input(floats(
                    &[2, 3],
                    &[0.0036904602, 0.89623666, 0.82241356, 2.6717756, 1.3640124, 2.9749396],
                ))
                .input(floats(&[], &[0.05]))
                .absent()
                .expect(codes(DType::U8, &[2, 3], &[0, 18, 16, 53, 27, 59])),
            Case::new("int16", QuantizeLinear { axis: 1 })
                .input(floats(
                    &[2, 3],
                    &[0.0036904602, 0.89623666, -0.82241356, -2.6717756, -1.3640124, -2.9749396],
                ))
                .input(floats(&[], &[0.001]))
                .input(codes(DType::I16, &[], &[3]))
                .expect(codes(DType::I16, &[2, 3], &[7, 899, -819, -2669, -1361, -2972])),
            Case::new("half", QuantizeLinear { axis: 1 })
                .input(
                    floats(
                        &[2, 3],
                        &[0.0036907196, 0.8959961, -0.8222656, -2.671875, -1.3642578, -2.9746094],
                    )
                    .cast(DType::F16, CastRules::default())
                    .expect("floats"),
                )
                .input(floats(&[], &[0.049987793]).cast(DType::F16, CastRules::default()).expect("floats"))
                .input(codes(DType::U8, &[], &[3]))
                .expect(codes(DType::U8, &[2, 3], &[3, 21, 0, 0, 0, 0])),
        ]
    },
};

const FLOATS: Types = Types::tensors(&[DType::F32, DType::F16]);
const CODES: Types = Types::tensors(&[DType::I8, DType::U8, DType::I16, DType::U16, DType::I4, DType::U4]);

impl Op for QuantizeLinear {
    of_room!();
    of_expansion!(infer);

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let given = [Some(inputs.need(0)?), Some(inputs.need(1)?), inputs.get(2)];
        let op = Standard { axis: self.axis, ..Standard::default() };
        Ok(Some(build.add_node(Arc::new(op), &given, 1).to_vec()))
    }
}
