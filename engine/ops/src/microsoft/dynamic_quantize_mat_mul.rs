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
        crate::with_cases!();
        // ONNX Runtime 1.32.
        vec![
            Case::new("bare", DynamicQuantizeMatMul {})
                .input(floats(
                    &[2, 3],
                    &[-0.83172315, -0.62394357, 0.20540394, 0.4930133, -0.17640607, -0.20593034],
                ))
                .input(codes(DType::I8, &[3, 4], &[74, 104, 127, -90, -23, 110, -50, -127, 19, 64, 62, 79]))
                .input(floats(&[], &[0.05]))
                .absent()
                .absent()
                .expect(floats(
                    &[2, 4],
                    &[
                        -2.1611385, -7.086041, -3.0754666, 8.519874, 1.8317728, 0.92991304, 2.931304,
                        -1.9200885,
                    ],
                )),
            Case::new("columns", DynamicQuantizeMatMul {})
                .input(floats(
                    &[2, 2, 3],
                    &[
                        0.2598391,
                        -0.85795647,
                        0.9720667,
                        0.19274591,
                        0.08930649,
                        -0.59102833,
                        -0.11860982,
                        -1.9977463,
                        -1.1314075,
                        0.3628398,
                        -2.128567,
                        0.8466085,
                    ],
                ))
                .input(codes(DType::U8, &[3, 4], &[101, 88, 79, 242, 221, 146, 252, 87, 35, 69, 22, 243]))
                .input(floats(&[4], &[1.2491487, 1.4417071, 0.065804906, 0.27391627]))
                .input(codes(DType::U8, &[4], &[230, 229, 196, 190]))
                .input(floats(&[4], &[1.0985868, -0.5428919, -0.051190414, -0.7932964]))
                .expect(floats(
                    &[2, 2, 4],
                    &[
                        -267.28812, -173.53108, -16.336536, 41.32269, 113.92124, 87.16079, 5.5866294,
                        -9.073276, 318.5604, 523.6457, 6.4843917, 37.319256, -241.08737, -16.40774,
                        -20.44688, 76.79404,
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
