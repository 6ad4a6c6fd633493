//! What becomes of the sums of a block: whole numbers, floats, or codes again.

use super::block::Sums;
use super::left::{NOWHERE, TILE};
use super::packed::PAIR;
use crate::isa::{Isa, Vector, Work, dispatch, isa};
use std::marker::PhantomData;
use std::ops::Range;

/// Where a finished block goes.
pub(crate) trait Finish: Sync {
    /// Writes the rows of a part of a block that have a place in the result: `width` columns from `column` on.
    ///
    /// # Safety
    /// The places are rows of the result, the columns are columns of it, and nobody else reads or writes them.
    unsafe fn part(&self, part: Part<'_>, column: usize, width: usize);
}

/// Rows of a block, an even number, and their places.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) rows: &'a [[i32; PAIR]],
    pub(crate) places: &'a [u32],
}

/// Parts that a block is finished in.
pub(crate) const PARTS: usize = 4;

impl<'a> Part<'a> {
    pub(crate) fn of(sums: &'a Sums, places: &'a [u32; 2 * TILE], parts: Range<usize>) -> Part<'a> {
        let rows = parts.start * (2 * TILE / PARTS)..parts.end * (2 * TILE / PARTS);
        Part { rows: &sums.0[rows.clone()], places: &places[rows] }
    }
}

/// A matrix of results that tasks write at disjoint places.
pub(crate) struct Out<'a, T> {
    first: *mut T,
    columns: usize,
    lives: PhantomData<&'a mut [T]>,
}

// SAFETY: rows are reached through `row` alone, whose callers promise that they are theirs.
unsafe impl<T: Send> Sync for Out<'_, T> {}

impl<'a, T> Out<'a, T> {
    /// # Panics
    /// When the slice does not have `rows` rows.
    pub(crate) fn new(slice: &'a mut [T], rows: usize, columns: usize) -> Out<'a, T> {
        assert_eq!(slice.len(), rows * columns, "a result of {rows} x {columns}");
        Out { first: slice.as_mut_ptr(), columns, lives: PhantomData }
    }

    /// # Safety
    /// The place and the column are inside.
    #[inline(always)]
    unsafe fn at(&self, place: u32, column: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.first.add(place as usize * self.columns + column) }
    }
}

/// The sums as they are.
pub(crate) struct Whole<'a>(pub(crate) Out<'a, i32>);

impl Finish for Whole<'_> {
    unsafe fn part(&self, part: Part<'_>, column: usize, width: usize) {
        for (row, &place) in part.rows.iter().zip(part.places).filter(|(_, place)| **place != NOWHERE) {
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), self.0.at(place, column), width) };
        }
    }
}

/// What is done to floats last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// Negative numbers become zero.
    Relu,
}

/// The sums by scales, plus a bias; both have a number for each column, padded to whole pairs.
pub(crate) struct Floats<'a> {
    pub(crate) out: Out<'a, f32>,
    pub(crate) scales: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) activation: Activation,
}

impl Finish for Floats<'_> {
    unsafe fn part(&self, part: Part<'_>, column: usize, width: usize) {
        struct Rows<'b>(&'b Floats<'b>, Part<'b>, usize, usize);
        impl Work for Rows<'_> {
            type Output = ();
            #[inline(always)]
            fn run<V: Vector>(self) {
                let Rows(to, part, column, width) = self;
                let of = |all: &[f32]| [V::of(&all[column..]), V::of(&all[column + 16..])];
                let (scales, bias) = (of(to.scales), of(to.bias));
                for (row, &place) in part.rows.iter().zip(part.places) {
                    if place == NOWHERE {
                        continue;
                    }
                    let mut floats = [0f32; PAIR];
                    for (float, &sum) in floats.iter_mut().zip(row) {
                        *float = sum as f32;
                    }
                    // SAFETY: the promise of `Finish::part`, whose only caller this is.
                    let out = unsafe { std::slice::from_raw_parts_mut(to.out.at(place, column), width) };
                    for (half, floats) in floats.chunks_exact(16).enumerate() {
                        let Some(out) = out.get_mut(16 * half..).filter(|out| !out.is_empty()) else { break };
                        let mut v = V::of(floats).mul_add(scales[half], bias[half]);
                        if to.activation == Activation::Relu {
                            v = v.max(V::zero());
                        }
                        v.put(out);
                    }
                }
            }
        }
        dispatch(Rows(self, part, column, width));
    }
}

/// Codes of 8 bits that stand for `(code - zero) * scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coding {
    /// The size of a step.
    pub scale: f32,
    /// The code of nothing.
    pub zero: i32,
    /// Whether codes have signs.
    pub signed: bool,
}

