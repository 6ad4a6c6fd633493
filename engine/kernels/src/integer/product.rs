//! Products of a matrix of bytes and a packed one.

use super::finish::{Activation, Codes, Coding, Floats, Out, Whole, bounded};
use super::left::Left;
use super::packed::{PAIR, Packed, STEP};
use super::{Term, aligned, run};
use crate::KernelError;
use crate::scratch::with_scratch;
use oxidane_pool::Pool;

/// Rows that one task copies.
const COPIED: usize = 64 << 10;

/// The left side of a product.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// Rows of bytes, dense, each as long as the right side is deep.
    pub bytes: &'a [u8],
    /// Whether the bytes have signs.
    pub signed: bool,
    /// The zero points: one, or one a row.
    pub zeros: &'a [i32],
}

/// Factors of the sums: one, or one a column; and what multiplies them all.
#[derive(Clone, Copy)]
pub struct Scales<'a>(pub &'a [f32], pub f32);

impl Scales<'_> {
    fn spread(&self, columns: usize, to: &mut [f32]) -> Result<(), KernelError> {
        to.fill(0.0);
        match self.0 {
            [one] => to[..columns].fill(one * self.1),
            all if all.len() == columns => {
                to.iter_mut().zip(all).for_each(|(to, of)| *to = of * self.1);
            }
            all => {
                return Err(KernelError::Shape(format!("{} scales do not fit {columns} columns", all.len())));
            }
        }
        Ok(())
    }
}

