//! The table of scalar functions: every elementwise operator of one input, for every type that has it.

use crate::real::Real;
use crate::{KernelError, Number};
use half::{bf16, f16};

/// A function of one number. Those of the first group exist for every type, the others for floats only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// The absolute value; the smallest signed integer stays as it is.
    Abs,
    /// The negative, wrapping for integers.
    Neg,
    /// -1, 0 or 1; NaN stays.
    Sign,
    /// max(x, 0); NaN stays.
    Relu,
    /// 1 / x, truncated for integers.
    Reciprocal,
    /// x, cut to the range from `min` to `max`.
    Clip {
        /// Lower bound.
        min: f64,
        /// Upper bound, which wins where it lies below `min`.
        max: f64,
    },
    /// x + bias below -lambda, x - bias above lambda, otherwise 0.
    Shrink {
        /// What is taken off.
        bias: f32,
        /// Half the width of the band that becomes 0.
        lambd: f32,
    },
    /// The square root.
    Sqrt,
    /// e^x.
    Exp,
    /// The natural logarithm.
    Log,
    /// The sine of radians.
    Sin,
    /// The cosine of radians.
    Cos,
    /// The tangent of radians.
    Tan,
    /// The inverse sine in radians.
    Asin,
    /// The inverse cosine in radians.
    Acos,
    /// The inverse tangent in radians.
    Atan,
    /// The hyperbolic sine.
    Sinh,
    /// The hyperbolic cosine.
    Cosh,
    /// The hyperbolic tangent.
    Tanh,
    /// The inverse hyperbolic sine.
    Asinh,
    /// The inverse hyperbolic cosine.
    Acosh,
    /// The inverse hyperbolic tangent.
    Atanh,
    /// The error function.
    Erf,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// ln(1 + e^x).
    Softplus,
    /// x / (1 + |x|).
    Softsign,
    /// x above 0, otherwise alpha x.
    LeakyRelu {
        /// The slope below 0.
        alpha: f32,
    },
    /// x above 0, otherwise alpha (e^x - 1).
    Elu {
        /// The limit below, negated.
        alpha: f32,
    },
    /// gamma times: x above 0, otherwise alpha (e^x - 1).
    Selu {
        /// The factor of both branches' inner value below 0.
        alpha: f32,
        /// The factor of both branches.
        gamma: f32,
    },
    /// max(x, 0) + min(0, alpha (e^(x / alpha) - 1)).
    Celu {
        /// The limit below, negated.
        alpha: f32,
    },
    /// x times the normal distribution's cumulative function at x.
    Gelu,
    /// The approximation of [`Function::Gelu`] by tanh.
    GeluTanh,
    /// alpha x + beta, cut to 0 and 1.
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// x times `HardSigmoid` with 1/6 and 1/2.
    HardSwish,
    /// x tanh(softplus(x)).
    Mish,
    /// x sigmoid(alpha x); SiLU for alpha 1.
    Swish {
        /// The factor inside.
        alpha: f32,
    },
    /// x above alpha, otherwise 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// alpha x + beta (also ImageScaler-like uses).
    Affine {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// alpha tanh(beta x).
    ScaledTanh {
        /// The factor outside.
        alpha: f32,
        /// The factor inside.
        beta: f32,
    },
    /// The next integer above.
    Ceil,
    /// The next integer below.
    Floor,
    /// The nearest integer, halves to the even one.
    Round,
}

/// A type that [`Function`]s can be applied to.
pub trait Operand: Number {
    /// `output[i] = function(input[i])` for as many elements as the shorter slice has.
    ///
    /// # Errors
    /// When the function does not exist for the type.
    fn apply(function: Function, input: &[Self], output: &mut [Self]) -> Result<(), KernelError>;
}

/// `data[i] = function(data[i])`.
pub fn apply_in_place(function: Function, data: &mut [f32]) {
    let copy = data.to_vec();
    run(function, &copy, data);
}

#[inline(always)]
fn each<T: Copy>(input: &[T], output: &mut [T], f: impl Fn(T) -> T) {
    for (y, &x) in output.iter_mut().zip(input) {
        *y = f(x);
    }
}

