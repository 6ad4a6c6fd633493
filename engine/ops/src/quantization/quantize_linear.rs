//! [QuantizeLinear](https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html): numbers as codes of a few bits.

use super::linear::{CODES, Rules, block_of, check_scales, dtype_or_none, quantized, without_axis};
use crate::{Case, Draft, Form, Room, Step, attributes, floats, ints, noise, of_room};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Type, Types, Unknown, kernel, shared,
};
use oxidane_kernels::quantize::{Grid, quantize};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// `x / scale`, rounded halves to even, plus the zero point, cut to the range of the codes.
    pub struct QuantizeLinear {
        /// The axis along which scales differ.
        axis: i64 = 1,
        /// Places along the axis that share a scale; 0 where each has its own.
        block_size: i64 = 0,
        /// The type of the codes where there is no zero point to tell it; 0 is `uint8`.
        output_dtype: i64 = 0,
        /// The type to divide in; 0 is that of the scale.
        precision: i64 = 0,
        /// Whether conversions to 8-bit floats cut to their range.
        saturate: bool = true,
    }
}

const NUMBERS: Types = Types::tensors(&[DType::F32, DType::F16, DType::BF16, DType::I32]);
const SCALES: Types = NUMBERS.or(Types::tensors(&[DType::F8E8M0]));

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("x", NUMBERS, "T1"),
        Param::one("y_scale", SCALES, "T2"),
        Param::optional("y_zero_point", CODES, "T3"),
    ],
    outputs: &[Param::one("y", CODES, "T3")],
};