impl Coding {
    /// The zero point of the codes when they are counted from the lowest one.
    pub(crate) fn unsigned_zero(&self) -> i32 {
        self.zero + if self.signed { 128 } else { 0 }
    }
}

/// Another tensor of codes that is added to the result, which is rounded to codes before.
#[derive(Clone, Copy)]
pub(crate) struct Addend<'a> {
    pub(crate) codes: &'a [u8],
    /// What is flipped in its codes to have them without signs.
    pub(crate) flip: u8,
    /// The lowest and the highest step from zero that the result can have before.
    pub(crate) bounds: (f32, f32),
    /// What a step of the result, and a step of the codes is worth in steps of the sum.
    pub(crate) worth: (f32, f32),
    /// What the codes' zero point comes to in steps of the sum.
    pub(crate) offset: f32,
}

/// The sums by scales as codes; scales have a number for each column, padded to whole pairs.
pub(crate) struct Codes<'a> {
    pub(crate) out: Out<'a, u8>,
    pub(crate) scales: &'a [f32],
    /// The zero point, lowest and highest code, counted without signs.
    pub(crate) zero: i32,
    pub(crate) range: (u8, u8),
    /// What is flipped in codes last.
    pub(crate) flip: u8,
    pub(crate) addend: Option<Addend<'a>>,
    /// Whether no number of steps can leave the range of whole numbers.
    pub(crate) bounded: bool,
}

/// Steps beyond which every code is cut, and which whole numbers can still tell.
const MOST: f32 = 1e6;

/// Between this number and the one twice as large, floats are whole numbers.
const ROUNDING: f32 = 12_582_912.0;

impl Finish for Codes<'_> {
    unsafe fn part(&self, part: Part<'_>, column: usize, width: usize) {
        match isa() {
            // SAFETY: the machine has the instructions, and the caller's promises.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Vnni | Isa::Amx => unsafe {
                match (self.addend.is_some(), self.trimmed()) {
                    (false, false) => self.part_avx512::<false, false>(part, column, width),
                    (false, true) => self.part_avx512::<false, true>(part, column, width),
                    (true, false) => self.part_avx512::<true, false>(part, column, width),
                    (true, true) => self.part_avx512::<true, true>(part, column, width),
                }
            },
            _ => {
                struct Rows<'b>(&'b Codes<'b>, Part<'b>, usize, usize);
                impl Work for Rows<'_> {
                    type Output = ();
                    #[inline(always)]
                    fn run<V: Vector>(self) {
                        // SAFETY: the promise of `Finish::part`, whose only caller this is.
                        unsafe { self.0.part_plain(self.1, self.2, self.3) }
                    }
                }
                dispatch(Rows(self, part, column, width));
            }
        }
    }
}

/// Whether sums of products so deep, times these scales, are whole numbers of 32 bits when rounded.
pub(crate) fn bounded(depth: usize, start: &[i32], scales: &[f32]) -> bool {
    let products = depth as f64 * 255.0 * 128.0;
    let steps = |(&start, &scale): (&i32, &f32)| (products + f64::from(start).abs()) * f64::from(scale.abs());
    // The sums themselves wrap around beyond that.
    start.iter().zip(scales).map(steps).all(|steps| steps < 2e9)
}

