//! [QLinearMatMul](https://onnx.ai/onnx/operators/onnx__QLinearMatMul.html): the product of quantized matrices,
//! quantized again.

use super::integer::{Right, one};
use super::linear::{BYTES_OR_FLOAT8, HALF_OR_FLOAT, Rules, dequantized, quantized};
use crate::math::matmul::product_dims;
use crate::{Case, Form, Room, attributes, floats, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel, shared};
use oxidane_kernels::integer::{Coding, Product, Scales};
use oxidane_kernels::matmul::{matmul, matmul_integer, matmul_shape};
use oxidane_kernels::quantize::requantize;
use oxidane_tensor::{CastRules, DType, Tensor, broadcast};

attributes! {
    /// The product of two quantized matrices in the scale and zero point of the result. Scales and zero points of
    /// the left are one or one a row, those of the right one or one a column.
    pub struct QLinearMatMul {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("a", BYTES_OR_FLOAT8, "T1"),
        Param::one("a_scale", HALF_OR_FLOAT, "TS"),
        Param::one("a_zero_point", BYTES_OR_FLOAT8, "T1"),
        Param::one("b", BYTES_OR_FLOAT8, "T2"),
        Param::one("b_scale", HALF_OR_FLOAT, "TS"),
        Param::one("b_zero_point", BYTES_OR_FLOAT8, "T2"),
        Param::one("y_scale", HALF_OR_FLOAT, "TS"),
        Param::one("y_zero_point", BYTES_OR_FLOAT8, "T3"),
    ],
    outputs: &[Param::one("y", BYTES_OR_FLOAT8, "T3")],
};

/// The room of QLinearMatMul.
pub static ROOM: Room = Room {
    domain: "",
    name: "QLinearMatMul",
    since: &[10, 21],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QLinearMatMul::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let of = |dtype, shape: &[usize], values: &[i64]| {
            Tensor::from_i64s(dtype, shape, values).expect("8-bit integers")
        };
        let real =
            |dtype, shape: &[usize], values: &[f64]| Tensor::from_f64s(dtype, shape, values).expect("floats");
        let mut cases = vec![
            // The specification's example.
            Case::new("uint8", QLinearMatMul {})
                .input(of(DType::U8, &[2, 4], &[208, 236, 0, 238, 3, 214, 255, 29]))
                .input(floats(&[1], &[0.0066]))
                .input(of(DType::U8, &[1], &[113]))
                .input(of(DType::U8, &[4, 3], &[152, 51, 244, 60, 26, 255, 0, 127, 246, 127, 254, 247]))
                .input(floats(&[1], &[0.00705]))
                .input(of(DType::U8, &[1], &[114]))
                .input(floats(&[1], &[0.0107]))
                .input(of(DType::U8, &[1], &[118]))
                .expect(of(DType::U8, &[2, 3], &[168, 115, 255, 1, 66, 151])),
            // By hand: [1, 2; 3, 4] by rows of scale 1 and 2 times [1, 0; 0, 1] by columns of scale 1 and 0.5.
            Case::new("rows and columns", QLinearMatMul {})
                .input(of(DType::I8, &[2, 2], &[1, 2, 4, 5]))
                .input(floats(&[2], &[1.0, 2.0]))
                .input(of(DType::I8, &[2], &[0, 1]))
                .input(of(DType::I8, &[2, 2], &[1, 2, 0, 3]))
                .input(floats(&[2], &[1.0, 0.5]))
                .input(of(DType::I8, &[2], &[0, 2]))
                .input(floats(&[], &[0.25]))
                .input(of(DType::U8, &[], &[10]))
                .expect(of(DType::U8, &[2, 2], &[14, 14, 34, 26])),
        ];
        for (name, dtype) in [("half scales", DType::F16), ("brain scales", DType::BF16)] {
            cases.push(
                Case::new(name, QLinearMatMul {})
                    .input(of(DType::U8, &[1, 2], &[3, 4]))
                    .input(real(dtype, &[], &[0.5]))
                    .input(of(DType::U8, &[], &[1]))
                    .input(of(DType::I8, &[2, 1], &[5, -6]))
                    .input(real(dtype, &[], &[2.0]))
                    .input(of(DType::I8, &[], &[0]))
                    .input(real(dtype, &[], &[1.0]))
                    .input(of(DType::I8, &[], &[3]))
                    .expect(of(DType::I8, &[1, 1], &[-5])),
            );
        }
        for dtype in [DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ] {
            cases.push(
                Case::new(dtype.name(), QLinearMatMul {})
                    .input(real(dtype, &[1, 2], &[1.5, -2.0]))
                    .input(floats(&[], &[0.5]))
                    .input(real(dtype, &[], &[0.0]))
                    .input(real(dtype, &[2, 1], &[4.0, 1.0]))
                    .input(floats(&[], &[2.0]))
                    .input(real(dtype, &[], &[0.0]))
                    .input(floats(&[], &[0.5]))
                    .input(real(dtype, &[], &[0.0]))
                    .expect(real(dtype, &[1, 1], &[8.0])),
            );
        }
        cases
    },
};

