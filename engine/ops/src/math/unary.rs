//! Functions of one tensor, element by element: [`Unary`] with a row for each of
//! [Abs](https://onnx.ai/onnx/operators/onnx__Abs.html), [Neg](https://onnx.ai/onnx/operators/onnx__Neg.html),
//! [Exp](https://onnx.ai/onnx/operators/onnx__Exp.html) and the like; activations follow in
//! [`crate::math::activation`].

use crate::math::by_type::by_type;
use crate::math::{activation, derivative};
use crate::{Case, Room, Step, types};
use oxidane_graph::{
    Attributes, Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Run, Signature, Unknown,
    ValueId, kernel,
};
use oxidane_kernels::{Function, map};
use oxidane_tensor::{CastRules, DType, Tensor};
use std::fmt;
use std::sync::Arc;

/// A function of each element, with the attributes of its operator inside.
#[derive(Clone)]
pub struct Unary {
    room: &'static Room,
    function: Function,
}

impl fmt::Debug for Unary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.function.fmt(f)
    }
}

impl Unary {
    /// The standard operator that computes `function`.
    ///
    /// # Errors
    /// When no standard operator is this function alone.
    pub fn new(function: Function) -> Result<Unary, OpError> {
        let same = |row: &&Row| std::mem::discriminant(&row.function) == std::mem::discriminant(&function);
        let row = match function {
            Function::GeluTanh => Some(&activation::GELU_ROW),
            _ => ROWS.iter().chain(activation::ROWS).copied().find(same),
        };
        match row {
            Some(row) => Ok(Unary { room: row.room, function }),
            None => Err(OpError::new(format!("no standard operator computes {function:?}"))),
        }
    }

    /// The function, with the attributes in it.
    pub fn function(&self) -> Function {
        self.function
    }
}

/// A row of the table.
pub(crate) struct Row {
    pub(crate) room: &'static Room,
    /// The function, its attributes at their defaults.
    pub(crate) function: Function,
}

