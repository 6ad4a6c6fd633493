//! [QGemm](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QGemm):
//! the product of quantized matrices plus a bias, quantized again or as floats.

use super::quantized::{DOMAIN, Inputs, binary, cast, codes, dtype, quantize, transpose};
use crate::math::binary::{ADD, MUL};
use crate::quantization::integer::{Right, one};
use crate::quantization::mat_mul_integer::MatMulInteger;
use crate::{Case, Form, Room, attributes, floats, of_room, types};
use oxidane_graph::{
    Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature, Unknown, ValueId, kernel,
    shared,
};
use oxidane_kernels::integer::{Activation, Coding, Product, Scales};
use oxidane_tensor::{DType, Tensor};
use std::sync::Arc;

attributes! {
    #[allow(non_snake_case, reason = "as ONNX Runtime spells its attributes")]
    /// `alpha A B + C` of quantized matrices, whose `C` is in the scale of the product.
    pub struct QGemm {
        alpha: f32 = 1.0,
        transA: bool = false,
        transB: bool = false,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("A", types::BYTES, "TA"),
        Param::one("a_scale", types::FLOAT32, ""),
        Param::one("a_zero_point", types::BYTES, "TA"),
        Param::one("B", types::BYTES, "TB"),
        Param::one("b_scale", types::FLOAT32, ""),
        Param::one("b_zero_point", types::BYTES, "TB"),
        Param::optional("C", types::INT32, ""),
        Param::optional("y_scale", types::FLOAT32, ""),
        Param::optional("y_zero_point", types::BYTES, "TYZ"),
    ],
    outputs: &[Param::one("Y", types::BYTES.or(types::FLOAT32), "TY")],
};

/// The room of QGemm.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "QGemm",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QGemm::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // ONNX Runtime 1.32.
        vec![
            Case::new("quantized", QGemm { alpha: 1.0, transA: false, transB: false })
                .input(codes(DType::U8, &[2, 3], &[180, 63, 243, 48, 248, 145]))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::U8, &[], &[120]))
                .input(codes(DType::U8, &[3, 4], &[62, 9, 78, 151, 27, 42, 29, 173, 22, 5, 116, 79]))
                .input(floats(&[], &[0.1]))
                .input(codes(DType::U8, &[], &[100]))
                .absent()
                .input(floats(&[], &[2.0]))
                .input(codes(DType::U8, &[], &[110]))
                .expect(codes(DType::U8, &[2, 4], &[91, 75, 122, 101, 89, 102, 92, 123])),
            Case::new("floats", QGemm { alpha: 0.5, transA: true, transB: true })
                .input(codes(DType::I8, &[3, 2], &[17, 112, 91, 9, 36, 79]))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::I8, &[], &[12]))
                .input(codes(DType::I8, &[4, 3], &[-17, 40, -73, 28, -68, -80, 66, 19, -32, -118, -68, 77]))
                .input(floats(&[], &[0.1]))
                .input(codes(DType::I8, &[], &[10]))
                .input(codes(DType::I32, &[4], &[-450, 5850, 5100, 4500]))
                .expect(floats(
                    &[2, 4],
                    &[-0.51750004, -5.9550004, 12.7075, -1.7350001, -22.002502, 4.635, 19.647501, -8.942501],
                )),
            Case::new("columns", QGemm { alpha: 1.0, transA: false, transB: true })
                .input(codes(DType::U8, &[2, 3], &[4, 12, 148, 86, 215, 81]))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::U8, &[], &[120]))
                .input(codes(DType::I8, &[4, 3], &[-89, -100, -51, 32, -96, 76, -51, -48, 41, 92, -17, 76]))
                .input(floats(&[4], &[0.0044385893, 0.024580307, 0.0038534764, 0.08605156]))
                .input(codes(DType::I8, &[4], &[21, 18, -30, 35]))
                .input(codes(DType::I32, &[1, 4], &[-3050, 1350, 3750, -5200]))
                .input(floats(&[], &[1.0]))
                .input(codes(DType::U8, &[], &[110]))
                .expect(codes(DType::U8, &[2, 4], &[115, 127, 112, 88, 108, 95, 110, 51])),
        ]
    },
};

