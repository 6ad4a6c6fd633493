//! Vectors of AVX2: two registers each. Safe intrinsics are called in `unsafe` blocks, because these functions do not
//! name the features themselves: they are inlined into [`run`], which does.

use super::{LANES, Vector, Work};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256, __m256);

/// Runs a loop compiled for AVX2.
///
/// # Safety
/// The machine has these features.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run<W: Work>(work: W) -> W::Output {
    work.run::<Avx2>()
}

/// Ones in the first `n` lanes of eight.
#[inline(always)]
unsafe fn first(n: usize) -> __m256i {
    static EDGE: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: `n` is at most 8, so that 8 numbers follow.
    unsafe { _mm256_loadu_si256(EDGE.as_ptr().add(8 - n).cast()) }
}

/// The sum of eight lanes, by halves.
///
/// # Safety
/// The machine has AVX2.
#[inline(always)]
pub(super) unsafe fn sum(v: __m256) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

/// The largest of eight lanes.
///
/// # Safety
/// The machine has AVX2.
#[inline(always)]
pub(super) unsafe fn largest(v: __m256) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

impl Avx2 {
    #[inline(always)]
    fn each(self, f: impl Fn(__m256) -> __m256) -> Avx2 {
        Avx2(f(self.0), f(self.1))
    }

    #[inline(always)]
    fn both(self, other: Avx2, f: impl Fn(__m256, __m256) -> __m256) -> Avx2 {
        Avx2(f(self.0, other.0), f(self.1, other.1))
    }
}

/// One line a method of two operands.
macro_rules! pairwise {
    ($($name:ident($other:ident) => $f:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $other: Avx2) -> Avx2 {
            // SAFETY: the type is used only where the machine has the features.
            self.both($other, |a, b| unsafe { $f(a, b) })
        }
    )*};
}

impl Vector for Avx2 {
    type Mask = (__m256, __m256);
    const TILE: (usize, usize) = (6, 1);