/// Rooms from a table: name, versions, types, names of input and output, steps, function with defaults, and
/// cases.
macro_rules! rows {
    ($all:ident; $($(#[$doc:meta])* $room:ident $row:ident = $name:literal, $since:expr, $types:expr,
        ($x:literal, $y:literal), $steps:expr, $function:expr, $cases:expr;)*) => {
        $(
            $(#[$doc])*
            pub static $room: $crate::Room = $crate::Room {
                domain: "",
                name: $name,
                since: &$since,
                signature: &oxidane_graph::Signature {
                    inputs: &[oxidane_graph::Param::one($x, $types, "T")],
                    outputs: &[oxidane_graph::Param::one($y, $types, "T")],
                },
                read: |attributes| $crate::math::unary::read(&$row, attributes),
                steps: $steps,
                cases: || {
                    crate::with_cases!();
                    let make: fn(&'static $crate::math::unary::Row) -> Vec<$crate::Case> = $cases;
                    make(&$row)
                },
            };
            pub(crate) static $row: $crate::math::unary::Row =
                $crate::math::unary::Row { room: &$room, function: $function };
        )*
        pub(crate) static $all: &[&$crate::math::unary::Row] = &[$(&$row),*];
    };
}
pub(crate) use rows;

/// `consumed_inputs`, a hint of the first opsets without meaning, goes.
pub(crate) const UNCONSUMED: Step = Step {
    to: 6,
    up: |d| {
        d.attributes.take("consumed_inputs");
        Ok(())
    },
    down: |_| Ok(()),
};

/// Arguments for functions defined everywhere, exact in every float type.
pub(crate) const WIDE: [f64; 6] = [-2.5, -1.25, -0.5, 0.25, 0.875, 3.0];
const UNIT: [f64; 6] = [-0.875, -0.625, 0.125, 0.25, 0.75, 0.9375];
const INSIDE: [f64; 6] = [-0.75, -0.5, 0.0, 0.25, 0.625, 0.875];
const POSITIVE: [f64; 6] = [0.25, 0.75, 1.0, 1.75, 3.0, 9.0];
const ABOVE_ONE: [f64; 6] = [1.0, 1.125, 1.5, 2.0, 3.0, 9.0];

// The expected values of these tables are NumPy's, in double precision.
rows! { ROWS;
    /// The room of Abs.
    ABS ABS_ROW = "Abs", [1, 6, 13], types::NUMERIC, ("X", "Y"), &[UNCONSUMED], Function::Abs,
        |row| with_integers(row, [3, 0, -7, 100], [3, 0, 7, 100], of(row, &WIDE, [2.5, 1.25, 0.5, 0.25, 0.875, 3.0]));
    /// The room of Neg.
    NEG NEG_ROW = "Neg", [1, 6, 13], types::SIGNED, ("X", "Y"), &[UNCONSUMED], Function::Neg,
        |row| with_integers(row, [3, 0, -7, 100], [-3, 0, 7, -100], of(row, &WIDE, [2.5, 1.25, 0.5, -0.25, -0.875, -3.0]));
    /// The room of Sign.
    SIGN SIGN_ROW = "Sign", [9, 13], types::NUMERIC, ("input", "output"), &[], Function::Sign,
        |row| with_integers(row, [3, 0, -7, 100], [1, 0, -1, 1], of(row, &WIDE, [-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]));
    /// The room of Reciprocal.
    RECIPROCAL RECIPROCAL_ROW = "Reciprocal", [1, 6, 13], types::FLOAT, ("X", "Y"), &[UNCONSUMED],
        Function::Reciprocal, |row| of(row, &POSITIVE, [4.0, 1.33333333, 1.0, 0.571428571, 0.333333333, 0.111111111]);
    /// The room of Sqrt.
    SQRT SQRT_ROW = "Sqrt", [1, 6, 13], types::FLOAT, ("X", "Y"), &[UNCONSUMED], Function::Sqrt,
        |row| of(row, &POSITIVE, [0.5, 0.866025404, 1.0, 1.32287566, 1.73205081, 3.0]);
    /// The room of Exp.
    EXP EXP_ROW = "Exp", [1, 6, 13], types::FLOAT, ("input", "output"), &[UNCONSUMED], Function::Exp,
        |row| of(row, &WIDE, [0.0820849986, 0.286504797, 0.60653066, 1.28402542, 2.39887529, 20.0855369]);
    /// The room of Log.
    LOG LOG_ROW = "Log", [1, 6, 13], types::FLOAT, ("input", "output"), &[UNCONSUMED], Function::Log,
        |row| of(row, &POSITIVE, [-1.38629436, -0.287682072, 0.0, 0.559615788, 1.09861229, 2.19722458]);
    /// The room of Sin.
    SIN SIN_ROW = "Sin", [7, 22], types::FLOAT, ("input", "output"), &[], Function::Sin,
        |row| of(row, &WIDE, [-0.598472144, -0.948984619, -0.479425539, 0.247403959, 0.767543502, 0.141120008]);
    /// The room of Cos.
    COS COS_ROW = "Cos", [7, 22], types::FLOAT, ("input", "output"), &[], Function::Cos,
        |row| of(row, &WIDE, [-0.801143616, 0.315322362, 0.877582562, 0.968912422, 0.640996858, -0.989992497]);
    /// The room of Tan.
    TAN TAN_ROW = "Tan", [7, 22], types::FLOAT, ("input", "output"), &[], Function::Tan,
        |row| of(row, &WIDE, [0.747022297, -3.00956967, -0.54630249, 0.255341921, 1.19742163, -0.142546543]);
    /// The room of Asin.
    ASIN ASIN_ROW = "Asin", [7, 22], types::FLOAT, ("input", "output"), &[], Function::Asin,
        |row| of(row, &UNIT, [-1.06543582, -0.675131533, 0.125327832, 0.252680255, 0.848062079, 1.21537513]);
    /// The room of Acos.
    ACOS ACOS_ROW = "Acos", [7, 22], types::FLOAT, ("input", "output"), &[], Function::Acos,
        |row| of(row, &UNIT, [2.63623214, 2.24592786, 1.4454685, 1.31811607, 0.722734248, 0.355421202]);
    /// The room of Atan.
    ATAN ATAN_ROW = "Atan", [7, 22], types::FLOAT, ("input", "output"), &[], Function::Atan,
        |row| of(row, &WIDE, [-1.19028995, -0.896055385, -0.463647609, 0.244978663, 0.71883, 1.24904577]);
    /// The room of Sinh.
    SINH SINH_ROW = "Sinh", [9, 22], types::FLOAT, ("input", "output"), &[], Function::Sinh,
        |row| of(row, &WIDE, [-6.05020448, -1.60191908, -0.521095305, 0.252612317, 0.991006637, 10.0178749]);
    /// The room of Cosh.
    COSH COSH_ROW = "Cosh", [9, 22], types::FLOAT, ("input", "output"), &[], Function::Cosh,
        |row| of(row, &WIDE, [6.13228948, 1.88842388, 1.12762597, 1.0314131, 1.40786866, 10.067662]);
    /// The room of Tanh.
    TANH TANH_ROW = "Tanh", [1, 6, 13], types::FLOAT, ("input", "output"), &[UNCONSUMED], Function::Tanh,
        |row| of(row, &WIDE, [-0.986614298, -0.84828364, -0.462117157, 0.244918662, 0.703905604, 0.995054754]);
    /// The room of Asinh.
    ASINH ASINH_ROW = "Asinh", [9, 22], types::FLOAT, ("input", "output"), &[], Function::Asinh,
        |row| of(row, &WIDE, [-1.64723115, -1.04759301, -0.481211825, 0.247466462, 0.790168725, 1.81844646]);
    /// The room of Acosh.
    ACOSH ACOSH_ROW = "Acosh", [9, 22], types::FLOAT, ("input", "output"), &[], Function::Acosh,
        |row| of(row, &ABOVE_ONE, [0.0, 0.494932923, 0.96242365, 1.3169579, 1.76274717, 2.88727095]);
    /// The room of Atanh.
    ATANH ATANH_ROW = "Atanh", [9, 22], types::FLOAT, ("input", "output"), &[], Function::Atanh,
        |row| of(row, &INSIDE, [-0.972955075, -0.549306144, 0.0, 0.255412812, 0.733168534, 1.3540251]);
    /// The room of Erf.
    ERF ERF_ROW = "Erf", [9, 13], types::FLOAT, ("input", "output"), &[], Function::Erf,
        |row| of(row, &WIDE, [-0.999593048, -0.922900128, -0.520499878, 0.27632639, 0.784075061, 0.99997791]);
    /// The room of Ceil.
    CEIL CEIL_ROW = "Ceil", [1, 6, 13], types::FLOAT, ("X", "Y"), &[UNCONSUMED], Function::Ceil,
        |row| of(row, &WIDE, [-2.0, -1.0, 0.0, 1.0, 1.0, 3.0]);
    /// The room of Floor.
    FLOOR FLOOR_ROW = "Floor", [1, 6, 13], types::FLOAT, ("X", "Y"), &[UNCONSUMED], Function::Floor,
        |row| of(row, &WIDE, [-3.0, -2.0, -1.0, 0.0, 0.0, 3.0]);
    /// The room of Round.
    ROUND ROUND_ROW = "Round", [11, 22], types::FLOAT, ("X", "Y"), &[], Function::Round,
        |row| of(row, &WIDE, [-2.0, -1.0, 0.0, 0.0, 1.0, 3.0]);
}

/// The operator of a row from its attributes.
pub(crate) fn read(row: &'static Row, attributes: &Attributes) -> Result<Arc<dyn Op>, OpError> {
    let mut function = row.function;
    let mut known = Vec::new();
    for (name, value) in fields(&mut function) {
        known.push(name);
        if let Some(given) = attributes.value::<f32>(name)? {
            *value = given;
        }
    }
    if let Function::Gelu | Function::GeluTanh = function {
        known.push("approximate");
        function = match attributes.value::<String>("approximate")?.as_deref() {
            None | Some("none") => Function::Gelu,
            Some("tanh") => Function::GeluTanh,
            Some(other) => {
                return Err(OpError::new(format!("attribute `approximate` is `{other}`"))
                    .help("it is `none` or `tanh`"));
            }
        };
    }
    crate::room::only(attributes, &known)?;
    Ok(Arc::new(Unary { room: row.room, function }))
}

/// The float attributes of a function by name.
fn fields(function: &mut Function) -> Vec<(&'static str, &mut f32)> {
    match function {
        Function::LeakyRelu { alpha }
        | Function::Elu { alpha }
        | Function::Celu { alpha }
        | Function::Swish { alpha }
        | Function::ThresholdedRelu { alpha } => vec![("alpha", alpha)],
        Function::Selu { alpha, gamma } => vec![("alpha", alpha), ("gamma", gamma)],
        Function::HardSigmoid { alpha, beta } => vec![("alpha", alpha), ("beta", beta)],
        Function::Shrink { bias, lambd } => vec![("bias", bias), ("lambd", lambd)],
        _ => Vec::new(),
    }
}

impl Op for Unary {
    fn domain(&self) -> &str {
        self.room.domain
    }

    fn name(&self) -> &str {
        self.room.name
    }

    fn attributes(&self) -> Attributes {
        let mut attributes = Attributes::new();
        for (name, value) in fields(&mut self.function.clone()) {
            attributes.set(name, *value);
        }
        match self.function {
            Function::Gelu => attributes.set("approximate", "none".to_owned()),
            Function::GeluTanh => attributes.set("approximate", "tanh".to_owned()),
            _ => {}
        }
        attributes
    }

    fn signature(&self) -> Option<&'static Signature> {
        Some(self.room.signature)
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        ctx.set(0, ctx.known_ty(0)?.clone());
        if self.function == Function::Neg
            && let Some(ints) = ctx.ints(0)
        {
            let dims: Dims = ints.dims.iter().map(|&d| Dim::known(0) - d).collect();
            ctx.set_ints(0, dims, ints.scalar);
        }
        Ok(())
    }

    fn in_place(&self) -> &[usize] {
        &[0]
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let function = self.function;
        kernel(move |run| {
            let x = run.take(0)?;
            apply(run, function, x)
        })
    }

    fn gradient(
        &self,
        build: &mut Build<'_>,
        node: NodeId,
        outputs: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, OpError> {
        let Some(&Some(gradient)) = outputs.first() else { return Ok(vec![None]) };
        Ok(vec![derivative::gradient(self.function, build, node, gradient)?])
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        activation::expand(self.function, build, node)
    }
}

/// Runs a function in place where nobody else needs the input, otherwise into fresh memory.
pub(crate) fn apply(run: &mut Run<'_>, function: Function, mut x: Tensor) -> Result<(), OpError> {
    if x.is_contiguous() && x.is_unique() {
        let mut out = x.into_mut()?;
        by_type!(out.dtype(), number T => {
            Ok(map::function_in_place::<T>(run.pool(), function, out.slice_mut()?)?)
        })?;
        run.set(0, out.freeze());
        return Ok(());
    }
    let x = x.to_dense()?;
    let mut out = run.allocate(0, x.dtype(), x.shape())?;
    by_type!(x.dtype(), number T => {
        Ok(map::function::<T>(run.pool(), function, x.slice()?, out.slice_mut()?)?)
    })?;
    run.set(0, out.freeze());
    Ok(())
}

/// Cases of a row with its attributes at their defaults: every float type, and a tensor without elements.
pub(crate) fn of(row: &'static Row, inputs: &[f64; 6], outputs: [f64; 6]) -> Vec<Case> {
    crate::with_cases!();
    let mut cases: Vec<Case> = [
        ("float", DType::F32, 1e-6),
        ("double", DType::F64, 1e-6),
        ("float16", DType::F16, 1e-3),
        ("bfloat16", DType::BF16, 8e-3),
    ]
    .into_iter()
    .filter(|(_, dtype, _)| row.room.signature.inputs[0].types.has_tensor(*dtype))
    .map(|(name, dtype, tolerance)| {
        case(row, name, row.function, dtype, inputs, &outputs).tolerance(tolerance)
    })
    .collect();
    let op = Unary { room: row.room, function: row.function };
    cases.push(Case::new("empty", op).input(crate::floats(&[0, 3], &[])).expect(crate::floats(&[0, 3], &[])));
    cases
}

/// A case of a function with other attributes than the defaults.
pub(crate) fn case(
    row: &'static Row,
    name: &'static str,
    function: Function,
    dtype: DType,
    inputs: &[f64],
    outputs: &[f64],
) -> Case {
    let tensor = |values: &[f64]| {
        Tensor::from_f64s(dtype, &[2, values.len() / 2], values)
            .expect("a float type and an even number of values")
    };
    Case::new(name, Unary { room: row.room, function }).input(tensor(inputs)).expect(tensor(outputs))
}

/// Adds a case for each signed integer type.
pub(crate) fn with_integers(
    row: &'static Row,
    inputs: [i64; 4],
    outputs: [i64; 4],
    mut cases: Vec<Case>,
) -> Vec<Case> {
    crate::with_cases!();
    for (name, dtype) in
        [("int64", DType::I64), ("int32", DType::I32), ("int16", DType::I16), ("int8", DType::I8)]
    {
        let tensor = |values: &[i64; 4]| {
            crate::ints(&[4], values).cast(dtype, CastRules::default()).expect("integers cast to each other")
        };
        let op = Unary { room: row.room, function: row.function };
        cases.push(Case::new(name, op).input(tensor(&inputs)).expect(tensor(&outputs)));
    }
    cases
}
