//! The table of scalar functions against evaluation in `f64`.

use half::{bf16, f16};
use oxidane_kernels::{Function, Operand, map};
use oxidane_pool::Pool;

fn inputs(low: f64, high: f64) -> Vec<f32> {
    let mut x: Vec<f32> =
        (0..20_011).map(|i| (low + (high - low) * f64::from(i) / 20_010.0) as f32).collect();
    // Sizes of every magnitude within the range.
    for e in -149..128 {
        for v in [1.0, 1.37, -1.0, -1.71] {
            let v = v * 2f64.powi(e);
            if v >= low && v <= high {
                x.push(v as f32);
            }
        }
    }
    x
}

/// The largest error in units in the last place of the `f32` nearest to the truth.
fn worst(function: Function, range: (f64, f64), truth: impl Fn(f64) -> f64) -> (f64, f32) {
    let x = inputs(range.0, range.1);
    let mut y = vec![0.0f32; x.len()];
    map::function(&Pool::sequential(), function, &x, &mut y).unwrap();
    let mut worst = (0.0, 0.0);
    for (&x, &y) in x.iter().zip(&y) {
        let t = truth(f64::from(x));
        let nearest = t as f32;
        if !nearest.is_finite() || nearest == 0.0 {
            assert!(nearest == y || (nearest.is_nan() && y.is_nan()), "{function:?}({x}) is {y}, not {t}");
            continue;
        }
        let unit = f64::from(f32::from_bits(nearest.to_bits() + 1)) - f64::from(nearest);
        let error = (f64::from(y) - t).abs() / unit.abs();
        if error.is_nan() || error > worst.0 {
            worst = (error, x);
        }
    }
    worst
}

#[test]
fn polynomials_are_close() {
    type Row = (Function, (f64, f64), fn(f64) -> f64, f64);
    let rows: [Row; 8] = [
        (Function::Exp, (-110.0, 95.0), f64::exp, 1.5),
        (Function::Log, (0.0, 3.4e38), f64::ln, 1.5),
        (Function::Log, (0.0, 4.0), f64::ln, 1.5),
        (Function::Tanh, (-12.0, 12.0), f64::tanh, 2.0),
        (Function::Tanh, (-1.0, 1.0), f64::tanh, 2.0),
        (Function::Erf, (-5.0, 5.0), libm::erf, 2.0),
        (Function::Sigmoid, (-87.0, 100.0), |x| 1.0 / (1.0 + (-x).exp()), 3.0),
        (Function::Softplus, (-80.0, 100.0), |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p(), 3.0),
    ];
    for (function, range, truth, allowed) in rows {
        let (error, at) = worst(function, range, truth);
        println!("{function:?} on {range:?}: {error:.2} at {at}");
        assert!(error <= allowed, "{function:?} is {error} units off at {at}");
    }
}

#[test]
fn special_values() {
    let y = |function, x: f32| {
        let mut y = [0.0];
        f32::apply(function, &[x], &mut y).unwrap();
        y[0]
    };
    let infinity = f32::INFINITY;
    assert_eq!(y(Function::Exp, infinity), infinity);
    assert_eq!(y(Function::Exp, -infinity), 0.0);
    assert_eq!(y(Function::Log, 0.0), -infinity);
    assert_eq!(y(Function::Log, infinity), infinity);
    assert!(y(Function::Log, -1.0).is_nan());
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
