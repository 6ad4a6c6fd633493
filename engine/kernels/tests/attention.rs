//! Attention by tiles against attention by index arithmetic in f64.

use oxidane_kernels::attention::{Attention, Bias, Heads, Scores, Span, attention};
use oxidane_pool::Pool;
use oxidane_tensor::DType;

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + seed * 101) % 64) as f32 / 32.0 - 1.0).collect()
}

struct Sizes {
    batches: usize,
    heads: usize,
    kv_heads: usize,
    queries: usize,
    keys: usize,
    size: usize,
    value_size: usize,
}

/// Runs a call on several threads and checks output and probabilities.
fn check(sizes: &Sizes, spans: &[Span], masked: bool, cap: f32) {
    let &Sizes { batches, heads, kv_heads, queries, keys, size, value_size } = sizes;
    let q = numbers(batches * queries * heads * size, 1);
    let k = numbers(batches * kv_heads * keys * size, 2);
    let v = numbers(batches * kv_heads * keys * value_size, 3);
    let mask: Vec<f32> = (0..queries * keys)
        .map(|i| if i % 7 == 3 { f32::NEG_INFINITY } else { (i % 5) as f32 / 4.0 })
        .collect();
    let call = Attention {
        batches,
        heads,
        kv_heads,
        queries,
        keys,
        size,
        value_size,
        // Queries as rows of heads side by side, keys and values head by head.
        query: Heads { data: &q, batch: queries * heads * size, head: size, row: heads * size },
        key: Heads { data: &k, batch: kv_heads * keys * size, head: keys * size, row: size },
        value: Heads {
            data: &v,
            batch: kv_heads * keys * value_size,
            head: keys * value_size,
            row: value_size,
        },
        scale: 0.5,
        cap,
        bias: masked.then_some(Bias { data: &mask, steps: [0, 0, keys, 1], keys }),
        spans,
        dtype: DType::F32,
        softmax: DType::F32,
    };
    let placed = (queries * heads * value_size, value_size, heads * value_size);
    let run = |width: usize, shown: bool| {
        let mut out = vec![f32::NAN; batches * queries * heads * value_size];
        let mut shares = vec![f32::NAN; if shown { batches * heads * queries * keys } else { 0 }];
        let scores = shown.then_some((Scores::Probabilities, &mut shares[..]));
        attention(&Pool::new(width), &call, &mut out, placed, scores, &|| true).unwrap();
        (out, shares)
    };
    let (out, _) = run(1, false);
    assert_eq!(out, run(3, false).0);
    let (full, shares) = run(2, true);
    for b in 0..batches {
        for h in 0..heads {
            let kv = h / (heads / kv_heads);
            for i in 0..queries {
                let span = spans[b];
                let mut row: Vec<f64> = (0..keys)
                    .map(|j| {
                        let at = j as i64 - i as i64;
                        let seen = span.first.is_none_or(|f| at >= f)
                            && span.end.is_none_or(|e| at < e)
                            && j < span.valid;
                        let product: f64 = (0..size)
                            .map(|d| {
                                let x = q[((b * queries + i) * heads + h) * size + d];
                                let y = k[((b * kv_heads + kv) * keys + j) * size + d];
                                f64::from(x) * f64::from(y)
                            })
                            .sum::<f64>()
                            * 0.5;
                        let product = match f64::from(cap) {
                            0.0 => product,
                            cap => cap * (product / cap).tanh(),
                        };
                        let bias = if masked { f64::from(mask[i * keys + j]) } else { 0.0 };
                        if seen { product + bias } else { f64::NEG_INFINITY }
                    })
                    .collect();
                let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = row.iter().map(|s| (s - top).exp()).sum();
                row.iter_mut().for_each(|s| *s = if top.is_finite() { (*s - top).exp() / sum } else { 0.0 });
                for (j, &share) in row.iter().enumerate() {
                    let found = shares[((b * heads + h) * queries + i) * keys + j];
                    assert!((share - f64::from(found)).abs() < 1e-5, "share {b} {h} {i} {j}");
                }
                for d in 0..value_size {
                    let want: f64 = (0..keys)
                        .map(|j| row[j] * f64::from(v[((b * kv_heads + kv) * keys + j) * value_size + d]))
                        .sum();
                    let at = ((b * queries + i) * heads + h) * value_size + d;
                    assert!((want - f64::from(out[at])).abs() < 1e-5, "{b} {h} {i} {d}");
                    assert!((want - f64::from(full[at])).abs() < 1e-5, "{b} {h} {i} {d}");
                }
            }
        }
    }
}

#[test]
fn tiles_agree_with_index_arithmetic() {
    let sizes = Sizes { batches: 2, heads: 4, kv_heads: 2, queries: 70, keys: 90, size: 5, value_size: 3 };
    let all = Span { first: None, end: None, valid: 90 };
    check(&sizes, &[all; 2], false, 0.0);
    check(&sizes, &[all; 2], true, 0.75);
    let causal = Span { end: Some(1), ..all };
    check(&sizes, &[causal, Span { end: Some(21), ..all }], false, 0.0);
    // Queries before the first key see nothing.
    check(&sizes, &[Span { end: Some(-40), valid: 30, ..all }, causal], true, 0.0);
    let window = Span { first: Some(-3), end: Some(3), valid: 60 };
    check(&sizes, &[window, Span { first: Some(80), ..all }], true, 0.0);
    check(&sizes, &[Span { valid: 0, ..all }, Span { first: Some(i64::MAX), ..all }], false, 0.0);
    let one = Sizes { batches: 1, heads: 8, kv_heads: 1, queries: 1, keys: 300, size: 16, value_size: 16 };
    check(&one, &[Span { first: Some(i64::MIN), end: Some(i64::MAX), valid: 299 }], false, 0.0);
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let data = [0.0f32; 8];
    let heads = Heads { data: &data, batch: 8, head: 8, row: 2 };
    let call = Attention {
        batches: 1,
        heads: 1,
        kv_heads: 1,
        queries: 4,
        keys: 4,
        size: 2,
        value_size: 2,
        query: heads,
        key: heads,
        value: heads,
        scale: 1.0,
        cap: 0.0,
        bias: None,
        spans: &[Span { first: None, end: None, valid: 4 }],
        dtype: DType::F32,
        softmax: DType::F32,
    };
    let run = |call: Attention<'_, f32>, len: usize, placed| {
        attention(&Pool::new(1), &call, &mut vec![0.0; len], placed, None, &|| true)
    };
    assert!(run(call, 8, (8, 8, 2)).is_ok());
    assert!(run(call, 7, (8, 8, 2)).is_err());
    assert!(run(call, 8, (8, 8, 1)).is_err());
    assert!(run(Attention { keys: 5, ..call }, 8, (8, 8, 2)).is_err());
    assert!(run(Attention { size: 3, ..call }, 8, (8, 8, 2)).is_err());
    assert!(run(Attention { kv_heads: 0, ..call }, 8, (8, 8, 2)).is_err());
    assert!(run(Attention { queries: usize::MAX, ..call }, 8, (8, 8, 2)).is_err());
    assert!(run(Attention { spans: &[], ..call }, 8, (8, 8, 2)).is_err());
}
