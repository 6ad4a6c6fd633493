use super::*;
use crate::isa::Isa;

/// Bytes without a pattern.
pub(super) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    // Now and then the ends of the range, where sums are cut if anywhere.
    (0..len)
        .map(|_| if next() % 4 == 0 { [0, 127, 128, 255][usize::from(next() % 4)] } else { next() })
        .collect()
}

pub(super) fn value(byte: u8, signed: bool) -> i32 {
    if signed { i32::from(byte as i8) } else { i32::from(byte) }
}

#[test]
fn products_are_exact() {
    for threads in [1, 3] {
        let pool = Pool::new(threads);
        for (m, k, n) in [
            (1, 1, 1),
            (1, 64, 16),
            (2, 3, 5),
            (15, 63, 31),
            (16, 64, 32),
            (17, 65, 33),
            (33, 130, 47),
            (49, 256, 64),
            (70, 7, 100),
            (600, 128, 40),
            (5, 2000, 70),
        ] {
            for (case, (a_signed, b_signed)) in
                [(false, true), (true, true), (false, false), (true, false)].into_iter().enumerate()
            {
                for zeros in 0..4 {
                    let (a, b) = (noise(m * k, case as u64 + 1), noise(k * n, 77 + zeros));
                    let zero = |i: usize, signed: bool| match zeros {
                        0 => 0,
                        1 => 3 - 130 * i32::from(!signed) + 128 * i32::from(!signed),
                        2 => (i as i32 * 7) % 100,
                        _ => -((i as i32 * 5) % 100) + if signed { 0 } else { 128 },
                    };
                    let one = |i: usize| if zeros == 1 { 0 } else { i };
                    let left: Vec<i32> = (0..if zeros == 1 || zeros == 3 { 1 } else { m })
                        .map(|i| zero(i, a_signed))
                        .collect();
                    let right: Vec<i32> =
                        (0..if zeros == 1 { 1 } else { n }).map(|i| zero(one(i), b_signed)).collect();
                    let bias: Vec<i32> = (0..n).map(|i| i as i32 * 1000 - 300).collect();
                    let bias = if zeros == 2 { &bias[..] } else { &[] };
                    let packed = Packed::matrix(&b, b_signed, (k, n), (n, 1)).unwrap();
                    let mut out = vec![0; m * n];
                    let rows = Rows { bytes: &a, signed: a_signed, zeros: &left };
                    product(&pool, rows, &packed, &right, bias, Product::Whole(&mut out)).unwrap();
                    for r in 0..m {
                        for c in 0..n {
                            let mut want = bias.get(c).copied().unwrap_or(0);
                            for i in 0..k {
                                want += (value(a[r * k + i], a_signed) - left[r.min(left.len() - 1)])
                                    * (value(b[i * n + c], b_signed) - right[c.min(right.len() - 1)]);
                            }
                            assert_eq!(
                                out[r * n + c],
                                want,
                                "{m}x{k}x{n} {a_signed} {b_signed} zeros {zeros} at {r} {c}, {:?}",
                                crate::isa::isa()
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn transposed_sides_and_scaled_results() {
    let pool = Pool::sequential();
    let (m, k, n) = (37, 100, 43);
    let (a, b) = (noise(m * k, 5), noise(k * n, 6));
    let packed = Packed::matrix(&b, true, (k, n), (1, k)).unwrap();
    let scales: Vec<f32> = (0..n).map(|i| 0.001 * (i as f32 + 1.0)).collect();
    let bias: Vec<f32> = (0..n).map(|i| i as f32 - 20.0).collect();
    let sum = |r: usize, c: usize| -> i32 {
        (0..k).map(|i| (value(a[r * k + i], false) - 9) * value(b[c * k + i], true)).sum()
    };
    let rows = Rows { bytes: &a, signed: false, zeros: &[9] };
    for activation in [Activation::None, Activation::Relu] {
        let mut out = vec![0.0; m * n];
        let result = Product::Floats(&mut out, Scales(&scales, 0.5), &bias, activation);
        product(&pool, rows, &packed, &[0], &[], result).unwrap();
        for (i, &got) in out.iter().enumerate() {
            let (r, c) = (i / n, i % n);
            let want = f64::from(sum(r, c)) * f64::from(scales[c] * 0.5) + f64::from(bias[c]);
            let want = if activation == Activation::Relu { want.max(0.0) } else { want };
            assert!((f64::from(got) - want).abs() <= 1e-5 * want.abs() + 1e-4, "{got} {want} at {i}");
        }
    }
    for (signed, zero) in [(false, 0), (false, 130), (true, -7), (true, 0)] {
        let mut out = vec![0u8; m * n];
        let coding = Coding { scale: 1.5, zero, signed };
        product(&pool, rows, &packed, &[0], &[], Product::Codes(&mut out, Scales(&[0.07], 0.25), coding))
            .unwrap();
        let (low, high) = if signed { (-128, 127) } else { (0, 255) };
        let mut inside = 0;
        for (i, &got) in out.iter().enumerate() {
            let steps = sum(i / n, i % n) as f32 * (0.07 * 0.25 / 1.5);
            let want = (steps.round_ties_even() as i32 + zero).clamp(low, high);
            inside += usize::from(want > low && want < high);
            assert_eq!(value(got, signed), want, "at {i}");
        }
        assert!(inside > 100, "{inside}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let pool = Pool::sequential();
    assert!(Packed::matrix(&[0; 11], true, (3, 4), (4, 1)).is_err());
    let packed = Packed::matrix(&[0; 12], true, (3, 4), (4, 1)).unwrap();
    let mut out = [0; 8];
    let zeros = [0, 0, 0];
    let rows = |n: usize, zeros: &'static [i32]| Rows { bytes: &[0; 12][..n], signed: false, zeros };
    let mut run = |rows, right: &[i32], bias: &[i32]| {
        product(&pool, rows, &packed, right, bias, Product::Whole(&mut out)).is_ok()
    };
    assert!(run(rows(6, &[0]), &[0], &[]));
    assert!(!run(rows(7, &[0]), &[0], &[]));
    assert!(!run(rows(6, &[0, 0, 0]), &[0], &[]));
    assert!(!run(rows(6, &[0]), &zeros, &[]));
    assert!(!run(rows(6, &[0]), &[0], &zeros));
}

/// What `OXIDANE_ISA` cannot reach in one process: every block loop of the machine gives the same sums.
#[test]
fn all_instruction_sets_agree() {
    let (k, n) = (150, 32);
    let b = noise(k * n, 3);
    let packed = Packed::matrix(&b, true, (k, n), (n, 1)).unwrap();
    let stride = 201;
    let a = noise(32 * stride + 64, 4);
    let start: [i32; PAIR] = std::array::from_fn(|i| i as i32 * 31 - 400);
    for counts in [[16, 16], [16, 0], [16, 3], [1, 0], [7, 0], [13, 9]] {
        let mut all = Vec::new();
        for isa in crate::isa::available() {
            let mut sums = Sums([[0; PAIR]; 2 * TILE]);
            let rows = block::Rows { first: [a.as_ptr(), a[16 * stride..].as_ptr()], count: counts, stride };
            let columns =
                Columns { steps: packed.steps(), lines: packed.pair(0), start: &start, next: (&[], 0) };
            // SAFETY: the machine has the set; the rows have 64 bytes more than they need.
            unsafe { Blocks::new(isa).sums(&rows, &columns, &mut sums, &mut |_| ()) };
            let rows: Vec<_> = (0..32).filter(|r| r % 16 < counts[r / 16]).map(|r| sums.0[r]).collect();
            all.push((isa, rows));
        }
        for (isa, rows) in &all {
            assert_eq!(rows, &all[0].1, "{isa:?} {counts:?}");
        }
        assert_eq!(all[0].0, Isa::Scalar);
    }
}

/// `cargo test --release -p oxidane-kernels speed_of_products -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed_of_products() {
    let pool = Pool::sequential();
    let only = std::env::var("ONLY").ok().and_then(|t| t.parse::<usize>().ok());
    for (m, k, n) in [
        (128, 768, 768),
        (128, 768, 3072),
        (128, 3072, 768),
        (3136, 64, 256),
        (196, 1024, 256),
        (49, 2048, 512),
        (1024, 1024, 1024),
    ] {
        if only.is_some_and(|only| only != m * k * n) {
            continue;
        }
        let (mut a, b) = (noise(m * k + 64, 5), noise(k * n, 6));
        let a = &aligned(&mut a)[..m * k];
        let packed = Packed::matrix(&b, true, (k, n), (n, 1)).unwrap();
        let rows = Rows { bytes: a, signed: false, zeros: &[9] };
        let coding = Coding { scale: 1.5, zero: 3, signed: false };
        let (mut floats, mut codes) = (vec![0f32; m * n], vec![0u8; m * n]);
        let mut best = [f64::MAX; 2];
        let turns = std::env::var("TURNS").ok().and_then(|t| t.parse().ok()).unwrap_or(60);
        for _ in 0..turns {
            let start = std::time::Instant::now();
            let result = Product::Floats(&mut floats, Scales(&[0.5], 0.5), &[], Activation::None);
            product(&pool, rows, &packed, &[0], &[], result).unwrap();
            best[0] = best[0].min(start.elapsed().as_secs_f64());
            let start = std::time::Instant::now();
            product(
                &pool,
                rows,
                &packed,
                &[0],
                &[],
                Product::Codes(&mut codes, Scales(&[0.07], 0.25), coding),
            )
            .unwrap();
            best[1] = best[1].min(start.elapsed().as_secs_f64());
        }
        let rate = |s: f64| (m * k * n) as f64 / s / 1e9;
        println!(
            "{m}x{k}x{n}: floats {:.1} us {:.0} GMAC/s, codes {:.1} us {:.0} GMAC/s",
            best[0] * 1e6,
            rate(best[0]),
            best[1] * 1e6,
            rate(best[1])
        );
    }
}
