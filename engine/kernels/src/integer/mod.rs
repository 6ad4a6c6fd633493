//! Products and convolutions of bytes: exact sums of 32 bits in registers, and what they stand for.
//!
//! The left side is of bytes without signs, the right side of bytes with signs; the other kinds are shifted by 128, and
//! zero points follow. The right side is packed once ([`Packed`]); blocks of 32 x 32 sums begin with what zero points and
//! a bias come to, and end as whole numbers, floats or codes.

mod block;
mod conv;
#[cfg(test)]
mod conv_tests;
mod finish;
mod left;
mod packed;
mod pool;
mod product;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use conv::{Conv, ConvSpec};
pub use finish::{Activation, Coding};
pub use packed::Packed;
pub use pool::{max_pool, mean};
pub use product::{Product, Rows, Scales, product};

use crate::isa::{Isa, isa};
use block::{Blocks, Columns, Sums};
use finish::{Finish, PARTS, Part};
use left::{Left, NOWHERE, TILE, Tile};
use oxidane_pool::Pool;
use packed::PAIR;
use std::ops::Range;

/// Sums of products that depend on rows and columns: `rows[m] * columns[n]` is added to each sum.
struct Term<'a> {
    rows: &'a [i32],
    columns: &'a [i32],
}

/// Scratch from the next address on that no row of a tile crosses a cache line from; 64 bytes are lost at most.
fn aligned(bytes: &mut [u8]) -> &mut [u8] {
    let skipped = bytes.as_ptr().align_offset(packed::STEP).min(bytes.len());
    &mut bytes[skipped..]
}

/// Tiles of the left side that a task takes at most.
const TILES: usize = 32;
/// Bytes of the left side that a task should read over and over.
const KEPT: usize = 256 << 10;
/// Products that are worth a task.
const WORTH: usize = 8 << 20;

/// Steps up to which pairs of panels pass over the left side one by one. Deeper ones pass two at a time, whose codes fill
/// the lines of the result.
const SHALLOW: usize = 2;

/// Multiplies and finishes, in tasks over tiles and pairs of panels.
///
/// # Panics
/// When the left side does not hold what the steps read, or starting values and terms are too few.
fn run<F: Finish>(
    pool: &Pool,
    left: &Left<'_>,
    packed: &Packed,
    start: &[i32],
    terms: &[Term<'_>],
    finish: &F,
) {
    let (tiles, pairs, steps) = (left.tiles(), packed.pairs(), packed.steps());
    if tiles == 0 || pairs == 0 {
        return;
    }
    let furthest = steps.iter().map(|s| s.offset).max();
    assert!(furthest.is_none_or(|offset| left.reach(offset) <= left.bytes.len()), "rows leave their bytes");
    assert!(start.len() >= pairs * PAIR, "too few starting values");
    for term in terms {
        assert!(term.rows.len() >= left.count() && term.columns.len() >= pairs * PAIR, "too short terms");
    }
    let depth = steps.len().max(1) * packed::STEP;
    let together = if steps.len() > SHALLOW { 2 } else { 1 };
    let tall = (KEPT / (TILE * depth)).clamp(2, TILES).min(tiles.next_multiple_of(2)) & !1;
    let wide = (WORTH / (tall * TILE * depth * PAIR)).clamp(1, pairs).next_multiple_of(together);
    let (down, across) = (tiles.div_ceil(tall), pairs.div_ceil(wide));
    let isa = isa();
    pool.for_each(down * across, &|i| {
        let (first, pair) = (i / across * tall, i % across * wide);
        let count = tall.min(tiles - first);
        let mut mine = [Tile::NONE; TILES];
        for (k, tile) in mine[..count].iter_mut().enumerate() {
            *tile = left.tile(first + k, isa == Isa::Amx);
        }
        let mut blocks = Blocks::new(isa);
        let mut two = [Sums([[0; PAIR]; 2 * TILE]), Sums([[0; PAIR]; 2 * TILE])];
        let [sums, before] = &mut two;
        let (mut sums, mut before) = (sums, before);
        // Where sums come from a unit of their own, a block is finished while the next one is summed up.
        let mut waiting: Option<([u32; 2 * TILE], usize)> = None;
        let finished = |sums: &Sums, places: &[u32; 2 * TILE], column: usize, parts: Range<usize>| {
            let width = PAIR.min(packed.columns() - column);
            // SAFETY: tiles have disjoint places, tasks have disjoint tiles or columns.
            unsafe { finish.part(Part::of(sums, places, parts), column, width) };
        };
        let of_pair = count.div_ceil(2);
        let end = (pair + wide).min(pairs);
        for group in (pair..end).step_by(together) {
            let group = group..(group + together).min(end);
            for (block, two) in mine[..count].chunks(2).enumerate() {
                let second = two.get(1).unwrap_or(&Tile::NONE);
                let mut places = [NOWHERE; 2 * TILE];
                places[..TILE].copy_from_slice(&two[0].places);
                places[TILE..].copy_from_slice(&second.places);
                let at = |tile: &Tile| left.bytes[tile.start.min(left.bytes.len())..].as_ptr();
                let rows = block::Rows {
                    first: [at(&two[0]), at(second)],
                    count: [two[0].rows, second.rows],
                    stride: left.stride,
                };
                for pair in group.clone() {
                    let column = pair * PAIR;
                    let next = if pair + together < pairs { packed.pair(pair + together) } else { &[] };
                    let share = next.len().div_ceil(of_pair);
                    let columns = Columns {
                        steps,
                        lines: packed.pair(pair),
                        start: start[column..][..PAIR].try_into().expect("a pair of columns"),
                        next: (
                            next.get(block * share..).unwrap_or_default(),
                            share.div_ceil(steps.len().max(1)),
                        ),
                    };
                    let mut meanwhile = |parts: Range<usize>| {
                        if let Some((places, column)) = &waiting {
                            finished(before, places, *column, parts);
                        }
                    };
                    // SAFETY: `isa` found the instructions; every row reaches as far as asserted above; a pair has 32
                    // lines a step.
                    unsafe { blocks.sums(&rows, &columns, sums, &mut meanwhile) };
                    for term in terms {
                        for (row, &place) in sums.0.iter_mut().zip(&places) {
                            let by = if place == NOWHERE { 0 } else { term.rows[place as usize] };
                            for (sum, &of) in row.iter_mut().zip(&term.columns[column..][..PAIR]) {
                                *sum = sum.wrapping_add(by.wrapping_mul(of));
                            }
                        }
                    }
                    if blocks.overlap() {
                        waiting = Some((places, column));
                        (sums, before) = (before, sums);
                    } else {
                        finished(sums, &places, column, 0..PARTS);
                    }
                }
            }
        }
        if let Some((places, column)) = &waiting {
            finished(before, places, *column, 0..PARTS);
        }
    });
}
