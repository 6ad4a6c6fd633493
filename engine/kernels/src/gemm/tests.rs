use super::*;

/// Small whole numbers, exact in every type.
fn numbers(count: usize, seed: usize) -> Vec<i32> {
    (0..count).map(|i| ((i * 7 + seed * 13 + i / 5) % 11) as i32 - 5).collect()
}

fn expected(m: usize, k: usize, n: usize, a: &[i32], b: &[i32]) -> Vec<i32> {
    let mut out = vec![0; m * n];
    for i in 0..m {
        for j in 0..n {
            out[i * n + j] = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
        }
    }
    out
}

fn transpose<T: Copy>(x: &[T], rows: usize, cols: usize) -> Vec<T> {
    (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
}

fn check<T: Scalar + From<i16>>(m: usize, k: usize, n: usize) {
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let want: Vec<T> = expected(m, k, n, &a, &b).iter().map(|&v| T::from(v as i16)).collect();
    let a: Vec<T> = a.iter().map(|&v| T::from(v as i16)).collect();
    let b: Vec<T> = b.iter().map(|&v| T::from(v as i16)).collect();
    let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
    for ta in [false, true] {
        for tb in [false, true] {
            let left = if ta {
                Matrix::dense(&at, k, m).unwrap().transposed()
            } else {
                Matrix::dense(&a, m, k).unwrap()
            };
            let right = if tb {
                Matrix::dense(&bt, n, k).unwrap().transposed()
            } else {
                Matrix::dense(&b, k, n).unwrap()
            };
            for width in [1, 2, 4] {
                let mut out = vec![T::from(3); m * n];
                product_into(&Pool::new(width), T::ONE, left, right, false, &mut out).unwrap();
                assert!(out == want, "{m}x{k}x{n} {ta} {tb} width {width}");
                product_into(&Pool::new(width), T::from(2), left, right, true, &mut out).unwrap();
                let thrice = want.iter().map(|&v| v.times(T::from(3)));
                assert!(out.iter().copied().eq(thrice), "accumulating {m}x{k}x{n} {ta} {tb}");
            }
        }
    }
}

#[test]
fn products_of_every_kind_of_size() {
    let sizes = [0, 1, 2, 3, 5, 8, 17, 33];
    for m in sizes {
        for k in sizes {
            for n in sizes {
                check::<f32>(m, k, n);
                check::<f64>(m, k, n);
                check::<i32>(m, k, n);
                check::<i64>(m, k, n);
            }
        }
    }
}

#[test]
fn products_that_are_cut() {
    for (m, k, n) in [(130, 65, 301), (1, 700, 1500), (1500, 300, 1), (3, 129, 2050), (700, 33, 40)] {
        check::<f32>(m, k, n);
        check::<i64>(m, k, n);
    }
}

#[test]
fn same_bits_at_every_width() {
    for (m, k, n) in [(257, 130, 300), (1, 777, 3000), (5, 300, 1025), (2000, 301, 1)] {
        let a: Vec<f32> = (0..m * k).map(|i| ((i * 37 % 1009) as f32).sin()).collect();
        let b: Vec<f32> = (0..k * n).map(|i| ((i * 53 % 2003) as f32).cos()).collect();
        let run = |width| {
            let mut out = vec![0f32; m * n];
            let (a, b) = (Matrix::dense(&a, m, k).unwrap(), Matrix::dense(&b, k, n).unwrap());
            product_into(&Pool::new(width), 1.0, a, b, false, &mut out).unwrap();
            out.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        let one = run(1);
        assert!(one == run(2) && one == run(4), "{m}x{k}x{n}");
        let exact: f64 = (0..k).map(|p| f64::from(a[p]) * f64::from(b[p * n])).sum();
        assert!((f64::from(f32::from_bits(one[0])) - exact).abs() < 1e-4);
    }
}

#[test]
fn strided_and_repeated_operands() {
    // Every second row and column, and a row repeated by a zero step.
    let data: Vec<i32> = (0..60).collect();
    let a = Matrix::new(&data, 3, 4, 20, 2).unwrap();
    let b = Matrix::new(&data, 4, 3, 0, 3).unwrap();
    let mut out = vec![0; 9];
    product_into(&Pool::sequential(), 1, a, b, false, &mut out).unwrap();
    for i in 0..3 {
        for j in 0..3 {
            let sum: usize = (0..4).map(|p| (i * 20 + p * 2) * (j * 3)).sum();
            assert_eq!(out[i * 3 + j] as usize, sum);
        }
    }
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let data = [0f32; 10];
    assert!(Matrix::dense(&data, 3, 4).is_err());
    assert!(Matrix::new(&data, usize::MAX, 2, usize::MAX, 1).is_err());
    let a = Matrix::dense(&data, 2, 3).unwrap();
    assert!(product_into(&Pool::sequential(), 1.0, a, a, false, &mut [0.0; 6]).is_err());
    assert!(product_into(&Pool::sequential(), 1.0, a, a.transposed(), false, &mut [0.0; 3]).is_err());
}
