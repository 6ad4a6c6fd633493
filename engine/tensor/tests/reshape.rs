//! Reshaped views.

use oxidane_tensor::Tensor;
/// Whatever is a view and whatever is copied, the elements are those of the dense tensor.
#[test]
fn reshapes_of_views() {
    let values: Vec<i32> = (0..240).collect();
    let dense = Tensor::new(&[2, 3, 1, 8, 5], &values).unwrap();
    let views = [
        dense.permute(&[1, 0, 2, 3, 4]).unwrap(),
        dense.permute(&[0, 2, 1, 4, 3]).unwrap(),
        dense.slice_axis(3, 2, 4, 1).unwrap(),
        dense.slice_axis(3, 7, 4, -2).unwrap(),
        dense.slice_axis(1, 1, 1, 1).unwrap().permute(&[4, 0, 1, 2, 3]).unwrap(),
        dense.slice_axis(0, 1, 1, 1).unwrap().broadcast_to(&[4, 3, 1, 8, 5]).unwrap(),
    ];
    let shapes: [&[usize]; 9] = [
        &[240],
        &[3, 2, 40],
        &[3, 2, 2, 4, 5],
        &[6, 1, 8, 5],
        &[2, 3, 2, 2, 5, 1],
        &[2, 3, 20],
        &[5, 2, 2, 4],
        &[10, 8],
        &[2, 2, 3, 5, 8],
    ];
    for view in views {
        for shape in shapes.iter().filter(|s| s.iter().product::<usize>() == view.len()) {
            let copied = view.to_dense().unwrap().reshape(shape).unwrap();
            let found = view.reshape(shape).unwrap().to_dense().unwrap();
            assert_eq!(found.slice::<i32>().unwrap(), copied.slice::<i32>().unwrap(), "{view:?} {shape:?}");
        }
    }
    // The heads of a part of rows that hold queries, keys and values need no copy.
    let rows = Tensor::new(&[4, 12], &values[..48]).unwrap();
    let heads = rows.slice_axis(1, 4, 4, 1).unwrap().reshape(&[1, 4, 2, 2]).unwrap();
    assert_eq!(heads.strides()[1..], [12, 2, 1]);
}
