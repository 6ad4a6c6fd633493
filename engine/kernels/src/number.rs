use crate::lanes::vectorized;
use half::{bf16, f16};
use oxidane_tensor::Element;

/// As [`vectorized`], for loops on numbers of type `W`. AVX2 has neither products nor maxima of 64-bit integers, which
/// count little enough that their loops need no second version.
#[inline(always)]
pub(crate) fn vectorized_for<W: Number, R>(work: impl FnOnce() -> R) -> R {
    if const { W::FLOAT || size_of::<W>() < 8 } { vectorized(work) } else { work() }
}

/// Elements of a row that are widened at a time, on the stack.
pub(crate) const BLOCK: usize = 1024;

/// Numbers that elementwise loops, reductions and norms compute with. Integers wrap around; 16-bit floats
/// compute in `f32` and round each result.
pub trait Number: Element + PartialOrd + Default {
    /// The type that is computed in, so that a loop exists for few types: `f32` for 16-bit floats, `i32` for
    /// narrower integers, `i64` for `u32`, otherwise the type itself. The low bits of wider sums, differences and
    /// products are those of the narrow ones.
    type Wide: Number<Wide = Self::Wide>;
    /// Whether this is a floating-point type.
    const FLOAT: bool;
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// The identity of `max`: minus infinity, or the smallest integer.
    const LOWEST: Self;
    /// The identity of `min`: infinity, or the largest integer.
    const HIGHEST: Self;

    /// In the type that is computed in.
    fn wide(self) -> Self::Wide;
    /// Rounded from the type that is computed in; integers keep their low bits.
    fn narrow(x: Self::Wide) -> Self;

    /// The row itself, where it has the type that is computed in.
    #[inline(always)]
    fn as_wide(row: &[Self]) -> Option<&[Self::Wide]> {
        (Self::DTYPE == Self::Wide::DTYPE).then(|| bytemuck::cast_slice(row))
    }
    /// As [`Number::as_wide`].
    #[inline(always)]
    fn as_wide_mut(row: &mut [Self]) -> Option<&mut [Self::Wide]> {
        (Self::DTYPE == Self::Wide::DTYPE).then(|| bytemuck::cast_slice_mut(row))
    }
    /// [`Number::wide`] of every element.
    fn wide_row(row: &[Self], wide: &mut [Self::Wide]) {
        vectorized(|| wide.iter_mut().zip(row).for_each(|(w, x)| *w = x.wide()));
    }
    /// [`Number::narrow`] of every element.
    fn narrow_row(wide: &[Self::Wide], row: &mut [Self]) {
        vectorized(|| row.iter_mut().zip(wide).for_each(|(x, &w)| *x = Self::narrow(w)));
    }

    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// The difference.
    fn minus(self, other: Self) -> Self;
    /// The product.
    fn times(self, other: Self) -> Self;
    /// The quotient, truncated for integers. An integer divided by zero gives zero; callers check before.
    fn over(self, other: Self) -> Self;
    /// The remainder with the sign of the divisor (ONNX `Mod`, NumPy `mod`).
    fn modulo(self, other: Self) -> Self;
    /// The remainder with the sign of the dividend (C `fmod`).
    fn remainder(self, other: Self) -> Self;
    /// The larger one; NaN where one is NaN.
    fn larger(self, other: Self) -> Self;
    /// The smaller one; NaN where one is NaN.
    fn smaller(self, other: Self) -> Self;
    /// The negative.
    fn negative(self) -> Self;
    /// The absolute value.
    fn size(self) -> Self;
    /// The power. Integers: exact modulo the width; negative exponents give 0 except for bases 1 and -1.
    fn power(self, exponent: Self) -> Self;
    /// As `f64`, rounded for 64-bit integers.
    fn to_f64(self) -> f64;
    /// Rounded or truncated from `f64`, cut to the range for integers.
    fn from_f64(x: f64) -> Self;
    /// Whether it is NaN.
    fn is_nan(self) -> bool;
}

