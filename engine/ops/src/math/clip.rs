//! [Clip](https://onnx.ai/onnx/operators/onnx__Clip.html): elements cut to a range.

use crate::formula::Formula;
use crate::math::binary::compute;
use crate::math::unary::{UNCONSUMED, apply};
use crate::{Case, Form, Room, Step, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature, Unknown, ValueId, kernel,
    shared,
};
use oxidane_kernels::Function;
use oxidane_kernels::map::Binary;
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// Elements below the second input become it, then elements above the third become that.
    pub struct Clip {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input", types::NUMERIC, "T"),
        Param::optional("min", types::NUMERIC, "T"),
        Param::optional("max", types::NUMERIC, "T"),
    ],
    outputs: &[Param::one("output", types::NUMERIC, "T")],
};

/// The room of Clip.
pub static ROOM: Room = Room {
    domain: "",
    name: "Clip",
    since: &[1, 6, 11, 12, 13],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Clip::read(a)?)),
    steps: &[
        UNCONSUMED,
        Step {
            to: 11,
            up: |d| {
                d.float_to_input("min", 1)?;
                d.float_to_input("max", 2)
            },
            down: |d| {
                for (name, slot) in [("max", 2), ("min", 1)] {
                    if d.input(slot).is_none() {
                        d.drop_input(slot);
                        continue;
                    }
                    let bound = d.constant(slot).and_then(|t| t.to_f64s().ok()?.first().copied());
                    let Some(bound) = bound else {
                        return Err(OpError::new(format!(
                            "input {slot} (`{name}`) is computed, but this opset wants a constant attribute"
                        ))
                        .help("export to opset 11 or later"));
                    };
                    d.attributes.set(name, bound as f32);
                    d.drop_input(slot);
                }
                Ok(())
            },
        },
    ],
    cases: || {
        crate::with_cases!();
        let x = || floats(&[2, 3], &[-2.0, -1.0, 0.0, 0.5, 1.0, 2.0]);
        let bound = |v: f32| floats(&[], &[v]);
        let mut cases = vec![
            Case::new("both", Clip {})
                .input(x())
                .input(bound(-1.0))
                .input(bound(0.75))
                .expect(floats(&[2, 3], &[-1.0, -1.0, 0.0, 0.5, 0.75, 0.75])),
            Case::new("min", Clip {})
                .input(x())
                .input(bound(0.0))
                .expect(floats(&[2, 3], &[0.0, 0.0, 0.0, 0.5, 1.0, 2.0])),
            Case::new("max", Clip {})
                .input(x())
                .absent()
                .input(bound(0.0))
                .expect(floats(&[2, 3], &[-2.0, -1.0, 0.0, 0.0, 0.0, 0.0])),
            Case::new("neither", Clip {}).input(x()).expect(x()),
            // The specification: where min is above max, every element becomes max.
            Case::new("crossed", Clip {})
                .input(x())
                .input(bound(2.0))
                .input(bound(1.0))
                .expect(floats(&[2, 3], &[1.0; 6])),
            Case::new("empty", Clip {}).input(floats(&[0], &[])).input(bound(2.0)).expect(floats(&[0], &[])),
        ];
        for (name, dtype) in [
            ("int64", DType::I64),
            ("int32", DType::I32),
            ("int16", DType::I16),
            ("int8", DType::I8),
            ("uint64", DType::U64),
            ("uint32", DType::U32),
            ("uint16", DType::U16),
            ("uint8", DType::U8),
            ("double", DType::F64),
            ("float16", DType::F16),
            ("bfloat16", DType::BF16),
        ] {
            let of = |shape: &[usize], values: &[i64]| {
                ints(shape, values).cast(dtype, CastRules::default()).expect("a number")
            };
            cases.push(
                Case::new(name, Clip {})
                    .input(of(&[4], &[1, 2, 3, 4]))
                    .input(of(&[], &[2]))
                    .input(of(&[], &[3]))
                    .expect(of(&[4], &[2, 2, 3, 3])),
            );
        }
        cases
    },
};

impl Op for Clip {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        ctx.set(0, ctx.known_ty(0)?.clone());
        for slot in [1, 2] {
            if let Some(shape) = ctx.shape(slot)
                && shape.iter().any(|d| d.as_known().is_some_and(|d| d != 1))
            {
                return Err(Unknown::wrong(format!("{} must be a scalar", ctx.called(slot))));
            }
        }
        Ok(())
    }

    fn in_place(&self) -> &[usize] {
        &[0]
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let mut y = f.need(0)?;
        for (slot, name) in [(1, "Max"), (2, "Min")] {
            if let Some(bound) = f.input(slot) {
                y = f.op(name, &[y, bound])?;
            }
        }
        Ok(Some(vec![y]))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let (min, max) = (bound(run, 1)?, bound(run, 2)?);
            if run.tensor(0)?.dtype().is_float() {
                let of = |bound: Option<Tensor>, open: f64| -> Result<f64, OpError> {
                    Ok(bound.map(|t| t.to_f64s()).transpose()?.map_or(open, |values| values[0]))
                };
                let function =
                    Function::Clip { min: of(min, f64::NEG_INFINITY)?, max: of(max, f64::INFINITY)? };
                let x = run.take(0)?;
                return apply(run, function, x);
            }
            let mut x = run.dense(0)?;
            for (operator, bound) in [(Binary::Max, min), (Binary::Min, max)] {
                if let Some(bound) = bound {
                    x = compute(run, operator, &x, &bound)?;
                }
            }
            run.set(0, x);
            Ok(())
        })
    }
}

/// The scalar of an input, where it is given.
fn bound(run: &Run<'_>, slot: usize) -> Result<Option<Tensor>, OpError> {
    let Some(tensor) = run.try_tensor(slot)? else { return Ok(None) };
    if tensor.len() != 1 || tensor.dtype() != run.tensor(0)?.dtype() {
        return Err(OpError::new(format!(
            "input {slot} must be a scalar of the input's type, but is {} of the shape {:?}",
            tensor.dtype(),
            tensor.shape()
        )));
    }
    Ok(Some(tensor.reshape(&[])?.to_dense()?))
}
