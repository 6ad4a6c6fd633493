//! The derivatives of the functions of one tensor.

use crate::formula::Formula;
use oxidane_graph::{Build, NodeId, OpError, ValueId};
use oxidane_kernels::Function as F;

/// The gradient of an element-wise function's input from that of its output; `None` where the function is constant
/// but for jumps.
///
/// # Errors
/// When the function has no rule of its own.
pub(super) fn gradient(
    function: F,
    build: &mut Build<'_>,
    node: NodeId,
    gradient: ValueId,
) -> Result<Option<ValueId>, OpError> {
    let y = build.graph().node(node).output(0);
    let f = &mut Formula::new(build, node);
    let x = f.need(0)?;
    // The output, where the node still has it; otherwise it is computed again.
    let y = |f: &mut Formula<'_, '_>| -> Result<ValueId, OpError> {
        match y {
            Some(y) => Ok(y),
            None => Ok(f.build().add(super::unary::Unary::new(function)?, &[x])),
        }
    };
    let factor = match function {
        F::Sign | F::Ceil | F::Floor | F::Round => return Ok(None),
        F::Neg => return f.op("Neg", &[gradient]).map(Some),
        F::Abs => f.op("Sign", &[x])?,
        F::Reciprocal => {
            let y = y(f)?;
            let square = f.op("Mul", &[y, y])?;
            f.op("Neg", &[square])?
        }
        F::Sqrt => {
            let y = y(f)?;
            let twice = f.op("Add", &[y, y])?;
            return f.op("Div", &[gradient, twice]).map(Some);
        }
        F::Exp => y(f)?,
        F::Log => return f.op("Div", &[gradient, x]).map(Some),
        F::Sin => f.op("Cos", &[x])?,
        F::Cos => {
            let sin = f.op("Sin", &[x])?;
            f.op("Neg", &[sin])?
        }
        F::Tan => {
            let y = y(f)?;
            polynomial(f, y, 1.0, 1.0)?
        }
        F::Asin | F::Acos | F::Asinh | F::Acosh => {
            let (constant, square) = match function {
                F::Asinh => (1.0, 1.0),
                F::Acosh => (-1.0, 1.0),
                _ => (1.0, -1.0),
            };
            let inside = polynomial(f, x, constant, square)?;
            let root = f.op("Sqrt", &[inside])?;
            let quotient = f.op("Div", &[gradient, root])?;
            return if function == F::Acos { f.op("Neg", &[quotient]) } else { Ok(quotient) }.map(Some);
        }
        F::Atan | F::Atanh => {
            let below = polynomial(f, x, 1.0, if function == F::Atan { 1.0 } else { -1.0 })?;
            return f.op("Div", &[gradient, below]).map(Some);
        }
        F::Sinh => f.op("Cosh", &[x])?,
        F::Cosh => f.op("Sinh", &[x])?,
        F::Tanh => {
            let y = y(f)?;
            polynomial(f, y, 1.0, -1.0)?
        }
        F::Erf => {
            let square = f.op("Mul", &[x, x])?;
            let square = f.op("Neg", &[square])?;
            let bell = f.op("Exp", &[square])?;
            let share = f.number(std::f64::consts::FRAC_2_SQRT_PI, x)?;
            f.op("Mul", &[share, bell])?
        }
        F::Sigmoid => {
            let (y, one) = (y(f)?, f.number(1.0, x)?);
            let rest = f.op("Sub", &[one, y])?;
            f.op("Mul", &[y, rest])?
        }
        F::Softplus => f.op("Sigmoid", &[x])?,
        F::Relu => return above(f, x, 0.0, gradient, None).map(Some),
        F::ThresholdedRelu { alpha } => return above(f, x, alpha.into(), gradient, None).map(Some),
        F::LeakyRelu { alpha } => {
            let below = times(f, gradient, alpha.into())?;
            return above(f, x, 0.0, gradient, Some(below)).map(Some);
        }
        F::Elu { alpha } => {
            let slope = y(f)?;
            return bent(f, x, gradient, slope, alpha.into(), 1.0).map(Some);
        }
        F::Selu { alpha, gamma } => {
            let slope = y(f)?;
            return bent(f, x, gradient, slope, f64::from(alpha) * f64::from(gamma), gamma.into()).map(Some);
        }
        F::Celu { alpha } => {
            let part = times(f, x, 1.0 / f64::from(alpha))?;
            let slope = f.op("Exp", &[part])?;
            return bent(f, x, gradient, slope, 0.0, 1.0).map(Some);
        }
        F::HardSigmoid { alpha, .. } => {
            let (y, zero, one) = (y(f)?, f.number(0.0, x)?, f.number(1.0, x)?);
            let (over, under) = (f.op("Greater", &[y, zero])?, f.op("Less", &[y, one])?);
            let inside = f.op("And", &[over, under])?;
            let sloped = times(f, gradient, alpha.into())?;
            return f.op("Where", &[inside, sloped, zero]).map(Some);
        }
        other => return Err(OpError::unsupported(format!("{other:?} has no gradient rule"))),
    };
    f.op("Mul", &[gradient, factor]).map(Some)
}

/// `constant + square v^2`.
fn polynomial(f: &mut Formula<'_, '_>, v: ValueId, constant: f64, square: f64) -> Result<ValueId, OpError> {
    let constant = f.number(constant, v)?;
    let power = f.op("Mul", &[v, v])?;
    f.op(if square > 0.0 { "Add" } else { "Sub" }, &[constant, power])
}

fn times(f: &mut Formula<'_, '_>, v: ValueId, factor: f64) -> Result<ValueId, OpError> {
    if factor == 1.0 {
        return Ok(v);
    }
    let factor = f.number(factor, v)?;
    f.op("Mul", &[v, factor])
}

/// One value where x is above a bound, and another, or nought, where it is not.
fn above(
    f: &mut Formula<'_, '_>,
    x: ValueId,
    bound: f64,
    there: ValueId,
    elsewhere: Option<ValueId>,
) -> Result<ValueId, OpError> {
    let bound = f.number(bound, x)?;
    let over = f.op("Greater", &[x, bound])?;
    let elsewhere = match elsewhere {
        Some(value) => value,
        None => f.number(0.0, x)?,
    };
    f.op("Where", &[over, there, elsewhere])
}

/// The gradient times `right` above 0, and times `slope + more` elsewhere.
fn bent(
    f: &mut Formula<'_, '_>,
    x: ValueId,
    gradient: ValueId,
    slope: ValueId,
    more: f64,
    right: f64,
) -> Result<ValueId, OpError> {
    let slope = match more {
        0.0 => slope,
        _ => {
            let more = f.number(more, x)?;
            f.op("Add", &[slope, more])?
        }
    };
    let left = f.op("Mul", &[gradient, slope])?;
    let right = times(f, gradient, right)?;
    above(f, x, 0.0, right, Some(left))
}
