//! Reductions over axes: [ReduceSum](https://onnx.ai/onnx/operators/onnx__ReduceSum.html),
//! [ReduceMean](https://onnx.ai/onnx/operators/onnx__ReduceMean.html),
//! [ReduceMax](https://onnx.ai/onnx/operators/onnx__ReduceMax.html) and the like, as rows of [`Reduce`].

use crate::formula::{Formula, plain};
use crate::math::binary::{Binary, MUL};
use crate::math::by_type::by_type;
use crate::math::unary::Unary;
use crate::tensor::axes::Axes;
use crate::{Case, Draft, Room, Step, bools, floats, ints, types};
use oxidane_graph::{
    Attributes, Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Run, Signature, Unknown,
    ValueId, axis_index, kernel,
};
use oxidane_kernels::reduce::{self, Reduction};
use oxidane_kernels::{Function, Operand};
use oxidane_tensor::{CastRules, DType, Shape, Tensor};
use std::fmt;
use std::sync::Arc;

/// A reduction over the axes of the second input; over all where that is absent or empty.
#[derive(Clone)]
pub struct Reduce {
    room: &'static Room,
    reduction: Reduction,
    /// Whether reduced axes stay, with the size 1.
    pub keepdims: bool,
    /// Whether no axes mean none instead of all.
    pub noop_with_empty_axes: bool,
}

impl fmt::Debug for Reduce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.room.name)
            .field("keepdims", &self.keepdims)
            .field("noop_with_empty_axes", &self.noop_with_empty_axes)
            .finish()
    }
}

impl Reduce {
    /// The operator of a reduction.
    pub fn new(reduction: Reduction, keepdims: bool) -> Reduce {
        let room = match reduction {
            Reduction::Sum => &SUM,
            Reduction::Mean => &MEAN,
            Reduction::Prod => &PROD,
            Reduction::Max => &MAX,
            Reduction::Min => &MIN,
            Reduction::L1 => &L1,
            Reduction::L2 => &L2,
            Reduction::SumSquare => &SUM_SQUARE,
            Reduction::LogSum => &LOG_SUM,
            Reduction::LogSumExp => &LOG_SUM_EXP,
        };
        Reduce { room, reduction, keepdims, noop_with_empty_axes: false }
    }

    /// What it computes.
    pub fn reduction(&self) -> Reduction {
        self.reduction
    }
}

fn axes_up(d: &mut Draft<'_>) -> Result<(), OpError> {
    d.ints_to_input("axes", 1)
}

fn axes_down(d: &mut Draft<'_>) -> Result<(), OpError> {
    d.input_to_ints(1, "axes")?;
    let axes = d.attributes.value::<Vec<i64>>("axes")?;
    if axes.as_ref().is_some_and(Vec::is_empty) {
        d.attributes.take("axes");
    }
    if axes.is_none_or(|a| a.is_empty()) {
        d.drop_default("noop_with_empty_axes", false)
    } else {
        d.attributes.take("noop_with_empty_axes");
        Ok(())
    }
}

const AXES_13: &[Step] = &[Step { to: 13, up: axes_up, down: axes_down }];
const AXES_18: &[Step] = &[Step { to: 18, up: axes_up, down: axes_down }];

macro_rules! rows {
    ($($room:ident = $name:literal, $since:expr, $types:expr, $steps:expr, $reduction:expr, $outputs:expr;)*) => {$(
        #[doc = concat!("The room of ", $name, ".")]
        pub static $room: Room = Room {
            domain: "",
            name: $name,
            since: &$since,
            signature: &Signature {
                inputs: &[
                    oxidane_graph::Param::one("data", $types, "T"),
                    oxidane_graph::Param::optional("axes", types::INT64, ""),
                ],
                outputs: &[oxidane_graph::Param::one("reduced", $types, "T")],
            },
            read: |attributes| {
                crate::room::only(attributes, &["keepdims", "noop_with_empty_axes"])?;
                Ok(Arc::new(Reduce {
                    noop_with_empty_axes: attributes.value("noop_with_empty_axes")?.unwrap_or(false),
                    ..Reduce::new($reduction, attributes.value("keepdims")?.unwrap_or(true))
                }))
            },
            steps: $steps,
            cases: || cases($reduction, $types, &$outputs),
        };
    )*};
}

