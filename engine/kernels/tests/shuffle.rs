//! Moving elements, against index arithmetic and examples of the ONNX specification.

use oxidane_kernels::shuffle::*;
use oxidane_pool::Pool;
use std::sync::Arc;

fn numbers(shape: &[usize]) -> Vec<u32> {
    (0..shape.iter().product::<usize>() as u32).collect()
}

#[test]
fn transpose_in_every_order() {
    let cases: &[(&[usize], &[usize])] = &[
        (&[], &[]),
        (&[7], &[0]),
        (&[37, 53], &[1, 0]),
        (&[2, 3, 41, 35], &[0, 2, 3, 1]),
        (&[2, 3, 41, 35], &[0, 3, 1, 2]),
        (&[2, 19, 3, 8], &[0, 2, 1, 3]),
        (&[2, 19, 3, 8], &[0, 2, 3, 1]),
        (&[5, 4, 3, 2], &[3, 2, 1, 0]),
        (&[5, 4, 3, 2], &[2, 0, 3, 1]),
        (&[4, 1, 3], &[2, 1, 0]),
        (&[3, 0, 2], &[2, 0, 1]),
        (&[300, 301], &[1, 0]),
    ];
    for &(shape, order) in cases {
        let x = numbers(shape);
        let tensor = oxidane_tensor::Tensor::new(shape, &x).unwrap();
        let expected = tensor.permute(order).unwrap().to_dense().unwrap();
        for width in [1, 2, 4] {
            let mut out = vec![u32::MAX; x.len()];
            transpose(&Pool::new(width), (&x, shape), order, &mut out).unwrap();
            assert_eq!(out, expected.slice::<u32>().unwrap(), "{shape:?} {order:?}");
        }
    }
    let mut out = [0u8; 4];
    assert!(transpose(&Pool::sequential(), (&[1, 2, 3, 4], &[2, 2]), &[0, 0], &mut out).is_err());
}

#[test]
fn concat_and_split() {
    let (a, b) = (numbers(&[3, 2, 5]), numbers(&[3, 1, 5]));
    let mut out = vec![0; 45];
    concat(&Pool::new(2), &[(&a, 10), (&b, 5), (&[], 0)], 3, &mut out).unwrap();
    let (mut first, mut second) = (vec![0; 30], vec![0; 15]);
    split((&out, &[3, 3, 5]), 1, 0, &mut first, 2).unwrap();
    split((&out, &[3, 3, 5]), 1, 2, &mut second, 1).unwrap();
    assert_eq!((first, second), (a, b));
    assert!(split((&out, &[3, 3, 5]), 1, 2, &mut [0; 30], 2).is_err());
    let words: Vec<Arc<str>> = ["x", "y"].map(Arc::from).to_vec();
    let mut out: Vec<Arc<str>> = vec![Arc::from(""); 4];
    concat(&Pool::sequential(), &[(&words, 1), (&words, 1)], 2, &mut out).unwrap();
    assert_eq!(out.join(""), "xxyy");
}

#[test]
fn padding() {
    let run = |mode, x: &[i32], shape: &[usize], pads: &[(i64, i64)]| {
        let mut out = vec![-1; padded_shape(shape, pads).unwrap().iter().product()];
        pad(&Pool::new(2), mode, (x, shape), pads, &0, &mut out).unwrap();
        out
    };
    let x = [1, 2, 3, 4, 5, 6];
    // As numpy.pad.
    assert_eq!(run(PadMode::Constant, &x, &[3, 2], &[(0, 0), (2, 0)]), [0, 0, 1, 2, 0, 0, 3, 4, 0, 0, 5, 6]);
    assert_eq!(run(PadMode::Reflect, &x, &[2, 3], &[(0, 0), (2, 1)]), [3, 2, 1, 2, 3, 2, 6, 5, 4, 5, 6, 5]);
    assert_eq!(run(PadMode::Edge, &x, &[2, 3], &[(1, 0), (1, 0)]), [1, 1, 2, 3, 1, 1, 2, 3, 4, 4, 5, 6]);
    assert_eq!(
        run(PadMode::Wrap, &x, &[2, 3], &[(0, 1), (1, 1)]),
        [3, 1, 2, 3, 1, 6, 4, 5, 6, 4, 3, 1, 2, 3, 1]
    );
    assert_eq!(run(PadMode::Constant, &x, &[2, 3], &[(-1, 1), (1, -2)]), [0, 4, 0, 0]);
    assert_eq!(run(PadMode::Reflect, &[1, 2, 3], &[3], &[(5, 4)]), [2, 1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3]);
    assert_eq!(run(PadMode::Constant, &[], &[0, 2], &[(1, 0), (0, 0)]), [0, 0]);
    assert!(padded_shape(&[2], &[(-3, 0)]).is_err());
    assert!(padded_shape(&[2], &[(i64::MAX, i64::MAX)]).is_err());
    assert_eq!(run(PadMode::Constant, &[9, 9], &[2], &[(i64::MIN, i64::MAX)]), [0]);
    let empty = pad(&Pool::sequential(), PadMode::Edge, (&[], &[0]), &[(1, 0)], &0, &mut [0]);
    assert!(empty.is_err());
}

#[test]
fn tiles_triangles_and_the_rest() {
    let mut out = [0; 24];
    tile(&Pool::new(2), (&[1, 2, 3, 4], &[2, 2]), &[2, 3], &mut out).unwrap();
    assert_eq!(out[..12], [1, 2, 1, 2, 1, 2, 3, 4, 3, 4, 3, 4]);
    assert_eq!(out[..12], out[12..]);
    let mut square = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    trilu((&mut square, &[3, 3]), true, 1, &0).unwrap();
    assert_eq!(square, [0, 2, 3, 0, 0, 6, 0, 0, 0]);
    let mut square = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    trilu((&mut square, &[3, 3]), false, -1, &0).unwrap();
    assert_eq!(square, [0, 0, 0, 4, 0, 0, 7, 8, 0]);
    trilu((&mut square, &[3, 3]), false, i64::MIN, &0).unwrap();
    assert_eq!(square, [0; 9]);
    let x: Vec<i32> = (0..16).collect();
    let mut out = [0; 16];
    reverse_sequence((&x, &[4, 4]), (1, 0), &[4, 3, 2, 1], &mut out).unwrap();
    assert_eq!(out, [12, 9, 6, 3, 8, 5, 2, 7, 4, 1, 10, 11, 0, 13, 14, 15]);
    let mut out = [0.0f32; 6];
    one_hot(&[1, -1], [2, 3, 1], (&2.0, &5.0), &mut out).unwrap();
    assert_eq!(out, [2.0, 5.0, 2.0, 2.0, 2.0, 5.0]);
    let (rows, count) = nonzero((&[1u8, 0, 1, 1], &[2, 2])).unwrap();
    assert_eq!((rows, count), (vec![0, 1, 1, 0, 0, 1], 3));
}
