//! Times the elementwise loops and reductions on `f32`, one thread.

use oxidane_kernels::map::{self, Binary};
use oxidane_kernels::reduce::{Reduction, reduce};
use oxidane_pool::Pool;
use std::hint::black_box;
use std::time::Instant;

fn time(name: &str, mut work: impl FnMut()) {
    let mut best = f64::INFINITY;
    for _ in 0..40 {
        let start = Instant::now();
        let mut runs = 0;
        while start.elapsed().as_micros() < 2000 || runs == 0 {
            work();
            runs += 1;
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(runs));
    }
    println!("{name:40} {:12.3} us", best * 1e6);
}

fn main() {
    let pool = Pool::sequential();
    let noise = |n: usize| (0..n).map(|i| (i * 7919 % 1013) as f32 / 500.0 - 1.0).collect::<Vec<f32>>();
    let pairs: &[(&[usize], &[usize])] = &[
        (&[1], &[1]),
        (&[64, 1024], &[]),
        (&[64, 1024], &[64, 1024]),
        (&[1, 64, 32, 32], &[64, 1, 1]),
        (&[1, 256, 7, 7], &[256, 1, 1]),
        (&[128, 768], &[768]),
        (&[4096, 16], &[16]),
        (&[4096, 16], &[4096, 1]),
    ];
    for &(shape, other) in pairs {
        let (a, b) = (noise(shape.iter().product()), noise(other.iter().product()));
        let mut out = vec![0f32; a.len()];
        for operator in [Binary::Add, Binary::Mul, Binary::Div, Binary::Max] {
            time(&format!("{operator:?} {shape:?} {other:?}"), || {
                map::binary(&pool, operator, (black_box(&a), shape), (&b, other), (&mut out, shape)).unwrap();
            });
        }
    }
    let (a, mut out) = (noise(65536), vec![0f32; 65536]);
    time("Pow 2", || {
        map::binary(&pool, Binary::Pow, (black_box(&a), &[65536]), (&[2.0], &[]), (&mut out, &[65536]))
            .unwrap();
    });
    let reductions: &[(&[usize], &[usize])] = &[
        (&[128, 768], &[1]),
        (&[128, 768], &[0]),
        (&[4096, 16], &[1]),
        (&[4096, 16], &[0]),
        (&[65536, 3], &[1]),
        (&[65536, 3], &[0]),
        (&[1, 64, 56, 56], &[2, 3]),
        (&[1, 256, 7, 7], &[2, 3]),
        (&[8, 64, 14, 14], &[0, 2, 3]),
        (&[8, 64, 196], &[1]),
        (&[1 << 18], &[0]),
        (&[2, 1 << 16], &[0]),
    ];
    for &(shape, axes) in reductions {
        let x = noise(shape.iter().product());
        let kept: usize = (0..shape.len()).filter(|i| !axes.contains(i)).map(|i| shape[i]).product();
        let mut out = vec![0f32; kept];
        for reduction in [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::L2] {
            time(&format!("{reduction:?} {shape:?} {axes:?}"), || {
                reduce(&pool, reduction, (black_box(&x), shape), axes, &mut out).unwrap();
            });
        }
    }
}