/// The room of QuantizeLinear.
pub static ROOM: Room = Room {
    domain: "",
    name: "QuantizeLinear",
    since: &[10, 13, 19, 21, 23, 24, 25, 28],
    signature: &SIGNATURE,
    read: |a| {
        let op = QuantizeLinear::read(a)?;
        op.output_dtype()?;
        op.precision()?;
        block_of(op.block_size)?;
        Ok(shared(op))
    },
    steps: &[
        Step { to: 13, up: |_| Ok(()), down: without_axis },
        Step { to: 19, up: |_| Ok(()), down: |d| d.drop_default("saturate", true) },
        Step {
            to: 21,
            up: |_| Ok(()),
            down: |d| {
                d.drop_default("block_size", 0i64)?;
                zero_tells_type(d)
            },
        },
        Step { to: 23, up: |_| Ok(()), down: |d| d.drop_default("precision", 0i64) },
    ],
    cases,
};

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = QuantizeLinear::default();
    let of = |dtype, shape: &[usize], values: &[i64]| Tensor::from_i64s(dtype, shape, values).expect("codes");
    let real =
        |dtype, shape: &[usize], values: &[f64]| Tensor::from_f64s(dtype, shape, values).expect("floats");
    // The specification's examples, and NumPy's rint and clip.
    let mut cases = vec![
        Case::new("one", op.clone())
            .input(floats(&[6], &[0.0, 2.0, 3.0, 1000.0, -254.0, -1000.0]))
            .input(floats(&[], &[2.0]))
            .input(of(DType::U8, &[], &[128]))
            .expect(of(DType::U8, &[6], &[128, 129, 130, 255, 1, 0])),
        Case::new("no zero point", op.clone())
            .input(floats(&[4], &[0.5, 1.5, 2.5, 300.0]))
            .input(floats(&[1], &[1.0]))
            .expect(of(DType::U8, &[4], &[0, 2, 2, 255])),
        Case::new("axis", QuantizeLinear { axis: 0, ..op.clone() })
            .input(floats(&[2, 3], &[1.0, 2.0, 3.0, 1.0, 2.0, 3.0]))
            .input(floats(&[2], &[1.0, 0.5]))
            .input(of(DType::I8, &[2], &[0, -10]))
            .expect(of(DType::I8, &[2, 3], &[1, 2, 3, -8, -6, -4])),
        Case::new("last axis", QuantizeLinear { axis: -1, ..op.clone() })
            .input(floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]))
            .input(floats(&[2], &[1.0, 0.5]))
            .input(of(DType::U8, &[2], &[1, 2]))
            .expect(of(DType::U8, &[2, 2], &[2, 6, 4, 10])),
        Case::new("blocks", QuantizeLinear { axis: 1, block_size: 2, output_dtype: 5, ..op.clone() })
            .input(floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
            .input(floats(&[2, 2], &[1.0, 0.5, 2.0, 0.001]))
            .expect(of(DType::I16, &[2, 3], &[1, 2, 6, 2, 2, 6000])),
        Case::new("integers", op.clone())
            .input(of(DType::I32, &[3], &[7, -7, 1000]))
            .input(floats(&[], &[2.0]))
            .input(of(DType::I8, &[], &[1]))
            .expect(of(DType::I8, &[3], &[5, -3, 127])),
        // 2049 is no half float, and becomes 2048 when the division is one of half floats.
        Case::new("precision", QuantizeLinear { precision: 10, output_dtype: 4, ..op.clone() })
            .input(floats(&[2], &[2049.0, 3.0]))
            .input(floats(&[], &[1.0]))
            .expect(of(DType::U16, &[2], &[2048, 3])),
        Case::new("half", op.clone())
            .input(real(DType::F16, &[2], &[3.0, -6.0]))
            .input(real(DType::F16, &[], &[2.0]))
            .input(of(DType::I8, &[], &[0]))
            .expect(of(DType::I8, &[2], &[2, -3])),
        Case::new("brain", op.clone())
            .input(real(DType::BF16, &[2], &[3.0, -6.0]))
            .input(real(DType::BF16, &[], &[2.0]))
            .input(of(DType::I8, &[], &[0]))
            .expect(of(DType::I8, &[2], &[2, -3])),
        Case::new("power of two", op.clone())
            .input(floats(&[2], &[3.0, -6.0]))
            .input(real(DType::F8E8M0, &[], &[2.0]))
            .input(of(DType::I8, &[], &[0]))
            .expect(of(DType::I8, &[2], &[2, -3])),
        Case::new("infinity", QuantizeLinear { saturate: false, ..op.clone() })
            .input(floats(&[3], &[1.0, 1e9, -1e9]))
            .input(floats(&[], &[1.0]))
            .input(real(DType::F8E5M2, &[], &[0.0]))
            .expect(
                real(DType::F64, &[3], &[1.0, f64::INFINITY, f64::NEG_INFINITY])
                    .cast(DType::F8E5M2, CastRules { saturate: false, ..CastRules::default() })
                    .expect("infinities"),
            ),
        Case::new("noise", QuantizeLinear { axis: 2, ..op.clone() })
            .input(noise(&[2, 300, 4, 50], 1))
            .input(floats(&[4], &[0.01, 0.02, 0.03, 0.04])),
    ];
    for (dtype, values) in [
        (DType::I16, [-32768, 32767]),
        (DType::U16, [0, 65535]),
        (DType::I4, [-8, 7]),
        (DType::U4, [0, 15]),
        (DType::I2, [-2, 1]),
        (DType::U2, [0, 3]),
    ] {
        cases.push(
            Case::new(dtype.name(), op.clone())
                .input(floats(&[5], &[-1e9, 1e9, 0.0, 1.0, 0.5]))
                .input(floats(&[], &[1.0]))
                .input(of(dtype, &[], &[0]))
                .expect(of(dtype, &[5], &[values[0], values[1], 0, 1, 0])),
        );
    }
    for (dtype, largest) in [
        (DType::F8E4M3FN, 448.0),
        (DType::F8E4M3FNUZ, 240.0),
        (DType::F8E5M2, 57344.0),
        (DType::F8E5M2FNUZ, 57344.0),
        (DType::F4E2M1, 6.0),
        (DType::F6E2M3, 7.5),
        (DType::F6E3M2, 28.0),
    ] {
        let code = i64::from(dtype.to_onnx());
        cases.push(
            Case::new(dtype.name(), QuantizeLinear { output_dtype: code, ..op.clone() })
                .input(floats(&[4], &[1e9, -1e9, 3.0, -1.0]))
                .input(floats(&[], &[2.0]))
                .expect(real(dtype, &[4], &[largest, -largest, 1.5, -0.5])),
        );
    }
    cases.push(
        Case::new("nothing", op)
            .input(floats(&[0, 3], &[]))
            .input(floats(&[3], &[1.0; 3]))
            .expect(ints(&[0, 3], &[]).cast(DType::U8, CastRules::default()).expect("no codes")),
    );
    cases
}

