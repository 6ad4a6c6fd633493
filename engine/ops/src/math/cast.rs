//! [Cast](https://onnx.ai/onnx/operators/onnx__Cast.html): the elements in another type.

use crate::formula::Formula;
use crate::{Case, Form, Room, Step, attributes, bools, floats, ints, of_room, types};
use oxidane_graph::{
    Attribute, Build, Call, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Type, Unknown,
    ValueId, kernel, shared,
};
use oxidane_tensor::{CastRules, DType, RoundMode, Tensor};
use std::sync::Arc;

attributes! {
    /// The elements converted to the type `to`.
    pub struct Cast {
        /// How conversions to powers of two (`float8e8m0`) round: `up`, `down` or `nearest`.
        round_mode: String = "up".to_owned(),
        /// Whether conversions to 8-bit floats cut to their range.
        saturate: bool = true,
        /// The type of the result.
        to: DType,
    }
}

impl Cast {
    /// The conversion to a type, by the usual rules.
    pub fn new(to: DType) -> Cast {
        Cast { round_mode: "up".to_owned(), saturate: true, to }
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::CASTABLE, "T1")],
    outputs: &[Param::one("output", types::CASTABLE, "T2")],
};

/// The attribute `round_mode` came with opset 24.
pub(crate) const ROUND_MODE: Step =
    Step { to: 24, up: |_| Ok(()), down: |d| d.drop_default("round_mode", "up".to_owned()) };

/// The attribute `saturate` came with opset 19.
pub(crate) const SATURATE: Step = Step { to: 19, up: |_| Ok(()), down: |d| d.drop_default("saturate", true) };

/// The room of Cast.
pub static ROOM: Room = Room {
    domain: "",
    name: "Cast",
    since: &[1, 6, 9, 13, 19, 21, 23, 24, 25, 28],
    signature: &SIGNATURE,
    read: |a| {
        let op = Cast::read(a)?;
        rules(op.saturate, &op.round_mode)?;
        Ok(shared(op))
    },
    steps: &[
        Step {
            to: 6,
            up: |d| {
                let Some(Attribute::String(name)) = d.attributes.get("to").cloned() else { return Ok(()) };
                let name = String::from_utf8_lossy(&name).to_lowercase();
                let dtype = DType::from_name(&name).ok_or_else(|| {
                    OpError::new(format!("attribute `to` is `{name}`, which is no element type"))
                })?;
                d.attributes.set("to", dtype);
                Ok(())
            },
            down: |d| {
                if let Some(dtype) = d.attributes.value::<DType>("to")? {
                    d.attributes.set("to", dtype.name().to_uppercase());
                }
                Ok(())
            },
        },
        SATURATE,
        ROUND_MODE,
    ],
    cases: || {
        crate::with_cases!();
        let to = Cast::new;
        let x = || floats(&[5], &[-1.5, 0.0, 0.75, 2.5, 3.0]);
        let texts = |all: &[&str]| {
            Tensor::from_strings(&[all.len()], all.iter().map(|&s| Arc::from(s)).collect()).expect("a vector")
        };
        let mut cases = vec![
            Case::new("truncated", to(DType::I64)).input(x()).expect(ints(&[5], &[-1, 0, 0, 2, 3])),
            Case::new("bool", to(DType::Bool))
                .input(x())
                .expect(bools(&[5], &[true, false, true, true, true])),
            Case::new("from bool", to(DType::F32))
                .input(bools(&[2], &[true, false]))
                .expect(floats(&[2], &[1.0, 0.0])),
            // The specification: out of range is cut where `saturate` is set, otherwise NaN.
            Case::new("saturated", to(DType::F8E4M3FN)).input(floats(&[2], &[1000.0, -1000.0])).expect(
                floats(&[2], &[448.0, -448.0]).cast(DType::F8E4M3FN, CastRules::default()).expect("floats"),
            ),
            Case::new("unsaturated", Cast { saturate: false, ..to(DType::F8E5M2) })
                .input(floats(&[2], &[1e6, -1e6]))
                .expect(
                    floats(&[2], &[f32::INFINITY, f32::NEG_INFINITY])
                        .cast(DType::F8E5M2, CastRules { saturate: false, ..CastRules::default() })
                        .expect("floats"),
                ),
            Case::new("from string", to(DType::F32))
                .input(texts(&["1.5", "-2", "1e2"]))
                .expect(floats(&[3], &[1.5, -2.0, 100.0])),
            Case::new("to string", to(DType::String))
                .input(ints(&[2], &[7, -12]))
                .expect(texts(&["7", "-12"])),
            Case::new("round down", Cast { round_mode: "down".to_owned(), ..to(DType::F8E8M0) })
                .input(floats(&[2], &[3.0, 5.0]))
                .expect(
                    floats(&[2], &[2.0, 4.0])
                        .cast(DType::F8E8M0, CastRules::default())
                        .expect("powers of two"),
                ),
            Case::new("empty", to(DType::F16))
                .input(floats(&[0, 2], &[]))
                .expect(Tensor::zeros(DType::F16, &[0, 2]).expect("an empty tensor")),
        ];
        // There and back: small integers survive in every type.
        let small = floats(&[4], &[0.0, 1.0, 1.0, 0.0]);
        let real =
            DType::ALL.into_iter().filter(|d| !d.is_complex() && *d != DType::F8E8M0 && *d != DType::I2);
        for dtype in real {
            let there = small.cast(dtype, CastRules::default()).expect("real numbers cast to each other");
            if dtype != DType::String {
                cases.push(Case::new(dtype.name(), to(DType::F32)).input(there).expect(small.clone()));
            }
        }
        cases
    },
};

