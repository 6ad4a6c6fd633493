//! Vectors of NEON: four registers each. Every aarch64 processor has them.

use super::Vector;
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
pub(super) struct Neon([float32x4_t; 4]);

impl Neon {
    #[inline(always)]
    fn each(self, f: impl Fn(float32x4_t) -> float32x4_t) -> Neon {
        Neon(self.0.map(f))
    }

    #[inline(always)]
    fn both(self, other: Neon, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Neon {
        Neon(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    #[inline(always)]
    fn fold(self, f: impl Fn(f32, f32) -> f32) -> f32 {
        let mut v = [0f32; 16];
        // SAFETY: the array has 16 floats.
        unsafe { self.store(v.as_mut_ptr()) };
        let mut half = 8;
        while half > 0 {
            for i in 0..half {
                v[i] = f(v[i], v[i + half]);
            }
            half /= 2;
        }
        v[0]
    }
}

impl Vector for Neon {
    type Mask = [uint32x4_t; 4];
    const TILE: (usize, usize) = (6, 1);

    #[inline(always)]
    fn splat(v: f32) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        Neon([unsafe { vdupq_n_f32(v) }; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Neon {
        // SAFETY: the caller's promise.
        Neon(std::array::from_fn(|i| unsafe { vld1q_f32(from.add(4 * i)) }))
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Neon {
        let mut v = [0f32; 16];
        // SAFETY: the caller's promise, and the array has 16 floats.
        unsafe {
            std::ptr::copy_nonoverlapping(from.cast::<u8>(), v.as_mut_ptr().cast(), n * size_of::<f32>());
            Neon::load(v.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for (i, v) in self.0.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { vst1q_f32(to.add(4 * i), v) };
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        let mut v = [0f32; 16];
        // SAFETY: the array has 16 floats, and the caller's promise.
        unsafe {
            self.store(v.as_mut_ptr());
            std::ptr::copy_nonoverlapping(v.as_ptr(), to, n);
        }
    }

    #[inline(always)]
    fn add(self, other: Neon) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        self.both(other, |a, b| unsafe { vaddq_f32(a, b) })
    }

    #[inline(always)]
    fn sub(self, other: Neon) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        self.both(other, |a, b| unsafe { vsubq_f32(a, b) })
    }

    #[inline(always)]
    fn mul(self, other: Neon) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        self.both(other, |a, b| unsafe { vmulq_f32(a, b) })
    }

    #[inline(always)]
    fn div(self, other: Neon) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        self.both(other, |a, b| unsafe { vdivq_f32(a, b) })
    }

    #[inline(always)]
    fn mul_add(self, factor: Neon, addend: Neon) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        Neon(std::array::from_fn(|i| unsafe { vfmaq_f32(addend.0[i], self.0[i], factor.0[i]) }))
    }

    #[inline(always)]
    fn neg_mul_add(self, factor: Neon, addend: Neon) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        Neon(std::array::from_fn(|i| unsafe { vfmsq_f32(addend.0[i], self.0[i], factor.0[i]) }))
    }

    #[inline(always)]
    fn max(self, other: Neon) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        self.both(other, |a, b| unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) })
    }

    #[inline(always)]
    fn min(self, other: Neon) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        self.both(other, |a, b| unsafe { vbslq_f32(vcltq_f32(a, b), a, b) })
    }

    #[inline(always)]
    fn sqrt(self) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        self.each(|v| unsafe { vsqrtq_f32(v) })
    }

    #[inline(always)]
    fn abs(self) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        self.each(|v| unsafe { vabsq_f32(v) })
    }

    #[inline(always)]
    fn round(self) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        self.each(|v| unsafe { vrndnq_f32(v) })
    }

    #[inline(always)]
    fn floor(self) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        self.each(|v| unsafe { vrndmq_f32(v) })
    }

    #[inline(always)]
    fn copy_sign(self, sign: Neon) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        self.both(sign, |v, sign| unsafe { vbslq_f32(vdupq_n_u32(0x8000_0000), sign, v) })
    }

    #[inline(always)]
    fn scale(self, n: Neon) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        self.both(n, |v, n| unsafe {
            // In two halves, so that results below the normal numbers come out right.
            let n = vmaxq_f32(vminq_f32(n, vdupq_n_f32(254.0)), vdupq_n_f32(-252.0));
            let n = vcvtnq_s32_f32(n);
            let half = vshrq_n_s32::<1>(n);
            let power = |n| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(127))));
            vmulq_f32(vmulq_f32(v, power(half)), power(vsubq_s32(n, half)))
        })
    }

    #[inline(always)]
    fn split(self) -> (Neon, Neon) {
        // SAFETY: every aarch64 processor has NEON.
        let parts = |v: float32x4_t| unsafe {
            let bits = vreinterpretq_s32_f32(v);
            let upper = vandq_s32(vshrq_n_s32::<22>(bits), vdupq_n_s32(1));
            let exponent = vaddq_s32(vsubq_s32(vshrq_n_s32::<23>(bits), vdupq_n_s32(127)), upper);
            let mantissa = vsubq_s32(bits, vshlq_n_s32::<23>(exponent));
            (vreinterpretq_f32_s32(mantissa), vcvtq_f32_s32(exponent))
        };
        let all = self.0.map(parts);
        (Neon(all.map(|p| p.0)), Neon(all.map(|p| p.1)))
    }

    #[inline(always)]
    fn below(self, other: Neon) -> [uint32x4_t; 4] {
        // SAFETY: every aarch64 processor has NEON.
        std::array::from_fn(|i| unsafe { vcltq_f32(self.0[i], other.0[i]) })
    }

    #[inline(always)]
    fn is_nan(self) -> [uint32x4_t; 4] {
        // SAFETY: every aarch64 processor has NEON.
        self.0.map(|v| unsafe { vmvnq_u32(vceqq_f32(v, v)) })
    }

    #[inline(always)]
    fn select(mask: [uint32x4_t; 4], yes: Neon, no: Neon) -> Neon {
        // SAFETY: every aarch64 processor has NEON.
        Neon(std::array::from_fn(|i| unsafe { vbslq_f32(mask[i], yes.0[i], no.0[i]) }))
    }

    #[inline(always)]
    fn any(mask: [uint32x4_t; 4]) -> bool {
        // SAFETY: every aarch64 processor has NEON.
        mask.into_iter().any(|m| unsafe { vmaxvq_u32(m) } != 0)
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
