//! The table of scalar functions: every elementwise operator of one input, for every type that has it.

use crate::isa::{LANES, Vector, Work, dispatch, functions};
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

    /// `data[i] = function(data[i])`.
    ///
    /// # Errors
    /// As [`Operand::apply`].
    fn apply_in_place(function: Function, data: &mut [Self]) -> Result<(), KernelError>;
}

#[inline(always)]
fn each<T: Copy>(input: &[T], output: &mut [T], f: impl Fn(T) -> T) {
    for (y, &x) in output.iter_mut().zip(input) {
        *y = f(x);
    }
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

/// In the float itself, element by element.
fn apply_real<R: Real>(function: Function, x: &[R], y: &mut [R]) {
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

impl Operand for f64 {
    fn apply(function: Function, input: &[f64], output: &mut [f64]) -> Result<(), KernelError> {
        apply_real(function, input, output);
        Ok(())
    }

    fn apply_in_place(function: Function, data: &mut [f64]) -> Result<(), KernelError> {
        let mut copy = [0.0; BLOCK];
        for block in data.chunks_mut(BLOCK) {
            let from = &mut copy[..block.len()];
            from.copy_from_slice(block);
            apply_real(function, from, block);
        }
        Ok(())
    }
}

impl Operand for f32 {
    fn apply(function: Function, input: &[f32], output: &mut [f32]) -> Result<(), KernelError> {
        let n = input.len().min(output.len());
        with_map(function, Apply::Apart(&input[..n], &mut output[..n]));
        Ok(())
    }

    fn apply_in_place(function: Function, data: &mut [f32]) -> Result<(), KernelError> {
        with_map(function, Apply::InPlace(data));
        Ok(())
    }
}

/// `data[i] = function(data[i])`, on the caller's thread: for kernels that finish rows while they are in the cache.
pub fn apply_in_place(function: Function, data: &mut [f32]) {
    with_map(function, Apply::InPlace(data));
}

/// A function of one number in vectors of them.
pub(crate) trait Map: Copy + Send + Sync {
    /// The function of each lane. `#[inline(always)]`, as all that runs in a [`Work`].
    fn of<V: Vector>(self, x: V) -> V;
}

/// What is done with a function that is found out at run time.
pub(crate) trait WithMap {
    /// What it gives.
    type Output;
    /// Called with the function, once.
    fn map<M: Map>(self, map: M) -> Self::Output;
}

/// A function that has no vectors: lane by lane.
#[derive(Clone, Copy)]
struct Lanes(fn(f32) -> f32);

impl Map for Lanes {
    #[inline(always)]
    fn of<V: Vector>(self, x: V) -> V {
        let mut lanes = [0f32; LANES];
        x.put(&mut lanes);
        lanes.iter_mut().for_each(|v| *v = self.0(*v));
        V::of(&lanes)
    }
}

/// Calls `then` with a function of the table as vectors, so that the choice is made outside of loops.
pub(crate) fn with_map<W: WithMap>(function: Function, then: W) -> W::Output {
    use Function as F;
    // A type for each function, with its parameters as fields: `V` is the vector in the body.
    macro_rules! map {
        ($($field:ident),*; |$x:ident| $body:expr) => {{
            #[derive(Clone, Copy)]
            struct Here { $($field: f32),* }
            impl Map for Here {
                #[inline(always)]
                fn of<V: Vector>(self, $x: V) -> V {
                    $(let $field = V::splat(self.$field);)*
                    $body
                }
            }
            then.map(Here { $($field),* })
        }};
    }
    match function {
        F::Abs => map!(; |x| x.abs()),
        F::Neg => map!(; |x| x.mul(V::splat(-1.0))),
        // Zeros and NaN are their own square.
        F::Sign => map!(; |x| {
            let zero = V::zero();
            let rest = V::select(x.below(zero), V::splat(-1.0), x.mul(x));
            V::select(zero.below(x), V::splat(1.0), rest)
        }),
        F::Relu => map!(; |x| V::zero().max(x)),
        F::Reciprocal => map!(; |x| V::splat(1.0).div(x)),
        F::Clip { min, max } => {
            let (min, max) = (min as f32, max as f32);
            map!(min, max; |x| max.min(min.max(x)))
        }
        F::Shrink { bias, lambd } => map!(bias, lambd; |x| {
            let low = V::select(x.below(V::zero().sub(lambd)), x.add(bias), V::zero());
            V::select(lambd.below(x), x.sub(bias), low)
        }),
        F::Sqrt => map!(; |x| x.sqrt()),
        F::Exp => map!(; |x| functions::exp(x)),
        F::Log => map!(; |x| functions::ln(x)),
        F::Sin => then.map(Lanes(f32::sin)),
        F::Cos => then.map(Lanes(f32::cos)),
        F::Tan => then.map(Lanes(f32::tan)),
        F::Asin => then.map(Lanes(f32::asin)),
        F::Acos => then.map(Lanes(f32::acos)),
        F::Atan => then.map(Lanes(f32::atan)),
        F::Sinh => then.map(Lanes(f32::sinh)),
        F::Cosh => then.map(Lanes(f32::cosh)),
        F::Asinh => then.map(Lanes(f32::asinh)),
        F::Acosh => then.map(Lanes(f32::acosh)),
        F::Atanh => then.map(Lanes(f32::atanh)),
        F::Tanh => map!(; |x| functions::tanh(x)),
        F::Erf => map!(; |x| functions::erf(x)),
        F::Sigmoid => map!(; |x| functions::sigmoid(x)),
        F::Softplus => map!(; |x| functions::softplus(x)),
        F::Softsign => map!(; |x| x.div(V::splat(1.0).add(x.abs()))),
        F::LeakyRelu { alpha } => map!(alpha; |x| V::select(x.below(V::zero()), x.mul(alpha), x)),
        F::Elu { alpha } => map!(alpha; |x| {
            V::select(x.below(V::zero()), alpha.mul(functions::exp_m1(x)), x)
        }),
        F::Selu { alpha, gamma } => map!(alpha, gamma; |x| {
            gamma.mul(V::select(x.below(V::zero()), alpha.mul(functions::exp_m1(x)), x))
        }),
        F::Celu { alpha } => map!(alpha; |x| {
            V::select(x.below(V::zero()), alpha.mul(functions::exp_m1(x.div(alpha))), x)
        }),
        F::Gelu => map!(; |x| functions::gelu(x)),
        F::GeluTanh => map!(; |x| functions::gelu_tanh(x)),
        F::HardSigmoid { alpha, beta } => map!(alpha, beta; |x| functions::hard_sigmoid(x, alpha, beta)),
        F::HardSwish => map!(; |x| functions::hard_swish(x)),
        F::Mish => map!(; |x| functions::mish(x)),
        F::Swish { alpha } => map!(alpha; |x| functions::swish(x, alpha)),
        F::ThresholdedRelu { alpha } => map!(alpha; |x| V::select(alpha.below(x), x, V::zero())),
        F::Affine { alpha, beta } => map!(alpha, beta; |x| x.mul(alpha).add(beta)),
        F::ScaledTanh { alpha, beta } => map!(alpha, beta; |x| alpha.mul(functions::tanh(beta.mul(x)))),
        F::Ceil => map!(; |x| x.mul(V::splat(-1.0)).floor().mul(V::splat(-1.0))),
        F::Floor => map!(; |x| x.floor()),
        F::Round => map!(; |x| x.round()),
    }
}

/// A function applied from one slice to another of the same length, or in place.
enum Apply<'a> {
    Apart(&'a [f32], &'a mut [f32]),
    InPlace(&'a mut [f32]),
}

impl WithMap for Apply<'_> {
    type Output = ();

    fn map<M: Map>(self, map: M) {
        let (from, to, count) = match self {
            Apply::Apart(from, to) => (from.as_ptr(), to.as_mut_ptr(), from.len().min(to.len())),
            Apply::InPlace(data) => (data.as_ptr(), data.as_mut_ptr(), data.len()),
        };
        dispatch(Each { map, from, to, count });
    }
}

/// A function of `count` numbers at `from`, written to `to`, which is `from` or apart from it.
struct Each<M> {
    map: M,
    from: *const f32,
    to: *mut f32,
    count: usize,
}

impl<M: Map> Work for Each<M> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Each { map, from, to, count } = self;
        let whole = count / LANES * LANES;
        // SAFETY: `from` can be read and `to` be written for `count` numbers, as `Apply` has them from slices; every
        // vector is read before it is written, so that they may be the same.
        unsafe {
            for at in (0..whole).step_by(LANES) {
                map.of(V::load(from.add(at))).store(to.add(at));
            }
            let rest = count - whole;
            if rest > 0 {
                map.of(V::load_first(from.add(whole), rest)).store_first(to.add(whole), rest);
            }
        }
    }
}

