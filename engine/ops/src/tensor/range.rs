//! [Range](https://onnx.ai/onnx/operators/onnx__Range.html): numbers from a start to before a limit.

use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, Step, attributes, floats, ints, of_room};
use half::{bf16, f16};
use oxidane_graph::{
    Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature, Types, Unknown,
    ValueId, kernel, shared,
};
use oxidane_kernels::Number;
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// `start`, `start + delta`, ... to before `limit`.
    pub struct Range {
        /// In which type the 16-bit floats compute: 1 is float, which is what all opsets do here.
        stash_type: i64 = 1,
    }
}

const TYPES: Types =
    Types::tensors(&[DType::BF16, DType::F64, DType::F32, DType::F16, DType::I16, DType::I32, DType::I64]);

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("start", TYPES, "T"),
        Param::one("limit", TYPES, "T"),
        Param::one("delta", TYPES, "T"),
    ],
    outputs: &[Param::one("output", TYPES, "T")],
};

/// The room of Range.
pub static ROOM: Room = Room {
    domain: "",
    name: "Range",
    since: &[11, 27],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Range::read(a)?)),
    steps: &[Step { to: 27, up: |_| Ok(()), down: |d| d.drop_default("stash_type", 1i64) }],
    cases: || {
        crate::with_cases!();
        let of = |start: f32, limit: f32, delta: f32| {
            let scalar = |v| floats(&[], &[v]);
            Case::new("floats", Range { stash_type: 1 })
                .input(scalar(start))
                .input(scalar(limit))
                .input(scalar(delta))
        };
        let scalar = |v| ints(&[], &[v]);
        // The official cases test_range_*.
        vec![
            of(1.0, 5.0, 2.0).expect(floats(&[2], &[1.0, 3.0])),
            Case::new("backwards", Range { stash_type: 1 })
                .input(scalar(10))
                .input(scalar(6))
                .input(scalar(-3))
                .expect(ints(&[2], &[10, 7])),
            Case::new("nothing", Range { stash_type: 1 })
                .input(scalar(3))
                .input(scalar(3))
                .input(scalar(1))
                .expect(ints(&[0], &[])),
            Case::new("halves", Range { stash_type: 1 })
                .input(Tensor::scalar(f16::from_f32(0.5)))
                .input(Tensor::scalar(f16::from_f32(2.0)))
                .input(Tensor::scalar(f16::from_f32(0.5)))
                .expect(
                    Tensor::new(&[3], &[0.5, 1.0, 1.5].map(f16::from_f32)).expect("three values fill it"),
                ),
        ]
    },
};

/// How many numbers there are.
fn count(start: i64, limit: i64, delta: i64) -> Result<usize, OpError> {
    let (gap, step) = match delta {
        0 => return Err(OpError::new("a delta of 0 does not lead anywhere").help("delta may not be 0")),
        1.. => (i128::from(limit) - i128::from(start), i128::from(delta)),
        _ => (i128::from(start) - i128::from(limit), -i128::from(delta)),
    };
    if gap <= 0 {
        return Ok(0);
    }
    usize::try_from((gap + step - 1) / step).map_err(|_| OpError::new("the range is longer than memory"))
}

fn float_count(start: f64, limit: f64, delta: f64) -> Result<usize, OpError> {
    let count = ((limit - start) / delta).ceil();
    match count {
        _ if delta == 0.0 || count.is_nan() => {
            Err(OpError::new(format!("there is no range from {start} to {limit} in steps of {delta}")))
        }
        n if n <= 0.0 => Ok(0),
        n if n < 9e15 => Ok(n as usize),
        _ => Err(OpError::new(format!("the range from {start} to {limit} by {delta} is longer than memory"))),
    }
}

fn one<T: Number>(run: &Run<'_>, input: usize) -> Result<T, OpError> {
    let tensor = run.dense(input)?;
    match tensor.slice::<T>()? {
        [value] => Ok(*value),
        other => {
            Err(OpError::new(format!("input {input} must be one number, but has {} elements", other.len())))
        }
    }
}

fn write<T: Number>(run: &mut Run<'_>) -> Result<(), OpError> {
    let (start, limit, delta) = (one::<T>(run, 0)?, one::<T>(run, 1)?, one::<T>(run, 2)?);
    if T::FLOAT {
        // Computed in the wide type, as repeated sums would pile up errors.
        let count = float_count(start.to_f64(), limit.to_f64(), delta.to_f64())?;
        return run.write::<T>(0, &[count], |out| {
            for (i, y) in out.iter_mut().enumerate() {
                let step = T::Wide::from_f64(i as f64).times(delta.wide());
                *y = T::narrow(start.wide().plus(step));
            }
            Ok(())
        });
    }
    let integer = |input: usize| -> Result<i64, OpError> {
        run.tensor(input)?.to_i64s()?.first().copied().ok_or_else(|| OpError::new("an input is empty"))
    };
    let count = count(integer(0)?, integer(1)?, integer(2)?)?;
    run.write::<T>(0, &[count], |out| {
        let mut next = start;
        for y in out {
            *y = next;
            next = next.plus(delta);
        }
        Ok(())
    })
}

