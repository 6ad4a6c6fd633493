//! The functions of mathematics on vectors of floats: polynomials and quotients of polynomials without branches,
//! fitted by Lawson's iteration. Errors are stated in units in the last place (ULP) of the result, the largest that
//! was seen on any instruction set; results are right at infinities and for NaN, and where they are too small for
//! normal numbers.

use super::Vector;

/// The high bits of ln 2, whose multiples up to 2^9 are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// A polynomial by Horner's rule, the coefficient of the highest power first.
macro_rules! horner {
    ($x:expr; $first:expr $(, $next:expr)*) => {{
        let x = $x;
        let p = V::splat($first);
        $(let p = p.mul_add(x, V::splat($next));)*
        p
    }};
}

/// The number n and the rest r with x = n ln 2 + r, for x in the range where e^x is neither 0 nor infinity; at its
/// ends beyond. NaN goes on in r.
#[inline(always)]
fn reduced<V: Vector>(x: V) -> (V, V) {
    let x = V::splat(-104.0).max(V::splat(89.0).min(x));
    let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
    let r = n.neg_mul_add(V::splat(LN_2_HIGH), x);
    (n, n.neg_mul_add(V::splat(LN_2_LOW), r))
}

/// (e^r - 1 - r) / r^2 for |r| up to ln(2) / 2.
#[inline(always)]
fn exp_tail<V: Vector>(r: V) -> V {
    horner!(r; 0.001_386_843_9, 0.008_366_433, 0.041_667_46, 0.166_665_45, 0.499_999_97)
}

/// e^x. Within 1.2 ULP.
#[inline(always)]
pub(crate) fn exp<V: Vector>(x: V) -> V {
    let (n, r) = reduced(x);
    let one = V::splat(1.0);
    exp_tail(r).mul_add(r, one).mul_add(r, one).scale(n)
}

/// e^x - 1, exact near 0. Within 1.1 ULP.
#[inline(always)]
pub(crate) fn exp_m1<V: Vector>(x: V) -> V {
    let (n, r) = reduced(x);
    let p = exp_tail(r).mul(r).mul_add(r, r);
    // Half of 2^n, which itself may be too large for a number when the result is not.
    let half = V::splat(0.5).scale(n);
    let y = p.mul_add(half, half.sub(V::splat(0.5)));
    // Zero keeps its sign.
    V::select(x.abs().below(V::splat(1e-10)), x, y.add(y))
}

/// ln x; minus infinity at 0 and NaN below. Within 0.9 ULP.
#[inline(always)]
pub(crate) fn ln<V: Vector>(x: V) -> V {
    let nan = V::splat(f32::NAN);
    let tiny = x.below(V::splat(f32::MIN_POSITIVE));
    let endless = V::splat(f32::MAX).below(x);
    let odd = V::select(tiny, nan, V::select(endless, nan, x)).is_nan();
    if !V::any(odd) {
        return ln_of(x.split());
    }
    // Subnormal numbers are scaled up; all others that are no positive numbers get their values at the end.
    let (m, n) = V::select(tiny, x.mul(V::splat(8_388_608.0)), x).split();
    let y = ln_of((m, V::select(tiny, n.sub(V::splat(23.0)), n)));
    let zero = V::zero();
    let y = V::select(zero.below(x), y, V::splat(f32::NEG_INFINITY));
    let y = V::select(x.below(zero), nan, y);
    let y = V::select(endless, x, y);
    V::select(x.is_nan(), x, y)
}

/// The logarithm of m 2^n for m from 0.75 to 1.5.
#[inline(always)]
fn ln_of<V: Vector>((m, n): (V, V)) -> V {
    let f = m.sub(V::splat(1.0));
    let p = horner!(f; 0.037_607_253, -0.091_066_76, 0.116_970_345, -0.127_283_89, 0.142_768, -0.166_553_17,
        0.199_995_79, -0.250_001_64, 0.333_333_4);
    let square = f.mul(f);
    let y = n.mul_add(V::splat(LN_2_LOW), square.mul(f).mul(p));
    let y = square.neg_mul_add(V::splat(0.5), y).add(f);
    n.mul_add(V::splat(LN_2_HIGH), y)
}

/// ln(1 + x) for x from 0 to 1. Within 1.2 ULP.
#[inline(always)]
pub(crate) fn ln_1p_unit<V: Vector>(x: V) -> V {
    let p = horner!(x; 0.002_084_44, -0.013_691_187, 0.042_113_908, -0.083_238_05, 0.124_794_81, -0.161_351_58,
        0.198_996_22, -0.249_888_64, 0.333_327_14, -0.499_999_88);
    p.mul(x).mul_add(x, x)
}

