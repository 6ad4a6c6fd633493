use super::*;

/// Numbers of both signs, no two alike.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let next = move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

/// The product in f64, and the sum of the sizes of its terms, which bounds what rounding may do.
fn expected(a: &Matrix<'_, f32>, b: &Matrix<'_, f32>) -> Vec<(f64, f64)> {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    let mut out = vec![(0.0, 0.0); m * n];
    for i in 0..m {
        for p in 0..k {
            let x = f64::from(a.data[i * a.row_step + p * a.col_step]);
            for j in 0..n {
                let v = x * f64::from(b.data[p * b.row_step + j * b.col_step]);
                let (sum, size) = &mut out[i * n + j];
                *sum += v;
                *size += v.abs();
            }
        }
    }
    out
}

/// Both kinds of right sides, plain and with everything that may follow, against f64.
fn check(a: Matrix<'_, f32>, b: Matrix<'_, f32>, width: usize) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    let want = expected(&a, &b);
    let pool = Pool::new(width);
    let packed = Packed::new(&pool, b).unwrap();
    let (bias, residual, held) = (numbers(n, 3), numbers(m * n, 4), numbers(m * n, 5));
    let plain = Epilogue::default();
    let whole =
        Epilogue { alpha: 0.5, accumulate: true, bias: Some(&bias), residual: Some(&residual), ..plain };
    let clip = Function::Clip { min: -0.25, max: 0.5 };
    let cases = [
        plain,
        Epilogue { function: Some(Function::Relu), ..plain },
        Epilogue { function: Some(Function::Tanh), ..plain },
        Epilogue { function: Some(clip), ..whole },
        whole,
    ];
    for (case, epilogue) in cases.iter().enumerate() {
        let result = |right: Right<'_>| {
            let mut out = held.clone();
            product(&pool, a, right, epilogue, &mut out).unwrap();
            out
        };
        let results = [result(Right::Packed(packed.panels())), result(Right::Matrix(b))];
        for (kind, out) in results.iter().enumerate() {
            for (i, (&got, &(sum, size))) in out.iter().zip(&want).enumerate() {
                let mut v = sum * f64::from(epilogue.alpha);
                if epilogue.accumulate {
                    v += f64::from(held[i]) + f64::from(bias[i % n]) + f64::from(residual[i]);
                }
                v = match epilogue.function {
                    Some(Function::Relu) => v.max(0.0),
                    Some(Function::Tanh) => v.tanh(),
                    Some(Function::Clip { min, max }) => v.clamp(min, max),
                    _ => v,
                };
                let allowed = 1e-5 * (size + 1.0);
                let off = (f64::from(got) - v).abs();
                assert!(off <= allowed, "{m}x{k}x{n} case {case} kind {kind} at {i}: {got} for {v}");
            }
        }
    }
}

#[test]
fn every_remainder_of_rows_and_columns() {
    for m in [1, 2, 3, 5, 6, 7, 13, 14, 15, 17, 28, 29, 43] {
        for n in [1, 7, 16, 17, 31, 32, 33, 48, 65] {
            for k in [0, 1, 2, 37] {
                let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
                check(Matrix::dense(&a, m, k).unwrap(), Matrix::dense(&b, k, n).unwrap(), 1);
            }
        }
    }
}

#[test]
fn long_and_large_products_on_several_threads() {
    for (m, k, n) in
        [(3, 1300, 70), (20, 513, 130), (64, 1024, 300), (450, 70, 40), (461, 600, 66), (700, 9, 300)]
    {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        check(Matrix::dense(&a, m, k).unwrap(), Matrix::dense(&b, k, n).unwrap(), 3);
    }
}

#[test]
fn transposed_strided_and_repeated_operands() {
    for (m, k, n) in [(1, 40, 33), (15, 33, 40), (31, 530, 50), (460, 20, 40)] {
        let data = numbers((m + k + n) * (m + k + n) * 2, 6);
        let sides = [
            (Matrix::new(&data[1..], m, k, 1, m + 3), Matrix::new(&data[3..], k, n, 1, k)),
            (Matrix::new(&data[1..], m, k, 2 * k, 2), Matrix::new(&data, k, n, 3, k + 1)),
            (Matrix::new(&data[5..], m, k, k + 7, 1), Matrix::new(&data[7..], k, n, n + 5, 1)),
            (Matrix::new(&data, m, k, 0, 1), Matrix::new(&data, k, n, 0, 1)),
            (Matrix::new(&data, m, k, 1, 0), Matrix::new(&data, k, n, 1, 0)),
        ];
        for (a, b) in sides {
            check(a.unwrap(), b.unwrap(), 2);
        }
    }
}

#[test]
fn the_same_bits_for_every_number_of_threads() {
    for (m, k, n) in [(1, 700, 900), (37, 800, 200), (128, 300, 40), (500, 520, 70)] {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let (a, b) = (Matrix::dense(&a, m, k).unwrap(), Matrix::dense(&b, k, n).unwrap());
        let runs = [1, 2, 3, 4, 8].map(|width| {
            let pool = Pool::new(width);
            let packed = Packed::new(&pool, b).unwrap();
            let mut out = vec![0.0; m * n];
            let epilogue = Epilogue { function: Some(Function::Gelu), ..Epilogue::default() };
            product_packed(&pool, a, &packed, &epilogue, &mut out).unwrap();
            out
        });
        assert!(runs.iter().all(|r| r == &runs[0]), "{m}x{k}x{n}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let pool = Pool::sequential();
    let data = [1.0; 12];
    let (a, b) = (Matrix::dense(&data, 3, 4).unwrap(), Matrix::dense(&data, 4, 3).unwrap());
    let packed = Packed::new(&pool, b).unwrap();
    let plain = Epilogue::default();
    let run = |a, epilogue: &Epilogue<'_>, len| {
        product_packed(&pool, a, &packed, epilogue, &mut vec![0.0; len]).is_err()
    };
    assert!(!run(a, &plain, 9));
    assert!(run(a, &plain, 8));
    assert!(run(b, &plain, 12));
    assert!(run(a, &Epilogue { bias: Some(&data[..2]), ..plain }, 9));
    assert!(run(a, &Epilogue { residual: Some(&data[..8]), ..plain }, 9));
}

#[test]
fn infinities_and_nan_pass() {
    let pool = Pool::sequential();
    let a = [f32::NAN, 1.0, f32::INFINITY, 1.0];
    let b = [1.0, -1.0, 2.0, 2.0];
    let (a, b) = (Matrix::dense(&a, 2, 2).unwrap(), Matrix::dense(&b, 2, 2).unwrap());
    let packed = Packed::new(&pool, b).unwrap();
    let mut out = vec![0.0; 4];
    let relu = Epilogue { function: Some(Function::Relu), ..Epilogue::default() };
    product_packed(&pool, a, &packed, &relu, &mut out).unwrap();
    assert!(out[0].is_nan() && out[1].is_nan() && out[2] == f32::INFINITY && out[3] == 0.0, "{out:?}");
}