impl Codes<'_> {
    /// Whether codes need more than to be cut at 0 and 255.
    fn trimmed(&self) -> bool {
        self.zero != 0 || self.range != (0, 255) || self.flip != 0 || !self.bounded
    }

    /// # Safety
    /// As [`Finish::part`].
    #[inline(always)]
    unsafe fn part_plain(&self, part: Part<'_>, column: usize, width: usize) {
        let scales = &self.scales[column..column + PAIR];
        let (low, high) = (i32::from(self.range.0), i32::from(self.range.1));
        for (row, &place) in part.rows.iter().zip(part.places) {
            if place == NOWHERE {
                continue;
            }
            let mut codes = [0u8; PAIR];
            let mut other = [0u8; PAIR];
            if let Some(addend) = self.addend {
                let at = place as usize * self.out.columns + column;
                other[..width].copy_from_slice(&addend.codes[at..at + width]);
            }
            for c in 0..PAIR {
                let mut steps = row[c] as f32 * scales[c];
                if let Some(addend) = self.addend {
                    let mine = steps.round_ties_even().clamp(addend.bounds.0, addend.bounds.1);
                    let theirs = f32::from(other[c] ^ addend.flip);
                    steps = mine * addend.worth.0 + (theirs * addend.worth.1 + addend.offset);
                }
                // Compared so that no number is left out, NaN included.
                let steps = if steps < MOST { steps } else { MOST };
                let steps = if steps > -MOST { steps } else { -MOST };
                let code = (steps.round_ties_even() as i32 + self.zero).clamp(low, high);
                codes[c] = code as u8 ^ self.flip;
            }
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(codes.as_ptr(), self.out.at(place, column), width) };
        }
    }

    /// # Safety
    /// As [`Finish::part`], with AVX-512.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn part_avx512<const ADD: bool, const TRIM: bool>(
        &self,
        part: Part<'_>,
        column: usize,
        width: usize,
    ) {
        use std::arch::x86_64::*;
        let mask = if width >= PAIR { u32::MAX } else { (1 << width) - 1 };
        let scales = &self.scales[column..column + PAIR];
        // SAFETY: rows and scales have 32 numbers; places and columns are inside by the caller's promise.
        unsafe {
            let scales = [_mm512_loadu_ps(scales.as_ptr()), _mm512_loadu_ps(scales.as_ptr().add(16))];
            let most = _mm512_set1_ps(MOST);
            let zero = _mm512_set1_epi16(self.zero as i16);
            let low = _mm512_set1_epi8(self.range.0 as i8);
            let high = _mm512_set1_epi8(self.range.1 as i8);
            let flip = _mm512_set1_epi8(self.flip as i8);
            // Fours of columns as the two packings leave them, in order.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let addend = self.addend.unwrap_or(Addend {
                codes: &[],
                flip: 0,
                bounds: (0.0, 0.0),
                worth: (0.0, 0.0),
                offset: 0.0,
            });
            let least = _mm512_set1_ps(addend.bounds.0);
            let largest = _mm512_set1_ps(addend.bounds.1);
            let (worth, theirs) = (_mm512_set1_ps(addend.worth.0), _mm512_set1_ps(addend.worth.1));
            let offset = _mm512_set1_ps(addend.offset);
            let rounding = _mm512_set1_ps(ROUNDING);
            let flip_addend = _mm256_set1_epi8(addend.flip as i8);
            for (rows, places) in part.rows.chunks_exact(2).zip(part.places.chunks_exact(2)) {
                if places[0] == NOWHERE && places[1] == NOWHERE {
                    continue;
                }
                let mut steps = [_mm512_setzero_si512(); 4];
                for r in 0..2 {
                    let mut other = _mm256_setzero_si256();
                    if ADD && places[r] != NOWHERE {
                        let at = places[r] as usize * self.out.columns + column;
                        let codes = addend.codes.as_ptr().add(at);
                        other = _mm256_maskz_loadu_epi8(mask, codes.cast());
                        other = _mm256_xor_si256(other, flip_addend);
                    }
                    for half in 0..2 {
                        let sum = _mm512_load_si512(rows[r].as_ptr().add(16 * half).cast());
                        let sum = _mm512_cvtepi32_ps(sum);
                        let v = if ADD {
                            let part = match half {
                                0 => _mm256_castsi256_si128(other),
                                _ => _mm256_extracti128_si256::<1>(other),
                            };
                            let b = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(part));
                            let b = _mm512_fmadd_ps(b, theirs, offset);
                            // Cut to fewer than 2^22 first, numbers are rounded by what is added and taken away.
                            let mine = _mm512_mul_ps(sum, scales[half]);
                            let mine = _mm512_max_ps(_mm512_min_ps(mine, largest), least);
                            let mine = _mm512_sub_ps(_mm512_add_ps(mine, rounding), rounding);
                            _mm512_fmadd_ps(mine, worth, b)
                        } else {
                            _mm512_mul_ps(sum, scales[half])
                        };
                        let v = if TRIM { _mm512_min_ps(v, most) } else { v };
                        steps[2 * r + half] = _mm512_cvtps_epi32(v);
                    }
                }
                let mut a = _mm512_packs_epi32(steps[0], steps[1]);
                let mut b = _mm512_packs_epi32(steps[2], steps[3]);
                if TRIM {
                    a = _mm512_adds_epi16(a, zero);
                    b = _mm512_adds_epi16(b, zero);
                }
                let mut codes = _mm512_packus_epi16(a, b);
                if TRIM {
                    codes = _mm512_xor_si512(_mm512_min_epu8(_mm512_max_epu8(codes, low), high), flip);
                }
                let codes = _mm512_permutexvar_epi32(order, codes);
                let both = [_mm512_castsi512_si256(codes), _mm512_extracti64x4_epi64::<1>(codes)];
                for (codes, &place) in both.into_iter().zip(places) {
                    if place != NOWHERE {
                        _mm256_mask_storeu_epi8(self.out.at(place, column).cast(), mask, codes);
                    }
                }
            }
        }
    }
}