/// The product on a packed right side, where there is one scale for the left side and the result, and one for the right
/// side or one a column.
fn run_packed(run: &Run<'_>, right: &Right, alpha: f32) -> Result<Option<Tensor>, OpError> {
    let (a, b, scales) = (run.tensor(0)?, run.tensor(3)?, run.tensor(4)?);
    let Some(a_scale) = one(run.tensor(1)?) else { return Ok(None) };
    let Some(operands) = right.operands(a, b, Some(run.tensor(2)?), Some(run.tensor(5)?))? else {
        return Ok(None);
    };
    let bias = match run.try_tensor(6)? {
        None => Vec::new(),
        Some(c) if c.len() == operands.columns && c.shape().last() == Some(&c.len()) => {
            c.values::<i32>()?.to_vec()
        }
        Some(_) => return Ok(None),
    };
    if a.rank() != 2 || scales.rank() > 1 || scales.len() != 1 && scales.len() != operands.columns {
        return Ok(None);
    }
    let shape = [a.shape()[0], operands.columns];
    let scales = scales.values::<f32>()?;
    let factors = Scales(&scales, a_scale * alpha);
    let coding = match (run.try_tensor(7)?, run.try_tensor(8)?) {
        (Some(scale), Some(zero)) => {
            let (Some(scale), 1) = (one(scale), zero.len()) else { return Ok(None) };
            Some((zero.dtype(), scale, zero.to_f64s()?[0] as i32))
        }
        (None, None) => None,
        _ => return Ok(None),
    };
    let mut y = run.allocate(0, coding.map_or(DType::F32, |c| c.0), &shape)?;
    let result = match coding {
        None => Product::Floats(y.slice_mut()?, factors, &[], Activation::None),
        Some((dtype, scale, zero)) => {
            let coding = Coding { scale, zero, signed: dtype == DType::I8 };
            Product::Codes(y.as_bytes_mut(), factors, coding)
        }
    };
    right.product(run.pool(), &operands, b, &bias, result)?;
    Ok(Some(y.freeze()))
}

impl Op for QGemm {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        crate::expansion::infer(ctx)
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let expanded = crate::expansion::kernel(Arc::new(self.clone()))?;
        if self.transA {
            return Ok(expanded);
        }
        let right = Right::of(call, 3, self.transB);
        let alpha = self.alpha;
        kernel(move |run| match run_packed(run, &right, alpha)? {
            Some(y) => {
                run.set(0, y);
                Ok(())
            }
            None => expanded.run(run),
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let (mut a, mut b) = (inputs.need(0)?, inputs.need(3)?);
        if self.transA {
            a = transpose(build, a, &[1, 0]);
        }
        if self.transB {
            b = transpose(build, b, &[1, 0]);
        }
        let operands = [Some(a), Some(b), inputs.get(2), inputs.get(5)];
        let mut sums = build.add_node(Arc::new(MatMulInteger {}), &operands, 1)[0];
        if let Some(bias) = inputs.get(6) {
            sums = binary(build, &ADD, sums, bias);
        }
        let sums = cast(build, sums, DType::F32);
        let mut scale = binary(build, &MUL, inputs.need(1)?, inputs.need(4)?);
        if self.alpha != 1.0 {
            let alpha = build.constant(Tensor::scalar(self.alpha));
            scale = binary(build, &MUL, scale, alpha);
        }
        let y = binary(build, &MUL, sums, scale);
        let Some(zero) = inputs.get(8) else { return Ok(Some(vec![y])) };
        let Some(to) = dtype(build, zero) else { return Ok(None) };
        Ok(Some(vec![quantize(build, y, &inputs, 7, to)?]))
    }
}