/// Before opset 21 only a zero point told the type of the codes.
fn zero_tells_type(d: &mut Draft<'_>) -> Result<(), OpError> {
    let code = d.take::<i64>("output_dtype")?.unwrap_or(0);
    let Some(dtype) = dtype_or_none("output_dtype", code, CODES)? else { return Ok(()) };
    if d.input(2).is_some() || dtype == DType::U8 {
        return Ok(());
    }
    let known =
        d.ty(1).and_then(Type::shape).and_then(|s| s.iter().map(|d| d.as_size()).collect::<Option<Vec<_>>>());
    let shape = known.ok_or_else(|| {
        OpError::new(
            "the type of the codes needs a zero point in this opset, but the scale's shape is not known",
        )
        .help("export to opset 21 or later, or give a zero point")
    })?;
    let zero = d.add_constant(Tensor::zeros(dtype, &shape)?);
    d.set_input(2, Some(zero));
    Ok(())
}

impl Default for QuantizeLinear {
    fn default() -> QuantizeLinear {
        QuantizeLinear { axis: 1, block_size: 0, output_dtype: 0, precision: 0, saturate: true }
    }
}

impl QuantizeLinear {
    fn output_dtype(&self) -> Result<Option<DType>, OpError> {
        dtype_or_none("output_dtype", self.output_dtype, CODES)
    }

    fn precision(&self) -> Result<Option<DType>, OpError> {
        let allowed = Types::tensors(&[DType::F32, DType::F16, DType::BF16]);
        dtype_or_none("precision", self.precision, allowed)
    }

    /// The type of the codes, given that of the zero point.
    fn codes(&self, zero: Option<DType>) -> Result<DType, OpError> {
        match (self.output_dtype()?, zero) {
            (Some(asked), Some(zero)) if asked != zero => Err(OpError::new(format!(
                "attribute `output_dtype` is {asked}, but the zero point is {zero}"
            ))
            .help("remove the attribute, or cast the zero point")),
            (asked, zero) => Ok(zero.or(asked).unwrap_or(DType::U8)),
        }
    }
}

/// Floats as bytes by one scale; `None` for anything else.
fn whole(run: &Run<'_>, zero: Option<&Tensor>, to: DType) -> Result<Option<Tensor>, OpError> {
    let (x, scale) = (run.tensor(0)?, run.tensor(1)?);
    let single = scale.len() == 1 && scale.rank() <= 1 && zero.is_none_or(|z| z.len() == 1 && z.rank() <= 1);
    let floats = x.dtype() == DType::F32 && scale.dtype() == DType::F32;
    if !single || !floats || !matches!(to, DType::U8 | DType::I8) {
        return Ok(None);
    }
    let zero = match zero {
        None => 0,
        Some(zero) if zero.dtype() != to => return Ok(None),
        Some(zero) if to == DType::U8 => zero.values::<u8>()?[0].into(),
        Some(zero) => zero.values::<i8>()?[0].into(),
    };
    let x = run.dense(0)?;
    let scale = scale.values::<f32>()?;
    let mut codes = run.allocate(0, to, x.shape())?;
    let (pool, floats, given) = (run.pool(), x.slice::<f32>()?, (&scale[..], &[zero][..]));
    match to {
        DType::U8 => quantize::<u8>(pool, floats, &Grid::WHOLE, given, None, (0, 255), codes.slice_mut()?)?,
        _ => quantize::<i8>(pool, floats, &Grid::WHOLE, given, None, (-128, 127), codes.slice_mut()?)?,
    }
    Ok(Some(codes.freeze()))
}

impl Op for QuantizeLinear {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        if ctx.has_input(2) && ctx.ty(2).is_none() && self.output_dtype()?.is_none() {
            return Err(Unknown::Because("the type of the zero point is not known".into()));
        }
        let dtype = self.codes(ctx.ty(2).and_then(Type::dtype))?;
        check_scales(ctx, self.axis, self.block_size)?;
        match ctx.shape(0).map(Dims::from_slice) {
            Some(shape) => ctx.set_tensor(0, dtype, shape),
            None => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        let (block, precision) = (block_of(op.block_size)?, op.precision()?);
        kernel(move |run| {
            let zero = run.try_tensor(2)?;
            let to = op.codes(zero.map(Tensor::dtype))?;
            if precision.is_none()
                && let Some(codes) = whole(run, zero, to)?
            {
                run.set(0, codes);
                return Ok(());
            }
            let rules = Rules { axis: op.axis, block, saturate: op.saturate, precision, to };
            let codes = quantized(run.pool(), run.tensor(0)?, run.tensor(1)?, zero, &rules)?;
            run.set(0, codes);
            Ok(())
        })
    }
}
