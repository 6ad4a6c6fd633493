//! Order along an axis, and the normalisations, against plain evaluation.

use half::f16;
use oxidane_kernels::norm::*;
use oxidane_kernels::sort::*;
use oxidane_pool::Pool;

#[test]
fn largest_and_smallest() {
    let x = [3.0f32, 1.0, 3.0, f32::NAN, 2.0, 1.0];
    let (mut values, mut indices) = ([0.0; 3], [0; 3]);
    top_k(&Pool::new(2), (&x, &[6]), 0, 3, true, &mut values, &mut indices).unwrap();
    assert_eq!(indices, [3, 0, 2]);
    top_k(&Pool::new(2), (&x, &[6]), 0, 3, false, &mut values, &mut indices).unwrap();
    assert_eq!((values, indices), ([1.0, 1.0, 2.0], [1, 5, 4]));
    let grid: Vec<i32> = (0..12).collect();
    let (mut values, mut indices) = ([0; 6], [0; 6]);
    top_k(&Pool::new(2), (&grid, &[2, 3, 2]), 1, 2, true, &mut values[..], &mut indices[..]).unwrap_err();
    let (mut values, mut indices) = ([0; 8], [0; 8]);
    top_k(&Pool::new(2), (&grid, &[2, 3, 2]), 1, 2, true, &mut values, &mut indices).unwrap();
    assert_eq!(values, [4, 5, 2, 3, 10, 11, 8, 9]);
    assert!(top_k(&Pool::new(2), (&grid, &[12]), 0, 13, true, &mut values, &mut indices).is_err());
    let mut at = [0; 2];
    for (largest, last, expected) in
        [(true, false, [1, 0]), (true, true, [2, 1]), (false, false, [0, 2]), (false, true, [0, 2])]
    {
        arg(&Pool::new(2), (&[1, 5, 5, 7, 7, 2], &[2, 3]), 1, largest, last, &mut at).unwrap();
        assert_eq!(at, expected);
    }
    arg(&Pool::new(2), (&[1.0, f32::NAN, 5.0, f32::NAN], &[4, 1]), 0, true, true, &mut at[..1]).unwrap();
    assert_eq!(at[0], 1);
    assert!(arg(&Pool::new(2), (&[0u8; 0], &[0, 2]), 0, true, false, &mut at).is_err());
}

#[test]
fn running_sums() {
    let x = [1i64, 2, 3, 4, 5, 6];
    let run = |what, axis, flags| {
        let mut out = [0; 6];
        running(&Pool::new(2), what, (&x, &[2, 3]), axis, flags, &mut out).unwrap();
        out
    };
    assert_eq!(run(Running::Sum, 1, (false, false)), [1, 3, 6, 4, 9, 15]);
    assert_eq!(run(Running::Sum, 0, (false, false)), [1, 2, 3, 5, 7, 9]);
    assert_eq!(run(Running::Sum, 1, (true, false)), [0, 1, 3, 0, 4, 9]);
    assert_eq!(run(Running::Sum, 1, (false, true)), [6, 5, 3, 15, 11, 6]);
    assert_eq!(run(Running::Prod, 1, (true, true)), [6, 3, 1, 30, 6, 1]);
}

fn noise(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 250.0 - 1.5).collect()
}

fn close(found: &[f32], truth: &[f64]) {
    assert_eq!(found.len(), truth.len());
    for (i, (y, t)) in found.iter().zip(truth).enumerate() {
        assert!((f64::from(*y) - t).abs() < 2e-6 * (1.0 + t.abs()), "{i}: {y}, not {t}");
    }
}

fn normal(row: &[f32], epsilon: f64) -> Vec<f64> {
    let n = row.len() as f64;
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    row.iter().map(|&x| (f64::from(x) - mean) / (variance + epsilon).sqrt()).collect()
}

