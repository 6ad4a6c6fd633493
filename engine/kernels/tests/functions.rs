//! The table of scalar functions against evaluation in `f64`.

use half::{bf16, f16};
use oxidane_kernels::{Function, Operand, map};
use oxidane_pool::Pool;

fn inputs(low: f64, high: f64) -> Vec<f32> {
    let mut x: Vec<f32> =
        (0..200_011).map(|i| (low + (high - low) * f64::from(i) / 200_010.0) as f32).collect();
    // Sizes of every magnitude within the range.
    for e in -149..128 {
        for v in (0..32).map(|i| 1.0 + f64::from(i) / 31.7) {
            for v in [v, -v].map(|v| v * 2f64.powi(e)) {
                if v >= low && v <= high {
                    x.push(v as f32);
                }
            }
        }
    }
    x
}

/// The largest error in units in the last place of the `f32` nearest to the truth, or of `x` where that is larger
/// and the function's error is relative to it.
fn worst(function: Function, of_input: bool, x: &[f32], truth: impl Fn(f64) -> f64) -> (f64, f32) {
    let mut y = vec![0.0f32; x.len()];
    map::function(&Pool::sequential(), function, x, &mut y).unwrap();
    let mut worst = (0.0, 0.0);
    for (&x, &y) in x.iter().zip(&y) {
        let t = truth(f64::from(x));
        let nearest = t as f32;
        if !nearest.is_finite() {
            assert!(nearest == y || (nearest.is_nan() && y.is_nan()), "{function:?}({x}) is {y}, not {t}");
            continue;
        }
        let scale = if of_input { nearest.abs().max(x.abs()) } else { nearest.abs() };
        let unit = f64::from(f32::from_bits(scale.to_bits() + 1)) - f64::from(scale);
        let error = (f64::from(y) - t).abs() / unit;
        if error.is_nan() || error > worst.0 {
            worst = (error, x);
        }
    }
    worst
}

