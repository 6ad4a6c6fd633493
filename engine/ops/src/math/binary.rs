//! Functions of two tensors with broadcasting, element by element: [`Binary`] with a row for each of
//! [Add](https://onnx.ai/onnx/operators/onnx__Add.html), [Mul](https://onnx.ai/onnx/operators/onnx__Mul.html),
//! [Equal](https://onnx.ai/onnx/operators/onnx__Equal.html),
//! [And](https://onnx.ai/onnx/operators/onnx__And.html) and the like.

use crate::formula::Formula;
use crate::math::broadcast::{self, BROADCAST};
use crate::math::by_type::by_type;
use crate::math::unary::UNCONSUMED;
use crate::{Case, Room, Step, bools, floats, ints, types};
use oxidane_graph::{
    Attributes, Build, Call, Dim, Dims, InferCtx, Ints, Kernel, NodeId, Op, OpError, Run, ShownDims,
    Signature, Unknown, ValueId, broadcast_dims, kernel,
};
use oxidane_kernels::map::{self, Bitwise, Comparison};
use oxidane_kernels::{Number, map::Binary as Arithmetic};
use oxidane_tensor::{CastRules, DType, Tensor, broadcast as broadcast_shape};
use std::fmt;
use std::sync::Arc;

/// What a [`Binary`] computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Numbers to a number; `Pow` may have an exponent of another type.
    Number(Arithmetic),
    /// Values to a bool.
    Comparison(Comparison),
    /// Integers to an integer, bit by bit.
    Bits(Bitwise),
    /// Bools to a bool.
    Logic(Bitwise),
}

/// A function of the elements of two tensors that broadcast to each other.
#[derive(Clone)]
pub struct Binary {
    room: &'static Room,
    function: Function,
}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.room.name, self.function)
    }
}

/// A row of the table.
pub struct Row {
    room: &'static Room,
    /// The function, its attributes at their defaults.
    function: Function,
}

impl Binary {
    /// The operator of a row, such as [`MUL`].
    pub fn of(row: &'static Row) -> Binary {
        Binary { room: row.room, function: row.function }
    }

    /// The function, with the attributes in it.
    pub fn function(&self) -> Function {
        self.function
    }
}

