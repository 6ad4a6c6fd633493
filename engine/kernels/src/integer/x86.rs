//! Blocks of sums by the instructions of x86: tiles (AMX), dot products of bytes (VNNI), and products of 16-bit numbers.

use super::block::{Columns, Rows, Sums};
use super::finish::PARTS;
use super::left::TILE;
use super::packed::STEP;
use crate::isa::tiles::configure;
use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

/// # Safety
/// As [`super::block::Blocks::sums`], with AMX.
pub(super) unsafe fn tiles(
    shape: &mut [usize; 2],
    rows: &Rows,
    columns: &Columns<'_>,
    sums: &mut Sums,
    meanwhile: &mut dyn FnMut(Range<usize>),
) {
    // A second tile that is not there is no reason to configure anew.
    let wanted = [rows.count[0], if rows.count[1] > 0 { rows.count[1] } else { rows.count[0] }];
    if *shape != wanted {
        let [first, second] = wanted;
        // SAFETY: the machine has tiles.
        unsafe { configure([first, first, second, second, first, second, TILE, TILE]) };
        *shape = wanted;
    }
    let (steps, both) = (columns.steps, rows.count[1] > 0);
    let start = columns.start.as_ptr();
    // The compiler makes no use of tile registers itself: what stands in them stays from one instruction to the next.
    // SAFETY: tiles are configured for these rows; the starting values are repeated by a distance of zero.
    unsafe {
        asm!(
            "tileloadd tmm0, [{start} + {by}]",
            "tileloadd tmm1, [{start} + {by} + 64]",
            start = in(reg) start,
            by = in(reg) 0usize,
            options(nostack, readonly),
        );
        if both {
            asm!(
                "tileloadd tmm2, [{start} + {by}]",
                "tileloadd tmm3, [{start} + {by} + 64]",
                start = in(reg) start,
                by = in(reg) 0usize,
                options(nostack, readonly),
            );
        }
    }
    let mut lines = columns.lines.as_ptr();
    let mut next = columns.next.0.chunks(columns.next.1.max(1));
    let mut part = 0;
    for (i, step) in steps.iter().enumerate() {
        for line in next.next().unwrap_or_default() {
            // SAFETY: a prefetch of an address that can be read.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(line).cast()) };
        }
        // SAFETY: tiles are configured; rows and lines can be read by the caller's promise.
        unsafe {
            let (a, b) = (rows.first[0].add(step.offset), rows.first[1].wrapping_add(step.offset));
            if both {
                asm!(
                    "tileloadd tmm4, [{a} + {stride}]",
                    "tileloadd tmm6, [{lines} + {by}]",
                    "tileloadd tmm7, [{lines} + {by} + 1024]",
                    "tdpbusd tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{b} + {stride}]",
                    "tdpbusd tmm1, tmm4, tmm7",
                    "tdpbusd tmm2, tmm5, tmm6",
                    "tdpbusd tmm3, tmm5, tmm7",
                    a = in(reg) a,
                    b = in(reg) b,
                    lines = in(reg) lines,
                    stride = in(reg) rows.stride,
                    by = in(reg) 64usize,
                    options(nostack, readonly),
                );
            } else {
                asm!(
                    "tileloadd tmm4, [{a} + {stride}]",
                    "tileloadd tmm6, [{lines} + {by}]",
                    "tileloadd tmm7, [{lines} + {by} + 1024]",
                    "tdpbusd tmm0, tmm4, tmm6",
                    "tdpbusd tmm1, tmm4, tmm7",
                    a = in(reg) a,
                    lines = in(reg) lines,
                    stride = in(reg) rows.stride,
                    by = in(reg) 64usize,
                    options(nostack, readonly),
                );
            }
            lines = lines.add(2 * STEP / 4);
        }
        let done = (i + 1) * PARTS / steps.len();
        if part < done {
            meanwhile(part..done);
            part = done;
        }
    }
    if part < PARTS {
        meanwhile(part..PARTS);
    }
    let out = sums.0.as_mut_ptr();
    // SAFETY: the sums hold 32 rows of 128 bytes.
    unsafe {
        asm!(
            "tilestored [{out} + {by}], tmm0",
            "tilestored [{out} + {by} + 64], tmm1",
            out = in(reg) out,
            by = in(reg) 128usize,
            options(nostack),
        );
        if both {
            asm!(
                "tilestored [{out} + {by} + 2048], tmm2",
                "tilestored [{out} + {by} + 2112], tmm3",
                out = in(reg) out,
                by = in(reg) 128usize,
                options(nostack),
            );
        }
    }
}

/// Calls the loop for all rows of both tiles, up to `$most` at once.
macro_rules! by_rows {
    ($rows:ident, $columns:ident, $sums:ident, $most:literal, $f:ident, [$($n:literal)*]) => {
        for t in 0..2 {
            let mut r = 0;
            while r < $rows.count[t] {
                let n = ($rows.count[t] - r).min($most);
                // SAFETY: the rows exist, and the caller's promises.
                unsafe {
                    let from = $rows.first[t].add(r * $rows.stride);
                    let out = $sums.0[t * TILE + r..].as_mut_ptr().cast::<i32>();
                    match n {
                        $($n => $f::<$n>(from, $rows.stride, $columns, out),)*
                        _ => $f::<$most>(from, $rows.stride, $columns, out),
                    }
                }
                r += n;
            }
        }
    };
}

