//! Products of floats beside `gemm` and `matrixmultiply`; a thousand million elements a second are a GFLOP/s.
//! `THREADS` says how many threads ours and `gemm`'s use; `matrixmultiply` uses one.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use oxidane_kernels::gemm::{Epilogue, Matrix, Packed, product_into, product_packed};
use oxidane_pool::Pool;
use std::time::Duration;

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 37 % 101) as f32 / 101.0 - 0.5).collect()
}

fn products(criterion: &mut Criterion) {
    let threads = std::env::var("THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let pool = Pool::new(threads);
    let mut group = criterion.benchmark_group("products");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    for (m, k, n) in [(1024, 1024, 1024), (384, 768, 3072), (128, 768, 3072), (1, 768, 3072)] {
        let (a, b) = (numbers(m * k), numbers(k * n));
        let mut out = vec![0f32; m * n];
        let (left, right) = match (Matrix::dense(&a, m, k), Matrix::dense(&b, k, n)) {
            (Ok(left), Ok(right)) => (left, right),
            _ => unreachable!("the slices have these sizes"),
        };
        let packed = Packed::new(&pool, right).expect("memory");
        let size = format!("{m}x{k}x{n}");
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
        group.bench_function(BenchmarkId::new("packed", &size), |bench| {
            bench.iter(|| {
                product_packed(&pool, left, &packed, &Epilogue::default(), &mut out).expect("sizes fit")
            })
        });
        group.bench_function(BenchmarkId::new("unpacked", &size), |bench| {
            bench.iter(|| product_into(&pool, 1.0, left, right, false, &mut out).expect("sizes fit"))
        });
        group.bench_function(BenchmarkId::new("gemm", &size), |bench| {
            let parallelism = match threads {
                1 => gemm::Parallelism::None,
                n => gemm::Parallelism::Rayon(n),
            };
            let (k1, n1) = (k as isize, n as isize);
            // SAFETY: the pointers and steps are those of dense matrices of these sizes.
            bench.iter(|| unsafe {
                let (to, a, b) = (out.as_mut_ptr(), a.as_ptr(), b.as_ptr());
                let (none, one) = (0.0, 1.0);
                gemm::gemm(
                    m,
                    n,
                    k,
                    to,
                    1,
                    n1,
                    false,
                    a,
                    1,
                    k1,
                    b,
                    1,
                    n1,
                    none,
                    one,
                    false,
                    false,
                    false,
                    parallelism,
                );
            })
        });
        group.bench_function(BenchmarkId::new("matrixmultiply", &size), |bench| {
            let (k1, n1) = (k as isize, n as isize);
            // SAFETY: the pointers and steps are those of dense matrices of these sizes.
            bench.iter(|| unsafe {
                let (a, b, to) = (a.as_ptr(), b.as_ptr(), out.as_mut_ptr());
                matrixmultiply::sgemm(m, k, n, 1.0, a, k1, 1, b, n1, 1, 0.0, to, n1, 1);
            })
        });
    }
    group.finish();
}

criterion_group!(benches, products);
criterion_main!(benches);