macro_rules! floats {
    ($($t:ident),*) => {$(
        impl Number for $t {
            type Wide = $t;
            const FLOAT: bool = true;
            const ZERO: $t = 0.0;
            const ONE: $t = 1.0;
            const LOWEST: $t = $t::NEG_INFINITY;
            const HIGHEST: $t = $t::INFINITY;

            #[inline(always)]
            fn wide(self) -> $t {
                self
            }
            #[inline(always)]
            fn narrow(x: $t) -> $t {
                x
            }
            #[inline(always)]
            fn plus(self, other: $t) -> $t {
                self + other
            }
            #[inline(always)]
            fn minus(self, other: $t) -> $t {
                self - other
            }
            #[inline(always)]
            fn times(self, other: $t) -> $t {
                self * other
            }
            #[inline(always)]
            fn over(self, other: $t) -> $t {
                self / other
            }
            #[inline(always)]
            fn modulo(self, other: $t) -> $t {
                let r = self % other;
                if r != 0.0 {
                    if (r < 0.0) != (other < 0.0) { r + other } else { r }
                } else {
                    r.copysign(other)
                }
            }
            #[inline(always)]
            fn remainder(self, other: $t) -> $t {
                self % other
            }
            #[inline(always)]
            fn larger(self, other: $t) -> $t {
                // NaN on the left stays because it compares false; NaN on the right is picked by the second test.
                if self < other || other.is_nan() { other } else { self }
            }
            #[inline(always)]
            fn smaller(self, other: $t) -> $t {
                if self > other || other.is_nan() { other } else { self }
            }
            #[inline(always)]
            fn negative(self) -> $t {
                -self
            }
            #[inline(always)]
            fn size(self) -> $t {
                self.abs()
            }
            #[inline(always)]
            fn power(self, exponent: $t) -> $t {
                self.powf(exponent)
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn from_f64(x: f64) -> $t {
                x as $t
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self != self
            }
        }
    )*};
}
floats!(f32, f64);

/// The value of the bits of an `f16`. Like the three below, free of branches and calls, so that loops over
/// 16-bit floats vectorise.
#[inline(always)]
fn widen_f16(bits: u16) -> f32 {
    let sign = (u32::from(bits) & 0x8000) << 16;
    let size = (u32::from(bits) & 0x7fff) << 13;
    // 2^112 moves the exponent to its place, and makes normal numbers of the subnormal ones.
    let finite = (f32::from_bits(size) * f32::from_bits(0x7780_0000)).to_bits();
    let size = if size >= 0x0f80_0000 { size | 0x7f80_0000 } else { finite };
    f32::from_bits(sign | size)
}

/// The bits of the nearest `f16`, halves to even.
#[inline(always)]
fn narrow_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let size = bits & 0x7fff_ffff;
    // Adding 1/2 leaves the multiples of 2^-24 in the low bits, rounded.
    let subnormal = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let normal = size.wrapping_add(0xfff + ((size >> 13) & 1)).wrapping_sub(0x3800_0000) >> 13;
    let finite = if size < 0x3880_0000 { subnormal } else { normal };
    let special = if size > 0x7f80_0000 { 0x7e00 | (size >> 13 & 0x3ff) } else { 0x7c00 };
    let out = if size >= 0x477f_f000 { special } else { finite };
    ((bits >> 16 & 0x8000) | out) as u16
}

/// The value of the bits of a `bf16`.
#[inline(always)]
fn widen_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The bits of the nearest `bf16`, halves to even.
#[inline(always)]
fn narrow_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let nan = bits & 0x7fff_ffff > 0x7f80_0000;
    ((if nan { bits | 0x0040_0000 } else { rounded }) >> 16) as u16
}

