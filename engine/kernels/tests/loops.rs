//! Elementwise loops and reductions against element-by-element evaluation, at every width of the pool.

use oxidane_kernels::map::{self, Binary, Bitwise, Comparison};
use oxidane_kernels::reduce::{Reduction, reduce};
use oxidane_kernels::softmax::{Softmax, softmax};
use oxidane_kernels::{KernelError, Number};
use oxidane_pool::Pool;

/// Numbers without pattern between -2 and 2.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 12345u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 22) as f32 - 2.0
    };
    (0..count).map(|_| next()).collect()
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// The index of flat position `at` in `shape`.
fn unflatten(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for i in (0..shape.len()).rev() {
        index[i] = at % shape[i];
        at /= shape[i];
    }
    index
}

/// The flat position of an index of the broadcast shape in an input's shape.
fn flatten(index: &[usize], shape: &[usize]) -> usize {
    let lead = index.len() - shape.len();
    shape.iter().zip(&index[lead..]).fold(0, |at, (&s, &i)| at * s + if s == 1 { 0 } else { i })
}

/// Runs `work` at widths 1, 2 and 4 and gives the result, whose bits must agree.
fn widths(length: usize, work: impl Fn(&Pool, &mut [f32])) -> Vec<f32> {
    let run = |width| {
        let mut out = vec![f32::NAN; length];
        work(&Pool::new(width), &mut out);
        out
    };
    let first = run(1);
    for width in [2, 4] {
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&first), bits(&run(width)), "width {width}");
    }
    first
}

const BROADCASTS: &[(&[usize], &[usize], &[usize])] = &[
    (&[], &[], &[]),
    (&[5], &[], &[5]),
    (&[], &[3, 1], &[3, 1]),
    (&[3, 4, 5], &[3, 4, 5], &[3, 4, 5]),
    (&[3, 4, 5], &[5], &[3, 4, 5]),
    (&[3, 4, 5], &[4, 1], &[3, 4, 5]),
    (&[3, 1, 5], &[1, 4, 1], &[3, 4, 5]),
    (&[1, 1, 7], &[2, 3, 1], &[2, 3, 7]),
    (&[0, 3], &[1, 3], &[0, 3]),
    (&[2, 1, 3, 1], &[5, 1, 4], &[2, 5, 3, 4]),
    (&[131, 257], &[257], &[131, 257]),
    (&[131, 257], &[131, 1], &[131, 257]),
    (&[1, 64, 31, 31], &[64, 1, 1], &[1, 64, 31, 31]),
    (&[3, 700, 16], &[3, 1, 16], &[3, 700, 16]),
    (&[2, 3, 1, 48], &[2, 3, 500, 48], &[2, 3, 500, 48]),
    (&[1, 5], &[7000, 5], &[7000, 5]),
    (&[4, 1, 3], &[4, 6000, 3], &[4, 6000, 3]),
    (&[2, 400, 127], &[127], &[2, 400, 127]),
    (&[3, 1, 2], &[1, 400, 2], &[3, 400, 2]),
    (&[2, 1, 7], &[1, 3000, 1], &[2, 3000, 7]),
];

#[test]
fn broadcasting() {
    for &(a_shape, b_shape, shape) in BROADCASTS {
        let (a, b) = (noise(count(a_shape)), noise(count(b_shape) + 3)[3..].to_vec());
        let out = widths(count(shape), |pool, out| {
            map::binary(pool, Binary::Sub, (&a, a_shape), (&b, b_shape), (out, shape)).unwrap();
        });
        for (at, &y) in out.iter().enumerate() {
            let index = unflatten(at, shape);
            assert_eq!(
                y,
                a[flatten(&index, a_shape)] - b[flatten(&index, b_shape)],
                "{a_shape:?} {b_shape:?}"
            );
        }
        let mask: Vec<u8> = a.iter().map(|&x| u8::from(x > 0.0)).collect();
        let out = widths(count(shape), |pool, out| {
            let (yes, no) = ((&b[..], b_shape), (&[7.5f32][..], &[][..]));
            map::select(pool, (&mask, a_shape), yes, no, (out, shape)).unwrap();
        });
        for (at, &y) in out.iter().enumerate() {
            let index = unflatten(at, shape);
            let chosen = if a[flatten(&index, a_shape)] > 0.0 { b[flatten(&index, b_shape)] } else { 7.5 };
            assert_eq!(y, chosen);
        }
        let out = widths(count(shape), |pool, out| map::expand(pool, (&b, b_shape), (out, shape)).unwrap());
        for (at, &y) in out.iter().enumerate() {
            assert_eq!(y, b[flatten(&unflatten(at, shape), b_shape)]);
        }
    }
    let mut out = [0.0; 6];
    let bad = map::binary(
        &Pool::sequential(),
        Binary::Add,
        (&[1.0f32, 2.0], &[2]),
        (&[1.0; 3], &[3]),
        (&mut out, &[2, 3]),
    );
    assert!(matches!(bad, Err(KernelError::Shape(_))));
}