#[test]
fn rows_and_groups() {
    let pool = Pool::new(2);
    let x = noise(5 * 33);
    let (scale, bias) = (noise(33), noise(40)[7..].to_vec());
    let mut out = vec![0.0; x.len()];
    let (mut mean, mut deviation) = ([0.0; 5], [0.0; 5]);
    layer_norm(&pool, &x, 33, (Some(&scale), Some(&bias)), 1e-5, &mut out, Some((&mut mean, &mut deviation)))
        .unwrap();
    let truth: Vec<f64> = x
        .chunks(33)
        .flat_map(|row| {
            let row = normal(row, 1e-5);
            let by = |(i, v): (usize, &f64)| v * f64::from(scale[i]) + f64::from(bias[i]);
            row.iter().enumerate().map(by).collect::<Vec<_>>()
        })
        .collect();
    close(&out, &truth);
    assert!((mean[0] - x[..33].iter().sum::<f32>() / 33.0).abs() < 1e-5 && deviation[0] > 0.0);
    let halves: Vec<f16> = x.iter().map(|&v| f16::from_f32(v)).collect();
    let mut half_out = vec![f16::ZERO; x.len()];
    layer_norm(&pool, &halves, 33, (None, None), 1e-5, &mut half_out, None).unwrap();
    assert!((half_out[0].to_f64() - normal(&x[..33], 1e-5)[0]).abs() < 2e-3);

    rms_norm(&pool, &x, 33, Some(&scale), 1e-6, &mut out).unwrap();
    let truth: Vec<f64> = x
        .chunks(33)
        .flat_map(|row| {
            let squares = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / 33.0;
            let factor = 1.0 / (squares + 1e-6).sqrt();
            row.iter().zip(&scale).map(|(&v, &s)| f64::from(v) * factor * f64::from(s)).collect::<Vec<_>>()
        })
        .collect();
    close(&out, &truth);
    assert!(rms_norm(&pool, &x, 34, None, 1e-6, &mut out).is_err());

    let x = noise(2 * 6 * 35);
    let mut out = vec![0.0; x.len()];
    for groups in [1, 2, 6] {
        group_norm(&pool, &x, [2, 6, 35], groups, (&scale[..6], &bias[..6]), 1e-5, &mut out).unwrap();
        let normal: Vec<f64> = x.chunks(6 / groups * 35).flat_map(|g| normal(g, 1e-5)).collect();
        let by = |(i, v): (usize, &f64)| v * f64::from(scale[i / 35 % 6]) + f64::from(bias[i / 35 % 6]);
        close(&out, &normal.iter().enumerate().map(by).collect::<Vec<_>>());
    }
    assert!(group_norm(&pool, &x, [2, 6, 35], 4, (&scale[..6], &bias[..6]), 1e-5, &mut out).is_err());
    let (mean, variance) = channel_moments(&pool, &x, [2, 6, 35]).unwrap();
    let (f, o) = batch_factors((&[1.0; 6], &[0.0; 6]), (&mean, &variance), 0.0).unwrap();
    scale_channels(&pool, &x, [2, 6, 35], (&f, &o), &mut out).unwrap();
    let channel: Vec<f32> = [&x[35..70], &x[245..280]].concat();
    let truth = normal(&channel, 0.0);
    assert!((f64::from(out[35]) - truth[0]).abs() < 1e-5 && (f64::from(out[279]) - truth[69]).abs() < 1e-5);
}

#[test]
fn norms_and_neighbours() {
    let pool = Pool::new(2);
    let mut out = [0.0f32; 6];
    lp_norm(&pool, (&[3.0, 0.0, 4.0, 4.0, 0.0, 3.0], &[2, 3]), 0, 2, &mut out).unwrap();
    assert_eq!(out, [0.6, 0.0, 0.8, 0.8, 0.0, 0.6]);
    lp_norm(&pool, (&[1.0, -1.0, 2.0, 0.0, 0.0, 0.0], &[2, 3]), 1, 1, &mut out).unwrap();
    assert_eq!(out, [0.25, -0.25, 0.5, 0.0, 0.0, 0.0]);
    local_response(&pool, &[1.0, 2.0, 3.0], [1, 3, 1], 3, (3.0, 1.0, 1.0), &mut out[..3]).unwrap();
    close(&out[..3], &[1.0 / 6.0, 2.0 / 15.0, 3.0 / 14.0]);
}
