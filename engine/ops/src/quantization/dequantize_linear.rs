//! [DequantizeLinear](https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html): codes of a few bits as numbers.

use super::linear::{CODES, HALF_OR_FLOAT, block_of, check_scales, dequantized, dtype_or_none, without_axis};
use crate::{Case, Form, Room, Step, attributes, floats, of_room, types};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Type, Types, Unknown, kernel, shared,
};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// `(x - zero point) * scale`.
    pub struct DequantizeLinear {
        /// The axis along which scales differ.
        axis: i64 = 1,
        /// Places along the axis that share a scale; 0 where each has its own.
        block_size: i64 = 0,
        /// The type of the result; 0 is that of the scale.
        output_dtype: i64 = 0,
    }
}

const CODES_OR_INT32: Types = CODES.or(types::INT32);
const SCALES: Types = HALF_OR_FLOAT.or(Types::tensors(&[DType::F8E8M0]));

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("x", CODES_OR_INT32, "T1"),
        Param::one("x_scale", SCALES, "T2"),
        Param::optional("x_zero_point", CODES_OR_INT32, "T1"),
    ],
    outputs: &[Param::one("y", HALF_OR_FLOAT, "T3")],
};

/// The room of DequantizeLinear.
pub static ROOM: Room = Room {
    domain: "",
    name: "DequantizeLinear",
    since: &[10, 13, 19, 21, 23, 24, 25, 28],
    signature: &SIGNATURE,
    read: |a| {
        let op = DequantizeLinear::read(a)?;
        op.output_dtype()?;
        block_of(op.block_size)?;
        Ok(shared(op))
    },
    steps: &[
        Step { to: 13, up: |_| Ok(()), down: without_axis },
        Step { to: 21, up: |_| Ok(()), down: |d| d.drop_default("block_size", 0i64) },
        Step {
            to: 23,
            up: |_| Ok(()),
            down: |d| {
                let of_scale = d.ty(1).and_then(Type::dtype).map(|d| i64::from(d.to_onnx()));
                if of_scale.is_some() && d.attributes.value::<i64>("output_dtype")? == of_scale {
                    d.attributes.take("output_dtype");
                }
                d.drop_default("output_dtype", 0i64)
            },
        },
    ],
    cases,
};

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = DequantizeLinear::default();
    let of = |dtype, shape: &[usize], values: &[i64]| Tensor::from_i64s(dtype, shape, values).expect("codes");
    let real =
        |dtype, shape: &[usize], values: &[f64]| Tensor::from_f64s(dtype, shape, values).expect("floats");
    // The specification's examples, and the formula by hand.
    let mut cases = vec![
        Case::new("one", op.clone())
            .input(of(DType::U8, &[4], &[0, 3, 128, 255]))
            .input(floats(&[], &[2.0]))
            .input(of(DType::U8, &[], &[128]))
            .expect(floats(&[4], &[-256.0, -250.0, 0.0, 254.0])),
        Case::new("int32", op.clone())
            .input(of(DType::I32, &[2], &[-5, 70000]))
            .input(floats(&[1], &[0.5]))
            .expect(floats(&[2], &[-2.5, 35000.0])),
        Case::new("axis", DequantizeLinear { axis: 0, ..op.clone() })
            .input(of(DType::I8, &[2, 2], &[1, -2, 3, -4]))
            .input(floats(&[2], &[1.0, 0.5]))
            .input(of(DType::I8, &[2], &[0, 1]))
            .expect(floats(&[2, 2], &[1.0, -2.0, 1.0, -2.5])),
        Case::new("blocks", DequantizeLinear { axis: 1, block_size: 2, ..op.clone() })
            .input(of(DType::U4, &[2, 3], &[1, 2, 3, 4, 5, 15]))
            .input(floats(&[2, 2], &[1.0, 0.5, 2.0, 4.0]))
            .input(of(DType::U4, &[2, 2], &[1, 0, 3, 5]))
            .expect(floats(&[2, 3], &[0.0, 1.0, 1.5, 2.0, 4.0, 40.0])),
        Case::new("powers of two", DequantizeLinear { output_dtype: 1, ..op.clone() })
            .input(of(DType::I8, &[2], &[3, -3]))
            .input(real(DType::F8E8M0, &[], &[0.25]))
            .expect(floats(&[2], &[0.75, -0.75])),
        Case::new("wider", DequantizeLinear { output_dtype: 1, ..op.clone() })
            .input(of(DType::I8, &[2], &[3, -3]))
            .input(real(DType::F16, &[], &[0.25]))
            .expect(floats(&[2], &[0.75, -0.75])),
    ];
    for dtype in [DType::F16, DType::BF16] {
        cases.push(
            Case::new(dtype.name(), op.clone())
                .input(of(DType::I8, &[2], &[3, -3]))
                .input(real(dtype, &[], &[0.25]))
                .expect(real(dtype, &[2], &[0.75, -0.75])),
        );
    }
    for dtype in [DType::I8, DType::I16, DType::U16, DType::I4, DType::U4, DType::I2, DType::U2] {
        let least = if dtype.is_signed_integer() { -2 } else { 3 };
        cases.push(
            Case::new(dtype.name(), op.clone())
                .input(of(dtype, &[3], &[0, 1, least]))
                .input(floats(&[], &[0.5]))
                .input(of(dtype, &[], &[1]))
                .expect(floats(&[3], &[-0.5, 0.0, (least - 1) as f32 * 0.5])),
        );
    }
    for dtype in [
        DType::F8E4M3FN,
        DType::F8E4M3FNUZ,
        DType::F8E5M2,
        DType::F8E5M2FNUZ,
        DType::F4E2M1,
        DType::F6E2M3,
        DType::F6E3M2,
    ] {
        cases.push(
            Case::new(dtype.name(), op.clone())
                .input(real(dtype, &[3], &[0.5, -1.5, 4.0]))
                .input(floats(&[], &[2.0]))
                .expect(floats(&[3], &[1.0, -3.0, 8.0])),
        );
    }
    cases
}

impl Default for DequantizeLinear {
    fn default() -> DequantizeLinear {
        DequantizeLinear { axis: 1, block_size: 0, output_dtype: 0 }
    }
}

impl DequantizeLinear {
    fn output_dtype(&self) -> Result<Option<DType>, OpError> {
        dtype_or_none("output_dtype", self.output_dtype, HALF_OR_FLOAT)
    }

    /// The type of the result, given that of the scale.
    fn result(&self, scale: DType) -> Result<DType, OpError> {
        match self.output_dtype()? {
            Some(dtype) => Ok(dtype),
            None if scale == DType::F8E8M0 => {
                Err(OpError::new("scales of float8e8m0 do not tell the type of the result")
                    .help("set the attribute `output_dtype`"))
            }
            None => Ok(scale),
        }
    }
}

impl Op for DequantizeLinear {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = match self.output_dtype()? {
            Some(dtype) => dtype,
            None => self.result(ctx.dtype(1)?)?,
        };
        check_scales(ctx, self.axis, self.block_size)?;
        match ctx.shape(0).map(Dims::from_slice) {
            Some(shape) => ctx.set_tensor(0, dtype, shape),
            None => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        let block = block_of(op.block_size)?;
        kernel(move |run| {
            let (x, scale) = (run.tensor(0)?, run.tensor(1)?);
            let to = op.result(scale.dtype())?;
            let y = dequantized(run.pool(), x, scale, run.try_tensor(2)?, (op.axis, block), to, || {
                run.allocate(0, to, x.shape())
            })?;
            run.set(0, y);
            Ok(())
        })
    }
}
