//! Rows of scores made into shares by vectors.

use crate::isa::functions::tanh;
use crate::isa::{LANES, Vector};
use std::ops::Range;

/// What happens to the products of a row before their softmax.
#[derive(Clone, Copy)]
pub(super) struct Scoring<'a> {
    /// Factor of the products.
    pub(super) scale: f32,
    /// The soft cap, where it is positive.
    pub(super) cap: f32,
    /// What is added, from the row's first key on, the step to the next, and how many keys of the row it covers.
    pub(super) bias: Option<(&'a [f32], usize, usize)>,
}

/// What is known of a row after some blocks of its keys: the largest number that its softmax is of, and the sum of the shares.
pub(super) type Row = [f32; 2];

/// A row of which no key was seen.
pub(super) const NEW: Row = [f32::NEG_INFINITY, 0.0];

/// What the sums of a row are multiplied by in the end.
pub(super) fn norm([_, sum]: Row) -> f32 {
    // A row without any share is zero.
    if sum == 0.0 { 0.0 } else { 1.0 / sum }
}

/// 2^x for x up to 0, or a little above; zero below -126, where numbers are slow, and NaN where x is. At most 2 units in
/// the last place off.
#[inline(always)]
fn exp2<V: Vector>(x: V) -> V {
    let least = V::splat(-126.0);
    let gone = x.below(least);
    // The order of the sides lets NaN through.
    let x = least.max(x);
    let n = x.round();
    let r = x.sub(n);
    let p = V::splat(1.535_336_2e-4);
    let p = p.mul_add(r, V::splat(1.339_887_4e-3));
    let p = p.mul_add(r, V::splat(9.618_437e-3));
    let p = p.mul_add(r, V::splat(5.550_332_5e-2));
    let p = p.mul_add(r, V::splat(0.240_226_48));
    let p = p.mul_add(r, V::splat(std::f32::consts::LN_2));
    V::select(gone, V::zero(), p.mul_add(r, V::splat(1.0)).scale(n))
}

/// Makes shares of a row of products, whose length is a multiple of 16, where keys `seen` are visible; the others
/// share nothing. Gives what former sums of the row are to be multiplied by.
#[inline(always)]
pub(super) fn shares<V: Vector>(
    row: &mut [f32],
    mut seen: Range<usize>,
    scoring: &Scoring<'_>,
    state: &mut Row,
) -> f32 {
    if let Some((_, _, covered)) = scoring.bias {
        seen = seen.start.min(covered)..seen.end.min(covered);
    }
    let log2_e = std::f32::consts::LOG2_E;
    let mut any = !seen.is_empty();
    let mut factor = scoring.scale * log2_e;
    if scoring.bias.is_some() || scoring.cap > 0.0 || !(f32::MIN_POSITIVE..f32::INFINITY).contains(&factor) {
        any &= finish::<V>(row, &seen, scoring);
        factor = log2_e;
    }
    if !any {
        row.fill(0.0);
        return 1.0;
    }
    hide::<V>(row, &seen);
    let low = V::splat(f32::NEG_INFINITY);
    let mut tops = [low; 2];
    let (pairs, rest) = row.as_chunks::<{ 2 * LANES }>();
    for pair in pairs {
        tops = [tops[0].max(V::of(pair)), tops[1].max(V::of(&pair[LANES..]))];
    }
    if !rest.is_empty() {
        tops[0] = tops[0].max(V::of(rest));
    }
    // In this order a NaN of the scores is lost here; it makes the sum NaN all the same.
    let top = tops[0].max(tops[1]).largest().max(state[0]);
    // Scores that are all minus infinity have no largest one to take away; they share nothing.
    let away = if top == f32::NEG_INFINITY { 0.0 } else { top };
    let (by, away) = (V::splat(factor), (V::splat(away), away));
    let mut sums = [V::zero(); 2];
    let (pairs, rest) = row.as_chunks_mut::<{ 2 * LANES }>();
    for pair in pairs {
        for (i, sum) in sums.iter_mut().enumerate() {
            let share = exp2(V::of(&pair[i * LANES..]).sub(away.0).mul(by));
            share.put(&mut pair[i * LANES..]);
            *sum = sum.add(share);
        }
    }
    if !rest.is_empty() {
        let share = exp2(V::of(rest).sub(away.0).mul(by));
        share.put(rest);
        sums[0] = sums[0].add(share);
    }
    let keep = if state[0] == top { 1.0 } else { ((state[0] - away.1) * factor).exp2() };
    state[1] = state[1] * keep + sums[0].add(sums[1]).sum();
    state[0] = top;
    keep
}

/// The numbers of sixteen lanes.
static PLACES: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];

/// `v` in lanes that are seen, `other` elsewhere; the first lane is key `at`.
#[inline(always)]
fn where_seen<V: Vector>(v: V, other: V, at: usize, seen: &Range<usize>) -> V {
    if seen.start <= at && at + LANES <= seen.end {
        return v;
    }
    // Rows are short enough for their places to be floats.
    let place = V::of(&PLACES).add(V::splat(at as f32));
    let v = V::select(place.below(V::splat(seen.start as f32)), other, v);
    V::select(place.below(V::splat(seen.end as f32)), v, other)
}

/// Minus infinity where a key is not seen.
#[inline(always)]
fn hide<V: Vector>(row: &mut [f32], seen: &Range<usize>) {
    let low = V::splat(f32::NEG_INFINITY);
    // By whole vectors, whose next reading would wait for stores of single numbers.
    let (before, behind) = (0..seen.start.div_ceil(LANES), seen.end / LANES..row.len() / LANES);
    for at in before.chain(behind).map(|i| i * LANES) {
        let part = &mut row[at..at + LANES];
        where_seen(V::of(part), low, at, seen).put(part);
    }
}

/// Scales and caps the products and adds the bias; whether any key is left by the bias, for scores may be anything.
#[inline(always)]
fn finish<V: Vector>(row: &mut [f32], seen: &Range<usize>, scoring: &Scoring<'_>) -> bool {
    let scale = V::splat(scoring.scale);
    let (cap, over) = (V::splat(scoring.cap), V::splat(1.0 / scoring.cap));
    let low = V::splat(f32::NEG_INFINITY);
    let mut tops = low;
    for (part, at) in row.chunks_exact_mut(LANES).zip((0..).step_by(LANES)) {
        let mut v = V::of(part).mul(scale);
        if scoring.cap > 0.0 {
            v = tanh(v.mul(over)).mul(cap);
        }
        if let Some((bias, step, covered)) = scoring.bias
            && at < covered
        {
            let n = LANES.min(covered - at);
            let b = match step {
                0 => V::splat(bias[0]),
                1 => V::of(&bias[at..at + n]),
                _ => {
                    let mut all = [0.0; LANES];
                    all.iter_mut()
                        .zip(bias[at * step..].iter().step_by(step))
                        .take(n)
                        .for_each(|(b, &v)| *b = v);
                    V::of(&all)
                }
            };
            v = v.add(b);
            // A NaN counts as a key that is left.
            tops = V::select(b.is_nan(), V::zero(), where_seen(b, low, at, seen).max(tops));
        }
        v.put(part);
    }
    scoring.bias.is_none() || tops.largest() != f32::NEG_INFINITY
}