fn two<T: Number>(operator: Binary, a: &[T], b: &[T]) -> Result<Vec<T>, KernelError> {
    let mut out = vec![T::ZERO; a.len()];
    let shape = [a.len()];
    map::binary(&Pool::sequential(), operator, (a, &shape), (b, &[b.len()]), (&mut out, &shape))?;
    Ok(out)
}

#[test]
fn integers_neither_panic_nor_trap() {
    assert_eq!(two(Binary::Add, &[i8::MAX], &[1]).unwrap(), [i8::MIN]);
    assert_eq!(two(Binary::Div, &[i32::MIN, 7, -7], &[-1, -2, 2]).unwrap(), [i32::MIN, -3, -3]);
    assert_eq!(two(Binary::Div, &[1u8, 2], &[1, 0]), Err(KernelError::DivisionByZero { at: 1 }));
    assert!(two(Binary::Mod, &[1i64], &[0]).is_err());
    // As numpy.mod and numpy.fmod.
    let (a, b) = ([-4i64, 7, 5, 4, -7, 8], [2i64, -3, 8, -2, 3, 5]);
    assert_eq!(two(Binary::Mod, &a, &b).unwrap(), [0, -2, 5, 0, 2, 3]);
    assert_eq!(two(Binary::Fmod, &a, &b).unwrap(), [0, 1, 5, 0, -1, 3]);
    let mods = two(Binary::Mod, &[-4.3f32, 7.2, 5.0], &[2.1, -3.4, 8.0]).unwrap();
    assert!(mods.iter().zip([2.0, -3.0, 5.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{mods:?}");
    assert_eq!(two(Binary::Pow, &[2i64, -1, 1, 3, 0], &[10, -3, -2, -1, 0]).unwrap(), [1024, -1, 1, 0, 1]);
    assert!(two(Binary::Max, &[f32::NAN, 1.0], &[1.0, f32::NAN]).unwrap().iter().all(|x| x.is_nan()));
    assert!(two(Binary::Min, &[f32::NAN, 1.0], &[1.0, f32::NAN]).unwrap().iter().all(|x| x.is_nan()));
    let mut out = [0u8; 3];
    let pool = Pool::sequential();
    map::bitwise(&pool, Bitwise::ShiftLeft, (&[1, 255, 3], &[3]), (&[1, 8, 200], &[3]), (&mut out, &[3]))
        .unwrap();
    assert_eq!(out, [2, 0, 0]);
    map::compare_ordered(&pool, Comparison::Less, (&["a", "b"], &[2]), (&["b"], &[1]), (&mut out[..2], &[2]))
        .unwrap();
    assert_eq!(out[..2], [1, 0]);
    assert_eq!(two(Binary::Pow, &[1.0f32, 2.0, 3.0], &[4.0, 5.0, 6.0]).unwrap(), [1.0, 32.0, 729.0]);
}

#[test]
fn reductions() {
    let shapes: &[(&[usize], &[usize])] = &[
        (&[], &[]),
        (&[1000], &[0]),
        (&[7, 13], &[1]),
        (&[7, 13], &[0]),
        (&[3, 5, 7], &[0, 2]),
        (&[3, 5, 7], &[1]),
        (&[3, 5, 7, 2], &[3, 1]),
        (&[2, 3, 4], &[]),
        (&[2, 0, 4], &[1]),
        (&[0, 3], &[1]),
        (&[3001, 67], &[0]),
        (&[3, 70001], &[1]),
        (&[1, 200_003], &[0, 1]),
        (&[2, 300, 300], &[1, 2]),
        (&[50, 3, 1000], &[0, 2]),
    ];
    for &(shape, axes) in shapes {
        let x = noise(count(shape));
        let kept: Vec<usize> = (0..shape.len()).filter(|i| !axes.contains(i)).map(|i| shape[i]).collect();
        let mut groups = vec![Vec::new(); count(&kept)];
        for (at, &v) in x.iter().enumerate() {
            let index = unflatten(at, shape);
            let place =
                (0..shape.len()).filter(|i| !axes.contains(i)).fold(0, |p, i| p * shape[i] + index[i]);
            groups[place].push(f64::from(v));
        }
        type Row = (Reduction, fn(&[f64]) -> f64);
        let table: [Row; 10] = [
            (Reduction::Sum, |g| g.iter().sum::<f64>() + 0.0),
            (Reduction::Mean, |g| g.iter().sum::<f64>() / g.len() as f64),
            (Reduction::Prod, |g| g.iter().product()),
            (Reduction::Max, |g| g.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            (Reduction::Min, |g| g.iter().copied().fold(f64::INFINITY, f64::min)),
            (Reduction::L1, |g| g.iter().map(|x| x.abs()).sum()),
            (Reduction::L2, |g| g.iter().map(|x| x * x).sum::<f64>().sqrt()),
            (Reduction::SumSquare, |g| g.iter().map(|x| x * x).sum()),
            (Reduction::LogSum, |g| g.iter().sum::<f64>().ln()),
            (Reduction::LogSumExp, |g| g.iter().map(|x| x.exp()).sum::<f64>().ln()),
        ];
        for (reduction, truth) in table {
            let out =
                widths(groups.len(), |pool, out| reduce(pool, reduction, (&x, shape), axes, out).unwrap());
            for (&y, group) in out.iter().zip(&groups) {
                let t = truth(group);
                let scale: f64 = group.iter().map(|x| x.abs()).sum();
                let y = f64::from(y);
                let close = (y - t).abs() <= 1e-6 * (t.abs() + scale.sqrt() + 1.0) || y == t;
                let log_near_zero = reduction == Reduction::LogSum && scale > 1.0;
                assert!(
                    close || (y.is_nan() && t.is_nan()) || log_near_zero,
                    "{reduction:?} {shape:?} {axes:?}: {y}, not {t}"
                );
            }
        }
    }
    let mut out = [0i64; 1];
    let pool = Pool::sequential();
    reduce(&pool, Reduction::Mean, (&[1i64, 2, -8], &[3]), &[0], &mut out).unwrap();
    assert_eq!(out, [-1]);
    reduce(&pool, Reduction::Max, (&[0i64; 0], &[0]), &[0], &mut out).unwrap();
    assert_eq!(out, [i64::MIN]);
    let mut large = [0.0f32];
    reduce(&pool, Reduction::LogSumExp, (&[1000.0, 1000.0], &[2]), &[0], &mut large).unwrap();
    assert!((large[0] - 1000.6931).abs() < 1e-3);
    reduce(&pool, Reduction::LogSumExp, (&[f32::NEG_INFINITY; 2], &[2]), &[0], &mut large).unwrap();
    assert_eq!(large[0], f32::NEG_INFINITY);
    reduce(&pool, Reduction::Max, (&[f32::NAN, 2.0], &[2]), &[0], &mut large).unwrap();
    assert!(large[0].is_nan());
    assert!(reduce(&pool, Reduction::Sum, (&[1.0f32], &[1]), &[1], &mut large).is_err());
}

#[test]
fn softmax_along_any_axis() {
    let shape = [3, 41, 5];
    let x = noise(count(&shape));
    for axis in 0..3 {
        for kind in [Softmax::Softmax, Softmax::LogSoftmax, Softmax::Hardmax] {
            let out = widths(x.len(), |pool, out| softmax(pool, kind, (&x, &shape), axis, out).unwrap());
            for (at, &y) in out.iter().enumerate() {
                let mut index = unflatten(at, &shape);
                let own = index[axis];
                let line: Vec<f64> = (0..shape[axis])
                    .map(|i| {
                        index[axis] = i;
                        f64::from(x[flatten(&index, &shape)])
                    })
                    .collect();
                let sum: f64 = line.iter().map(|x| x.exp()).sum();
                let top = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let truth = match kind {
                    Softmax::Softmax => line[own].exp() / sum,
                    Softmax::LogSoftmax => line[own] - sum.ln(),
                    Softmax::Hardmax => f64::from(line.iter().position(|&x| x == top) == Some(own)),
                };
                assert!((f64::from(y) - truth).abs() < 1e-6 * (1.0 + truth.abs()), "{kind:?} {axis}");
            }
        }
    }
    let mut out = [0.0f32; 2];
    softmax(&Pool::sequential(), Softmax::Softmax, (&[10000.0, 10001.0], &[2]), 0, &mut out).unwrap();
    assert!((out[0] - 0.268_941_4).abs() < 1e-6);
}