macro_rules! rows {
    ($($(#[$doc:meta])* $row:ident $room:ident = $name:literal, $since:expr, ($a:literal: $ta:expr, $b:literal: $tb:expr, $second:literal)
        => ($c:literal: $tc:expr, $third:literal), $steps:expr, $function:expr, $cases:expr;)*) => {$(
        #[doc = concat!("The room of ", $name, ".")]
        pub static $room: Room = Room {
            domain: "",
            name: $name,
            since: &$since,
            signature: &Signature {
                inputs: &[
                    oxidane_graph::Param::one($a, $ta, "T"),
                    oxidane_graph::Param::one($b, $tb, $second),
                ],
                outputs: &[oxidane_graph::Param::one($c, $tc, $third)],
            },
            read: |attributes| read(&$row, attributes),
            steps: $steps,
            cases: || {
                crate::with_cases!();
                let make: fn(&'static Row) -> Vec<Case> = $cases;
                make(&$row)
            },
        };
        $(#[$doc])*
        pub static $row: Row = Row { room: &$room, function: $function };
    )*};
}

use Function as F;
use types::{BOOL, INTEGER, NUMERIC};

rows! {
    /// a + b.
    ADD ADD_ROOM = "Add", [1, 6, 7, 13, 14], ("A": NUMERIC, "B": NUMERIC, "T") => ("C": NUMERIC, "T"),
        broadcast::FROM_1, F::Number(Arithmetic::Add), |row| arithmetic(row,
            [3.5, 0.0, -0.5, 5.0, 1.5, 1.0], [11, 11, 14, 7]);
    /// a - b.
    SUB SUB_ROOM = "Sub", [1, 6, 7, 13, 14], ("A": NUMERIC, "B": NUMERIC, "T") => ("C": NUMERIC, "T"),
        broadcast::FROM_1, F::Number(Arithmetic::Sub), |row| arithmetic(row,
            [-0.5, 3.0, 3.5, 1.0, 4.5, 5.0], [7, 5, 0, 5]);
    /// a b.
    MUL MUL_ROOM = "Mul", [1, 6, 7, 13, 14], ("A": NUMERIC, "B": NUMERIC, "T") => ("C": NUMERIC, "T"),
        broadcast::FROM_1, F::Number(Arithmetic::Mul), multiplied;
    /// a / b, truncated for integers.
    DIV DIV_ROOM = "Div", [1, 6, 7, 13, 14], ("A": NUMERIC, "B": NUMERIC, "T") => ("C": NUMERIC, "T"),
        broadcast::FROM_1, F::Number(Arithmetic::Div), |row| arithmetic(row,
            [0.75, -1.0, -0.75, 1.5, -2.0, -1.5], [4, 2, 1, 6]);
    /// a to the power b.
    POW POW_ROOM = "Pow", [1, 7, 12, 13, 15], ("X": types::POWER, "Y": NUMERIC, "") => ("Z": types::POWER, "T"),
        &[BROADCAST, EXPONENT], F::Number(Arithmetic::Pow), powers;
    /// The remainder: with the sign of b, or with `fmod` with that of a.
    MOD MOD_ROOM = "Mod", [10, 13, 28], ("A": NUMERIC, "B": NUMERIC, "T") => ("C": NUMERIC, "T"),
        &[FLOORED_FLOATS], F::Number(Arithmetic::Mod), remainders;
    /// a above 0, otherwise a times the slope b.
    P_RELU P_RELU_ROOM = "PRelu", [1, 6, 7, 9, 16],
        ("X": types::ARITHMETIC, "slope": types::ARITHMETIC, "T") => ("Y": types::ARITHMETIC, "T"),
        &[UNCONSUMED, CHANNEL_SLOPE], F::Number(Arithmetic::PRelu), slopes;
    /// Whether a = b.
    EQUAL EQUAL_ROOM = "Equal", [1, 7, 11, 13, 19],
        ("A": types::COMPARABLE, "B": types::COMPARABLE, "T") => ("C": BOOL, ""),
        &[BROADCAST], F::Comparison(Comparison::Equal), |row| compared(row, [false, true, false]);
    /// Whether a < b.
    LESS LESS_ROOM = "Less", [1, 7, 9, 13], ("A": NUMERIC, "B": NUMERIC, "T") => ("C": BOOL, ""),
        &[BROADCAST], F::Comparison(Comparison::Less), |row| compared(row, [true, false, false]);
    /// Whether a > b.
    GREATER GREATER_ROOM = "Greater", [1, 7, 9, 13], ("A": NUMERIC, "B": NUMERIC, "T") => ("C": BOOL, ""),
        &[BROADCAST], F::Comparison(Comparison::Greater), |row| compared(row, [false, false, true]);
    /// Whether a <= b.
    LESS_OR_EQUAL LESS_OR_EQUAL_ROOM = "LessOrEqual", [12, 16],
        ("A": NUMERIC, "B": NUMERIC, "T") => ("C": BOOL, ""),
        &[], F::Comparison(Comparison::LessOrEqual), |row| compared(row, [true, true, false]);
    /// Whether a >= b.
    GREATER_OR_EQUAL GREATER_OR_EQUAL_ROOM = "GreaterOrEqual", [12, 16],
        ("A": NUMERIC, "B": NUMERIC, "T") => ("C": BOOL, ""),
        &[], F::Comparison(Comparison::GreaterOrEqual), |row| compared(row, [false, true, true]);
    /// Both bools.
    AND AND_ROOM = "And", [1, 7], ("A": BOOL, "B": BOOL, "T") => ("C": BOOL, ""),
        &[BROADCAST], F::Logic(Bitwise::And), |row| logical(row, [false, false, false, true]);
    /// Either bool.
    OR OR_ROOM = "Or", [1, 7], ("A": BOOL, "B": BOOL, "T") => ("C": BOOL, ""),
        &[BROADCAST], F::Logic(Bitwise::Or), |row| logical(row, [false, true, true, true]);
    /// One of two bools only.
    XOR XOR_ROOM = "Xor", [1, 7], ("A": BOOL, "B": BOOL, "T") => ("C": BOOL, ""),
        &[BROADCAST], F::Logic(Bitwise::Xor), |row| logical(row, [false, true, true, false]);
    /// The bits set in both.
    BITWISE_AND BITWISE_AND_ROOM = "BitwiseAnd", [18], ("A": INTEGER, "B": INTEGER, "T") => ("C": INTEGER, "T"),
        &[], F::Bits(Bitwise::And), |row| bits(row, [8, 2, 0, 5]);
    /// The bits set in either.
    BITWISE_OR BITWISE_OR_ROOM = "BitwiseOr", [18], ("A": INTEGER, "B": INTEGER, "T") => ("C": INTEGER, "T"),
        &[], F::Bits(Bitwise::Or), |row| bits(row, [14, 3, 9, 5]);
    /// The bits set in one of both only.
    BITWISE_XOR BITWISE_XOR_ROOM = "BitwiseXor", [18], ("A": INTEGER, "B": INTEGER, "T") => ("C": INTEGER, "T"),
        &[], F::Bits(Bitwise::Xor), |row| bits(row, [6, 1, 9, 0]);
    /// The bits of a shifted by b.
    BIT_SHIFT BIT_SHIFT_ROOM = "BitShift", [11, 28], ("X": INTEGER, "Y": INTEGER, "T") => ("Z": INTEGER, "T"),
        &[], F::Bits(Bitwise::ShiftLeft), shifts;
}

/// Before opset 12 the exponent had the type of the base.
const EXPONENT: Step = Step {
    to: 12,
    up: |_| Ok(()),
    down: |d| match (d.ty(0).and_then(|t| t.dtype()), d.ty(1).and_then(|t| t.dtype())) {
        (Some(base), Some(exponent)) if base != exponent => {
            let cast = d.constant(1).and_then(|t| t.cast(base, CastRules::default()).ok());
            let Some(tensor) = cast.filter(|_| base.is_float()) else {
                return Err(OpError::new(format!("this opset cannot raise {base} to powers of {exponent}"))
                    .help("export to opset 12 or later, or cast the exponent"));
            };
            let value = d.add_constant(tensor);
            d.set_input(1, Some(value));
            Ok(())
        }
        _ => Ok(()),
    },
};

/// Before opset 28 floats had the remainder of `fmod` only.
const FLOORED_FLOATS: Step = Step {
    to: 28,
    up: |_| Ok(()),
    down: |d| {
        let floats = d.ty(0).and_then(|t| t.dtype()).is_some_and(|dtype| dtype.is_float());
        match d.attributes.value::<i64>("fmod")? {
            Some(1) => Ok(()),
            _ if !floats => Ok(()),
            _ => Err(OpError::new("floats need fmod = 1 in this opset").help("export to opset 28 or later")),
        }
    },
};

/// Before opset 7 a slope of rank 1 belonged to the channels, the second dimension.
const CHANNEL_SLOPE: Step = Step {
    to: 7,
    up: |d| {
        let one = d.ty(1).and_then(|t| t.shape()).is_some_and(|s| s.iter().all(|d| *d == Dim::known(1)));
        match (d.rank(0), d.rank(1)) {
            (Some(x), Some(1)) if x > 2 && !one => broadcast::lengthen(d, 1, 1, x - 2),
            (Some(_), Some(_)) => Ok(()),
            _ if one => Ok(()),
            _ => Err(OpError::new(
                "the slope belongs to the channels, but the ranks of the inputs are not known",
            )
            .help("declare the shapes of the model's inputs")),
        }
    },
    down: |d| {
        let shape = |slot| d.ty(slot).and_then(|t| t.shape()).map(Dims::from_slice);
        let (Some(x), Some(slope)) = (shape(0), shape(1)) else {
            return Err(OpError::new("opset 6 needs to know how the slope broadcasts")
                .help("export to opset 7 or later"));
        };
        let one = Dim::known(1);
        if slope.iter().all(|&s| s == one) {
            return broadcast::reshape_to(d, 1, &[one]);
        }
        let channels = (slope.len() + 1).checked_sub(x.len());
        let others_are_one = slope.iter().enumerate().all(|(i, &s)| Some(i) == channels || s == one);
        match channels.and_then(|at| slope.get(at)) {
            Some(&size) if others_are_one => broadcast::reshape_to(d, 1, &[size]),
            _ => Err(OpError::new(format!(
                "opset 6 has one slope for each channel, but here their shape is {}",
                ShownDims(&slope)
            ))
            .help("export to opset 7 or later")),
        }
    },
};

fn read(row: &'static Row, attributes: &Attributes) -> Result<Arc<dyn Op>, OpError> {
    let mut function = row.function;
    let known: &[&str] = match function {
        F::Number(Arithmetic::Mod) => {
            function = match attributes.value::<i64>("fmod")?.unwrap_or(0) {
                0 => function,
                1 => F::Number(Arithmetic::Fmod),
                other => {
                    return Err(OpError::new(format!("attribute `fmod` is {other}")).help("it is 0 or 1"));
                }
            };
            &["fmod"]
        }
        F::Bits(Bitwise::ShiftLeft) => {
            function = match attributes.value::<String>("direction")?.as_deref() {
                Some("LEFT") => function,
                Some("RIGHT") => F::Bits(Bitwise::ShiftRight),
                Some(other) => {
                    return Err(OpError::new(format!("attribute `direction` is `{other}`"))
                        .help("it is `LEFT` or `RIGHT`"));
                }
                None => return Err(OpError::new("attribute `direction` is required but missing")),
            };
            &["direction"]
        }
        _ => &[],
    };
    match attributes.iter().find(|(name, _)| !known.contains(name)) {
        Some((name, _)) => Err(OpError::new(format!("attribute `{name}` is not one of this operator"))),
        None => Ok(Arc::new(Binary { room: row.room, function })),
    }
}

impl Op for Binary {
    fn domain(&self) -> &str {
        self.room.domain
    }

    fn name(&self) -> &str {
        self.room.name
    }

    fn attributes(&self) -> Attributes {
        let all = Attributes::new();
        match self.function {
            F::Number(Arithmetic::Mod) => all.with("fmod", 0i64),
            F::Number(Arithmetic::Fmod) => all.with("fmod", 1i64),
            F::Bits(Bitwise::ShiftLeft) => all.with("direction", "LEFT".to_owned()),
            F::Bits(Bitwise::ShiftRight) => all.with("direction", "RIGHT".to_owned()),
            _ => all,
        }
    }

    fn signature(&self) -> Option<&'static Signature> {
        Some(self.room.signature)
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = match self.function {
            F::Comparison(_) | F::Logic(_) => DType::Bool,
            _ => ctx.dtype(0)?,
        };
        match (ctx.shape(0), ctx.shape(1)) {
            (Some(a), Some(b)) => {
                let shape = broadcast_dims(a, b)?;
                if self.function == F::Number(Arithmetic::PRelu) && b.len() > a.len() {
                    return Err(Unknown::wrong(format!(
                        "the slope {} does not broadcast to the input {}",
                        ShownDims(b),
                        ShownDims(a)
                    )));
                }
                ctx.set_tensor(0, dtype, shape);
            }
            _ => ctx.set_unranked(0, dtype),
        }
        if let (Some(a), Some(b)) = (ctx.ints(0), ctx.ints(1)) {
            self.track(ctx, &a, &b);
        }
        if let F::Logic(operator) = self.function {
            track_logic(ctx, operator);
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let function = self.function;
        kernel(move |run| {
            let (a, b) = (run.dense(0)?, run.dense(1)?);
            let shape = broadcast_shape(a.shape(), b.shape())?;
            if a.dtype() != b.dtype() && function != F::Number(Arithmetic::Pow) {
                return Err(OpError::new(format!("the inputs are {} and {}", a.dtype(), b.dtype()))
                    .help("cast one to the type of the other"));
            }
            match function {
                F::Number(Arithmetic::Pow) => power(run, &a, &b),
                F::Number(Arithmetic::PRelu) if shape.as_slice() != a.shape() => Err(OpError::new(format!(
                    "the slope {:?} does not broadcast to the input {:?}",
                    b.shape(),
                    a.shape()
                ))),
                F::Number(operator) => {
                    let out = compute(run, operator, &a, &b)?;
                    run.set(0, out);
                    Ok(())
                }
                F::Comparison(comparison) => compare(run, comparison, &a, &b, &shape),
                F::Bits(operator) => {
                    by_type!(a.dtype(), integer T => bitwise::<T>(run, operator, &a, &b, &shape))
                }
                F::Logic(operator) => bitwise::<u8>(run, operator, &a, &b, &shape),
            }
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let (a, b) = (f.need(0)?, f.need(1)?);
        let either = |f: &mut Formula<'_, '_>, name: &str| -> Result<Option<Vec<ValueId>>, OpError> {
            let (strictly, equal) = (f.op(name, &[a, b])?, f.op("Equal", &[a, b])?);
            Ok(Some(vec![f.op("Or", &[strictly, equal])?]))
        };
        match self.function {
            F::Comparison(Comparison::LessOrEqual) => either(f, "Less"),
            F::Comparison(Comparison::GreaterOrEqual) => either(f, "Greater"),
            F::Number(Arithmetic::PRelu) => {
                let zero = f.number(0.0, a)?;
                let (under, sloped) = (f.op("Less", &[a, zero])?, f.op("Mul", &[a, b])?);
                Ok(Some(vec![f.op("Where", &[under, sloped, a])?]))
            }
            _ => Ok(None),
        }
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
        let (a, b) = (f.need(0)?, f.need(1)?);
        let F::Number(operator) = self.function else {
            // Bools and integers carry no derivatives.
            return Ok(vec![None, None]);
        };
        let (along_a, along_b) = match operator {
            Arithmetic::Add => (gradient, gradient),
            Arithmetic::Sub => (gradient, f.op("Neg", &[gradient])?),
            Arithmetic::Mul => (f.op("Mul", &[gradient, b])?, f.op("Mul", &[gradient, a])?),
            Arithmetic::Div => {
                let along_a = f.op("Div", &[gradient, b])?;
                let quotient = f.op("Div", &[a, b])?;
                let product = f.op("Mul", &[along_a, quotient])?;
                (along_a, f.op("Neg", &[product])?)
            }
            Arithmetic::Pow => {
                let exponent = f.cast(b, f.dtype(a)?)?;
                let one = f.number(1.0, a)?;
                let less = f.op("Sub", &[exponent, one])?;
                let power = f.op("Pow", &[a, less])?;
                let slope = f.op("Mul", &[exponent, power])?;
                let along_a = f.op("Mul", &[gradient, slope])?;
                if !f.dtype(b)?.is_float() {
                    return Ok(vec![Some(f.unbroadcast(along_a, a)?), None]);
                }
                // Powers of what is not above 0 are none of a real exponent.
                let y = y.ok_or_else(|| OpError::new("the result of Pow is missing"))?;
                let zero = f.number(0.0, a)?;
                let over = f.op("Greater", &[a, zero])?;
                let base = f.op("Where", &[over, a, one])?;
                let log = f.op("Log", &[base])?;
                let growth = f.op("Mul", &[y, log])?;
                let along_b = f.op("Mul", &[gradient, growth])?;
                (along_a, f.cast(along_b, f.dtype(b)?)?)
            }
            Arithmetic::PRelu => {
                let zero = f.number(0.0, a)?;
                let over = f.op("Greater", &[a, zero])?;
                let (sloped, slope) = (f.op("Mul", &[gradient, b])?, f.op("Mul", &[gradient, a])?);
                (f.op("Where", &[over, gradient, sloped])?, f.op("Where", &[over, zero, slope])?)
            }
            _ => {
                return Err(OpError::unsupported(format!("operator {} has no gradient rule", self.name())));
            }
        };
        Ok(vec![Some(f.unbroadcast(along_a, a)?), Some(f.unbroadcast(along_b, b)?)])
    }
}

impl Binary {
    /// Carries sizes through the arithmetic of small integer tensors.
    fn track(&self, ctx: &mut InferCtx<'_>, a: &Ints, b: &Ints) {
        let count = match (a.dims.len(), b.dims.len()) {
            (n, m) if n == m => n,
            (n, 1) => n,
            (1, m) => m,
            _ => return,
        };
        let scalar = a.scalar && b.scalar;
        let pair = |i: usize| {
            let at = |dims: &Dims| if dims.len() == 1 { dims[0] } else { dims[i] };
            (at(&a.dims), at(&b.dims))
        };
        if let F::Comparison(comparison) = self.function {
            let decided: Option<Vec<bool>> = (0..count)
                .map(|i| {
                    let (x, y) = pair(i);
                    let one = Dim::known(1);
                    let order = match (x - y).as_known() {
                        Some(difference) => difference.signum(),
                        None if (x - y - one).is_size() => 1,
                        None if (y - x - one).is_size() => -1,
                        None => return None,
                    };
                    Some(match comparison {
                        Comparison::Equal => order == 0,
                        Comparison::Less => order < 0,
                        Comparison::LessOrEqual => order <= 0,
                        Comparison::Greater => order > 0,
                        Comparison::GreaterOrEqual => order >= 0,
                    })
                })
                .collect();
            let shape: &[usize] = if scalar { &[] } else { &[count] };
            if let Some(tensor) = decided.and_then(|values| Tensor::from_bools(shape, &values).ok()) {
                ctx.set_constant(0, tensor);
            }
            return;
        }
        let F::Number(operator) = self.function else { return };
        let exact = |p: Dim, q: Dim| p.divide_exactly(q).is_some() || (p.is_size() && q.is_size());
        let dims: Option<Dims> = (0..count)
            .map(|i| {
                let (p, q) = pair(i);
                match (operator, p.as_known(), q.as_known()) {
                    (Arithmetic::Add, ..) => Some(p + q),
                    (Arithmetic::Sub, ..) => Some(p - q),
                    (Arithmetic::Mul, ..) => Some(p * q),
                    (Arithmetic::Div, Some(x), Some(y)) => x.checked_div(y).map(Dim::known),
                    // Truncating and rounding down agree where nothing is negative.
                    (Arithmetic::Div, ..) if exact(p, q) => Some(p.floor_div(q)),
                    (Arithmetic::Mod, None, Some(1..)) => Some(p - p.floor_div(q) * q),
                    (Arithmetic::Mod, Some(x), Some(y)) if y != 0 => Some(Dim::known(Number::modulo(x, y))),
                    (Arithmetic::Fmod, Some(x), Some(y)) => x.checked_rem(y).map(Dim::known),
                    _ => None,
                }
            })
            .collect();
        if let Some(dims) = dims {
            ctx.set_ints(0, dims, scalar);
        }
    }
}

/// Carries conditions on sizes, which comparisons decide, through logic.
fn track_logic(ctx: &mut InferCtx<'_>, operator: Bitwise) {
    let bits = |input| {
        let tensor = ctx.constant(input).filter(|t| t.rank() <= 1 && t.len() <= 64)?;
        Some((tensor.values::<u8>().ok()?.into_owned(), tensor.rank() == 0))
    };
    let (Some((a, x)), Some((b, y))) = (bits(0), bits(1)) else { return };
    let count = if a.len() == 1 { b.len() } else { a.len() };
    if ![a.len(), b.len()].iter().all(|&n| n == 1 || n == count) {
        return;
    }
    let at = |bits: &[u8], i: usize| bits[if bits.len() == 1 { 0 } else { i }] != 0;
    let values: Vec<bool> = (0..count)
        .map(|i| match (operator, at(&a, i), at(&b, i)) {
            (Bitwise::And, a, b) => a && b,
            (Bitwise::Or, a, b) => a || b,
            (_, a, b) => a != b,
        })
        .collect();
    let shape: &[usize] = if x && y { &[] } else { &[count] };
    if let Ok(tensor) = Tensor::from_bools(shape, &values) {
        ctx.set_constant(0, tensor);
    }
}

/// Base and exponent may differ in type; the result is of the base's.
fn power(run: &mut Run<'_>, a: &Tensor, b: &Tensor) -> Result<(), OpError> {
    let common = match a.dtype() {
        own if own == b.dtype() => own,
        DType::F16 | DType::BF16 => DType::F32,
        own if own.is_float() => own,
        _ if b.dtype().is_integer() => DType::I64,
        _ => DType::F64,
    };
    let rules = CastRules::default();
    let out = compute(run, Arithmetic::Pow, &a.cast(common, rules)?, &b.cast(common, rules)?)?;
    run.set(0, out.cast(a.dtype(), rules)?);
    Ok(())
}

/// The function of two dense tensors of one type, in memory of the first output.
///
/// # Errors
/// When the shapes do not broadcast, there is no kernel for the type, or an integer is divided by zero.
pub(crate) fn compute(
    run: &Run<'_>,
    operator: Arithmetic,
    a: &Tensor,
    b: &Tensor,
) -> Result<Tensor, OpError> {
    let shape = broadcast_shape(a.shape(), b.shape())?;
    let mut out = run.allocate(0, a.dtype(), &shape)?;
    by_type!(a.dtype(), number T => Ok(map::binary::<T>(
        run.pool(),
        operator,
        (a.slice()?, a.shape()),
        (b.slice()?, b.shape()),
        (out.slice_mut()?, &shape),
    )?))?;
    Ok(out.freeze())
}

fn bitwise<T: Number<Wide: map::Bits>>(
    run: &mut Run<'_>,
    operator: Bitwise,
    a: &Tensor,
    b: &Tensor,
    shape: &[usize],
) -> Result<(), OpError> {
    let mut out = run.allocate(0, a.dtype(), shape)?;
    map::bitwise::<T>(
        run.pool(),
        operator,
        (a.slice()?, a.shape()),
        (b.slice()?, b.shape()),
        (out.slice_mut()?, shape),
    )?;
    run.set(0, out.freeze());
    Ok(())
}

fn compare(
    run: &mut Run<'_>,
    comparison: Comparison,
    a: &Tensor,
    b: &Tensor,
    shape: &[usize],
) -> Result<(), OpError> {
    let mut out = run.allocate(0, DType::Bool, shape)?;
    let to = (out.slice_mut::<u8>()?, shape);
    match a.dtype() {
        DType::String => {
            let (Some(x), Some(y)) = (a.as_strings(), b.as_strings()) else {
                return Err(OpError::new("the inputs are no dense strings"));
            };
            let x: Vec<&str> = x.iter().map(|s| &**s).collect();
            let y: Vec<&str> = y.iter().map(|s| &**s).collect();
            map::compare_ordered(run.pool(), comparison, (&x, a.shape()), (&y, b.shape()), to)?;
        }
        DType::Bool => {
            let (x, y) = (a.slice::<u8>()?, b.slice::<u8>()?);
            map::compare(run.pool(), comparison, (x, a.shape()), (y, b.shape()), to)?;
        }
        dtype => by_type!(dtype, number T => {
            let (x, y) = (a.slice::<T>()?, b.slice::<T>()?);
            map::compare(run.pool(), comparison, (x, a.shape()), (y, b.shape()), to)?;
            Ok(())
        })?,
    }
    run.set(0, out.freeze());
    Ok(())
}

fn of(row: &'static Row, name: &'static str, a: Tensor, b: Tensor) -> Case {
    Case::new(name, Binary::of(row)).input(a).input(b)
}

/// A column with a row in every float type, and integers.
fn arithmetic(row: &'static Row, outputs: [f64; 6], whole: [i64; 4]) -> Vec<Case> {
    crate::with_cases!();
    let mut cases = Vec::new();
    for (name, dtype) in
        [("float", DType::F32), ("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)]
    {
        let tensor =
            |shape: &[usize], values: &[f64]| Tensor::from_f64s(dtype, shape, values).expect("sizes agree");
        let (a, b) = (tensor(&[2, 1], &[1.5, 3.0]), tensor(&[3], &[2.0, -1.5, -2.0]));
        cases.push(of(row, name, a, b).expect(tensor(&[2, 3], &outputs)));
    }
    for (name, dtype) in INTEGERS {
        let tensor = |values| Tensor::from_i64s(dtype, &[4], values).expect("sizes agree");
        let (a, b) = (tensor(&[9, 8, 7, 6]), tensor(&[2, 3, 7, 1]));
        cases.push(of(row, name, a, b).expect(tensor(&whole)));
    }
    cases.push(of(row, "empty", floats(&[0, 3], &[]), floats(&[1], &[2.0])).expect(floats(&[0, 3], &[])));
    cases
}

const INTEGERS: [(&str, DType); 8] = [
    ("int64", DType::I64),
    ("int32", DType::I32),
    ("int16", DType::I16),
    ("int8", DType::I8),
    ("uint64", DType::U64),
    ("uint32", DType::U32),
    ("uint16", DType::U16),
    ("uint8", DType::U8),
];

/// Those of [`arithmetic`] and shapes that broadcast in both directions.
fn multiplied(row: &'static Row) -> Vec<Case> {
    crate::with_cases!();
    let mut cases = arithmetic(row, [3.0, -2.25, -3.0, 6.0, -4.5, -6.0], [18, 24, 49, 6]);
    cases.push(of(row, "same shape", crate::noise(&[2, 3], 1), crate::noise(&[2, 3], 2)));
    cases.push(of(row, "both ways", crate::noise(&[2, 1, 3, 1], 3), crate::noise(&[4, 1, 5], 4)));
    cases.push(of(row, "scalar", crate::noise(&[], 5), crate::noise(&[3, 1, 2], 6)));
    cases
}

/// From the specification's examples.
fn powers(row: &'static Row) -> Vec<Case> {
    crate::with_cases!();
    let x = || floats(&[3], &[1.0, 2.0, 3.0]);
    let n = |values: &[i64]| ints(&[3], values);
    vec![
        of(row, "float", x(), floats(&[3], &[4.0, 5.0, 6.0])).expect(floats(&[3], &[1.0, 32.0, 729.0])),
        of(row, "broadcast", floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), x())
            .expect(floats(&[2, 3], &[1.0, 4.0, 27.0, 4.0, 25.0, 216.0])),
        of(row, "square", x(), floats(&[], &[2.0])).expect(floats(&[3], &[1.0, 4.0, 9.0])),
        of(row, "float to int64", x(), n(&[4, 5, 6])).expect(floats(&[3], &[1.0, 32.0, 729.0])),
        of(row, "int64 to float", n(&[1, 2, 3]), floats(&[3], &[4.0, 5.0, 6.0])).expect(n(&[1, 32, 729])),
        of(row, "int64", n(&[1, 2, -3]), n(&[4, 5, 3])).expect(n(&[1, 32, -27])),
    ]
}

/// From the specification's examples; the remainders of floats are NumPy's.
fn remainders(row: &'static Row) -> Vec<Case> {
    crate::with_cases!();
    let (a, b) = (|| ints(&[6], &[-4, 7, 5, 4, -7, 8]), || ints(&[6], &[2, -3, 8, -2, 3, 5]));
    let (x, y) = (
        || floats(&[6], &[-4.3, 7.2, 5.0, 4.3, -7.2, 8.0]),
        || floats(&[6], &[2.1, -3.4, 8.0, -2.1, 3.4, 5.0]),
    );
    let fmod = |name, a, b| {
        Case::new(name, Binary { room: row.room, function: F::Number(Arithmetic::Fmod) }).input(a).input(b)
    };
    vec![
        of(row, "int64", a(), b()).expect(ints(&[6], &[0, -2, 5, 0, 2, 3])),
        fmod("fmod int64", a(), b()).expect(ints(&[6], &[0, 1, 5, 0, -1, 3])),
        fmod("fmod", x(), y()).expect(floats(&[6], &[-0.1, 0.4, 5.0, 0.1, -0.4, 3.0])),
        of(row, "float", x(), y()).expect(floats(&[6], &[2.0, -3.0, 5.0, -2.0, 3.0, 3.0])),
        of(row, "broadcast", ints(&[2, 2], &[1, 2, 3, 4]), ints(&[1], &[3]))
            .expect(ints(&[2, 2], &[1, 2, 0, 1])),
    ]
}

/// By the formula.
fn slopes(row: &'static Row) -> Vec<Case> {
    crate::with_cases!();
    let x = || floats(&[2, 3], &[-1.0, 2.0, -3.0, 4.0, -5.0, 6.0]);
    vec![
        of(row, "row", x(), floats(&[3], &[0.5, 0.25, 2.0]))
            .expect(floats(&[2, 3], &[-0.5, 2.0, -6.0, 4.0, -1.25, 6.0])),
        of(row, "column", x(), floats(&[2, 1], &[0.5, 0.25]))
            .expect(floats(&[2, 3], &[-0.5, 2.0, -1.5, 4.0, -1.25, 6.0])),
        of(row, "int64", ints(&[3], &[-2, 0, 3]), ints(&[1], &[4])).expect(ints(&[3], &[-8, 0, 3])),
    ]
}

/// 1, 2 and 3 against 2, for every type that the row takes.
fn compared(row: &'static Row, outputs: [bool; 3]) -> Vec<Case> {
    crate::with_cases!();
    let mut cases = vec![
        of(row, "broadcast", floats(&[3, 1], &[1.0, 2.0, 3.0]), floats(&[1, 1], &[2.0]))
            .expect(bools(&[3, 1], &outputs)),
        of(row, "nan", floats(&[1], &[f32::NAN]), floats(&[1], &[f32::NAN])).expect(bools(&[1], &[false])),
        of(row, "empty", floats(&[0], &[]), floats(&[1], &[2.0])).expect(bools(&[0], &[])),
    ];
    let floats =
        [("float", DType::F32), ("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)];
    for (name, dtype) in INTEGERS.into_iter().chain(floats) {
        let tensor = |values: &[i64]| {
            ints(&[values.len()], values).cast(dtype, CastRules::default()).expect("numbers")
        };
        cases.push(of(row, name, tensor(&[1, 2, 3]), tensor(&[2])).expect(bools(&[3], &outputs)));
    }
    if row.room.signature.inputs[0].types.has_tensor(DType::String) {
        let texts = |all: &[&str]| {
            Tensor::from_strings(&[all.len()], all.iter().map(|&s| Arc::from(s)).collect()).expect("a vector")
        };
        cases.push(of(row, "string", texts(&["a", "b"]), texts(&["b"])).expect(bools(&[2], &[false, true])));
        let (yes, both) = (bools(&[1], &[true]), bools(&[2], &[false, true]));
        cases.push(of(row, "bool", both.clone(), yes).expect(both));
    }
    cases
}

/// The truth table.
fn logical(row: &'static Row, outputs: [bool; 4]) -> Vec<Case> {
    crate::with_cases!();
    let both = [false, true];
    vec![
        of(row, "table", bools(&[2, 1], &both), bools(&[2], &both)).expect(bools(&[2, 2], &outputs)),
        of(row, "empty", bools(&[0, 2], &[]), bools(&[2], &both)).expect(bools(&[0, 2], &[])),
    ]
}

fn bits(row: &'static Row, outputs: [i64; 4]) -> Vec<Case> {
    crate::with_cases!();
    let mut cases = Vec::new();
    for (name, dtype) in INTEGERS {
        let tensor = |values| Tensor::from_i64s(dtype, &[4], values).expect("sizes agree");
        cases.push(of(row, name, tensor(&[12, 3, 9, 5]), tensor(&[10, 2, 0, 5])).expect(tensor(&outputs)));
    }
    cases
}

/// The specification's examples and its words on signed integers and large shifts.
fn shifts(row: &'static Row) -> Vec<Case> {
    crate::with_cases!();
    let right = |name, a, b| {
        Case::new(name, Binary { room: row.room, function: F::Bits(Bitwise::ShiftRight) }).input(a).input(b)
    };
    let mut cases = Vec::new();
    for (name, dtype) in INTEGERS {
        let tensor = |values| Tensor::from_i64s(dtype, &[3], values).expect("sizes agree");
        cases.push(of(row, name, tensor(&[16, 4, 1]), tensor(&[1, 2, 3])).expect(tensor(&[32, 16, 8])));
    }
    cases
        .push(right("right", ints(&[3], &[16, 4, 1]), ints(&[3], &[1, 2, 3])).expect(ints(&[3], &[8, 1, 0])));
    cases.push(
        right("negative", ints(&[3], &[-16, -1, 5]), ints(&[3], &[2, 64, -1]))
            .expect(ints(&[3], &[-4, -1, 0])),
    );
    cases
}
