//! Functions as attributes: the name of the standard operator and its numbers.

use crate::formula::Formula;
use crate::math::unary::Unary;
use oxidane_graph::{OpError, ValueId};
use oxidane_kernels::Function;

/// Name and numbers of a function that may follow a sum; `None` where it has no such form.
pub fn spelled(function: Function) -> Option<(&'static str, Vec<f32>)> {
    use Function as F;
    Some(match function {
        F::Relu => ("Relu", vec![]),
        F::Clip { min, max } => ("Clip", vec![min as f32, max as f32]),
        F::Tanh => ("Tanh", vec![]),
        F::Sigmoid => ("Sigmoid", vec![]),
        F::Softplus => ("Softplus", vec![]),
        F::Softsign => ("Softsign", vec![]),
        F::LeakyRelu { alpha } => ("LeakyRelu", vec![alpha]),
        F::Elu { alpha } => ("Elu", vec![alpha]),
        F::Selu { alpha, gamma } => ("Selu", vec![alpha, gamma]),
        F::Celu { alpha } => ("Celu", vec![alpha]),
        F::Gelu => ("Gelu", vec![]),
        F::GeluTanh => ("GeluTanh", vec![]),
        F::HardSigmoid { alpha, beta } => ("HardSigmoid", vec![alpha, beta]),
        F::HardSwish => ("HardSwish", vec![]),
        F::Mish => ("Mish", vec![]),
        F::Swish { alpha } => ("Swish", vec![alpha]),
        F::Abs => ("Abs", vec![]),
        F::Neg => ("Neg", vec![]),
        F::Erf => ("Erf", vec![]),
        _ => return None,
    })
}

/// The inverse of [`spelled`]; no function for the empty name.
///
/// # Errors
/// When the name is unknown or the numbers are of another count.
pub fn read(name: &str, numbers: &[f32]) -> Result<Option<Function>, OpError> {
    use Function as F;
    Ok(Some(match (name, numbers) {
        ("", _) => return Ok(None),
        ("Relu", []) => F::Relu,
        ("Clip", &[min, max]) => F::Clip { min: min.into(), max: max.into() },
        ("Tanh", []) => F::Tanh,
        ("Sigmoid", []) => F::Sigmoid,
        ("Softplus", []) => F::Softplus,
        ("Softsign", []) => F::Softsign,
        ("LeakyRelu", &[alpha]) => F::LeakyRelu { alpha },
        ("Elu", &[alpha]) => F::Elu { alpha },
        ("Selu", &[alpha, gamma]) => F::Selu { alpha, gamma },
        ("Celu", &[alpha]) => F::Celu { alpha },
        ("Gelu", []) => F::Gelu,
        ("GeluTanh", []) => F::GeluTanh,
        ("HardSigmoid", &[alpha, beta]) => F::HardSigmoid { alpha, beta },
        ("HardSwish", []) => F::HardSwish,
        ("Mish", []) => F::Mish,
        ("Swish", &[alpha]) => F::Swish { alpha },
        ("Abs", []) => F::Abs,
        ("Neg", []) => F::Neg,
        ("Erf", []) => F::Erf,
        _ => {
            return Err(OpError::new(format!(
                "activation `{name}` with {} numbers is not supported",
                numbers.len()
            )));
        }
    }))
}

/// What a function makes of a value, by standard operators.
pub(crate) fn apply(f: &mut Formula<'_, '_>, x: ValueId, function: Function) -> Result<ValueId, OpError> {
    if let Function::Clip { min, max } = function {
        let (min, max) = (f.number(min, x)?, f.number(max, x)?);
        return f.op("Clip", &[x, min, max]);
    }
    Ok(f.build().add(Unary::new(function)?, &[x]))
}
