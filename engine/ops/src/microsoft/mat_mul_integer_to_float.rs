//! [MatMulIntegerToFloat](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulIntegerToFloat):
//! the product of quantized matrices as floats.

use super::quantized::{DOMAIN, Inputs, binary, cast, codes, dtype};
use crate::math::binary::{ADD, MUL};
use crate::quantization::mat_mul_integer::MatMulInteger;
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room, types};
use oxidane_graph::{Build, NodeId, Op, OpError, Param, Signature, Types, ValueId, shared};
use oxidane_tensor::{CastRules, DType};
use std::sync::Arc;

attributes! {
    /// The product of two quantized matrices, times their scales, plus a bias.
    pub struct MatMulIntegerToFloat {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("A", types::BYTES, "T1"),
        Param::one("B", types::BYTES, "T2"),
        Param::one("a_scale", FLOATS, "T3"),
        Param::one("b_scale", FLOATS, "T3"),
        Param::optional("a_zero_point", types::BYTES, "T1"),
        Param::optional("b_zero_point", types::BYTES, "T2"),
        Param::optional("bias", FLOATS, "T3"),
    ],
    outputs: &[Param::one("Y", FLOATS, "T3")],
};

/// The room of MatMulIntegerToFloat.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "MatMulIntegerToFloat",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(MatMulIntegerToFloat::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // ONNX Runtime 1.32.
        vec![
            Case::new("bare", MatMulIntegerToFloat {})
                .input(codes(DType::U8, &[2, 3], &[182, 236, 24, 17, 63, 110]))
                .input(codes(DType::I8, &[3, 4], &[-87, 4, 10, 115, 62, -64, 73, 78, 46, 45, -49, 55]))
                .input(floats(&[], &[0.05]))
                .input(floats(&[], &[0.1]))
                .expect(floats(
                    &[2, 4],
                    &[-0.49000004, -66.48, 89.36001, 203.29001, 37.435, 4.9300003, -3.1050003, 64.595],
                )),
            Case::new("all", MatMulIntegerToFloat {})
                .input(codes(DType::U8, &[2, 2, 3], &[34, 161, 235, 248, 76, 85, 158, 101, 187, 51, 43, 12]))
                .input(codes(DType::U8, &[3, 4], &[120, 54, 76, 234, 208, 215, 151, 28, 191, 154, 232, 122]))
                .input(floats(&[], &[0.05]))
                .input(floats(&[4], &[1.4540243, 0.20852184, 0.63205254, 1.7610195]))
                .input(codes(DType::U8, &[], &[4]))
                .input(codes(DType::U8, &[4], &[193, 119, 60, 160]))
                .input(floats(&[4], &[0.071441844, -0.75231147, 0.45478415, -0.53929734]))
                .expect(floats(
                    &[2, 2, 4],
                    &[
                        -21.520819, 220.35382, 1722.7665, -2402.746, -1228.143, -64.48701, 771.1797,
                        481.45175, -738.06396, 58.749393, 1352.0044, -736.8216, -207.99944, 9.350572,
                        179.86292, -174.35191,
                    ],
                )),
            Case::new("half", MatMulIntegerToFloat {})
                .input(codes(DType::U8, &[2, 3], &[0, 195, 179, 208, 229, 186]))
                .input(codes(DType::I8, &[3, 4], &[87, -100, 107, 105, 49, 77, 61, 96, 99, 5, 80, 106]))
                .input(floats(&[], &[0.049987793]).cast(DType::F16, CastRules::default()).expect("floats"))
                .input(floats(&[], &[0.099975586]).cast(DType::F16, CastRules::default()).expect("floats"))
                .absent()
                .absent()
                .input(
                    floats(&[4], &[0.6298828, -0.3017578, -0.15148926, 0.022216797])
                        .cast(DType::F16, CastRules::default())
                        .expect("floats"),
                )
                .expect(
                    floats(&[2, 4], &[137.0, 79.1875, 130.875, 188.375, 239.125, -11.484375, 255.25, 317.5])
                        .cast(DType::F16, CastRules::default())
                        .expect("floats"),
                )
                .tolerance(1e-3),
        ]
    },
};

const FLOATS: Types = Types::tensors(&[DType::F32, DType::F16]);

impl Op for MatMulIntegerToFloat {
    of_room!();
    of_expansion!(infer);

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let operands = [Some(inputs.need(0)?), Some(inputs.need(1)?), inputs.get(4), inputs.get(5)];
        let (a_scale, b_scale) = (inputs.need(2)?, inputs.need(3)?);
        let Some(to) = dtype(build, a_scale) else { return Ok(None) };
        let sums = build.add_node(Arc::new(MatMulInteger {}), &operands, 1)[0];
        // Sums of products are out of the range of half floats.
        let [sums, a_scale, b_scale] = [sums, a_scale, b_scale].map(|v| cast(build, v, DType::F32));
        let scale = binary(build, &MUL, a_scale, b_scale);
        let mut y = binary(build, &MUL, sums, scale);
        if let Some(bias) = inputs.get(6) {
            let bias = cast(build, bias, DType::F32);
            y = binary(build, &ADD, y, bias);
        }
        Ok(Some(vec![cast(build, y, to)]))
    }
}
