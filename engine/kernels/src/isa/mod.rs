//! Instruction sets: which one this machine has, and loops written once for all of them.
//!
//! A loop is a [`Work`] over vectors of 16 floats ([`Vector`]); [`dispatch`] runs it compiled for the best set that
//! the machine has. The variable `OXIDANE_ISA` forces a lower one: `scalar`, `avx2`, `avx512` (floats only),
//! `vnni` (with byte and bfloat16 dot products), `amx`, or `neon`. It is read once a process.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod fetch;
pub(crate) mod functions;
#[cfg(target_arch = "aarch64")]
mod neon;
mod plain;
#[cfg(target_arch = "x86_64")]
pub(crate) mod tiles;

use std::sync::OnceLock;

/// Floats in a [`Vector`].
pub(crate) const LANES: usize = 16;

/// The variable that forces a lower instruction set.
const VARIABLE: &str = "OXIDANE_ISA";

/// Sets of instructions, each with those before it on the same kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, as the compiler targets the machine.
    Scalar,
    /// 128-bit vectors of ARM.
    Neon,
    /// AVX2 and fused multiply-add.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with dot products of bytes (VNNI).
    Vnni,
    /// Tiles of bytes and bfloat16 (AMX), with VNNI and BF16.
    Amx,
}

impl Isa {
    /// The name that the variable takes.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Vnni => "vnni",
            Isa::Amx => "amx",
        }
    }
}

const ALL: [Isa; 6] = [Isa::Scalar, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Vnni, Isa::Amx];

/// The instruction set that kernels use: the machine's best, or the lower one that `OXIDANE_ISA` names. A name that
/// is unknown or that the machine does not have is passed over.
pub fn isa() -> Isa {
    static CHOSEN: OnceLock<Isa> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let best = best();
        let asked = std::env::var(VARIABLE).ok();
        let asked = asked.and_then(|name| ALL.into_iter().find(|isa| isa.name() == name.trim()));
        asked.filter(|&isa| runs(isa, best)).unwrap_or(best)
    })
}

/// All instruction sets of this machine, lowest first.
pub fn available() -> Vec<Isa> {
    let best = best();
    ALL.into_iter().filter(|&isa| runs(isa, best)).collect()
}

fn runs(isa: Isa, best: Isa) -> bool {
    isa <= best && (isa == Isa::Scalar || (isa == Isa::Neon) == (best == Isa::Neon))
}

