//! Functions of mathematics on vectors of floats, by the polynomials of [`crate::Real`].

use crate::isa::Vector;

/// The high bits of ln 2, whose multiples up to 2^9 are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// e^x; NaN where x is.
#[inline(always)]
pub(crate) fn exp<V: Vector>(x: V) -> V {
    // Beyond, the result is 0 or infinity all the same. The order of the sides lets NaN through.
    let x = V::splat(89.0).min(V::splat(-104.0).max(x));
    let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
    let r = n.neg_mul_add(V::splat(LN_2_HIGH), x);
    let r = n.neg_mul_add(V::splat(LN_2_LOW), r);
    let p = V::splat(0.001_381_431_6);
    let p = p.mul_add(r, V::splat(0.008_368_852));
    let p = p.mul_add(r, V::splat(0.041_668_4));
    let p = p.mul_add(r, V::splat(0.166_665_2));
    let p = p.mul_add(r, V::splat(0.499_999_94));
    let y = r.mul(r).mul_add(p, r).add(V::splat(1.0));
    y.scale(n)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<V: Vector>(x: V) -> V {
    let one = V::splat(1.0);
    one.div(one.add(exp(V::zero().sub(x))))
}

/// tanh x.
#[inline(always)]
pub(crate) fn tanh<V: Vector>(x: V) -> V {
    let size = x.abs();
    let z = x.mul(x);
    let p = V::splat(-0.005_666_989);
    let p = p.mul_add(z, V::splat(0.020_606_188));
    let p = p.mul_add(z, V::splat(-0.053_730_01));
    let p = p.mul_add(z, V::splat(0.133_313_13));
    let p = p.mul_add(z, V::splat(-0.333_332_78));
    let small = x.mul(z).mul_add(p, x);
    let one = V::splat(1.0);
    let large = one.sub(V::splat(2.0).div(exp(size.add(size)).add(one))).copy_sign(x);
    V::select(size.below(V::splat(0.625)), small, large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Work, dispatch};

    struct All<'a>(&'a [f32]);

    impl Work for All<'_> {
        type Output = [Vec<f32>; 3];

        #[inline(always)]
        fn run<V: Vector>(self) -> Self::Output {
            let mut out = [(); 3].map(|()| vec![0.0; self.0.len()]);
            for (i, x) in self.0.chunks(16).enumerate() {
                let x = V::of(x);
                exp(x).put(&mut out[0][i * 16..]);
                sigmoid(x).put(&mut out[1][i * 16..]);
                tanh(x).put(&mut out[2][i * 16..]);
            }
            out
        }
    }

    #[test]
    fn agree_with_double_precision() {
        let mut xs: Vec<f32> = (-1100..1100).map(|i| i as f32 * 0.1).collect();
        xs.extend((-400..400).map(|i| i as f32 * 0.0037));
        xs.extend([f32::INFINITY, f32::NEG_INFINITY, 1e-30, -1e-30, 0.0, 3e38, -3e38]);
        let found = dispatch(All(&xs));
        let wanted: [fn(f64) -> f64; 3] = [f64::exp, |x| 1.0 / (1.0 + (-x).exp()), f64::tanh];
        for (found, want) in found.iter().zip(wanted) {
            for (&x, &y) in xs.iter().zip(found) {
                let want = want(f64::from(x));
                let near = f64::from(y) - want;
                let rounded = want as f32;
                assert!(
                    rounded == y || near.abs() <= want.abs() * 4e-7 || near.abs() < 2e-38,
                    "{x}: {y} {want}"
                );
            }
        }
        assert!(dispatch(All(&[f32::NAN; 16])).iter().flatten().all(|y| y.is_nan()));
    }
}