/// # Safety
/// As [`super::block::Blocks::sums`], with AVX-512 VNNI.
pub(super) unsafe fn vnni(rows: &Rows, columns: &Columns<'_>, sums: &mut Sums) {
    by_rows!(rows, columns, sums, 8, vnni_rows, [1 2 3 4 5 6 7]);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn vnni_rows<const R: usize>(from: *const u8, stride: usize, columns: &Columns<'_>, out: *mut i32) {
    // SAFETY: the caller's promises.
    unsafe {
        let start = columns.start.as_ptr();
        let (low, high) = (_mm512_loadu_si512(start.cast()), _mm512_loadu_si512(start.add(16).cast()));
        let mut sums = [[low, high]; R];
        let mut lines = columns.lines.as_ptr();
        for step in columns.steps {
            let at = from.add(step.offset);
            for g in 0..step.groups {
                let b0 = _mm512_load_si512(lines.add(g).cast());
                let b1 = _mm512_load_si512(lines.add(16 + g).cast());
                for (r, sums) in sums.iter_mut().enumerate() {
                    let a = _mm512_set1_epi32(at.add(r * stride + 4 * g).cast::<i32>().read_unaligned());
                    sums[0] = _mm512_dpbusd_epi32(sums[0], a, b0);
                    sums[1] = _mm512_dpbusd_epi32(sums[1], a, b1);
                }
            }
            lines = lines.add(2 * STEP / 4);
        }
        for (r, sums) in sums.into_iter().enumerate() {
            _mm512_storeu_si512(out.add(32 * r).cast(), sums[0]);
            _mm512_storeu_si512(out.add(32 * r + 16).cast(), sums[1]);
        }
    }
}

/// # Safety
/// As [`super::block::Blocks::sums`], with AVX-512 BW.
pub(super) unsafe fn avx512(rows: &Rows, columns: &Columns<'_>, sums: &mut Sums) {
    by_rows!(rows, columns, sums, 8, avx512_rows, [1 2 3 4 5 6 7]);
}

/// Even and odd bytes are widened to 16 bits, so that no sum of two products is cut.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn avx512_rows<const R: usize>(from: *const u8, stride: usize, columns: &Columns<'_>, out: *mut i32) {
    // SAFETY: the caller's promises.
    unsafe {
        let start = columns.start.as_ptr();
        let (low, high) = (_mm512_loadu_si512(start.cast()), _mm512_loadu_si512(start.add(16).cast()));
        let mut sums = [[low, high]; R];
        let mut lines = columns.lines.as_ptr();
        let bytes = _mm512_set1_epi16(0xff);
        for step in columns.steps {
            let at = from.add(step.offset);
            for g in 0..step.groups {
                let wide = |line: *const super::packed::Line| {
                    let b = _mm512_load_si512(line.cast());
                    (_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(b)), _mm512_srai_epi16::<8>(b))
                };
                let (b0, b1) = (wide(lines.add(g)), wide(lines.add(16 + g)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let a = _mm512_set1_epi32(at.add(r * stride + 4 * g).cast::<i32>().read_unaligned());
                    let (even, odd) = (_mm512_and_si512(a, bytes), _mm512_srli_epi16::<8>(a));
                    for (sum, b) in sums.iter_mut().zip([b0, b1]) {
                        *sum = _mm512_add_epi32(*sum, _mm512_madd_epi16(even, b.0));
                        *sum = _mm512_add_epi32(*sum, _mm512_madd_epi16(odd, b.1));
                    }
                }
            }
            lines = lines.add(2 * STEP / 4);
        }
        for (r, sums) in sums.into_iter().enumerate() {
            _mm512_storeu_si512(out.add(32 * r).cast(), sums[0]);
            _mm512_storeu_si512(out.add(32 * r + 16).cast(), sums[1]);
        }
    }
}

/// # Safety
/// As [`super::block::Blocks::sums`], with AVX2.
pub(super) unsafe fn avx2(rows: &Rows, columns: &Columns<'_>, sums: &mut Sums) {
    by_rows!(rows, columns, sums, 4, avx2_rows, [1 2 3]);
}

/// 16 columns after the other, four rows at once: their sums and two widened lines fill the registers.
#[target_feature(enable = "avx2")]
unsafe fn avx2_rows<const R: usize>(from: *const u8, stride: usize, columns: &Columns<'_>, out: *mut i32) {
    for half in 0..2 {
        // SAFETY: the caller's promises.
        unsafe {
            let start = columns.start.as_ptr().add(16 * half);
            let (low, high) = (_mm256_loadu_si256(start.cast()), _mm256_loadu_si256(start.add(8).cast()));
            let mut sums = [[low, high]; R];
            let mut lines = columns.lines.as_ptr().add(16 * half);
            let bytes = _mm256_set1_epi16(0xff);
            for step in columns.steps {
                let at = from.add(step.offset);
                for g in 0..step.groups {
                    let wide = |i: usize| {
                        let b = _mm256_load_si256(lines.add(g).cast::<__m256i>().add(i));
                        (_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b)), _mm256_srai_epi16::<8>(b))
                    };
                    let (b0, b1) = (wide(0), wide(1));
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let a = _mm256_set1_epi32(at.add(r * stride + 4 * g).cast::<i32>().read_unaligned());
                        let (even, odd) = (_mm256_and_si256(a, bytes), _mm256_srli_epi16::<8>(a));
                        for (sum, b) in sums.iter_mut().zip([b0, b1]) {
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(even, b.0));
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(odd, b.1));
                        }
                    }
                }
                lines = lines.add(2 * STEP / 4);
            }
            for (r, sums) in sums.into_iter().enumerate() {
                let out = out.add(32 * r + 16 * half);
                _mm256_storeu_si256(out.cast(), sums[0]);
                _mm256_storeu_si256(out.add(8).cast(), sums[1]);
            }
        }
    }
}