impl Op for Range {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0).or_else(|_| ctx.dtype(1)).or_else(|_| ctx.dtype(2))?;
        let number = |input: usize| ctx.ints(input).and_then(|i| i.dims.first().copied());
        let mut len = None;
        let mut values = None;
        if let (Some(start), Some(limit), Some(delta)) = (number(0), number(1), number(2)) {
            match (start.as_known(), limit.as_known(), delta.as_known()) {
                (Some(start), Some(limit), Some(delta)) => {
                    let n = count(start, limit, delta)?;
                    len = Some(Dim::from(n));
                    if n <= 256 {
                        let value =
                            |i: usize| (i as i64).checked_mul(delta)?.checked_add(start).map(Dim::known);
                        values = (0..n).map(value).collect::<Option<Dims>>();
                    }
                }
                (_, _, Some(0)) => return Err(Unknown::wrong("delta is 0")),
                (_, _, Some(delta)) if delta > 0 => {
                    len = Some((limit - start).ceil_div(Dim::known(delta)).max(Dim::known(0)));
                }
                (_, _, Some(delta)) if delta > i64::MIN => {
                    len = Some((start - limit).ceil_div(Dim::known(-delta)).max(Dim::known(0)));
                }
                _ => {}
            }
        } else if let (Some(start), Some(limit), Some(delta)) =
            (ctx.constant(0), ctx.constant(1), ctx.constant(2))
            && let ([start], [limit], [delta]) =
                (start.to_f64s()?.as_slice(), limit.to_f64s()?.as_slice(), delta.to_f64s()?.as_slice())
            && dtype.is_float()
        {
            len = Some(Dim::from(float_count(*start, *limit, *delta)?));
        }
        let len = len.unwrap_or_else(|| ctx.unknown_dim(0, 0));
        ctx.set_tensor(0, dtype, [len]);
        if let Some(values) = values {
            ctx.set_ints(0, values, false);
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        if self.stash_type != 1 && self.stash_type != 10 && self.stash_type != 16 {
            return Err(OpError::unsupported(format!("Range with stash_type {}", self.stash_type)));
        }
        kernel(|run| match run.tensor(0)?.dtype() {
            DType::F32 => write::<f32>(run),
            DType::F64 => write::<f64>(run),
            DType::F16 => write::<f16>(run),
            DType::BF16 => write::<bf16>(run),
            DType::I16 => write::<i16>(run),
            DType::I32 => write::<i32>(run),
            DType::I64 => write::<i64>(run),
            other => Err(OpError::new(format!("Range is not defined for {other}"))),
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let (start, limit, delta) = (f.need(0)?, f.need(1)?, f.need(2)?);
        let Ok(dtype) = f.dtype(start) else { return Ok(None) };
        let float = dtype.is_float();
        let wide = |f: &mut Formula<'_, '_>, value, to| -> Result<ValueId, OpError> {
            let scalar = f.ints(&[])?;
            let value = f.op("Reshape", &[value, scalar])?;
            f.cast(value, to)
        };
        let exact = if float { DType::F64 } else { DType::I64 };
        let [from, to, by] = [wide(f, start, exact)?, wide(f, limit, exact)?, wide(f, delta, exact)?];
        let gap = f.op("Sub", &[to, from])?;
        let mut count = match float {
            true => {
                let steps = f.op("Div", &[gap, by])?;
                f.op("Ceil", &[steps])?
            }
            false => {
                // Rounded up, for division cuts towards zero.
                let sign = f.op("Sign", &[by])?;
                let rest = f.op("Sub", &[by, sign])?;
                let gap = f.op("Add", &[gap, rest])?;
                f.op("Div", &[gap, by])?
            }
        };
        count = f.cast(count, DType::I64)?;
        let zero = f.scalar(0.0, DType::I64)?;
        let one = f.ints(&[1])?;
        let count = f.op("Max", &[count, zero])?;
        let count = f.op("Reshape", &[count, one])?;
        let ones = Tensor::new(&[1], &[1i64])?;
        let ones = f.with("ConstantOfShape", plain().with("value", ones), &[count])?;
        let places = f.op("NonZero", &[ones])?;
        let first = f.ints(&[0])?;
        let places = f.op("Squeeze", &[places, first])?;
        let computed = match dtype {
            DType::F64 => DType::F64,
            _ if float => DType::F32,
            _ => DType::I64,
        };
        let places = f.cast(places, computed)?;
        let (start, delta) = (wide(f, start, computed)?, wide(f, delta, computed)?);
        let ways = f.op("Mul", &[places, delta])?;
        let numbers = f.op("Add", &[start, ways])?;
        Ok(Some(vec![f.cast(numbers, dtype)?]))
    }
}