/// Compiled once for each width of registers; `WIDE` keeps the two versions' closures apart, so that each has one
/// caller and is inlined into its loop.
fn run<R: Real>(function: Function, x: &[R], y: &mut [R]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide<R: Real>(function: Function, x: &[R], y: &mut [R]) {
            apply_real::<R, true>(function, x, y);
        }
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has the feature.
            return unsafe { wide(function, x, y) };
        }
    }
    apply_real::<R, false>(function, x, y);
}

#[inline(always)]
fn sigmoid<R: Real>(x: R) -> R {
    R::ONE.over(R::ONE.plus(x.negative().exp()))
}

#[inline(always)]
fn softplus<R: Real>(x: R) -> R {
    let rest = x.size().negative().exp().ln_1p_unit();
    R::larger(x, R::ZERO).plus(rest)
}

/// In the float itself; 16-bit floats come here as `f32`.
#[inline(always)]
fn apply_real<R: Real, const WIDE: bool>(function: Function, x: &[R], y: &mut [R]) {
    use Function as F;
    let of = |v: f32| R::of(f64::from(v));
    let (zero, one) = (R::ZERO, R::ONE);
    let half = R::of(0.5);
    match function {
        F::Abs => each(x, y, |x| x.size()),
        F::Neg => each(x, y, |x| x.negative()),
        F::Sign => each(x, y, |x| {
            if x > zero {
                one
            } else if x < zero {
                one.negative()
            } else {
                x.times(x)
            }
        }),
        F::Relu => each(x, y, |x| if x < zero { zero } else { x }),
        F::Reciprocal => each(x, y, |x| one.over(x)),
        F::Clip { min, max } => {
            let (min, max) = (R::of(min), R::of(max));
            each(x, y, |x| {
                let x = if x < min { min } else { x };
                if x > max { max } else { x }
            });
        }
        F::Shrink { bias, lambd } => {
            let (bias, lambd) = (of(bias), of(lambd));
            each(x, y, |x| {
                if x < lambd.negative() {
                    x.plus(bias)
                } else if x > lambd {
                    x.minus(bias)
                } else {
                    zero
                }
            });
        }
        F::Sqrt => each(x, y, Real::sqrt),
        F::Exp => each(x, y, |x| x.exp()),
        F::Log => each(x, y, |x| x.ln()),
        F::Sin => each(x, y, Real::sin),
        F::Cos => each(x, y, Real::cos),
        F::Tan => each(x, y, Real::tan),
        F::Asin => each(x, y, Real::asin),
        F::Acos => each(x, y, Real::acos),
        F::Atan => each(x, y, Real::atan),
        F::Sinh => each(x, y, Real::sinh),
        F::Cosh => each(x, y, Real::cosh),
        F::Tanh => each(x, y, |x| x.tanh()),
        F::Asinh => each(x, y, Real::asinh),
        F::Acosh => each(x, y, Real::acosh),
        F::Atanh => each(x, y, Real::atanh),
        F::Erf => each(x, y, |x| x.erf()),
        F::Sigmoid => each(x, y, sigmoid),
        F::Softplus => each(x, y, softplus),
        F::Softsign => each(x, y, |x| x.over(one.plus(x.size()))),
        F::LeakyRelu { alpha } => {
            let alpha = of(alpha);
            each(x, y, |x| if x < zero { x.times(alpha) } else { x });
        }
        F::Elu { alpha } => {
            let alpha = of(alpha);
            each(x, y, |x| if x < zero { alpha.times(x.exp_m1()) } else { x });
        }
        F::Selu { alpha, gamma } => {
            let (alpha, gamma) = (of(alpha), of(gamma));
            each(x, y, |x| gamma.times(if x < zero { alpha.times(x.exp_m1()) } else { x }));
        }
        F::Celu { alpha } => {
            let alpha = of(alpha);
            each(x, y, |x| if x < zero { alpha.times(x.over(alpha).exp_m1()) } else { x });
        }
        F::Gelu => {
            let root = R::of(std::f64::consts::FRAC_1_SQRT_2);
            each(x, y, |x| half.times(x).times(one.plus(x.times(root).erf())));
        }
        F::GeluTanh => {
            let (outer, inner) = (R::of((2.0 / std::f64::consts::PI).sqrt()), R::of(0.044_715));
            each(x, y, |x| {
                let cube = x.times(x).times(x);
                half.times(x).times(one.plus(outer.times(x.plus(inner.times(cube))).tanh()))
            });
        }
        F::HardSigmoid { alpha, beta } => {
            let (alpha, beta) = (of(alpha), of(beta));
            each(x, y, |x| hard_sigmoid(x, alpha, beta));
        }
        F::HardSwish => {
            let alpha = R::of(1.0 / 6.0);
            each(x, y, |x| x.times(hard_sigmoid(x, alpha, half)));
        }
        F::Mish => each(x, y, |x| x.times(softplus(x).tanh())),
        F::Swish { alpha } => {
            let alpha = of(alpha);
            each(x, y, |x| x.times(sigmoid(x.times(alpha))));
        }
        F::ThresholdedRelu { alpha } => {
            let alpha = of(alpha);
            each(x, y, |x| if x > alpha { x } else { zero });
        }
        F::Affine { alpha, beta } => {
            let (alpha, beta) = (of(alpha), of(beta));
            each(x, y, |x| alpha.times(x).plus(beta));
        }
        F::ScaledTanh { alpha, beta } => {
            let (alpha, beta) = (of(alpha), of(beta));
            each(x, y, |x| alpha.times(beta.times(x).tanh()));
        }
        F::Ceil => each(x, y, Real::ceil),
        F::Floor => each(x, y, Real::floor),
        F::Round => each(x, y, Real::round_ties_even),
    }
}