// The last column: 1 to 12 in the shape [3, 2, 2], reduced over axis 1, by NumPy.
rows! {
    SUM = "ReduceSum", [1, 11, 13], types::ARITHMETIC, AXES_13, Reduction::Sum,
        [4.0, 6.0, 12.0, 14.0, 20.0, 22.0];
    MEAN = "ReduceMean", [1, 11, 13, 18], types::ARITHMETIC, AXES_18, Reduction::Mean,
        [2.0, 3.0, 6.0, 7.0, 10.0, 11.0];
    MAX = "ReduceMax", [1, 11, 12, 13, 18, 20], types::EXTREME, AXES_18, Reduction::Max,
        [3.0, 4.0, 7.0, 8.0, 11.0, 12.0];
    MIN = "ReduceMin", [1, 11, 12, 13, 18, 20], types::EXTREME, AXES_18, Reduction::Min,
        [1.0, 2.0, 5.0, 6.0, 9.0, 10.0];
    PROD = "ReduceProd", [1, 11, 13, 18], types::ARITHMETIC, AXES_18, Reduction::Prod,
        [3.0, 8.0, 35.0, 48.0, 99.0, 120.0];
    L1 = "ReduceL1", [1, 11, 13, 18], types::ARITHMETIC, AXES_18, Reduction::L1,
        [4.0, 6.0, 12.0, 14.0, 20.0, 22.0];
    L2 = "ReduceL2", [1, 11, 13, 18], types::ARITHMETIC, AXES_18, Reduction::L2,
        [3.16227766, 4.47213595, 8.60232527, 10.0, 14.2126704, 15.6204994];
    SUM_SQUARE = "ReduceSumSquare", [1, 11, 13, 18], types::ARITHMETIC, AXES_18, Reduction::SumSquare,
        [10.0, 20.0, 74.0, 100.0, 202.0, 244.0];
    LOG_SUM = "ReduceLogSum", [1, 11, 13, 18, 28], types::ARITHMETIC, AXES_18, Reduction::LogSum,
        [1.38629436, 1.79175947, 2.48490665, 2.63905733, 2.99573227, 3.09104245];
    LOG_SUM_EXP = "ReduceLogSumExp", [1, 11, 13, 18, 28], types::ARITHMETIC, AXES_18, Reduction::LogSumExp,
        [3.12692801, 4.12692801, 7.12692801, 8.12692801, 11.126928, 12.126928];
}

