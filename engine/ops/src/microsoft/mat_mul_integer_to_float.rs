//! [MatMulIntegerToFloat](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulIntegerToFloat):
//! the product of quantized matrices as floats.

use super::quantized::{DOMAIN, Inputs, binary, cast, codes, dtype};
use crate::math::binary::{ADD, MUL};
use crate::quantization::integer::{Right, one};
use crate::quantization::mat_mul_integer::MatMulInteger;
use crate::{Case, Form, Room, attributes, floats, of_room, types};
use oxidane_graph::{
    Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature, Types, Unknown, ValueId,
    kernel, shared,
};
use oxidane_kernels::integer::{Activation, Product, Scales};
use oxidane_kernels::matmul::matmul_shape;
use oxidane_tensor::{CastRules, DType, Tensor};
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

/// The product on a packed right side, where there is one scale for the left side, and one for the right side or one a
/// column.
fn run_packed(run: &Run<'_>, right: &Right) -> Result<Option<Tensor>, OpError> {
    let (a, b) = (run.tensor(0)?, run.tensor(1)?);
    let (scale, scales, bias) = (run.tensor(2)?, run.tensor(3)?, run.try_tensor(6)?);
    let Some(a_scale) = one(scale).filter(|_| scale.rank() <= 1) else { return Ok(None) };
    let Some(operands) = right.operands(a, b, run.try_tensor(4)?, run.try_tensor(5)?)? else {
        return Ok(None);
    };
    let fits = |t: &Tensor, single: bool| {
        t.dtype() == DType::F32
            && (single && t.len() == 1 && t.rank() <= 1 || t.shape() == [operands.columns])
    };
    if !fits(scales, true) || !bias.is_none_or(|bias| fits(bias, false)) {
        return Ok(None);
    }
    let shape = matmul_shape(a.shape(), b.shape())?;
    let mut y = run.allocate(0, DType::F32, &shape)?;
    let (scales, bias) = (scales.values::<f32>()?, bias.map(|b| b.values::<f32>()).transpose()?);
    let bias = bias.as_deref().unwrap_or_default();
    let result = Product::Floats(y.slice_mut()?, Scales(&scales, a_scale), bias, Activation::None);
    right.product(run.pool(), &operands, b, &[], result)?;
    Ok(Some(y.freeze()))
}

impl Op for MatMulIntegerToFloat {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        crate::expansion::infer(ctx)
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let expanded = crate::expansion::kernel(Arc::new(self.clone()))?;
        let right = Right::of(call, 1, false);
        kernel(move |run| match run_packed(run, &right)? {
            Some(y) => {
                run.set(0, y);
                Ok(())
            }
            None => expanded.run(run),
        })
    }

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