/// The rules of a conversion from the attributes.
///
/// # Errors
/// When the rounding mode is not one of the three.
pub(crate) fn rules(saturate: bool, round_mode: &str) -> Result<CastRules, OpError> {
    let round = match round_mode {
        "up" => RoundMode::Up,
        "down" => RoundMode::Down,
        "nearest" => RoundMode::Nearest,
        other => {
            return Err(OpError::new(format!("attribute `round_mode` is `{other}`"))
                .help("it is `up`, `down` or `nearest`"));
        }
    };
    Ok(CastRules { saturate, round })
}

/// Output 0 is input 0 in the type `to`; small integers keep being tracked.
pub(crate) fn infer_cast(ctx: &mut InferCtx<'_>, to: DType, rules: CastRules) -> Result<(), Unknown> {
    ctx.known_ty(0)?;
    match ctx.shape(0).map(Dims::from_slice) {
        Some(shape) => ctx.set_tensor(0, to, shape),
        None => ctx.set(0, Type::unranked(to)),
    }
    if matches!(to, DType::I64 | DType::I32)
        && let Some(ints) = ctx.ints(0)
    {
        ctx.set_ints(0, ints.dims, ints.scalar);
    }
    let small = ctx.constant(0).filter(|t| t.len() <= 256);
    if let Some(Ok(tensor)) = small.map(|t| t.cast(to, rules)) {
        ctx.set_constant(0, tensor);
    }
    Ok(())
}

impl Op for Cast {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        infer_cast(ctx, self.to, rules(self.saturate, &self.round_mode)?)
    }

    fn gradient(
        &self,
        build: &mut Build<'_>,
        node: NodeId,
        outputs: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, OpError> {
        let Some(&Some(gradient)) = outputs.first() else { return Ok(vec![None]) };
        let f = &mut Formula::new(build, node);
        let from = f.dtype(f.need(0)?)?;
        // Integers and bools on either side carry no derivative.
        if !from.is_float() || !self.to.is_float() {
            return Ok(vec![None]);
        }
        Ok(vec![Some(f.cast(gradient, from)?)])
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (to, rules) = (self.to, rules(self.saturate, &self.round_mode)?);
        kernel(move |run| {
            let x = run.tensor(0)?;
            let out = x.cast_into(to, rules, || run.allocate(0, to, x.shape()))?;
            run.set(0, out);
            Ok(())
        })
    }
}