/// What a product gives.
pub enum Product<'a> {
    /// The sums.
    Whole(&'a mut [i32]),
    /// The sums by scales, plus a bias, which is empty or has a number for each column.
    Floats(&'a mut [f32], Scales<'a>, &'a [f32], Activation),
    /// The sums by scales, which are those of the operands, as codes.
    Codes(&'a mut [u8], Scales<'a>, Coding),
}

/// The product of `rows` and `packed`, each minus its zero points (`right`: one, or one a column), plus `bias`, which is
/// empty or has a number for each column. Sums wrap around.
///
/// # Errors
/// When lengths do not fit, or there is no memory.
pub fn product(
    pool: &Pool,
    rows: Rows<'_>,
    packed: &Packed,
    right: &[i32],
    bias: &[i32],
    result: Product<'_>,
) -> Result<(), KernelError> {
    let (depth, columns) = (packed.depth(), packed.columns());
    let count = match &result {
        Product::Whole(out) => out.len(),
        Product::Floats(out, ..) => out.len(),
        Product::Codes(out, ..) => out.len(),
    };
    if count == 0 {
        return Ok(());
    }
    let count = count / columns;
    let fits = |n: usize, all: usize| n == 1 || n == all;
    let length = |what: &str, n: usize, wanted: usize| {
        KernelError::Shape(format!(
            "{n} {what} do not fit a product of {count} x {depth} x {columns}: {wanted} are needed"
        ))
    };
    if rows.bytes.len() != count * depth {
        return Err(length("bytes", rows.bytes.len(), count * depth));
    }
    if !fits(rows.zeros.len(), count) {
        return Err(length("zero points of the left side", rows.zeros.len(), count));
    }
    if !fits(right.len(), columns) {
        return Err(length("zero points of the right side", right.len(), columns));
    }
    if !bias.is_empty() && bias.len() != columns {
        return Err(length("numbers of a bias", bias.len(), columns));
    }
    let padded = depth.next_multiple_of(STEP);
    let copied = if rows.signed || padded != depth { count * padded } else { 0 };
    let width = packed.pairs() * PAIR;
    let of_rows = packed.needs_rows(right);
    let many = rows.zeros.len() > 1;
    // Starting values, scales, bias, two terms of columns; two terms of rows; copied rows.
    let words = (5 * width + 2 * count).div_ceil(2) + (copied + STEP).div_ceil(8);
    with_scratch::<u64, _>(words, |scratch| {
        let (numbers, copies) = scratch.split_at_mut((5 * width + 2 * count).div_ceil(2));
        let numbers: &mut [i32] = bytemuck::cast_slice_mut(numbers);
        let copies: &mut [u8] = &mut aligned(bytemuck::cast_slice_mut(copies))[..copied];
        let (start, numbers) = numbers.split_at_mut(width);
        let (scales, numbers) = numbers.split_at_mut(width);
        let (added, numbers) = numbers.split_at_mut(width);
        let (by_zeros, numbers) = numbers.split_at_mut(width);
        let (by_sums, numbers) = numbers.split_at_mut(width);
        let (zeros, numbers) = numbers.split_at_mut(count);
        let sums = &mut numbers[..count];
        let (scales, added): (&mut [f32], &mut [f32]) =
            (bytemuck::cast_slice_mut(scales), bytemuck::cast_slice_mut(added));
        let (flip, shift) = if rows.signed { (0x80, 128) } else { (0, 0) };
        let left = if copied > 0 {
            let rows_of_task = (COPIED / padded).max(1);
            pool.for_each_piece(copies, rows_of_task * padded, |i, piece| {
                let from = &rows.bytes[i * rows_of_task * depth..];
                for (to, from) in piece.chunks_exact_mut(padded).zip(from.chunks(depth.max(1))) {
                    to[..depth].iter_mut().zip(from).for_each(|(to, from)| *to = from ^ flip);
                    to[depth..].fill(0);
                }
            });
            Left::dense(copies, count, padded)
        } else {
            Left::dense(rows.bytes, count, depth)
        };
        for n in 0..width {
            // What zero points of the left side are multiplied by, and what sums of its rows are.
            let inside = n < columns;
            let zero = if inside { packed.stored(right[n.min(right.len() - 1)]) } else { 0 };
            by_sums[n] = zero.wrapping_neg();
            by_zeros[n] = (depth as i32).wrapping_mul(zero).wrapping_sub(packed.sum(n));
            let single = if many { 0 } else { (rows.zeros[0] + shift).wrapping_mul(by_zeros[n]) };
            start[n] = single.wrapping_add(bias.get(n).copied().unwrap_or(0));
        }
        let mut terms = [None, None];
        if many {
            zeros.iter_mut().zip(rows.zeros).for_each(|(to, zero)| *to = zero + shift);
            terms[0] = Some(Term { rows: zeros, columns: by_zeros });
        }
        if of_rows {
            pool.for_each_piece(sums, 64, |i, piece| {
                for (k, sum) in piece.iter_mut().enumerate() {
                    let row = &left.bytes[(i * 64 + k) * left.stride..][..depth];
                    *sum = row.iter().map(|&v| u32::from(v)).fold(0u32, u32::wrapping_add) as i32;
                }
            });
            terms[1] = Some(Term { rows: sums, columns: by_sums });
        }
        let [a, b] = terms;
        let mut terms: smallvec::SmallVec<[Term<'_>; 2]> = smallvec::SmallVec::new();
        terms.extend(a.into_iter().chain(b));
        match result {
            Product::Whole(out) => {
                run(pool, &left, packed, start, &terms, &Whole(Out::new(out, count, columns)));
            }
            Product::Floats(out, factors, bias, activation) => {
                factors.spread(columns, scales)?;
                added.fill(0.0);
                if !bias.is_empty() {
                    if bias.len() != columns {
                        return Err(length("numbers of a bias", bias.len(), columns));
                    }
                    added[..columns].copy_from_slice(bias);
                }
                let out = Out::new(out, count, columns);
                run(pool, &left, packed, start, &terms, &Floats { out, scales, bias: added, activation });
            }
            Product::Codes(out, factors, coding) => {
                factors.spread(columns, scales)?;
                scales.iter_mut().for_each(|s| *s /= coding.scale);
                let out = Out::new(out, count, columns);
                let (zero, flip) = (coding.unsigned_zero(), if coding.signed { 0x80 } else { 0 });
                let bounded = terms.is_empty() && bounded(depth, start, scales);
                let finish = Codes { out, scales, zero, range: (0, 255), flip, addend: None, bounded };
                run(pool, &left, packed, start, &terms, &finish);
            }
        }
        Ok(())
    })
}
