//! [DynamicQuantizeMatMul](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.DynamicQuantizeMatMul):
//! a product by quantized weights, for which the input is quantized by its range.

use super::quantized::{DOMAIN, Inputs, binary, cast, codes};
use crate::math::binary::{ADD, MUL};
use crate::quantization::dynamic_quantize_linear::DynamicQuantizeLinear;
use crate::quantization::mat_mul_integer::MatMulInteger;
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room, types};
use oxidane_graph::{Build, NodeId, Op, OpError, Param, Signature, ValueId, shared};
use oxidane_tensor::DType;
use std::sync::Arc;

attributes! {
    /// The input as bytes by its own range, times quantized weights, as floats again.
    pub struct DynamicQuantizeMatMul {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("A", types::FLOAT32, "T1"),
        Param::one("B", types::BYTES, "T2"),
        Param::one("b_scale", types::FLOAT32, "T1"),
        Param::optional("b_zero_point", types::BYTES, "T2"),
        Param::optional("bias", types::FLOAT32, "T1"),
    ],
    outputs: &[Param::one("Y", types::FLOAT32, "T1")],
};

/// The room of DynamicQuantizeMatMul.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "DynamicQuantizeMatMul",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(DynamicQuantizeMatMul::read(a)?)),
    steps: &[],
    cases: || {
        // ONNX Runtime 1.32.
        vec![
            Case::new("bare", DynamicQuantizeMatMul {})
                .input(floats(
                    &[2, 3],
                    &[-0.831723154, -0.623943567, 0.205403939, 0.493013293, -0.176406071, -0.205930337],
                ))
                .input(codes(DType::I8, &[3, 4], &[74, 104, 127, -90, -23, 110, -50, -127, 19, 64, 62, 79]))
                .input(floats(&[], &[0.0500000007]))
                .absent()
                .absent()
                .expect(floats(
                    &[2, 4],
                    &[
                        -2.16113853,
                        -7.08604097,
                        -3.07546663,
                        8.51987362,
                        1.8317728,
                        0.929913044,
                        2.93130398,
                        -1.92008853,
                    ],
                )),
            Case::new("columns", DynamicQuantizeMatMul {})
                .input(floats(
                    &[2, 2, 3],
                    &[
                        0.259839088,
                        -0.857956469,
                        0.9720667,
                        0.192745909,
                        0.0893064886,
                        -0.591028333,
                        -0.118609823,
                        -1.99774635,
                        -1.1314075,
                        0.362839788,
                        -2.12856698,
                        0.84660852,
                    ],
                ))
                .input(codes(DType::U8, &[3, 4], &[101, 88, 79, 242, 221, 146, 252, 87, 35, 69, 22, 243]))
                .input(floats(&[4], &[1.24914873, 1.44170713, 0.0658049062, 0.273916274]))
                .input(codes(DType::U8, &[4], &[230, 229, 196, 190]))
                .input(floats(&[4], &[1.0985868, -0.54289192, -0.0511904135, -0.793296397]))
                .expect(floats(
                    &[2, 2, 4],
                    &[
                        -267.288116,
                        -173.531082,
                        -16.3365364,
                        41.3226891,
                        113.921242,
                        87.1607895,
                        5.58662939,
                        -9.07327557,
                        318.560394,
                        523.645691,
                        6.48439169,
                        37.3192558,
                        -241.087372,
                        -16.4077396,
                        -20.4468803,
                        76.7940369,
                    ],
                )),
        ]
    },
};

impl Op for DynamicQuantizeMatMul {
    of_room!();
    of_expansion!(infer);

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let (a, b, b_scale) = (inputs.need(0)?, inputs.need(1)?, inputs.need(2)?);
        let parts = build.add_node(Arc::new(DynamicQuantizeLinear {}), &[Some(a)], 3);
        let operands = [Some(parts[0]), Some(b), Some(parts[2]), inputs.get(3)];
        let sums = build.add_node(Arc::new(MatMulInteger {}), &operands, 1)[0];
        let sums = cast(build, sums, DType::F32);
        let scale = binary(build, &MUL, parts[1], b_scale);
        let mut y = binary(build, &MUL, sums, scale);
        if let Some(bias) = inputs.get(4) {
            y = binary(build, &ADD, y, bias);
        }
        Ok(Some(vec![y]))
    }
}
