//! Activations of one input, as rows of [`Unary`]: [Relu](https://onnx.ai/onnx/operators/onnx__Relu.html),
//! [Sigmoid](https://onnx.ai/onnx/operators/onnx__Sigmoid.html),
//! [Gelu](https://onnx.ai/onnx/operators/onnx__Gelu.html) and the like.

use crate::formula::Formula;
use crate::math::binary::{ADD, Binary, DIV, MUL};
use crate::math::unary::{Row, UNCONSUMED, Unary, WIDE, case, of, rows, with_integers};
use crate::{Case, Step, types};
use oxidane_graph::{Build, NodeId, OpError, ValueId};
use oxidane_kernels::Function;
use oxidane_tensor::{DType, Tensor};

/// Opset 6 changed the defaults of Selu from four digits to what the paper has.
const SELU_DEFAULTS: Step = Step {
    to: 6,
    up: |d| {
        d.attributes.take("consumed_inputs");
        for (name, default) in [("alpha", 1.6732f32), ("gamma", 1.0507)] {
            if d.attributes.get(name).is_none() {
                d.attributes.set(name, default);
            }
        }
        Ok(())
    },
    down: |_| Ok(()),
};

// The expected values of this table are NumPy's, in double precision, from the formulas of the specification.
rows! { ROWS;
    /// The room of Relu.
    RELU RELU_ROW = "Relu", [1, 6, 13, 14], types::SIGNED, ("X", "Y"), &[UNCONSUMED], Function::Relu,
        |row| with_integers(row, [3, 0, -7, 100], [3, 0, 0, 100], of(row, &WIDE, [0.0, 0.0, 0.0, 0.25, 0.875, 3.0]));
    /// The room of LeakyRelu.
    LEAKY_RELU LEAKY_RELU_ROW = "LeakyRelu", [1, 6, 16], types::FLOAT, ("X", "Y"), &[UNCONSUMED],
        Function::LeakyRelu { alpha: 0.01 }, |row| with(row, Function::LeakyRelu { alpha: 0.25 },
            [-0.625, -0.3125, -0.125, 0.25, 0.875, 3.0],
            of(row, &WIDE, [-0.0249999994, -0.0124999997, -0.00499999989, 0.25, 0.875, 3.0]));
    /// The room of Sigmoid.
    SIGMOID SIGMOID_ROW = "Sigmoid", [1, 6, 13], types::FLOAT, ("X", "Y"), &[UNCONSUMED], Function::Sigmoid,
        |row| of(row, &WIDE, [0.07585818, 0.222700139, 0.377540669, 0.562176501, 0.705785028, 0.952574127]);
    /// The room of HardSigmoid.
    HARD_SIGMOID HARD_SIGMOID_ROW = "HardSigmoid", [1, 6, 22], types::FLOAT, ("X", "Y"), &[UNCONSUMED],
        Function::HardSigmoid { alpha: 0.2, beta: 0.5 },
        |row| with(row, Function::HardSigmoid { alpha: 0.5, beta: 0.25 }, [0.0, 0.0, 0.0, 0.375, 0.6875, 1.0],
            of(row, &WIDE, [0.0, 0.25, 0.4, 0.55, 0.675, 1.0]));
    /// The room of HardSwish.
    HARD_SWISH HARD_SWISH_ROW = "HardSwish", [14, 22], types::FLOAT, ("X", "Y"), &[], Function::HardSwish,
        |row| of(row, &WIDE, [-0.208333333, -0.364583333, -0.208333333, 0.135416667, 0.565104167, 3.0]);
    /// The room of Elu.
    ELU ELU_ROW = "Elu", [1, 6, 22], types::FLOAT, ("X", "Y"), &[UNCONSUMED], Function::Elu { alpha: 1.0 },
        |row| with(row, Function::Elu { alpha: 2.0 }, [-1.83583, -1.42699041, -0.786938681, 0.25, 0.875, 3.0],
            of(row, &WIDE, [-0.917915001, -0.713495203, -0.39346934, 0.25, 0.875, 3.0]));
    /// The room of Selu.
    SELU SELU_ROW = "Selu", [1, 6, 22], types::FLOAT, ("X", "Y"), &[SELU_DEFAULTS],
        Function::Selu { alpha: 1.673_263_2, gamma: 1.050_701 },
        |row| with(row, Function::Selu { alpha: 2.0, gamma: 3.0 },
            [-5.50749001, -4.28097122, -2.36081604, 0.75, 2.625, 9.0],
            of(row, &WIDE, [-1.61378576, -1.25439545, -0.69175819, 0.262675256, 0.919363394, 3.15210307]));
    /// The room of Celu.
    CELU CELU_ROW = "Celu", [12, 28], types::FLOAT, ("X", "Y"), &[], Function::Celu { alpha: 1.0 },
        |row| with(row, Function::Celu { alpha: 2.0 }, [-1.42699041, -0.929477143, -0.442398434, 0.25, 0.875, 3.0],
            of(row, &WIDE, [-0.917915001, -0.713495203, -0.39346934, 0.25, 0.875, 3.0]));
    /// The room of Softplus.
    SOFTPLUS SOFTPLUS_ROW = "Softplus", [1, 22], types::FLOAT, ("X", "Y"), &[], Function::Softplus,
        |row| of(row, &WIDE, [0.0788897343, 0.251929081, 0.474076984, 0.82593942, 1.22344458, 3.04858735]);
    /// The room of Softsign.
    SOFTSIGN SOFTSIGN_ROW = "Softsign", [1, 22], types::FLOAT, ("input", "output"), &[], Function::Softsign,
        |row| of(row, &WIDE, [-0.714285714, -0.555555556, -0.333333333, 0.2, 0.466666667, 0.75]);
    /// The room of Mish.
    MISH MISH_ROW = "Mish", [18, 22], types::FLOAT, ("X", "Y"), &[], Function::Mish,
        |row| of(row, &WIDE, [-0.196816204, -0.308413961, -0.220743775, 0.16957241, 0.735583911, 2.986535]);
    /// The room of Gelu.
    GELU GELU_ROW = "Gelu", [20], types::FLOAT, ("X", "Y"), &[], Function::Gelu,
        |row| with(row, Function::GeluTanh,
            [-0.0150842661, -0.132285797, -0.15428599, 0.149675351, 0.707952681, 2.99636261],
            of(row, &WIDE, [-0.0155241633, -0.132062217, -0.154268769, 0.149676581, 0.708061416, 2.99595031]));
    /// The room of ThresholdedRelu.
    THRESHOLDED_RELU THRESHOLDED_RELU_ROW = "ThresholdedRelu", [10, 22], types::FLOAT, ("X", "Y"), &[],
        Function::ThresholdedRelu { alpha: 1.0 },
        |row| with(row, Function::ThresholdedRelu { alpha: 0.5 }, [0.0, 0.0, 0.0, 0.0, 0.875, 3.0],
            of(row, &WIDE, [0.0, 0.0, 0.0, 0.0, 0.0, 3.0]));
    /// The room of Shrink.
    SHRINK SHRINK_ROW = "Shrink", [9], types::SHRINK, ("input", "output"), &[],
        Function::Shrink { bias: 0.0, lambd: 0.5 },
        |row| with_integers(row, [3, 0, -7, 100], [3, 0, -7, 100],
            with(row, Function::Shrink { bias: 0.5, lambd: 0.75 }, [-2.0, -0.75, 0.0, 0.0, 0.375, 2.5],
            of(row, &WIDE, [-2.5, -1.25, 0.0, 0.0, 0.875, 3.0])));
    /// The room of Swish.
    SWISH SWISH_ROW = "Swish", [24], types::FLOAT, ("X", "Y"), &[], Function::Swish { alpha: 1.0 },
        |row| with(row, Function::Swish { alpha: 2.0 },
            [-0.0167321273, -0.094822725, -0.134470711, 0.155614833, 0.745458702, 2.99258213],
            of(row, &WIDE, [-0.18964545, -0.278375174, -0.188770334, 0.140544125, 0.617561899, 2.85772238]));
}

