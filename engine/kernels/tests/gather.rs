//! Gathers and scatters on the examples of the ONNX specification, and on bad indices.

use oxidane_kernels::KernelError;
use oxidane_kernels::gather::*;
use oxidane_pool::Pool;

#[test]
fn gather_along_an_axis() {
    let data = [1.0f32, 1.2, 1.9, 2.3, 3.4, 3.9, 4.5, 5.7, 5.9];
    let mut out = [0.0; 6];
    gather(&Pool::new(2), (&data, &[3, 3]), 1, &[0, -1], &mut out).unwrap();
    assert_eq!(out, [1.0, 1.9, 2.3, 3.9, 4.5, 5.9]);
    let bad = gather(&Pool::sequential(), (&data, &[3, 3]), 1, &[0, 3], &mut out);
    assert_eq!(bad, Err(KernelError::Index { index: 3, axis: 1, size: 3 }));
    assert!(gather(&Pool::sequential(), (&data, &[3, 3]), 1, &[0, i64::MIN], &mut out).is_err());
    assert!(gather(&Pool::sequential(), (&data, &[3, 3]), 2, &[0, 1], &mut out).is_err());
}

#[test]
fn elements() {
    let mut out = [0; 4];
    gather_elements((&[1, 2, 3, 4], &[2, 2]), 1, (&[0, 0, 1, 0], &[2, 2]), &mut out).unwrap();
    assert_eq!(out, [1, 1, 4, 3]);
    let mut out = [0; 6];
    let data = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    gather_elements((&data, &[3, 3]), 0, (&[-1, -2, 0, -2, 0, 0], &[2, 3]), &mut out).unwrap();
    assert_eq!(out, [7, 5, 3, 4, 2, 3]);
    let mut out = [0.0f32; 9];
    let (indices, updates) = ([1, 0, 2, 0, 2, 1], [1.0, 1.1, 1.2, 2.0, 2.1, 2.2]);
    scatter_elements((&mut out, &[3, 3]), 0, (&indices, &[2, 3]), &updates, Scatter::Replace.update())
        .unwrap();
    assert_eq!(out, [2.0, 1.1, 0.0, 1.0, 0.0, 2.2, 0.0, 2.1, 1.2]);
    let mut out = [1.0f32, 2.0, 3.0, 4.0, 5.0];
    scatter_elements((&mut out, &[1, 5]), 1, (&[1, 1], &[1, 2]), &[1.1, 2.1], Scatter::Add.update()).unwrap();
    assert_eq!(out, [1.0, 2.0 + 1.1 + 2.1, 3.0, 4.0, 5.0]);
    let bad = scatter_elements((&mut out, &[5]), 0, (&[1, 9], &[2]), &[0.0, 0.0], Scatter::Add.update());
    assert!(bad.is_err() && out[1] != 1.0);
}

#[test]
fn tuples() {
    let mut out = [0; 2];
    gather_nd((&[0, 1, 2, 3], &[2, 2]), (&[0, 0, 1, 1], &[2, 2]), 0, &mut out).unwrap();
    assert_eq!(out, [0, 3]);
    let cube: Vec<i32> = (0..8).collect();
    let mut out = [0; 4];
    gather_nd((&cube, &[2, 2, 2]), (&[0, 1, 1, 0], &[2, 1, 2]), 0, &mut out).unwrap();
    assert_eq!(out, [2, 3, 4, 5]);
    gather_nd((&cube, &[2, 2, 2]), (&[1, 0], &[2, 1]), 1, &mut out).unwrap();
    assert_eq!(out, [2, 3, 4, 5]);
    let mut data = [1, 2, 3, 4, 5, 6, 7, 8];
    scatter_nd((&mut data, &[8]), (&[4, 3, 1, 7], &[4, 1]), &[9, 10, 11, 12], Scatter::Replace.update())
        .unwrap();
    assert_eq!(data, [1, 11, 3, 10, 9, 6, 7, 12]);
    scatter_nd((&mut data, &[4, 2]), (&[0, 0, -1], &[3, 1]), &[1, 1, 1, 1, 0, 0], Scatter::Mul.update())
        .unwrap();
    assert_eq!(data, [1, 11, 3, 10, 9, 6, 0, 0]);
    assert!(gather_nd((&cube, &[2, 2, 2]), (&[2], &[1]), 0, &mut out).is_err());
    assert!(gather_nd((&cube, &[2, 2, 2]), (&[0; 4], &[4]), 0, &mut out).is_err());
}
