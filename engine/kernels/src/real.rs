//! The functions of mathematics on `f32`, as branch-free polynomials that vectorise (at most about 2 units in
//! the last place off, coefficients fitted by Lawson's iteration), and on `f64` by the platform's library.

/// A float with the functions that the table of scalar functions is written in.
pub trait Real: crate::Number<Wide = Self> {
    /// Rounded from `f64`.
    fn of(x: f64) -> Self;
    /// e^x.
    fn exp(self) -> Self;
    /// e^x - 1, exact near 0.
    fn exp_m1(self) -> Self;
    /// Of positive numbers; minus infinity at 0 and NaN below.
    fn ln(self) -> Self;
    /// ln(1 + x) for x from 0 to 1.
    fn ln_1p_unit(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The sine.
    fn sin(self) -> Self;
    /// The cosine.
    fn cos(self) -> Self;
    /// The tangent.
    fn tan(self) -> Self;
    /// The inverse sine.
    fn asin(self) -> Self;
    /// The inverse cosine.
    fn acos(self) -> Self;
    /// The inverse tangent.
    fn atan(self) -> Self;
    /// The hyperbolic sine.
    fn sinh(self) -> Self;
    /// The hyperbolic cosine.
    fn cosh(self) -> Self;
    /// The inverse hyperbolic sine.
    fn asinh(self) -> Self;
    /// The inverse hyperbolic cosine.
    fn acosh(self) -> Self;
    /// The inverse hyperbolic tangent.
    fn atanh(self) -> Self;
    /// The next integer above.
    fn ceil(self) -> Self;
    /// The next integer below.
    fn floor(self) -> Self;
    /// The nearest integer, halves to the even one.
    fn round_ties_even(self) -> Self;
}

/// A type whose sums are formed in a [`Real`]: any float.
pub trait Float: crate::Operand<Wide: Real> {}
impl<T: crate::Operand<Wide: Real>> Float for T {}

/// Adding and subtracting it rounds a small `f32` to an integer.
const ROUNDER: f32 = 12_582_912.0;
/// The high bits of ln 2, whose multiples up to 2^9 are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// (e^r - 1 - r) / r^2 for |r| up to ln(2) / 2.
#[inline(always)]
fn exp_tail(r: f32) -> f32 {
    let p = 0.001_381_431_6f32;
    let p = p * r + 0.008_368_852;
    let p = p * r + 0.041_668_4;
    let p = p * r + 0.166_665_2;
    p * r + 0.499_999_94
}

/// The number n and the rest r with x = n ln 2 + r.
#[inline(always)]
fn split(x: f32) -> (f32, f32) {
    let n = x * std::f32::consts::LOG2_E + ROUNDER - ROUNDER;
    (n, (x - n * LN_2_HIGH) - n * LN_2_LOW)
}

/// e^x.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Beyond, the result is 0 or infinity all the same; NaN passes both tests.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let (n, r) = split(x);
    let y = 1.0 + (r + r * r * exp_tail(r));
    // In two steps, so that the results below 2^-126 and above 2^127 come out right.
    let half = (n * 0.5) + ROUNDER - ROUNDER;
    y * power_of_two(half) * power_of_two(n - half)
}

/// 2^n for a whole n from -126 to 127, whose bits are read off a sum.
#[inline(always)]
fn power_of_two(n: f32) -> f32 {
    f32::from_bits((n + (ROUNDER + 127.0)).to_bits() << 23)
}

/// e^x - 1.
#[inline(always)]
fn exp_m1(x: f32) -> f32 {
    let small = x + x * x * exp_tail(x);
    if x.abs() < 0.34 { small } else { exp(x) - 1.0 }
}

/// ln x.
#[inline(always)]
fn ln(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits();
    // The mantissa between sqrt(1/2) and sqrt(2), and the exponent that goes with it.
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let n = ((shifted as i32) >> 23) as f32 - if tiny { 23.0 } else { 0.0 };
    let f = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3)) - 1.0;
    let p = 0.067_574_87f32;
    let p = p * f - 0.116_943_07;
    let p = p * f + 0.118_935_35;
    let p = p * f - 0.124_030_896;
    let p = p * f + 0.142_185_52;
    let p = p * f - 0.166_680_9;
    let p = p * f + 0.200_021_67;
    let p = p * f - 0.250_000_1;
    let p = p * f + 0.333_333_1;
    let square = f * f;
    let y = n * LN_2_LOW + square * f * p;
    let y = (y - 0.5 * square) + f + n * LN_2_HIGH;
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 || x.is_nan() { f32::NAN } else { y }
}

/// tanh x.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let z = x * x;
    let p = -0.005_666_989f32;
    let p = p * z + 0.020_606_188;
    let p = p * z - 0.053_730_01;
    let p = p * z + 0.133_313_13;
    let p = p * z - 0.333_332_78;
    let small = x + x * z * p;
    let large = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
    if size < 0.625 { small } else { large.copysign(x) }
}

/// The error function.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let size = x.abs();
    let z = x * x;
    let p = 8.317_01e-5f32;
    let p = p * z - 0.000_813_007_94;
    let p = p * z + 0.005_199_914;
    let p = p * z - 0.026_858_944;
    let p = p * z + 0.112_836_875;
    let p = p * z - 0.376_126_32;
    let p = p * z + 0.128_379_17;
    let small = x + x * p;
    // 1 - e^-g, where g = -ln erfc.
    let t = if size > 4.0 { 4.0 } else { size };
    let g = 4.806_306e-6f32;
    let g = g * t - 4.399_802_5e-5;
    let g = g * t - 5.752_24e-5;
    let g = g * t + 0.002_951_696;
    let g = g * t - 0.022_708_336;
    let g = g * t + 0.105_294_48;
    let g = g * t + 0.635_609_3;
    let g = g * t + 1.128_555_2;
    let large = 1.0 - exp(-g * t);
    if size > 0.92 { large.copysign(x) } else { small }
}

macro_rules! by_library {
    ($t:ident: $($name:ident),*) => {$(
        #[inline(always)]
        fn $name(self) -> $t {
            $t::$name(self)
        }
    )*};
}

impl Real for f32 {
    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn exp(self) -> f32 {
        exp(self)
    }
    #[inline(always)]
    fn exp_m1(self) -> f32 {
        exp_m1(self)
    }
    #[inline(always)]
    fn ln(self) -> f32 {
        ln(self)
    }
    #[inline(always)]
    fn ln_1p_unit(self) -> f32 {
        // The rounding of 1 + x, put right.
        let sum = 1.0 + self;
        ln(sum) + (self - (sum - 1.0)) / sum
    }
    #[inline(always)]
    fn tanh(self) -> f32 {
        tanh(self)
    }
    #[inline(always)]
    fn erf(self) -> f32 {
        erf(self)
    }
    by_library!(f32: sqrt, sin, cos, tan, asin, acos, atan, sinh, cosh, asinh, acosh, atanh, ceil, floor,
        round_ties_even);
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn ln_1p_unit(self) -> f64 {
        self.ln_1p()
    }
    #[inline(always)]
    fn erf(self) -> f64 {
        libm::erf(self)
    }
    by_library!(f64: exp, exp_m1, ln, tanh, sqrt, sin, cos, tan, asin, acos, atan, sinh, cosh, asinh, acosh,
        atanh, ceil, floor, round_ties_even);
}