macro_rules! halves {
    ($($t:ident: $widen:ident, $narrow:ident);*) => {$(
        impl Number for $t {
            type Wide = f32;
            const FLOAT: bool = true;
            const ZERO: $t = $t::ZERO;
            const ONE: $t = $t::ONE;
            const LOWEST: $t = $t::NEG_INFINITY;
            const HIGHEST: $t = $t::INFINITY;

            #[inline(always)]
            fn wide(self) -> f32 {
                $widen(self.to_bits())
            }
            #[inline(always)]
            fn narrow(x: f32) -> $t {
                $t::from_bits($narrow(x))
            }
            #[inline(always)]
            fn plus(self, other: $t) -> $t {
                $t::narrow(self.wide() + other.wide())
            }
            #[inline(always)]
            fn minus(self, other: $t) -> $t {
                $t::narrow(self.wide() - other.wide())
            }
            #[inline(always)]
            fn times(self, other: $t) -> $t {
                $t::narrow(self.wide() * other.wide())
            }
            #[inline(always)]
            fn over(self, other: $t) -> $t {
                $t::narrow(self.wide() / other.wide())
            }
            #[inline(always)]
            fn modulo(self, other: $t) -> $t {
                $t::narrow(Number::modulo(self.wide(), other.wide()))
            }
            #[inline(always)]
            fn remainder(self, other: $t) -> $t {
                $t::narrow(self.wide() % other.wide())
            }
            #[inline(always)]
            fn larger(self, other: $t) -> $t {
                if self.wide() < other.wide() || Number::is_nan(other) { other } else { self }
            }
            #[inline(always)]
            fn smaller(self, other: $t) -> $t {
                if self.wide() > other.wide() || Number::is_nan(other) { other } else { self }
            }
            #[inline(always)]
            fn negative(self) -> $t {
                -self
            }
            #[inline(always)]
            fn size(self) -> $t {
                $t::from_bits(self.to_bits() & 0x7fff)
            }
            #[inline(always)]
            fn power(self, exponent: $t) -> $t {
                $t::narrow(self.wide().powf(exponent.wide()))
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn from_f64(x: f64) -> $t {
                $t::from_f64(x)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self.wide().is_nan()
            }
        }
    )*};
}
halves!(f16: widen_f16, narrow_f16; bf16: widen_bf16, narrow_bf16);

macro_rules! integers {
    ($($t:ident in $wide:ident: $size:expr, $power:expr);* $(;)?) => {$(
        impl Number for $t {
            type Wide = $wide;
            const FLOAT: bool = false;
            const ZERO: $t = 0;
            const ONE: $t = 1;
            const LOWEST: $t = $t::MIN;
            const HIGHEST: $t = $t::MAX;

            #[inline(always)]
            fn wide(self) -> $wide {
                $wide::from(self)
            }
            #[inline(always)]
            fn narrow(x: $wide) -> $t {
                x as $t
            }
            #[inline(always)]
            fn plus(self, other: $t) -> $t {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn minus(self, other: $t) -> $t {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn times(self, other: $t) -> $t {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn over(self, other: $t) -> $t {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }
            #[inline(always)]
            #[allow(unused_comparisons, reason = "the macro also writes the unsigned types")]
            fn modulo(self, other: $t) -> $t {
                let r = self.remainder(other);
                if r != 0 && (r < 0) != (other < 0) { r.wrapping_add(other) } else { r }
            }
            #[inline(always)]
            fn remainder(self, other: $t) -> $t {
                if other == 0 { 0 } else { self.wrapping_rem(other) }
            }
            #[inline(always)]
            fn larger(self, other: $t) -> $t {
                self.max(other)
            }
            #[inline(always)]
            fn smaller(self, other: $t) -> $t {
                self.min(other)
            }
            #[inline(always)]
            fn negative(self) -> $t {
                self.wrapping_neg()
            }
            #[inline(always)]
            fn size(self) -> $t {
                let size: fn($t) -> $t = $size;
                size(self)
            }
            #[inline(always)]
            fn power(self, exponent: $t) -> $t {
                let power: fn($t, $t) -> $t = $power;
                power(self, exponent)
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn from_f64(x: f64) -> $t {
                x as $t
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                false
            }
        }
    )*};
}

/// The power by squaring, in wrapping arithmetic.
macro_rules! raise {
    ($base:expr, $exponent:expr) => {{
        let (mut base, mut left, mut out) = ($base, $exponent, 1);
        while left > 0 {
            if left & 1 == 1 {
                out = base.wrapping_mul(out);
            }
            base = base.wrapping_mul(base);
            left >>= 1;
        }
        out
    }};
}

/// The power where the exponent may be negative.
macro_rules! raise_signed {
    ($base:expr, $exponent:expr) => {
        match ($base, $exponent) {
            (base, exponent) if exponent >= 0 => raise!(base, exponent),
            (1, _) => 1,
            (-1, exponent) => {
                if exponent & 1 == 0 {
                    1
                } else {
                    -1
                }
            }
            _ => 0,
        }
    };
}
integers! {
    i8 in i32: |x| x.wrapping_abs(), |x, e| raise_signed!(x, e);
    i16 in i32: |x| x.wrapping_abs(), |x, e| raise_signed!(x, e);
    i32 in i32: |x| x.wrapping_abs(), |x, e| raise_signed!(x, e);
    i64 in i64: |x| x.wrapping_abs(), |x, e| raise_signed!(x, e);
    u8 in i32: |x| x, |x, e| raise!(x, e);
    u16 in i32: |x| x, |x, e| raise!(x, e);
    u32 in i64: |x| x, |x, e| raise!(x, e);
    u64 in u64: |x| x, |x, e| raise!(x, e);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bit_floats_convert_as_in_half() {
        for bits in 0..=u16::MAX {
            let (a, b) = (f16::from_bits(bits), bf16::from_bits(bits));
            assert!(a.wide().to_bits() == a.to_f32().to_bits() || a.is_nan(), "{bits:x}");
            assert!(b.wide().to_bits() == b.to_f32().to_bits() || b.is_nan(), "{bits:x}");
            assert!(a.wide().is_nan() == a.is_nan() && b.wide().is_nan() == b.is_nan());
        }
        // Every pattern of the upper bits with low bits around the roundings.
        for high in 0..=u16::MAX {
            for low in [0, 1, 0x0fff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, 0xf000, 0xffff] {
                let x = f32::from_bits(u32::from(high) << 16 | low);
                let (a, b) = (<f16 as Number>::narrow(x), <bf16 as Number>::narrow(x));
                assert!(a.to_bits() == f16::from_f32(x).to_bits() || (x.is_nan() && a.is_nan()), "{x} {a}");
                assert!(b.to_bits() == bf16::from_f32(x).to_bits() || (x.is_nan() && b.is_nan()), "{x} {b}");
            }
        }
    }
}