/// The errors that the documentation states, a row a function: where, the truth, the units allowed, and whether
/// they are those of the input where that is larger.
#[test]
fn vectors_are_close() {
    type Row = (Function, (f64, f64), fn(f64) -> f64, f64, bool);
    fn sigmoid(x: f64) -> f64 {
        if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
    }
    fn softplus(x: f64) -> f64 {
        x.max(0.0) + (-x.abs()).exp().ln_1p()
    }
    fn gelu(x: f64) -> f64 {
        0.5 * x * libm::erfc(-x / 2f64.sqrt())
    }
    fn gelu_tanh(x: f64) -> f64 {
        x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3)))
    }
    fn mish(x: f64) -> f64 {
        x * softplus(x).tanh()
    }
    let rows: &[Row] = &[
        (Function::Exp, (-110.0, 95.0), f64::exp, EXP, false),
        (Function::Exp, (-1.0, 1.0), f64::exp, EXP, false),
        (Function::Elu { alpha: 1.0 }, (-100.0, 0.0), f64::exp_m1, EXP_M1, false),
        (Function::Elu { alpha: 1.0 }, (-2.0, 0.0), f64::exp_m1, EXP_M1, false),
        (Function::Log, (0.0, 3.4e38), f64::ln, LN, false),
        (Function::Log, (0.0, 4.0), f64::ln, LN, false),
        (Function::Log, (0.7, 1.6), f64::ln, LN, false),
        (Function::Tanh, (-12.0, 12.0), f64::tanh, TANH, false),
        (Function::Tanh, (-1.0, 1.0), f64::tanh, TANH, false),
        (Function::Erf, (-5.0, 5.0), libm::erf, ERF, false),
        (Function::Erf, (-1.0, 1.0), libm::erf, ERF, false),
        (Function::Sigmoid, (-110.0, 100.0), sigmoid, SIGMOID, false),
        (Function::Sigmoid, (-8.0, 8.0), sigmoid, SIGMOID, false),
        (Function::Softplus, (-110.0, 100.0), softplus, SOFTPLUS, false),
        (Function::Softplus, (-8.0, 8.0), softplus, SOFTPLUS, false),
        (Function::Swish { alpha: 1.0 }, (-87.0, 100.0), |x| x * sigmoid(x), SWISH, false),
        (Function::Swish { alpha: 1.0 }, (-8.0, 8.0), |x| x * sigmoid(x), SWISH, false),
        (Function::Mish, (-87.0, 100.0), mish, MISH, false),
        (Function::Mish, (-8.0, 8.0), mish, MISH, false),
        (Function::Gelu, (-40.0, 40.0), gelu, GELU, true),
        (Function::Gelu, (-5.0, 5.0), gelu, GELU, true),
        (Function::GeluTanh, (-40.0, 40.0), gelu_tanh, GELU_TANH, true),
        (Function::GeluTanh, (-5.0, 5.0), gelu_tanh, GELU_TANH, true),
    ];
    let mut bad = Vec::new();
    for &(function, range, truth, allowed, of_input) in rows {
        let (error, at) = worst(function, of_input, &inputs(range.0, range.1), truth);
        println!("{function:?} on {range:?}: {error:.2} at {at}");
        if error.is_nan() || error > allowed {
            bad.push(format!("{function:?} is {error:.2} units off at {at}"));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

// What the documentation states, in units in the last place.
const EXP: f64 = 1.2;
const EXP_M1: f64 = 1.1;
const LN: f64 = 0.9;
const TANH: f64 = 1.6;
const ERF: f64 = 1.6;
const SIGMOID: f64 = 2.5;
const SOFTPLUS: f64 = 2.0;
const SWISH: f64 = 3.5;
const MISH: f64 = 4.5;
const GELU: f64 = 3.0;
const GELU_TANH: f64 = 3.0;

/// Saturated values are exact, and nothing goes beyond them.
#[test]
fn bounded_functions_stay_in_bounds() {
    let x: Vec<f32> = (0..2_000_000).map(|i| f32::from_bits(0x3f80_0000 + 16 * i)).collect();
    let mut y = vec![0.0; x.len()];
    for (function, from) in [(Function::Tanh, 9.2), (Function::Erf, 4.0), (Function::Sigmoid, 18.0)] {
        map::function(&Pool::sequential(), function, &x, &mut y).unwrap();
        assert!(y.iter().all(|y| (0.0..=1.0).contains(y)), "{function:?}");
        assert!(x.iter().zip(&y).all(|(&x, &y)| x < from || y == 1.0), "{function:?}");
    }
}

/// Every length and alignment, in place and apart, gives the same bits as one element by itself.
#[test]
fn remainders() {
    let x: Vec<f32> = (0..100).map(|i| (i * 37 % 100) as f32 * 0.13 - 6.0).collect();
    for function in [Function::Exp, Function::Log, Function::Gelu, Function::Round, Function::Sin] {
        let one = |x: f32| {
            let mut y = [x];
            oxidane_kernels::apply_in_place(function, &mut y);
            y[0].to_bits()
        };
        for start in 0..5 {
            for len in 0..70 {
                let from = &x[start..start + len];
                let mut y = vec![9.0; len + 4];
                f32::apply(function, from, &mut y[2..2 + len]).unwrap();
                let mut data = from.to_vec();
                oxidane_kernels::apply_in_place(function, &mut data);
                for (i, &x) in from.iter().enumerate() {
                    assert_eq!(y[2 + i].to_bits(), one(x), "{function:?}({x})");
                    assert_eq!(data[i].to_bits(), one(x), "{function:?}({x})");
                }
                assert!([0, 1, len + 2, len + 3].iter().all(|&i| y[i] == 9.0));
            }
        }
    }
}

/// All tests of this file on the lower instruction sets of this machine.
#[test]
fn lower_sets() {
    const VARIABLE: &str = "OXIDANE_ISA";
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    for isa in oxidane_kernels::isa::available() {
        let mut tests = std::process::Command::new(std::env::current_exe().unwrap());
        let output = tests.env(VARIABLE, isa.name()).output().unwrap();
        assert!(output.status.success(), "{}: {}", isa.name(), String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn special_values() {
    let y = |function, x: f32| {
        // Neighbours of other kinds must not matter.
        let mut y = [0.0; 16];
        let mut input = [1.0; 16];
        input[5] = x;
        f32::apply(function, &input, &mut y).unwrap();
        y[5]
    };
    let infinity = f32::INFINITY;
    assert_eq!(y(Function::Exp, infinity), infinity);
    assert_eq!(y(Function::Exp, -infinity), 0.0);
    assert_eq!(y(Function::Log, 0.0), -infinity);
    assert_eq!(y(Function::Log, infinity), infinity);
    assert!(y(Function::Log, -1.0).is_nan());
    assert!(y(Function::Log, -infinity).is_nan());
    assert_eq!(y(Function::Log, -0.0), -infinity);
    assert_eq!(y(Function::Log, 1e-45), f64::from(1e-45f32).ln() as f32);
    assert_eq!(y(Function::Exp, -0.0), 1.0);
    assert_eq!(y(Function::Exp, 1000.0), infinity);
    assert_eq!(y(Function::Exp, -1000.0), 0.0);
    assert_eq!(y(Function::Elu { alpha: 1.0 }, -infinity), -1.0);
    assert_eq!(y(Function::Elu { alpha: 1.0 }, -0.0).to_bits(), (-0.0f32).to_bits());
    // e^(x / alpha) - 1 is taken at a large positive number.
    assert_eq!(y(Function::Celu { alpha: -0.01 }, -3.0), -infinity);
    assert_eq!(y(Function::Tanh, -0.0).to_bits(), (-0.0f32).to_bits());
    assert_eq!(y(Function::Tanh, 1e-40), 1e-40);
    assert_eq!(y(Function::Gelu, infinity), infinity);
    assert_eq!(y(Function::GeluTanh, infinity), infinity);
    assert_eq!(y(Function::GeluTanh, -1e38), 0.0);
    assert_eq!(y(Function::Gelu, -100.0), 0.0);
    assert_eq!(y(Function::Mish, infinity), infinity);
    assert_eq!(y(Function::Swish { alpha: 1.0 }, infinity), infinity);
    assert_eq!(y(Function::HardSwish, infinity), infinity);
    assert_eq!(y(Function::Sigmoid, infinity), 1.0);
    assert_eq!(y(Function::Ceil, -0.5).to_bits(), (-0.0f32).to_bits());
    assert_eq!(y(Function::Neg, 0.0).to_bits(), (-0.0f32).to_bits());
    assert_eq!(y(Function::Relu, -infinity), 0.0);
    assert_eq!(y(Function::Sign, -infinity), -1.0);
    assert_eq!(y(Function::Tanh, infinity), 1.0);
    assert_eq!(y(Function::Tanh, -infinity), -1.0);
    assert_eq!(y(Function::Erf, -infinity), -1.0);
    assert_eq!(y(Function::Erf, -0.0).to_bits(), (-0.0f32).to_bits());
    assert_eq!(y(Function::Sigmoid, -infinity), 0.0);
    assert_eq!(y(Function::Softplus, infinity), infinity);
    assert_eq!(y(Function::Softplus, -infinity), 0.0);
    for function in [
        Function::Exp,
        Function::Log,
        Function::Tanh,
        Function::Erf,
        Function::Sigmoid,
        Function::Relu,
        Function::Sign,
        Function::Abs,
        Function::Sqrt,
        Function::Elu { alpha: 1.0 },
        Function::Clip { min: 0.0, max: 1.0 },
        Function::Softplus,
        Function::Gelu,
        Function::Mish,
    ] {
        assert!(y(function, f32::NAN).is_nan(), "{function:?}");
    }
    assert_eq!(y(Function::Round, 2.5), 2.0);
    assert_eq!(y(Function::Round, -1.5), -2.0);
}

/// `f32`, `f16` and `bf16` agree with `f64` for every function of the table.
#[test]
fn all_functions_in_all_floats() {
    use Function::*;
    let table = [
        Abs,
        Neg,
        Sign,
        Relu,
        Reciprocal,
        Sqrt,
        Exp,
        Log,
        Sin,
        Cos,
        Tan,
        Asin,
        Acos,
        Atan,
        Sinh,
        Cosh,
        Tanh,
        Asinh,
        Acosh,
        Atanh,
        Erf,
        Sigmoid,
        Softplus,
        Softsign,
        Gelu,
        GeluTanh,
        HardSwish,
        Mish,
        Ceil,
        Floor,
        Round,
        Clip { min: -0.5, max: 0.5 },
        Shrink { bias: 0.25, lambd: 0.5 },
        LeakyRelu { alpha: 0.1 },
        Elu { alpha: 1.5 },
        Selu { alpha: 1.67, gamma: 1.05 },
        Celu { alpha: 2.0 },
        HardSigmoid { alpha: 0.2, beta: 0.5 },
        Swish { alpha: 1.5 },
        ThresholdedRelu { alpha: 0.3 },
        Affine { alpha: 2.0, beta: -1.0 },
        ScaledTanh { alpha: 0.5, beta: 2.0 },
    ];
    // Numbers that all four types hold.
    let x: Vec<f64> = (-40..=40).map(|i| f64::from(i) / 16.0).collect();
    for function in table {
        let mut truth = vec![0.0; x.len()];
        f64::apply(function, &x, &mut truth).unwrap();
        check::<f32>(function, &x, &truth, 2e-6);
        check::<f16>(function, &x, &truth, 1e-3);
        check::<bf16>(function, &x, &truth, 8e-3);
    }
}

fn check<T: Operand>(function: Function, x: &[f64], truth: &[f64], tolerance: f64) {
    let input: Vec<T> = x.iter().map(|&x| T::from_f64(x)).collect();
    let mut output = vec![T::ZERO; x.len()];
    T::apply(function, &input, &mut output).unwrap();
    for ((x, t), y) in x.iter().zip(truth).zip(output) {
        let y = y.to_f64();
        let close = (y - t).abs() <= tolerance * (1.0 + t.abs()) || y == *t || (y.is_nan() && t.is_nan());
        assert!(close, "{function:?}({x}) as {}: {y}, not {t}", T::DTYPE);
    }
}

#[test]
fn integers() {
    let mut y = [0i8; 3];
    i8::apply(Function::Abs, &[-128, -1, 5], &mut y).unwrap();
    assert_eq!(y, [-128, 1, 5]);
    i8::apply(Function::Sign, &[-128, 0, 5], &mut y).unwrap();
    assert_eq!(y, [-1, 0, 1]);
    assert!(i32::apply(Function::Tanh, &[1], &mut [0]).is_err());
}
