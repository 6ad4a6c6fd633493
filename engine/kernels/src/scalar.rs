use crate::KernelError;
use crate::gemm::{Matrix, tiled};
use oxidane_pool::Pool;
use oxidane_tensor::Element;

/// Numbers that matrix products and convolutions compute with. Integers wrap around.
pub trait Scalar: Element + PartialOrd + Default {
    /// Nought.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Whether [`Scalar::block`] is there.
    const BLOCKED: bool;
    /// Whether [`Scalar::tiled`] is there.
    const TILED: bool = false;

    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// The product.
    fn times(self, other: Self) -> Self;
    /// `self + a * b`, rounded once where `FMA` says that the machine can.
    fn plus_product<const FMA: bool>(self, a: Self, b: Self) -> Self;
    /// `self` times a factor, rounded towards zero for integers.
    fn scaled(self, factor: f32) -> Self;

    /// The product of whole matrices by tiles of registers, `out = alpha * a * b`, plus `out` where `accumulate`.
    ///
    /// # Errors
    /// When sizes differ.
    fn tiled(
        _pool: &Pool,
        _alpha: Self,
        _a: Matrix<'_, Self>,
        _b: Matrix<'_, Self>,
        _accumulate: bool,
        _out: &mut [Self],
    ) -> Result<(), KernelError> {
        unreachable!("only called where TILED");
    }

    /// `c = alpha * a * b`, plus `c` where `accumulate`, for an `m`x`k` matrix `a` and a `k`x`n` matrix `b`,
    /// by a cache-blocked kernel. Steps are in elements: rows, then columns.
    ///
    /// # Safety
    /// Every element that sizes and steps name lies inside memory that is valid to read (`a`, `b`) or write (`c`),
    /// and no two elements of `c` are the same place.
    #[allow(clippy::too_many_arguments, reason = "the shape of every BLAS interface")]
    unsafe fn block(
        _m: usize,
        _k: usize,
        _n: usize,
        _alpha: Self,
        _a: (*const Self, isize, isize),
        _b: (*const Self, isize, isize),
        _accumulate: bool,
        _c: (*mut Self, isize, isize),
    ) {
        unreachable!("only called where BLOCKED");
    }
}

macro_rules! float {
    ($($t:ty => $gemm:ident $({ $($more:tt)* })?),*) => {$(
        impl Scalar for $t {
            const ZERO: $t = 0.0;
            const ONE: $t = 1.0;
            const BLOCKED: bool = true;

            #[inline(always)]
            fn plus(self, other: $t) -> $t {
                self + other
            }

            #[inline(always)]
            fn times(self, other: $t) -> $t {
                self * other
            }

            #[inline(always)]
            fn plus_product<const FMA: bool>(self, a: $t, b: $t) -> $t {
                if FMA { a.mul_add(b, self) } else { self + a * b }
            }

            #[inline(always)]
            fn scaled(self, factor: f32) -> $t {
                self * factor as $t
            }

            $($($more)*)?

            unsafe fn block(
                m: usize,
                k: usize,
                n: usize,
                alpha: $t,
                a: (*const $t, isize, isize),
                b: (*const $t, isize, isize),
                accumulate: bool,
                c: (*mut $t, isize, isize),
            ) {
                let beta = if accumulate { 1.0 } else { 0.0 };
                // SAFETY: the caller's promise is what the function asks for.
                unsafe {
                    matrixmultiply::$gemm(m, k, n, alpha, a.0, a.1, a.2, b.0, b.1, b.2, beta, c.0, c.1, c.2);
                }
            }
        }
    )*};
}
float!(
    f32 => sgemm {
        const TILED: bool = true;

        fn tiled(
            pool: &Pool,
            alpha: f32,
            a: Matrix<'_, f32>,
            b: Matrix<'_, f32>,
            accumulate: bool,
            out: &mut [f32],
        ) -> Result<(), KernelError> {
            tiled(pool, alpha, a, b, accumulate, out)
        }
    },
    f64 => dgemm
);

macro_rules! integer {
    ($($t:ty),*) => {$(
        impl Scalar for $t {
            const ZERO: $t = 0;
            const ONE: $t = 1;
            const BLOCKED: bool = false;

            #[inline(always)]
            fn plus(self, other: $t) -> $t {
                self.wrapping_add(other)
            }

            #[inline(always)]
            fn times(self, other: $t) -> $t {
                self.wrapping_mul(other)
            }

            #[inline(always)]
            fn plus_product<const FMA: bool>(self, a: $t, b: $t) -> $t {
                self.wrapping_add(a.wrapping_mul(b))
            }

            #[inline(always)]
            fn scaled(self, factor: f32) -> $t {
                if factor == 1.0 { self } else { (self as f64 * f64::from(factor)) as $t }
            }
        }
    )*};
}
integer!(i8, u8, i16, u16, i32, u32, i64, u64);

/// Whether the wide loops of this crate may use AVX2 and fused multiply-add.
#[inline]
pub(crate) fn wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Whether the compiled-for machine always has a fused multiply-add.
pub(crate) const NATIVE_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