#[inline(always)]
fn hard_sigmoid<R: Real>(x: R, alpha: R, beta: R) -> R {
    let x = alpha.times(x).plus(beta);
    let x = if x < R::ZERO { R::ZERO } else { x };
    if x > R::ONE { R::ONE } else { x }
}

macro_rules! reals {
    ($($t:ty),*) => {$(
        impl Operand for $t {
            fn apply(function: Function, input: &[$t], output: &mut [$t]) -> Result<(), KernelError> {
                run(function, input, output);
                Ok(())
            }
        }
    )*};
}
reals!(f32, f64);

/// Elements that are widened at a time, on the stack.
const BLOCK: usize = 512;

macro_rules! halves {
    ($($t:ty),*) => {$(
        impl Operand for $t {
            fn apply(function: Function, input: &[$t], output: &mut [$t]) -> Result<(), KernelError> {
                let (mut x, mut y) = ([0f32; BLOCK], [0f32; BLOCK]);
                for (from, to) in input.chunks(BLOCK).zip(output.chunks_mut(BLOCK)) {
                    let n = from.len().min(to.len());
                    x.iter_mut().zip(&from[..n]).for_each(|(w, v)| *w = v.wide());
                    run(function, &x[..n], &mut y[..n]);
                    to[..n].iter_mut().zip(&y).for_each(|(v, &w)| *v = <$t>::narrow(w));
                }
                Ok(())
            }
        }
    )*};
}
halves!(f16, bf16);

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Operand for $t {
            fn apply(function: Function, x: &[$t], y: &mut [$t]) -> Result<(), KernelError> {
                use Function as F;
                match function {
                    F::Abs => each(x, y, |x| x.size()),
                    F::Neg => each(x, y, |x| x.negative()),
                    F::Relu => each(x, y, |x| x.max(0)),
                    #[allow(unused_comparisons, reason = "the macro also writes the unsigned types")]
                    F::Sign => each(x, y, |x| (x > 0) as $t - if x < 0 { 1 } else { 0 }),
                    F::Reciprocal => each(x, y, |x| <$t as Number>::over(1, x)),
                    F::Clip { min, max } => each(x, y, |x| x.max(min as $t).min(max as $t)),
                    F::Shrink { bias, lambd } => each(x, y, |x| {
                        let v = f64::from(x as f32);
                        if v < -f64::from(lambd) {
                            (v + f64::from(bias)) as $t
                        } else if v > f64::from(lambd) {
                            (v - f64::from(bias)) as $t
                        } else {
                            0
                        }
                    }),
                    F::Ceil | F::Floor | F::Round => each(x, y, |x| x),
                    other => {
                        let dtype = <$t as oxidane_tensor::Element>::DTYPE;
                        return Err(KernelError::Type(format!("{other:?} has no kernel for {dtype}; cast to a float type first")));
                    }
                }
                Ok(())
            }
        }
    )*};
}
integers!(i8, i16, i32, i64, u8, u16, u32, u64);
