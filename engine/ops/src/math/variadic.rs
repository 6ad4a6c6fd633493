//! Functions of any number of tensors with broadcasting: [Max](https://onnx.ai/onnx/operators/onnx__Max.html),
//! [Min](https://onnx.ai/onnx/operators/onnx__Min.html), [Sum](https://onnx.ai/onnx/operators/onnx__Sum.html)
//! and [Mean](https://onnx.ai/onnx/operators/onnx__Mean.html), as rows of [`Variadic`].

use crate::formula::Formula;
use crate::math::binary::compute;
use crate::math::unary::UNCONSUMED;
use crate::{Case, Room, Step, floats, types};
use oxidane_graph::{
    Attributes, Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Run, Signature, Type, Unknown,
    ValueId, broadcast_dims, kernel,
};
use oxidane_kernels::map::Binary;
use oxidane_tensor::{CastRules, DType, Tensor};
use std::fmt;
use std::sync::Arc;

/// What becomes of the elements in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// Their sum.
    Sum,
    /// Their sum over their number.
    Mean,
}

/// A function of the elements of several tensors that broadcast to each other.
#[derive(Clone)]
pub struct Variadic {
    room: &'static Room,
    function: Function,
}

impl fmt::Debug for Variadic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.function.fmt(f)
    }
}

impl Variadic {
    /// The operator of a function.
    pub fn new(function: Function) -> Variadic {
        let room = match function {
            Function::Max => &MAX,
            Function::Min => &MIN,
            Function::Sum => &SUM,
            Function::Mean => &MEAN,
        };
        Variadic { room, function }
    }

    /// The function.
    pub fn function(&self) -> Function {
        self.function
    }
}

/// Broadcasting came with opset 8.
const BROADCAST: Step = Step {
    to: 8,
    up: |_| Ok(()),
    down: |d| {
        let shapes: Vec<Option<Dims>> =
            (0..d.inputs.len()).map(|slot| d.ty(slot).and_then(Type::shape).map(Dims::from_slice)).collect();
        match shapes.windows(2).all(|pair| pair[0].is_some() && pair[0] == pair[1]) {
            true => Ok(()),
            false => Err(OpError::new(
                "this opset asks for inputs of one shape, which these are not known to have",
            )
            .help("export to opset 8 or later")),
        }
    },
};

macro_rules! rows {
    ($($room:ident = $name:literal, $since:expr, $types:expr, $output:literal, $function:expr, $outputs:expr;)*) => {$(
        #[doc = concat!("The room of ", $name, ".")]
        pub static $room: Room = Room {
            domain: "",
            name: $name,
            since: &$since,
            signature: &Signature {
                inputs: &[oxidane_graph::Param::variadic("data_0", $types, "T", 1)],
                outputs: &[oxidane_graph::Param::one($output, $types, "T")],
            },
            read: |attributes| {
                crate::room::only(attributes, &[])?;
                Ok(Arc::new(Variadic::new($function)))
            },
            steps: &[UNCONSUMED, BROADCAST],
            cases: || cases($function, $types.has_tensor(DType::I64), $outputs),
        };
    )*};
}

rows! {
    MAX = "Max", [1, 6, 8, 12, 13], types::NUMERIC, "max", Function::Max, [3.0, 5.0, 4.0];
    MIN = "Min", [1, 6, 8, 12, 13], types::NUMERIC, "min", Function::Min, [1.0, 2.0, 2.0];
    SUM = "Sum", [1, 6, 8, 13], types::FLOAT, "sum", Function::Sum, [6.0, 9.0, 12.0];
    MEAN = "Mean", [1, 6, 8, 13], types::FLOAT, "mean", Function::Mean, [2.0, 3.0, 4.0];
}

/// The specification's examples; those of Max and Min in every type.
fn cases(function: Function, integers: bool, outputs: [f64; 3]) -> Vec<Case> {
    crate::with_cases!();
    let op = || Variadic::new(function);
    let inputs = match function {
        Function::Max => [[3.0, 2.0, 1.0], [1.0, 4.0, 4.0], [2.0, 5.0, 3.0]],
        Function::Min => [[3.0, 2.0, 2.0], [1.0, 4.0, 4.0], [2.0, 5.0, 3.0]],
        _ => [[3.0, 0.0, 2.0], [1.0, 3.0, 4.0], [2.0, 6.0, 6.0]],
    };
    let mut dtypes = vec![
        ("float", DType::F32),
        ("double", DType::F64),
        ("float16", DType::F16),
        ("bfloat16", DType::BF16),
    ];
    if integers {
        dtypes.extend([
            ("int64", DType::I64),
            ("int32", DType::I32),
            ("int16", DType::I16),
            ("int8", DType::I8),
            ("uint64", DType::U64),
            ("uint32", DType::U32),
            ("uint16", DType::U16),
            ("uint8", DType::U8),
        ]);
    }
    let mut cases: Vec<Case> = dtypes
        .into_iter()
        .map(|(name, dtype)| {
            let tensor = |values: &[f64]| Tensor::from_f64s(dtype, &[3], values).expect("three numbers");
            let case = Case::new(name, op()).expect(tensor(&outputs));
            inputs.iter().fold(case, |case, values| case.input(tensor(values)))
        })
        .collect();
    cases.push(Case::new("one", op()).input(floats(&[2], &[1.0, -2.0])).expect(floats(&[2], &[1.0, -2.0])));
    let (column, row) = (floats(&[2, 1], &[1.0, 4.0]), floats(&[2], &[2.0, 6.0]));
    let both = match function {
        Function::Max => [2.0, 6.0, 4.0, 6.0],
        Function::Min => [1.0, 1.0, 2.0, 4.0],
        Function::Sum => [3.0, 7.0, 6.0, 10.0],
        Function::Mean => [1.5, 3.5, 3.0, 5.0],
    };
    cases.push(Case::new("broadcast", op()).input(column).input(row).expect(floats(&[2, 2], &both)));
    cases
}

