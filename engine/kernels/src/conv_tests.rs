use super::*;
use crate::window::AutoPad;

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + seed * 13 + i / 5) % 11) as f32 - 5.0).collect()
}

/// The definition, in f64.
fn slow(shape: &ConvShape, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let rank = shape.input.len();
    let (taps, plane, positions) = (shape.taps(), shape.plane(), shape.positions());
    let mut out = Vec::new();
    let (mut at, mut tap) = (vec![0; rank], vec![0; rank]);
    for n in 0..shape.batch() {
        for o in 0..shape.groups * shape.oc {
            for p in 0..positions {
                unravel(p, &shape.output[2..], &mut at);
                let mut sum = bias.map_or(0.0, |b| f64::from(b[o]));
                for c in 0..shape.ic {
                    let channel = (n * shape.groups + o / shape.oc) * shape.ic + c;
                    for t in 0..taps {
                        unravel(t, &shape.window.kernel, &mut tap);
                        let inside = (0..rank).try_fold(0, |base, a| {
                            let q = at[a] * shape.window.strides[a] + tap[a] * shape.window.dilations[a];
                            let q = q.checked_sub(shape.window.begins[a])?;
                            (q < shape.input[a]).then(|| base * shape.input[a] + q)
                        });
                        if let Some(q) = inside {
                            sum += f64::from(x[channel * plane + q])
                                * f64::from(w[(o * shape.ic + c) * taps + t]);
                        }
                    }
                }
                out.push(sum as f32);
            }
        }
    }
    out
}

fn check(x: &[usize], w: &[usize], groups: usize, strides: &[i64], dilations: &[i64], pads: &[i64]) {
    let window = Window::new(&w[2..], strides, dilations, pads).unwrap();
    let shape = ConvShape::new(x, w, groups, window).unwrap();
    let (a, b) = (numbers(x.iter().product(), 1), numbers(w.iter().product(), 2));
    let bias = numbers(w[0], 3);
    for bias in [None, Some(&bias[..])] {
        let want = slow(&shape, &a, &b, bias);
        for width in [1, 2, 4] {
            let mut out = vec![9f32; want.len()];
            conv_into(&Pool::new(width), &shape, &a, &b, bias, None, &mut out).unwrap();
            assert!(out == want, "{x:?} {w:?} {groups} {strides:?} {dilations:?} {pads:?} width {width}");
        }
        let relu = |row: &mut [f32]| row.iter_mut().for_each(|v| *v = v.max(0.0));
        let mut out = vec![9f32; want.len()];
        conv_into(&Pool::sequential(), &shape, &a, &b, bias, Some(&relu), &mut out).unwrap();
        assert!(out.iter().zip(&want).all(|(o, w)| *o == w.max(0.0)));
    }
    let ints =
        |v: &[f32], s: &[usize]| Tensor::new(s, &v.iter().map(|&v| v as i32).collect::<Vec<_>>()).unwrap();
    let out = conv(&Pool::sequential(), &shape, &ints(&a, x), &ints(&b, w), None).unwrap();
    let want: Vec<i32> = slow(&shape, &a, &b, None).iter().map(|&v| v as i32).collect();
    assert_eq!(out.slice::<i32>().unwrap(), want);
}

#[test]
fn two_dimensions() {
    check(&[1, 3, 7, 5], &[4, 3, 3, 3], 1, &[], &[], &[]);
    check(&[2, 3, 7, 5], &[4, 3, 3, 2], 1, &[2, 1], &[], &[1, 0, 2, 1]);
    check(&[2, 4, 9, 8], &[6, 2, 3, 3], 2, &[1, 3], &[2, 2], &[2, 2, 1, 3]);
    check(&[1, 8, 6, 6], &[5, 8, 1, 1], 1, &[], &[], &[]);
    check(&[2, 8, 6, 7], &[6, 4, 1, 1], 2, &[2, 2], &[], &[]);
    check(&[1, 8, 6, 6], &[4, 8, 1, 1], 1, &[], &[], &[1, 1, 1, 1]);
    check(&[1, 2, 3, 3], &[2, 2, 3, 3], 1, &[], &[], &[4, 5, 4, 5]);
    check(&[0, 3, 7, 5], &[4, 3, 3, 3], 1, &[], &[], &[]);
}