fn cases(reduction: Reduction, types: oxidane_graph::Types, outputs: &[f64; 6]) -> Vec<Case> {
    crate::with_cases!();
    let data = |dtype| {
        let values: Vec<f64> = (1..=12).map(f64::from).collect();
        Tensor::from_f64s(dtype, &[3, 2, 2], &values).expect("twelve numbers")
    };
    let of = |name, keepdims| Case::new(name, Reduce::new(reduction, keepdims));
    let noop = Reduce { noop_with_empty_axes: true, ..Reduce::new(reduction, true) };
    let expected = |dtype, shape: &[usize]| Tensor::from_f64s(dtype, shape, outputs).expect("six numbers");
    let axis = |axis: i64| ints(&[1], &[axis]);
    let mut cases = vec![
        of("kept", true).input(data(DType::F32)).input(axis(1)).expect(expected(DType::F32, &[3, 1, 2])),
        of("negative axis", false)
            .input(data(DType::F32))
            .input(axis(-2))
            .expect(expected(DType::F32, &[3, 2])),
        of("all", false).input(data(DType::F64)),
        of("all kept", true).input(data(DType::F32)).input(ints(&[0], &[])),
        of("two axes", false).input(data(DType::F32)).input(ints(&[2], &[2, 0])),
        of("scalar", false).input(floats(&[], &[2.0])),
        of("long", true)
            .input(crate::noise(&[3, 5000], 7).cast(DType::F32, CastRules::default()).map_or_else(
                |_| floats(&[0], &[]),
                // Away from zero, so that no logarithm or product leaves the range.
                |t| {
                    Tensor::from_f64s(
                        DType::F32,
                        &[3, 5000],
                        &t.to_f64s()
                            .unwrap_or_default()
                            .iter()
                            .map(|v| 1.0 + v.abs() / 100.0)
                            .collect::<Vec<_>>(),
                    )
                    .unwrap_or(t)
                },
            ))
            .input(axis(1)),
    ];
    // Without axes to reduce, the function of one element is left.
    let alone = match reduction {
        Reduction::SumSquare => [4.0, 9.0],
        Reduction::LogSum => [std::f32::consts::LN_2, 1.098_612_3],
        _ => [2.0, 3.0],
    };
    cases.push(Case::new("no axes", noop).input(floats(&[2], &[2.0, 3.0])).expect(floats(&[2], &alone)));
    // What the specification says of reducing nothing.
    let nothing = match reduction {
        Reduction::Prod => Some(1.0),
        Reduction::Max | Reduction::LogSum | Reduction::LogSumExp => Some(f32::NEG_INFINITY),
        Reduction::Min => Some(f32::INFINITY),
        Reduction::Mean => None,
        _ => Some(0.0),
    };
    if let Some(nothing) = nothing {
        cases.push(
            of("nothing", true)
                .input(floats(&[2, 0, 4], &[]))
                .input(axis(1))
                .expect(floats(&[2, 1, 4], &[nothing; 8])),
        );
    }
    for (name, dtype, tolerance) in [
        ("double", DType::F64, 1e-8),
        ("float16", DType::F16, 1e-3),
        ("bfloat16", DType::BF16, 8e-3),
        ("int64", DType::I64, 0.0),
        ("int32", DType::I32, 0.0),
        ("int8", DType::I8, 0.0),
        ("uint64", DType::U64, 0.0),
        ("uint32", DType::U32, 0.0),
        ("uint8", DType::U8, 0.0),
    ] {
        if types.has_tensor(dtype) {
            let expected = Tensor::from_f64s(DType::F64, &[3, 2], outputs).expect("six numbers");
            let expected = expected.cast(dtype, CastRules::default()).expect("numbers cast to each other");
            cases.push(
                of(name, false).input(data(dtype)).input(axis(1)).expect(expected).tolerance(tolerance),
            );
        }
    }
    if types.has_tensor(DType::Bool) {
        let [first, second] = match reduction {
            Reduction::Max => [true, true],
            _ => [false, true],
        };
        cases.push(
            of("bool", false)
                .input(bools(&[2, 2], &[true, false, true, true]))
                .input(axis(1))
                .expect(bools(&[2], &[first, second])),
        );
        let empty = reduction == Reduction::Min;
        cases.push(
            of("no bools", false).input(bools(&[1, 0], &[])).input(axis(1)).expect(bools(&[1], &[empty])),
        );
    }
    cases
}

/// The axes to reduce, each once, from what the second input says.
fn chosen(axes: Option<&[i64]>, noop: bool, rank: usize) -> Result<Axes, OpError> {
    match axes {
        Some(axes) if !axes.is_empty() => {
            let mut found = Axes::new();
            for &axis in axes {
                let at = axis_index(axis, rank)?;
                if found.contains(&at) {
                    return Err(OpError::new(format!("the axes {axes:?} name dimension {at} twice")));
                }
                found.push(at);
            }
            Ok(found)
        }
        _ if noop => Ok(Axes::new()),
        _ => Ok((0..rank).collect()),
    }
}

impl Op for Reduce {
    fn domain(&self) -> &str {
        self.room.domain
    }

    fn name(&self) -> &str {
        self.room.name
    }

    fn attributes(&self) -> Attributes {
        Attributes::new()
            .with("keepdims", self.keepdims)
            .with("noop_with_empty_axes", self.noop_with_empty_axes)
    }