impl Op for Variadic {
    fn domain(&self) -> &str {
        self.room.domain
    }

    fn name(&self) -> &str {
        self.room.name
    }

    fn attributes(&self) -> Attributes {
        Attributes::new()
    }

    fn signature(&self) -> Option<&'static Signature> {
        Some(self.room.signature)
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let count = ctx.input_count();
        let shapes: Option<Vec<&[Dim]>> = (0..count).map(|slot| ctx.shape(slot)).collect();
        match shapes {
            Some(shapes) => {
                let joined = shapes.iter().try_fold(Dims::new(), |all, shape| broadcast_dims(&all, shape))?;
                ctx.set_tensor(0, dtype, joined);
            }
            None => ctx.set_unranked(0, dtype),
        }
        let pick: fn(Dim, Dim) -> Dim = match self.function {
            Function::Max => Dim::max,
            Function::Min => Dim::min,
            _ => return Ok(()),
        };
        let Some(mut all) = ctx.ints(0) else { return Ok(()) };
        for slot in 1..count {
            let Some(next) = ctx.ints(slot) else { return Ok(()) };
            let (n, m) = (all.dims.len(), next.dims.len());
            if n != m && n != 1 && m != 1 {
                return Ok(());
            }
            let length = if n == 1 { m } else { n };
            let at = |dims: &Dims, i: usize| if dims.len() == 1 { dims[0] } else { dims[i] };
            all.dims = (0..length).map(|i| pick(at(&all.dims, i), at(&next.dims, i))).collect();
            all.scalar &= next.scalar;
        }
        ctx.set_ints(0, all.dims, all.scalar);
        Ok(())
    }

    fn gradient(
        &self,
        build: &mut Build<'_>,
        node: NodeId,
        outputs: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, OpError> {
        let count = build.graph().node(node).formal_inputs().len();
        let Some(&Some(gradient)) = outputs.first() else { return Ok(vec![None; count]) };
        let y = build.graph().node(node).output(0);
        let f = &mut Formula::new(build, node);
        let inputs: Vec<ValueId> = (0..count).map(|slot| f.need(slot)).collect::<Result<_, _>>()?;
        let shares = match self.function {
            Function::Sum => vec![gradient; count],
            Function::Mean => {
                let share = f.number(1.0 / count as f64, gradient)?;
                vec![f.op("Mul", &[gradient, share])?; count]
            }
            Function::Max | Function::Min => {
                // Those that are it share alike.
                let y = y.ok_or_else(|| OpError::new("the result is missing"))?;
                let dtype = f.dtype(y)?;
                let mut hits = Vec::with_capacity(count);
                for &x in &inputs {
                    let hit = f.op("Equal", &[x, y])?;
                    hits.push(f.cast(hit, dtype)?);
                }
                let all = f.op("Sum", &hits)?;
                let share = f.op("Div", &[gradient, all])?;
                hits.into_iter().map(|hit| f.op("Mul", &[share, hit])).collect::<Result<_, _>>()?
            }
        };
        inputs.into_iter().zip(shares).map(|(x, share)| f.unbroadcast(share, x).map(Some)).collect()
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let function = self.function;
        kernel(move |run| {
            let dtype = run.tensor(0)?.dtype();
            // Sums of 16-bit floats are rounded once.
            let wide = match function {
                Function::Sum | Function::Mean if matches!(dtype, DType::F16 | DType::BF16) => DType::F32,
                _ => dtype,
            };
            combine(run, function, wide)
        })
    }
}

/// Computes in `wide`, rounding to the inputs' type at the end.
fn combine(run: &mut Run<'_>, function: Function, wide: DType) -> Result<(), OpError> {
    let operator = match function {
        Function::Max => Binary::Max,
        Function::Min => Binary::Min,
        Function::Sum | Function::Mean => Binary::Add,
    };
    let dtype = run.tensor(0)?.dtype();
    let count = run.input_count();
    let dense = |run: &Run<'_>, slot: usize| -> Result<Tensor, OpError> {
        let tensor = run.tensor(slot)?;
        if tensor.dtype() != dtype {
            return Err(OpError::new(format!("input {slot} is {}, but input 0 is {dtype}", tensor.dtype())));
        }
        Ok(tensor.cast(wide, CastRules::default())?.to_dense()?)
    };
    let mut all = dense(run, 0)?;
    for slot in 1..count {
        all = compute(run, operator, &all, &dense(run, slot)?)?;
    }
    if function == Function::Mean && count > 1 {
        let number = Tensor::from_f64s(wide, &[], &[count as f64])?;
        all = compute(run, Binary::Div, &all, &number)?;
    }
    run.set(0, all.cast(dtype, CastRules::default())?);
    Ok(())
}