/// Elements that are widened or copied at a time, on the stack.
const BLOCK: usize = 512;

macro_rules! halves {
    ($($t:ty),*) => {$(
        impl Operand for $t {
            fn apply(function: Function, input: &[$t], output: &mut [$t]) -> Result<(), KernelError> {
                let mut wide = [0f32; BLOCK];
                for (from, to) in input.chunks(BLOCK).zip(output.chunks_mut(BLOCK)) {
                    let n = from.len().min(to.len());
                    <$t>::wide_row(&from[..n], &mut wide[..n]);
                    apply_in_place(function, &mut wide[..n]);
                    <$t>::narrow_row(&wide[..n], &mut to[..n]);
                }
                Ok(())
            }

            fn apply_in_place(function: Function, data: &mut [$t]) -> Result<(), KernelError> {
                let mut wide = [0f32; BLOCK];
                for block in data.chunks_mut(BLOCK) {
                    let wide = &mut wide[..block.len()];
                    <$t>::wide_row(block, wide);
                    apply_in_place(function, wide);
                    <$t>::narrow_row(wide, block);
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

            fn apply_in_place(function: Function, data: &mut [$t]) -> Result<(), KernelError> {
                let mut copy = [0; BLOCK];
                for block in data.chunks_mut(BLOCK) {
                    let from = &mut copy[..block.len()];
                    from.copy_from_slice(block);
                    <$t>::apply(function, from, block)?;
                }
                Ok(())
            }
        }
    )*};
}
integers!(i8, i16, i32, i64, u8, u16, u32, u64);