    fn signature(&self) -> Option<&'static Signature> {
        Some(self.room.signature)
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let shape = ctx.shape(0).map(Dims::from_slice);
        let axes = ctx.known_ints(1);
        let count = ctx.shape(1).and_then(|s| s.first()?.as_size());
        let Some(shape) = shape else {
            // Without axes only rank 0 is left.
            if !self.keepdims && !self.noop_with_empty_axes && !ctx.has_input(1) {
                ctx.set_tensor(0, dtype, []);
            } else {
                ctx.set_unranked(0, dtype);
            }
            return Ok(());
        };
        if ctx.has_input(1) && axes.is_none() && count != Some(0) {
            match count {
                _ if self.keepdims => {
                    let dims: Dims = (0..shape.len()).map(|axis| ctx.unknown_dim(0, axis)).collect();
                    ctx.set_tensor(0, dtype, dims);
                }
                Some(count) if count <= shape.len() => {
                    let dims: Dims = (0..shape.len() - count).map(|axis| ctx.unknown_dim(0, axis)).collect();
                    ctx.set_tensor(0, dtype, dims);
                }
                _ => ctx.set_unranked(0, dtype),
            }
            return Ok(());
        }
        let axes = chosen(axes.as_deref(), self.noop_with_empty_axes, shape.len())?;
        let dims: Dims = shape
            .iter()
            .enumerate()
            .filter_map(|(i, &size)| match axes.contains(&i) {
                false => Some(size),
                true => self.keepdims.then_some(Dim::known(1)),
            })
            .collect();
        if let Some(ints) = ctx.ints(0)
            && !ints.dims.is_empty()
            && (ints.scalar || axes.len() == 1)
        {
            let pick: Option<fn(Dim, Dim) -> Dim> = match self.reduction {
                Reduction::Sum => Some(|a, b| a + b),
                Reduction::Prod => Some(|a, b| a * b),
                Reduction::Max => Some(Dim::max),
                Reduction::Min => Some(Dim::min),
                _ => None,
            };
            if let Some(all) = pick.and_then(|pick| ints.dims.iter().copied().reduce(pick)) {
                ctx.set_ints(0, Dims::from_slice(&[all]), dims.is_empty());
            }
        }
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let data = run.dense(0)?;
            let axes = chosen(run.try_ints(1)?.as_deref(), op.noop_with_empty_axes, data.rank())?;
            match data.dtype() {
                DType::Bool => run_reduction::<u8>(run, &op, &data, &axes),
                dtype => by_type!(dtype, number T => run_reduction::<T>(run, &op, &data, &axes)),
            }
        })
    }

    fn gradient(
        &self,
        build: &mut Build<'_>,
        node: NodeId,
        outputs: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, OpError> {
        let Some(&Some(gradient)) = outputs.first() else { return Ok(vec![None, None]) };
        let y = build.graph().node(node).output(0);
        let f = &mut Formula::new(build, node);
        let (x, axes) = (f.need(0)?, f.input(1));
        let shape = f.op("Shape", &[x])?;
        let keepdims = self.keepdims;
        // With the sizes of 1 again that were left out: without axes all of them, which a scalar needs none of.
        let spread = |f: &mut Formula<'_, '_>, value| -> Result<ValueId, OpError> {
            let kept = match axes {
                Some(axes) if !keepdims => f.op("Unsqueeze", &[value, axes])?,
                _ => value,
            };
            f.op("Expand", &[kept, shape])
        };
        let y = y.ok_or_else(|| OpError::new("the result is missing"))?;
        let gradient = match self.reduction {
            Reduction::Sum => spread(f, gradient)?,
            Reduction::Mean => {
                let (all, left) = (f.op("Size", &[x])?, f.op("Size", &[y])?);
                let dtype = f.dtype(x)?;
                let (all, left) = (f.cast(all, dtype)?, f.cast(left, dtype)?);
                let share = f.op("Div", &[left, all])?;
                let part = f.op("Mul", &[gradient, share])?;
                spread(f, part)?
            }
            Reduction::Max | Reduction::Min => {
                // Those that are it share alike.
                let wide = spread(f, y)?;
                let hit = f.op("Equal", &[x, wide])?;
                let hit = f.cast(hit, f.dtype(x)?)?;
                let attributes = plain()
                    .with("keepdims", self.keepdims)
                    .with("noop_with_empty_axes", self.noop_with_empty_axes);
                let inputs: Vec<_> = [Some(hit), axes].into_iter().take_while(Option::is_some).collect();
                let count = f.node("ReduceSum", &attributes, &inputs, 1)?[0];
                let share = f.op("Div", &[gradient, count])?;
                let wide = spread(f, share)?;
                f.op("Mul", &[wide, hit])?
            }
            Reduction::LogSumExp => {
                let wide = spread(f, y)?;
                let below = f.op("Sub", &[x, wide])?;
                let weight = f.op("Exp", &[below])?;
                let wide = spread(f, gradient)?;
                f.op("Mul", &[wide, weight])?
            }
            _ => return Err(OpError::unsupported(format!("operator {} has no gradient rule", self.name()))),
        };
        Ok(vec![Some(gradient), None])
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let Some(x) = build.graph().node(node).input(0) else { return Ok(None) };
        if !build.ty(x).and_then(oxidane_graph::Type::dtype).is_some_and(DType::is_float) {
            return Ok(None);
        }
        let (before, after) = match self.reduction {
            Reduction::L1 => (Some(Function::Abs), None),
            Reduction::L2 => (None, Some(Function::Sqrt)),
            Reduction::SumSquare => (None, None),
            Reduction::LogSum => (None, Some(Function::Log)),
            Reduction::LogSumExp => return self.shifted(build, node).map(Some),
            _ => return Ok(None),
        };
        let mut inner = x;
        if let Some(function) = before {
            inner = build.add(Unary::new(function)?, &[inner]);
        }
        if matches!(self.reduction, Reduction::L2 | Reduction::SumSquare) {
            inner = build.add(Binary::of(&MUL), &[inner, inner]);
        }
        let mut inputs = build.graph().node(node).formal_inputs().to_vec();
        inputs[0] = Some(inner);
        let sum = Reduce {
            noop_with_empty_axes: self.noop_with_empty_axes,
            ..Reduce::new(Reduction::Sum, self.keepdims)
        };
        let mut outer = build.add_node(Arc::new(sum), &inputs, 1)[0];
        if let Some(function) = after {
            outer = build.add(Unary::new(function)?, &[outer]);
        }
        Ok(Some(vec![outer]))
    }
}