/// The hyperbolic tangent. Within 1.6 ULP, never beyond 1.
#[inline(always)]
pub(crate) fn tanh<V: Vector>(x: V) -> V {
    let (size, z) = (x.abs(), x.mul(x));
    let p = horner!(z; -0.005_666_989, 0.020_606_188, -0.053_730_01, 0.133_313_13, -0.333_332_78);
    let small = p.mul(z).mul_add(x, x);
    let (one, two) = (V::splat(1.0), V::splat(2.0));
    let large = one.sub(two.div(exp(size.add(size)).add(one)));
    V::select(size.below(V::splat(0.625)), small, large).copy_sign(x)
}

/// The error function. Within 1.6 ULP, never beyond 1.
#[inline(always)]
pub(crate) fn erf<V: Vector>(x: V) -> V {
    let size = x.abs();
    let p = horner!(x.mul(x); 8.317_01e-5, -0.000_813_007_94, 0.005_199_914, -0.026_858_944, 0.112_836_875,
        -0.376_126_32, 0.128_379_17);
    let small = x.mul_add(p, x);
    // 1 - e^-g, where g = -ln erfc.
    let t = V::splat(4.0).min(size);
    let g = horner!(t; 4.806_306e-6, -4.399_802_5e-5, -5.752_24e-5, 0.002_951_696, -0.022_708_336, 0.105_294_48,
        0.635_609_3, 1.128_555_2);
    let large = V::splat(1.0).sub(exp(V::zero().sub(g.mul(t))));
    V::select(V::splat(0.92).below(size), large.copy_sign(x), small)
}

/// As [`erf`], in fewer steps: within 5 ULP.
#[inline(always)]
fn erf_nearly<V: Vector>(x: V) -> V {
    let x = V::splat(-3.93).max(V::splat(3.93).min(x));
    let z = x.mul(x);
    let p = horner!(z; 2.045_695_6e-6, 2.842_408_4e-4, 0.003_756_294, 0.052_719_2, 0.190_245_96, std::f32::consts::FRAC_2_SQRT_PI);
    let q = horner!(z; 3.801_262_4e-5, 0.001_159_455_4, 0.014_951_171, 0.114_035_06, 0.501_934, 1.0);
    let y = x.mul(p).div(q);
    V::splat(-1.0).max(V::splat(1.0).min(y))
}

/// 1 / (1 + e^-x). Within 2.5 ULP.
#[inline(always)]
pub(crate) fn sigmoid<V: Vector>(x: V) -> V {
    let one = V::splat(1.0);
    // Of a power that is 1 at most; NaN takes part through it.
    let power = exp(V::zero().sub(x.abs()));
    V::select(x.below(V::zero()), power, one).div(one.add(power))
}

/// ln(1 + e^x). Within 2 ULP.
#[inline(always)]
pub(crate) fn softplus<V: Vector>(x: V) -> V {
    V::zero().max(x).add(ln_1p_unit(exp(V::zero().sub(x.abs()))))
}

/// x times the normal distribution's cumulative function. Within 3 ULP of x.
#[inline(always)]
pub(crate) fn gelu<V: Vector>(x: V) -> V {
    let half = x.mul(V::splat(0.5));
    erf_nearly(x.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2))).mul_add(half, half)
}

/// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). Within 3 ULP of x.
#[inline(always)]
pub(crate) fn gelu_tanh<V: Vector>(x: V) -> V {
    // (1 + tanh u) / 2 is the sigmoid of 2 u; twice the square root and its product.
    let inner = x.mul(x).mul_add(V::splat(0.071_354_816), V::splat(1.595_769_2));
    x.mul(sigmoid(x.mul(inner)))
}

/// x sigmoid(alpha x). Within 3.5 ULP for alpha 1, where the sigmoid is a normal number.
#[inline(always)]
pub(crate) fn swish<V: Vector>(x: V, alpha: V) -> V {
    x.mul(sigmoid(x.mul(alpha)))
}

/// x tanh(softplus(x)). Within 4.5 ULP, where e^x is a normal number.
#[inline(always)]
pub(crate) fn mish<V: Vector>(x: V) -> V {
    // With n = e^x the tangent is (n^2 + 2n) / (n^2 + 2n + 2), which is 1 for numbers of more than 10.
    let n = exp(V::splat(20.0).min(x));
    let two = V::splat(2.0);
    let t = n.mul(n.add(two));
    x.mul(t.div(t.add(two)))
}

/// alpha x + beta, cut to 0 and 1.
#[inline(always)]
pub(crate) fn hard_sigmoid<V: Vector>(x: V, alpha: V, beta: V) -> V {
    V::splat(1.0).min(V::zero().max(x.mul_add(alpha, beta)))
}

/// x times the hard sigmoid with 1/6 and 1/2.
#[inline(always)]
pub(crate) fn hard_swish<V: Vector>(x: V) -> V {
    x.mul(hard_sigmoid(x, V::splat(1.0 / 6.0), V::splat(0.5)))
}