/// Adds a case of other attributes.
fn with(row: &'static Row, function: Function, outputs: [f64; 6], mut cases: Vec<Case>) -> Vec<Case> {
    crate::with_cases!();
    cases.push(case(row, "attributes", function, DType::F32, &WIDE, &outputs).tolerance(1e-6));
    cases
}

/// The simpler operators that the specification defines an activation by, where that is worth having.
pub(crate) fn expand(
    function: Function,
    build: &mut Build<'_>,
    node: NodeId,
) -> Result<Option<Vec<ValueId>>, OpError> {
    let Some(x) = build.graph().node(node).input(0) else { return Ok(None) };
    let Some(dtype) = build.ty(x).and_then(oxidane_graph::Type::dtype) else { return Ok(None) };
    let number = |build: &mut Build<'_>, value: f64| -> Result<ValueId, OpError> {
        Ok(build.constant(Tensor::from_f64s(dtype, &[], &[value])?))
    };
    let mul = |build: &mut Build<'_>, a, b| build.add(Binary::of(&MUL), &[a, b]);
    let add = |build: &mut Build<'_>, a, b| build.add(Binary::of(&ADD), &[a, b]);
    let apply = |build: &mut Build<'_>, function, x| -> Result<ValueId, OpError> {
        Ok(build.add(Unary::new(function)?, &[x]))
    };
    let y = match function {
        Function::HardSwish => {
            let gate = apply(build, Function::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, x)?;
            mul(build, x, gate)
        }
        Function::Mish => {
            let soft = apply(build, Function::Softplus, x)?;
            let gate = apply(build, Function::Tanh, soft)?;
            mul(build, x, gate)
        }
        Function::Swish { alpha } => {
            let inner = match alpha {
                1.0 => x,
                _ => {
                    let alpha = number(build, alpha.into())?;
                    mul(build, alpha, x)
                }
            };
            let gate = apply(build, Function::Sigmoid, inner)?;
            mul(build, x, gate)
        }
        Function::Softsign => {
            let one = number(build, 1.0)?;
            let size = apply(build, Function::Abs, x)?;
            let below = add(build, one, size);
            build.add(Binary::of(&DIV), &[x, below])
        }
        Function::Gelu | Function::GeluTanh => {
            let (half, one) = (number(build, 0.5)?, number(build, 1.0)?);
            let inner = if function == Function::Gelu {
                let factor = number(build, std::f64::consts::FRAC_1_SQRT_2)?;
                let inner = mul(build, x, factor);
                apply(build, Function::Erf, inner)?
            } else {
                let (factor, cubic) =
                    (number(build, (2.0 / std::f64::consts::PI).sqrt())?, number(build, 0.044715)?);
                let square = mul(build, x, x);
                let cube = mul(build, square, x);
                let cube = mul(build, cubic, cube);
                let inner = add(build, x, cube);
                let inner = mul(build, factor, inner);
                apply(build, Function::Tanh, inner)?
            };
            let sum = add(build, one, inner);
            let halved = mul(build, half, x);
            mul(build, halved, sum)
        }
        other => return plain_expand(other, build, node),
    };
    Ok(Some(vec![y]))
}