impl Reduce {
    /// LogSumExp of the differences from the largest, whose exponentials do not overflow.
    fn shifted(&self, build: &mut Build<'_>, node: NodeId) -> Result<Vec<ValueId>, OpError> {
        let f = &mut Formula::new(build, node);
        let (x, axes) = (f.need(0)?, f.input(1));
        let dtype = f.dtype(x)?;
        let x = f.widened(x)?;
        let reduce =
            |f: &mut Formula<'_, '_>, name: &str, value, keepdims: bool| -> Result<ValueId, OpError> {
                let attributes = plain()
                    .with("keepdims", keepdims)
                    .with("noop_with_empty_axes", self.noop_with_empty_axes);
                let inputs: Vec<_> = [Some(value), axes].into_iter().take_while(Option::is_some).collect();
                Ok(f.node(name, &attributes, &inputs, 1)?[0])
            };
        let zero = f.number(0.0, x)?;
        // From an infinite one there is no difference.
        let finite = |f: &mut Formula<'_, '_>, value| -> Result<ValueId, OpError> {
            let infinite = f.op("IsInf", &[value])?;
            f.op("Where", &[infinite, zero, value])
        };
        let wide = reduce(f, "ReduceMax", x, true)?;
        let wide = finite(f, wide)?;
        let below = f.op("Sub", &[x, wide])?;
        let powers = f.op("Exp", &[below])?;
        let sum = reduce(f, "ReduceSum", powers, self.keepdims)?;
        let log = f.op("Log", &[sum])?;
        let largest = reduce(f, "ReduceMax", x, self.keepdims)?;
        let largest = finite(f, largest)?;
        let y = f.op("Add", &[log, largest])?;
        Ok(vec![f.cast(y, dtype)?])
    }
}

fn run_reduction<T: Operand>(
    run: &mut Run<'_>,
    op: &Reduce,
    data: &Tensor,
    axes: &[usize],
) -> Result<(), OpError> {
    let shape: Shape = data
        .shape()
        .iter()
        .enumerate()
        .filter_map(|(i, &size)| match axes.contains(&i) {
            false => Some(size),
            true => op.keepdims.then_some(1),
        })
        .collect();
    let mut out = run.allocate(0, data.dtype(), &shape)?;
    reduce::reduce::<T>(run.pool(), op.reduction, (data.slice()?, data.shape()), axes, out.slice_mut()?)?;
    if data.dtype() == DType::Bool {
        // The smallest of no bytes is 255.
        out.as_bytes_mut().iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
    }
    run.set(0, out.freeze());
    Ok(())
}