/// Whether dot products of bfloat16 (`vdpbf16ps`) may be used.
pub(crate) fn bf16_products() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        isa() >= Isa::Vnni && std::is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Whether products of bfloat16 are quicker than those of single precision: by tiles they are. By dot products they are
/// on AMD's processors, which do as many of them as multiply-adds; Intel's do a quarter of that.
pub(crate) fn bf16_pays() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static PAYS: OnceLock<bool> = OnceLock::new();
        *PAYS.get_or_init(|| {
            let vendor = std::arch::x86_64::__cpuid(0);
            let amd = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD";
            isa() == Isa::Amx || bf16_products() && amd
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

#[cfg(target_arch = "x86_64")]
fn best() -> Isa {
    use std::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("fma");
    let avx512 = avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    let vnni = avx512 && has!("avx512vnni");
    if vnni && has!("avx512bf16") && tiles() {
        Isa::Amx
    } else if vnni {
        Isa::Vnni
    } else if avx512 {
        Isa::Avx512
    } else if avx2 {
        Isa::Avx2
    } else {
        Isa::Scalar
    }
}

#[cfg(target_arch = "aarch64")]
fn best() -> Isa {
    Isa::Neon
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn best() -> Isa {
    Isa::Scalar
}

/// Whether the processor has tiles of bytes and bfloat16 and the system lets this process use them: Linux grants
/// their registers on request, for all threads of the process.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    let all = AMX_BF16 | AMX_TILE | AMX_INT8;
    let leaf = std::arch::x86_64::__cpuid_count(7, 0);
    if leaf.edx & all != all {
        return false;
    }
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let result: i64;
    // SAFETY: the call takes two numbers, reads no memory of ours, and changes what the process may use only; the
    // instruction overwrites the registers that are named.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn tiles() -> bool {
    false
}

/// A loop that is written once and compiled for each instruction set.
pub(crate) trait Work {
    /// What it gives.
    type Output;

    /// The loop. Every implementation, and every function that it calls with a vector, is `#[inline(always)]`:
    /// only then is it compiled for the instruction set.
    fn run<V: Vector>(self) -> Self::Output;
}

/// Runs a loop with the vectors of [`isa`].
#[inline]
pub(crate) fn dispatch<W: Work>(work: W) -> W::Output {
    match isa() {
        // SAFETY: `isa` found the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Vnni | Isa::Amx => unsafe { avx512::run(work) },
        // SAFETY: `isa` found the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::run(work) },
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => work.run::<neon::Neon>(),
        _ => work.run::<plain::Plain>(),
    }
}

/// Sixteen floats. Its types are named by [`dispatch`] alone, so that their instructions run only where they exist.
pub(crate) trait Vector: Copy + 'static {
    /// A truth for each lane.
    type Mask: Copy;

    /// Rows and vectors of the register tile that products use: their sums, the vectors of a row of the right side and
    /// one factor fit the registers.
    const TILE: (usize, usize);

    /// The same number in all lanes.
    fn splat(v: f32) -> Self;

    /// 16 floats, of any alignment.
    ///
    /// # Safety
    /// They can be read.
    unsafe fn load(from: *const f32) -> Self;

    /// The first `n` of up to 16 floats, and zeros.
    ///
    /// # Safety
    /// The first `n` can be read, and `n` is at most 16.
    unsafe fn load_first(from: *const f32, n: usize) -> Self;

    /// Writes 16 floats.
    ///
    /// # Safety
    /// They can be written.
    unsafe fn store(self, to: *mut f32);

    /// Writes the first `n` of up to 16 floats.
    ///
    /// # Safety
    /// The first `n` can be written, and `n` is at most 16.
    unsafe fn store_first(self, to: *mut f32, n: usize);

    /// The sum.
    fn add(self, other: Self) -> Self;
    /// The difference.
    fn sub(self, other: Self) -> Self;
    /// The product.
    fn mul(self, other: Self) -> Self;
    /// The quotient.
    fn div(self, other: Self) -> Self;
    /// `self * factor + addend`, rounded once but on machines without such an instruction.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `addend - self * factor`, as [`Vector::mul_add`].
    fn neg_mul_add(self, factor: Self, addend: Self) -> Self;
    /// The larger one; `other` where either is NaN.
    fn max(self, other: Self) -> Self;
    /// The smaller one; `other` where either is NaN.
    fn min(self, other: Self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The size without the sign.
    fn abs(self) -> Self;
    /// The nearest whole number, halves to the even one.
    fn round(self) -> Self;
    /// The next whole number below.
    fn floor(self) -> Self;
    /// The bits of `self` with the signs of `sign`.
    fn copy_sign(self, sign: Self) -> Self;
    /// `self * 2^n` for whole `n`; `n` beyond what an exponent can be gives infinity or zero.
    fn scale(self, n: Self) -> Self;
    /// The mantissa in [0.75, 1.5) and the exponent that go with it, for positive normal numbers.
    fn split(self) -> (Self, Self);
    /// Where `self < other`; false where either is NaN.
    fn below(self, other: Self) -> Self::Mask;
    /// Where a lane is NaN.
    fn is_nan(self) -> Self::Mask;
    /// `yes` where the mask holds, `no` elsewhere.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// Whether the mask holds anywhere.
    fn any(mask: Self::Mask) -> bool;

    /// The sum of all lanes: halves are added until one is left, on every instruction set.
    fn sum(self) -> f32;
    /// The largest of all lanes; a NaN may be lost.
    fn largest(self) -> f32;

    /// Rows and columns of sixteen vectors exchanged.
    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        let mut cells = [[0.0; LANES]; LANES];
        for (cells, row) in cells.iter_mut().zip(rows) {
            row.put(cells);
        }
        std::array::from_fn(|i| Self::of(&cells.map(|row| row[i])))
    }

    /// Zeros.
    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }

    /// The first 16 floats of a slice, and zeros where it has fewer.
    #[inline(always)]
    fn of(slice: &[f32]) -> Self {
        // SAFETY: no more than the slice has is read.
        unsafe {
            if slice.len() >= LANES {
                Self::load(slice.as_ptr())
            } else {
                Self::load_first(slice.as_ptr(), slice.len())
            }
        }
    }

    /// Writes to the first 16 floats of a slice, or to all that it has.
    #[inline(always)]
    fn put(self, slice: &mut [f32]) {
        // SAFETY: no more than the slice has is written.
        unsafe {
            if slice.len() >= LANES {
                self.store(slice.as_mut_ptr());
            } else {
                self.store_first(slice.as_mut_ptr(), slice.len());
            }
        }
    }
}

#[cfg(test)]
mod tests;