/// The functions that are cut and pasted from lines and exponentials.
fn plain_expand(
    function: Function,
    build: &mut Build<'_>,
    node: NodeId,
) -> Result<Option<Vec<ValueId>>, OpError> {
    let f = &mut Formula::new(build, node);
    let x = f.need(0)?;
    let dtype = f.dtype(x)?;
    if function == Function::Relu {
        let zero = f.number(0.0, x)?;
        return Ok(Some(vec![f.op("Max", &[x, zero])?]));
    }
    if !dtype.is_float() {
        return Ok(None);
    }
    let wide = f.widened(x)?;
    let number = |f: &mut Formula<'_, '_>, value: f64| f.number(value, wide);
    // `scale (e^(x / width) - 1)`.
    let bend = |f: &mut Formula<'_, '_>, scale: f64, width: f64| -> Result<ValueId, OpError> {
        let (one, scale, width) = (number(f, 1.0)?, number(f, scale)?, number(f, width)?);
        let part = f.op("Div", &[wide, width])?;
        let power = f.op("Exp", &[part])?;
        let power = f.op("Sub", &[power, one])?;
        f.op("Mul", &[scale, power])
    };
    let line = |f: &mut Formula<'_, '_>, slope: f64| -> Result<ValueId, OpError> {
        let slope = number(f, slope)?;
        f.op("Mul", &[wide, slope])
    };
    let below = |f: &mut Formula<'_, '_>, there: ValueId, elsewhere: ValueId| -> Result<ValueId, OpError> {
        let zero = number(f, 0.0)?;
        let under = f.op("Less", &[wide, zero])?;
        f.op("Where", &[under, there, elsewhere])
    };
    let y = match function {
        Function::LeakyRelu { alpha } => {
            let sloped = line(f, alpha.into())?;
            below(f, sloped, wide)?
        }
        Function::Elu { alpha } => {
            let bent = bend(f, alpha.into(), 1.0)?;
            below(f, bent, wide)?
        }
        Function::Celu { alpha } => {
            let bent = bend(f, alpha.into(), alpha.into())?;
            below(f, bent, wide)?
        }
        Function::Selu { alpha, gamma } => {
            let bent = bend(f, f64::from(gamma) * f64::from(alpha), 1.0)?;
            let right = line(f, gamma.into())?;
            below(f, bent, right)?
        }
        Function::HardSigmoid { alpha, beta } => {
            let (line, beta) = (line(f, alpha.into())?, number(f, beta.into())?);
            let line = f.op("Add", &[line, beta])?;
            let (zero, one) = (number(f, 0.0)?, number(f, 1.0)?);
            f.op("Clip", &[line, zero, one])?
        }
        Function::Shrink { bias, lambd } => {
            let (bias, zero) = (number(f, bias.into())?, number(f, 0.0)?);
            let (high, low) = (number(f, lambd.into())?, number(f, -f64::from(lambd))?);
            let (over, under) = (f.op("Greater", &[wide, high])?, f.op("Less", &[wide, low])?);
            let (less, more) = (f.op("Sub", &[wide, bias])?, f.op("Add", &[wide, bias])?);
            let rest = f.op("Where", &[over, less, zero])?;
            f.op("Where", &[under, more, rest])?
        }
        Function::ThresholdedRelu { alpha } => {
            let (alpha, zero) = (number(f, alpha.into())?, number(f, 0.0)?);
            let over = f.op("Greater", &[wide, alpha])?;
            f.op("Where", &[over, wide, zero])?
        }
        // The power is of what is not above 0, so that it does not overflow.
        Function::Softplus => {
            let (zero, one) = (number(f, 0.0)?, number(f, 1.0)?);
            let size = f.op("Abs", &[wide])?;
            let size = f.op("Neg", &[size])?;
            let power = f.op("Exp", &[size])?;
            let power = f.op("Add", &[power, one])?;
            let log = f.op("Log", &[power])?;
            let line = f.op("Max", &[wide, zero])?;
            f.op("Add", &[line, log])?
        }
        _ => return Ok(None),
    };
    Ok(Some(vec![f.cast(y, dtype)?]))
}