    #[inline(always)]
    fn splat(v: f32) -> Avx2 {
        // SAFETY: the type is used only where the machine has the features.
        let v = unsafe { _mm256_set1_ps(v) };
        Avx2(v, v)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Avx2 {
        // SAFETY: the caller's promise.
        unsafe { Avx2(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Avx2 {
        // SAFETY: lanes beyond the mask are not read; the second address is computed without being inside.
        unsafe {
            Avx2(
                _mm256_maskload_ps(from, first(n.min(8))),
                _mm256_maskload_ps(from.wrapping_add(8), first(n.saturating_sub(8))),
            )
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: lanes beyond the mask are not written; the second address is computed without being inside.
        unsafe {
            _mm256_maskstore_ps(to, first(n.min(8)), self.0);
            _mm256_maskstore_ps(to.wrapping_add(8), first(n.saturating_sub(8)), self.1);
        }
    }

    pairwise! {
        add(other) => |a, b| _mm256_add_ps(a, b);
        sub(other) => |a, b| _mm256_sub_ps(a, b);
        mul(other) => |a, b| _mm256_mul_ps(a, b);
        div(other) => |a, b| _mm256_div_ps(a, b);
        max(other) => |a, b| _mm256_max_ps(a, b);
        min(other) => |a, b| _mm256_min_ps(a, b);
        copy_sign(sign) => |v, sign| {
            let bit = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(bit, v), _mm256_and_ps(bit, sign))
        };
        scale(n) => |v, n| {
            // In two halves, so that results below the normal numbers come out right.
            let n = _mm256_max_ps(_mm256_min_ps(n, _mm256_set1_ps(254.0)), _mm256_set1_ps(-252.0));
            let n = _mm256_cvtps_epi32(n);
            let half = _mm256_srai_epi32::<1>(n);
            let power = |n| {
                let shifted = _mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127)));
                _mm256_castsi256_ps(shifted)
            };
            _mm256_mul_ps(_mm256_mul_ps(v, power(half)), power(_mm256_sub_epi32(n, half)))
        };
    }

    #[inline(always)]
    fn mul_add(self, factor: Avx2, addend: Avx2) -> Avx2 {
        // SAFETY: the type is used only where the machine has the features.
        unsafe {
            Avx2(_mm256_fmadd_ps(self.0, factor.0, addend.0), _mm256_fmadd_ps(self.1, factor.1, addend.1))
        }
    }

    #[inline(always)]
    fn neg_mul_add(self, factor: Avx2, addend: Avx2) -> Avx2 {
        // SAFETY: the type is used only where the machine has the features.
        unsafe {
            Avx2(_mm256_fnmadd_ps(self.0, factor.0, addend.0), _mm256_fnmadd_ps(self.1, factor.1, addend.1))
        }
    }

    #[inline(always)]
    fn sqrt(self) -> Avx2 {
        // SAFETY: the type is used only where the machine has the features.
        self.each(|v| unsafe { _mm256_sqrt_ps(v) })
    }

    #[inline(always)]
    fn abs(self) -> Avx2 {
        // SAFETY: the type is used only where the machine has the features.
        self.each(|v| unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), v) })
    }

    #[inline(always)]
    fn round(self) -> Avx2 {
        // SAFETY: the type is used only where the machine has the features.
        self.each(|v| unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) })
    }

    #[inline(always)]
    fn floor(self) -> Avx2 {
        // SAFETY: the type is used only where the machine has the features.
        self.each(|v| unsafe { _mm256_floor_ps(v) })
    }

    #[inline(always)]
    fn split(self) -> (Avx2, Avx2) {
        // SAFETY: the type is used only where the machine has the features.
        let parts = |v: __m256| unsafe {
            let bits = _mm256_castps_si256(v);
            let upper = _mm256_and_si256(_mm256_srli_epi32::<22>(bits), _mm256_set1_epi32(1));
            let exponent = _mm256_sub_epi32(_mm256_srli_epi32::<23>(bits), _mm256_set1_epi32(127));
            let exponent = _mm256_add_epi32(exponent, upper);
            let mantissa = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(exponent));
            (_mm256_castsi256_ps(mantissa), _mm256_cvtepi32_ps(exponent))
        };
        let (a, b) = (parts(self.0), parts(self.1));
        (Avx2(a.0, b.0), Avx2(a.1, b.1))
    }

    #[inline(always)]
    fn below(self, other: Avx2) -> (__m256, __m256) {
        // SAFETY: the type is used only where the machine has the features.
        unsafe {
            (_mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0), _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, other.1))
        }
    }

    #[inline(always)]
    fn is_nan(self) -> (__m256, __m256) {
        // SAFETY: the type is used only where the machine has the features.
        unsafe {
            (_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0), _mm256_cmp_ps::<_CMP_UNORD_Q>(self.1, self.1))
        }
    }

    #[inline(always)]
    fn select(mask: (__m256, __m256), yes: Avx2, no: Avx2) -> Avx2 {
        // SAFETY: the type is used only where the machine has the features.
        unsafe { Avx2(_mm256_blendv_ps(no.0, yes.0, mask.0), _mm256_blendv_ps(no.1, yes.1, mask.1)) }
    }

    #[inline(always)]
    fn any(mask: (__m256, __m256)) -> bool {
        // SAFETY: the type is used only where the machine has the features.
        unsafe { _mm256_movemask_ps(_mm256_or_ps(mask.0, mask.1)) != 0 }
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: the type is used only where the machine has the features.
        unsafe { sum(_mm256_add_ps(self.0, self.1)) }
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        // SAFETY: the type is used only where the machine has the features.
        unsafe { largest(_mm256_max_ps(self.0, self.1)) }
    }

    #[allow(clippy::needless_range_loop, reason = "indices into several arrays are worked out")]
    #[inline(always)]
    fn transpose(rows: [Avx2; LANES]) -> [Avx2; LANES] {
        let mut turned = rows;
        for half in 0..2 {
            let (mut left, mut right) = ([rows[0].0; 8], [rows[0].0; 8]);
            for i in 0..8 {
                (left[i], right[i]) = (rows[8 * half + i].0, rows[8 * half + i].1);
            }
            // SAFETY: the type is used only where the machine has the features.
            let (left, right) = unsafe { (transpose8(left), transpose8(right)) };
            for i in 0..8 {
                match half {
                    0 => (turned[i].0, turned[8 + i].0) = (left[i], right[i]),
                    _ => (turned[i].1, turned[8 + i].1) = (left[i], right[i]),
                }
            }
        }
        turned
    }
}

/// Rows and columns of eight vectors exchanged.
///
/// # Safety
/// The machine has AVX2.
#[allow(clippy::needless_range_loop, reason = "indices into several arrays are worked out")]
#[inline(always)]
unsafe fn transpose8(mut v: [__m256; 8]) -> [__m256; 8] {
    // Loops instead of `from_fn`, which need not be inlined and then lacks the features.
    let mut t = v;
    // SAFETY: the caller's promise.
    unsafe {
        for i in 0..8 {
            let (a, b) = (v[i & !1], v[i | 1]);
            t[i] = if i % 2 == 0 { _mm256_unpacklo_ps(a, b) } else { _mm256_unpackhi_ps(a, b) };
        }
        for i in 0..8 {
            let from = i & !3 | (i & 2) >> 1;
            let (a, b) = (t[from], t[from | 2]);
            v[i] = if i % 2 == 0 { _mm256_shuffle_ps::<0x44>(a, b) } else { _mm256_shuffle_ps::<0xee>(a, b) };
        }
        for i in 0..8 {
            let (a, b) = (v[i & 3], v[4 | i & 3]);
            t[i] = if i < 4 {
                _mm256_permute2f128_ps::<0x20>(a, b)
            } else {
                _mm256_permute2f128_ps::<0x31>(a, b)
            };
        }
    }
    t
}