#[test]
fn one_three_and_four_dimensions() {
    check(&[2, 3, 11], &[4, 3, 4], 1, &[2], &[2], &[3, 1]);
    check(&[1, 2, 5, 4, 6], &[3, 2, 2, 3, 2], 1, &[1, 2, 1], &[2, 1, 1], &[1, 0, 1, 0, 1, 0]);
    check(&[1, 4, 5, 4, 6], &[4, 1, 2, 3, 2], 4, &[], &[], &[1, 1, 1, 1, 1, 1]);
    check(&[1, 2, 3, 4, 3, 4], &[2, 2, 2, 2, 2, 2], 1, &[], &[], &[]);
}

#[test]
fn depthwise_sizes() {
    for kernel in 2..7 {
        for stride in 1..4 {
            for dilation in 1..3 {
                for pad in [0, 1, 4] {
                    let pads = [pad, pad, 1, 2];
                    let (s, d) = ([stride, stride], [dilation, dilation]);
                    check(&[2, 3, 17, 19], &[3, 1, 3, kernel], 3, &s, &d, &pads);
                    check(&[1, 2, 19], &[4, 1, kernel], 2, &s[..1], &d[..1], &[pad, 1]);
                }
            }
        }
    }
    check(&[1, 3, 4, 4], &[3, 1, 3, 3], 3, &[], &[], &[9, 9, 9, 9]);
}

#[test]
fn tiles_and_row_blocks() {
    check(&[1, 64, 40, 41], &[40, 64, 3, 3], 1, &[], &[], &[1, 1, 1, 1]);
    check(&[2, 96, 7, 7], &[200, 96, 3, 3], 1, &[], &[], &[1, 1, 1, 1]);
    check(&[1, 70, 30, 31], &[130, 70, 1, 1], 1, &[], &[], &[]);
}

#[test]
fn same_bits_at_every_width() {
    for groups in [1, 32] {
        let w = [64, 32 / groups, 3, 3];
        let window =
            Window::new(&[3, 3], &[], &[], &[]).unwrap().resolve(AutoPad::SameUpper, &[33, 35]).unwrap();
        let shape = ConvShape::new(&[1, 32, 33, 35], &w, groups, window).unwrap();
        let x: Vec<f32> = (0..32 * 33 * 35).map(|i| (i as f32).sin()).collect();
        let w: Vec<f32> = (0..w.iter().product()).map(|i: usize| (i as f32).cos()).collect();
        let run = |width| {
            let mut out = vec![0f32; 64 * 33 * 35];
            conv_into(&Pool::new(width), &shape, &x, &w, None, None, &mut out).unwrap();
            out.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        let one = run(1);
        assert!(one == run(2) && one == run(4));
    }
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let window = || Window::new(&[3, 3], &[], &[], &[]).unwrap();
    for (x, w, groups) in [
        (&[1, 3, 7, 7][..], &[4, 2, 3, 3][..], 1),
        (&[1, 3, 7, 7], &[4, 3, 3, 3], 0),
        (&[1, 4, 7, 7], &[3, 2, 3, 3], 2),
        (&[1, 3, 7, 7], &[4, 3, 2, 2], 1),
        (&[1, 3, 7], &[4, 3, 3, 3], 1),
        (&[1, 3, 2, 7], &[4, 3, 3, 3], 1),
        (&[usize::MAX, 3, 7, 7], &[4, 3, 3, 3], 1),
    ] {
        assert!(ConvShape::new(x, w, groups, window()).is_err(), "{x:?} {w:?} {groups}");
    }
    let shape = ConvShape::new(&[1, 1, 3, 3], &[1, 1, 3, 3], 1, window()).unwrap();
    assert!(conv_into(&Pool::sequential(), &shape, &[0f32; 8], &[0.0; 9], None, None, &mut [0.0]).is_err());
    assert!(
        conv_into(&Pool::sequential(), &shape, &[0f32; 9], &[0.0; 9], Some(&[]), None, &mut [0.0]).is_err()
    );
}

#[test]
fn integers_take_zero_points() {
    let window = Window::new(&[2], &[], &[], &[0, 1]).unwrap();
    let shape = ConvShape::new(&[1, 1, 3], &[2, 1, 2], 1, window).unwrap();
    let x = Tensor::new(&[1, 1, 3], &[1u8, 2, 255]).unwrap();
    let w = Tensor::new(&[2, 1, 2], &[1i8, -1, 2, 3]).unwrap();
    let w_zero = Tensor::new(&[2], &[0i8, 1]).unwrap();
    let out =
        conv_integer(&Pool::sequential(), &shape, &x, &w, Some(&Tensor::scalar(1u8)), Some(&w_zero)).unwrap();
    assert_eq!(out.slice::<i32>().unwrap(), &[-1, -253, 254, 2, 509, 254]);
}
