//! Vectors in plain Rust.

use super::{LANES, Vector};

#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Plain([f32; LANES]);

impl Plain {
    #[inline(always)]
    fn each(self, f: impl Fn(f32) -> f32) -> Plain {
        Plain(self.0.map(f))
    }

    #[inline(always)]
    fn both(self, other: Plain, f: impl Fn(f32, f32) -> f32) -> Plain {
        Plain(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    #[inline(always)]
    fn fold(self, f: impl Fn(f32, f32) -> f32) -> f32 {
        let mut v = self.0;
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                v[i] = f(v[i], v[i + half]);
            }
            half /= 2;
        }
        v[0]
    }
}

impl Vector for Plain {
    type Mask = [bool; LANES];
    const TILE: (usize, usize) = (4, 1);

    #[inline(always)]
    fn splat(v: f32) -> Plain {
        Plain([v; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Plain {
        // SAFETY: the caller's promise.
        Plain(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Plain {
        let mut v = [0.0; LANES];
        // SAFETY: the caller's promise.
        unsafe {
            std::ptr::copy_nonoverlapping(from.cast::<u8>(), v.as_mut_ptr().cast(), n * size_of::<f32>())
        };
        Plain(v)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) };
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, n) };
    }

    #[inline(always)]
    fn add(self, other: Plain) -> Plain {
        self.both(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Plain) -> Plain {
        self.both(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Plain) -> Plain {
        self.both(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Plain) -> Plain {
        self.both(other, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, factor: Plain, addend: Plain) -> Plain {
        self.mul(factor).add(addend)
    }

    #[inline(always)]
    fn neg_mul_add(self, factor: Plain, addend: Plain) -> Plain {
        addend.sub(self.mul(factor))
    }

    #[inline(always)]
    fn max(self, other: Plain) -> Plain {
        self.both(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Plain) -> Plain {
        self.both(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn sqrt(self) -> Plain {
        self.each(f32::sqrt)
    }

    #[inline(always)]
    fn abs(self) -> Plain {
        self.each(f32::abs)
    }

    #[inline(always)]
    fn round(self) -> Plain {
        self.each(f32::round_ties_even)
    }

    #[inline(always)]
    fn floor(self) -> Plain {
        self.each(f32::floor)
    }

    #[inline(always)]
    fn copy_sign(self, sign: Plain) -> Plain {
        self.both(sign, f32::copysign)
    }

    #[inline(always)]
    fn scale(self, n: Plain) -> Plain {
        self.both(n, |v, n| {
            // In two halves, so that results below the normal numbers come out right.
            let n = n.clamp(-252.0, 254.0) as i32;
            let power = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
            let half = n >> 1;
            v * power(half) * power(n - half)
        })
    }

    #[inline(always)]
    fn split(self) -> (Plain, Plain) {
        let exponent = |v: f32| {
            let bits = v.to_bits();
            let upper = i32::from(bits & 0x0040_0000 != 0);
            (bits >> 23) as i32 - 127 + upper
        };
        let mantissa = self.each(|v| {
            let n = exponent(v);
            f32::from_bits(v.to_bits().wrapping_sub((n as u32) << 23))
        });
        (mantissa, self.each(|v| exponent(v) as f32))
    }

    #[inline(always)]
    fn below(self, other: Plain) -> [bool; LANES] {
        std::array::from_fn(|i| self.0[i] < other.0[i])
    }

    #[inline(always)]
    fn is_nan(self) -> [bool; LANES] {
        self.0.map(f32::is_nan)
    }

    #[inline(always)]
    fn select(mask: [bool; LANES], yes: Plain, no: Plain) -> Plain {
        Plain(std::array::from_fn(|i| if mask[i] { yes.0[i] } else { no.0[i] }))
    }

    #[inline(always)]
    fn any(mask: [bool; LANES]) -> bool {
        mask.contains(&true)
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        self.fold(|a, b| a + b)
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        self.fold(|a, b| if a > b { a } else { b })
    }
}