/// One scale a row of a matrix stands in a column.
fn by_row(scale: &Tensor) -> Result<Tensor, OpError> {
    Ok(match scale.rank() {
        1 if scale.len() > 1 => scale.reshape(&[scale.len(), 1])?,
        _ => scale.clone(),
    })
}

fn product(a: &Tensor, b: &Tensor, divide: bool) -> Result<Tensor, OpError> {
    let shape = broadcast(a.shape(), b.shape())?;
    let (a, b) = (a.broadcast_to(&shape)?.to_dense()?, b.broadcast_to(&shape)?.to_dense()?);
    let of = |(x, y): (&f32, &f32)| if divide { x / y } else { x * y };
    let values: Vec<f32> = a.slice::<f32>()?.iter().zip(b.slice::<f32>()?).map(of).collect();
    Ok(Tensor::new(&shape, &values)?)
}

fn run_integers(run: &Run<'_>) -> Result<Tensor, OpError> {
    let real =
        |slot| -> Result<Tensor, OpError> { Ok(run.tensor(slot)?.cast(DType::F32, CastRules::default())?) };
    let shape = matmul_shape(run.tensor(0)?.shape(), run.tensor(3)?.shape())?;
    run.check_elements(&shape, size_of::<i32>() + 1)?;
    let sums = matmul_integer(
        run.pool(),
        run.tensor(0)?,
        run.tensor(3)?,
        Some(run.tensor(2)?),
        Some(run.tensor(5)?),
    )?;
    let factors = product(&by_row(&real(1)?)?, &real(4)?, false)?;
    let factors = product(&factors, &by_row(&real(6)?)?, true)?;
    // A vector as an operand leaves its dimension out of the result, and scales of one element with it.
    let factors = if factors.len() == 1 { factors.reshape(&[])? } else { factors };
    Ok(requantize(&sums, &factors, &by_row(run.tensor(7)?)?)?)
}

/// The product on a packed right side, where the operands have the form for that: one scale for the left side and for the
/// result, and one for the right side or one a column.
fn run_packed(run: &Run<'_>, right: &Right) -> Result<Option<Tensor>, OpError> {
    let (a, b, zero) = (run.tensor(0)?, run.tensor(3)?, run.tensor(7)?);
    let scales = run.tensor(4)?;
    let (Some(a_scale), Some(y_scale), 1) = (one(run.tensor(1)?), one(run.tensor(6)?), zero.len()) else {
        return Ok(None);
    };
    let Some(operands) = right.operands(a, b, Some(run.tensor(2)?), Some(run.tensor(5)?))? else {
        return Ok(None);
    };
    if scales.dtype() != DType::F32 || scales.len() != 1 && scales.shape() != [operands.columns] {
        return Ok(None);
    }
    let shape = matmul_shape(a.shape(), b.shape())?;
    let mut y = run.allocate(0, zero.dtype(), &shape)?;
    let zero = zero.to_f64s()?[0] as i32;
    let coding = Coding { scale: y_scale, zero, signed: y.dtype() == DType::I8 };
    let scales = scales.values::<f32>()?;
    let result = Product::Codes(y.as_bytes_mut(), Scales(&scales, a_scale), coding);
    right.product(run.pool(), &operands, b, &[], result)?;
    Ok(Some(y.freeze()))
}

fn run_floats(run: &Run<'_>) -> Result<Tensor, OpError> {
    let pool = run.pool();
    let open = |x: usize, axis: i64| {
        let zero = Some(run.tensor(x + 2)?);
        let codes = run.tensor(x)?;
        dequantized(pool, codes, run.tensor(x + 1)?, zero, (axis, 0), DType::F32, || {
            run.scratch(DType::F32, codes.shape())
        })
    };
    let y = matmul(pool, &open(0, -2)?, &open(3, -1)?)?;
    let zero = run.tensor(7)?;
    let rules = Rules { axis: -2, block: 0, saturate: true, precision: Some(DType::F32), to: zero.dtype() };
    quantized(pool, &y, run.tensor(6)?, Some(zero), &rules)
}

impl Op for QLinearMatMul {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(7)?;
        match (ctx.shape(0), ctx.shape(3)) {
            (Some(a), Some(b)) => {
                let dims = product_dims(a, b)?;
                ctx.set_tensor(0, dtype, dims);
            }
            _ => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let right = Right::of(call, 3, false);
        kernel(move |run| {
            let mut bytes = true;
            for slot in [0, 3, 7] {
                bytes &= types::BYTES.has_tensor(run.tensor(slot)?.dtype());
            }
            let packed = if bytes { run_packed(run, &right)? } else { None };
            let y = match packed {
                Some(y) => y,
                None if bytes => run_integers(run)?,
                None => run_floats(run)?,
            };
            run.set(0, y);
            Ok(())
        })
    }
}
