//! Vectors of AVX-512. Safe intrinsics are called in `unsafe` blocks, because these functions do not name the
//! features themselves: they are inlined into [`run`], which does.

use super::{LANES, Vector, Work};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512(pub(crate) __m512);

/// Runs a loop compiled for AVX-512.
///
/// # Safety
/// The machine has these features.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn run<W: Work>(work: W) -> W::Output {
    work.run::<Avx512>()
}

#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

/// One line a method: `name(arguments) -> intrinsic`.
macro_rules! lanewise {
    ($($name:ident($($arg:ident),*) => $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Avx512),*) -> Avx512 {
            #[allow(unused_unsafe, reason = "one form for safe and unsafe intrinsics")]
            // SAFETY: the type is used only where the machine has the features.
            unsafe { #[allow(clippy::redundant_closure_call, reason = "the body names self by its argument")] ($body)(self) }
        }
    )*};
}

impl Vector for Avx512 {
    type Mask = __mmask16;
    const TILE: (usize, usize) = (14, 2);

    #[inline(always)]
    fn splat(v: f32) -> Avx512 {
        // SAFETY: the type is used only where the machine has the features.
        Avx512(unsafe { _mm512_set1_ps(v) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Avx512 {
        // SAFETY: the caller's promise.
        Avx512(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Avx512 {
        // SAFETY: lanes beyond the mask are not read.
        Avx512(unsafe { _mm512_maskz_loadu_ps(first(n), from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(to, self.0) };
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: lanes beyond the mask are not written.
        unsafe { _mm512_mask_storeu_ps(to, first(n), self.0) };
    }

    lanewise! {
        add(other) => |v: Avx512| Avx512(_mm512_add_ps(v.0, other.0));
        sub(other) => |v: Avx512| Avx512(_mm512_sub_ps(v.0, other.0));
        mul(other) => |v: Avx512| Avx512(_mm512_mul_ps(v.0, other.0));
        div(other) => |v: Avx512| Avx512(_mm512_div_ps(v.0, other.0));
        mul_add(factor, addend) => |v: Avx512| Avx512(_mm512_fmadd_ps(v.0, factor.0, addend.0));
        neg_mul_add(factor, addend) => |v: Avx512| Avx512(_mm512_fnmadd_ps(v.0, factor.0, addend.0));
        max(other) => |v: Avx512| Avx512(_mm512_max_ps(v.0, other.0));
        min(other) => |v: Avx512| Avx512(_mm512_min_ps(v.0, other.0));
        sqrt() => |v: Avx512| Avx512(_mm512_sqrt_ps(v.0));
        abs() => |v: Avx512| Avx512(_mm512_abs_ps(v.0));
        round() => |v: Avx512| Avx512(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v.0));
        floor() => |v: Avx512| Avx512(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(v.0));
        copy_sign(sign) => |v: Avx512| {
            let bit = _mm512_set1_ps(-0.0);
            Avx512(_mm512_or_ps(_mm512_andnot_ps(bit, v.0), _mm512_and_ps(bit, sign.0)))
        };
        scale(n) => |v: Avx512| Avx512(_mm512_scalef_ps(v.0, n.0));
    }

    #[inline(always)]
    fn split(self) -> (Avx512, Avx512) {
        // SAFETY: the type is used only where the machine has the features.
        unsafe {
            let mantissa = _mm512_getmant_ps::<_MM_MANT_NORM_P75_1P5, _MM_MANT_SIGN_ZERO>(self.0);
            let upper = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(mantissa, _mm512_set1_ps(1.0));
            let exponent = _mm512_getexp_ps(self.0);
            (Avx512(mantissa), Avx512(_mm512_mask_add_ps(exponent, upper, exponent, _mm512_set1_ps(1.0))))
        }
    }

    #[inline(always)]
    fn below(self, other: Avx512) -> __mmask16 {
        // SAFETY: the type is used only where the machine has the features.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0) }
    }

    #[inline(always)]
    fn is_nan(self) -> __mmask16 {
        // SAFETY: the type is used only where the machine has the features.
        unsafe { _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0) }
    }

    #[inline(always)]
    fn select(mask: __mmask16, yes: Avx512, no: Avx512) -> Avx512 {
        // SAFETY: the type is used only where the machine has the features.
        Avx512(unsafe { _mm512_mask_blend_ps(mask, no.0, yes.0) })
    }

    #[inline(always)]
    fn any(mask: __mmask16) -> bool {
        mask != 0
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: the type is used only where the machine has the features.
        unsafe {
            let high = _mm512_extractf32x8_ps::<1>(self.0);
            super::avx2::sum(_mm256_add_ps(_mm512_castps512_ps256(self.0), high))
        }
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        // SAFETY: the type is used only where the machine has the features.
        unsafe {
            let high = _mm512_extractf32x8_ps::<1>(self.0);
            super::avx2::largest(_mm256_max_ps(_mm512_castps512_ps256(self.0), high))
        }
    }

    #[allow(clippy::needless_range_loop, reason = "indices into several arrays are worked out")]
    #[inline(always)]
    fn transpose(rows: [Avx512; LANES]) -> [Avx512; LANES] {
        // Loops instead of `map` and `from_fn`, which need not be inlined and then lack the features.
        let (mut v, mut t) = ([rows[0].0; LANES], [rows[0].0; LANES]);
        // SAFETY: the type is used only where the machine has the features.
        unsafe {
            // By pairs of numbers, by pairs of pairs, and twice by groups of four.
            for i in 0..LANES {
                let (a, b) = (rows[i & !1].0, rows[i | 1].0);
                t[i] = if i % 2 == 0 { _mm512_unpacklo_ps(a, b) } else { _mm512_unpackhi_ps(a, b) };
            }
            for i in 0..LANES {
                let from = i & !3 | (i & 2) >> 1;
                let (a, b) = (_mm512_castps_pd(t[from]), _mm512_castps_pd(t[from | 2]));
                let pair = if i % 2 == 0 { _mm512_unpacklo_pd(a, b) } else { _mm512_unpackhi_pd(a, b) };
                v[i] = _mm512_castpd_ps(pair);
            }
            for i in 0..LANES {
                let (a, b) = (v[i & 8 | i & 3], v[i & 8 | 4 | i & 3]);
                t[i] = match i & 4 {
                    0 => _mm512_shuffle_f32x4::<0x88>(a, b),
                    _ => _mm512_shuffle_f32x4::<0xdd>(a, b),
                };
            }
            let mut turned = rows;
            for i in 0..LANES {
                let (a, b) = (t[i & 7], t[8 | i & 7]);
                turned[i].0 = match i {
                    0..8 => _mm512_shuffle_f32x4::<0x88>(a, b),
                    _ => _mm512_shuffle_f32x4::<0xdd>(a, b),
                };
            }
            turned
        }
    }
}
