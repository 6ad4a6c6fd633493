//! Places, sizes and boxes of the vision and signal operators come from files and inputs: whatever they are, there is
//! an error or a result, and no panic, no wrong read and no loop without end.

use oxidane_graph::{Op, infer};
use oxidane_ops::nn::{deform_conv::DeformConv, max_unpool::MaxUnpool};
use oxidane_ops::signal::{
    dft::DFT,
    mel_weight_matrix::MelWeightMatrix,
    stft::STFT,
    window::{CosineWindow, HANN},
};
use oxidane_ops::vision::{
    affine_grid::AffineGrid, center_crop_pad::CenterCropPad, col2im::Col2Im, grid_sample::GridSample,
    image_decoder::ImageDecoder, max_roi_pool::MaxRoiPool, non_max_suppression::NonMaxSuppression,
    roi_align::RoiAlign,
};
use oxidane_ops::{Case, Interpreter, floats, ints, noise};
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Datum, Tensor};

/// Runs an operator on inputs that are known, and on some that are not, to inference.
fn run(op: impl Op, inputs: &[Tensor]) -> Result<Tensor, String> {
    let case = inputs.iter().fold(Case::new("odd", op), |case, tensor| case.input(tensor.clone()));
    let mut graph = case.graph();
    infer(&mut graph);
    let mut constant = case.graph();
    for (&input, tensor) in constant.inputs().to_vec().iter().zip(inputs) {
        let known = constant.add_constant("", tensor.clone()).unwrap();
        constant.replace_uses(input, known);
    }
    infer(&mut constant);
    let given = inputs.iter().map(|t| Some(t.clone().into())).collect();
    match Interpreter::new(Pool::new(1), 1 << 24).run(&graph, given) {
        Err(problem) => Err(problem.error.to_string()),
        Ok(outputs) => match &outputs[0] {
            Datum::Tensor(tensor) => Ok(tensor.clone()),
            other => panic!("{:?} gave {other:?}", case.op),
        },
    }
}

fn error(op: impl Op, inputs: &[Tensor]) -> String {
    let shown = format!("{op:?}");
    match run(op, inputs) {
        Err(error) => error,
        Ok(output) => panic!("{shown} gave {output:?}"),
    }
}

const EXTREMES: [i64; 7] = [i64::MIN, i64::MIN + 1, -5, -1, 5, i64::MAX - 1, i64::MAX];
const ODD: [f32; 10] =
    [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -1.0, 1e-45, 1e19, -9.3e18, 2.5];

fn scalar(value: i64) -> Tensor {
    ints(&[], &[value])
}

fn list(values: &[i64]) -> Tensor {
    ints(&[values.len()], values)
}

#[test]
fn batch_entries_outside() {
    let x = || noise(&[2, 1, 3, 3], 1);
    let align = || RoiAlign {
        coordinate_transformation_mode: "half_pixel".into(),
        mode: "avg".into(),
        output_height: 2,
        output_width: 2,
        sampling_ratio: 0,
        spatial_scale: 1.0,
    };
    for at in EXTREMES {
        let what = error(align(), &[x(), floats(&[1, 4], &[0.0; 4]), list(&[at])]);
        assert!(what.contains(&at.to_string()), "{what}");
    }
    let pool = || MaxRoiPool { pooled_shape: vec![2, 2], spatial_scale: 1.0 };
    for at in ODD {
        error(pool(), &[x(), floats(&[1, 5], &[at, 0.0, 0.0, 1.0, 1.0])]);
    }
    error(align(), &[x(), floats(&[1, 4], &[0.0; 4]), list(&[0, 1])]);
    error(align(), &[x(), floats(&[1, 5], &[0.0; 5]), list(&[0])]);
    error(align(), &[noise(&[2, 1, 3], 1), floats(&[1, 4], &[0.0; 4]), list(&[0])]);
    for size in [i64::MIN, -1, 1 << 40, i64::MAX] {
        error(RoiAlign { output_height: size, ..align() }, &[x(), floats(&[1, 4], &[0.0; 4]), list(&[0])]);
        error(RoiAlign { sampling_ratio: size, ..align() }, &[x(), floats(&[1, 4], &[0.0; 4]), list(&[0])]);
        error(MaxRoiPool { pooled_shape: vec![size, 2], ..pool() }, &[x(), floats(&[1, 5], &[0.0; 5])]);
    }
    error(MaxRoiPool { pooled_shape: vec![2], ..pool() }, &[x(), floats(&[1, 5], &[0.0; 5])]);
}

#[test]
fn regions_anywhere() {
    let x = || floats(&[1, 1, 3, 4], &[1.0; 12]);
    for a in ODD {
        for b in ODD {
            for (mode, half_pixel, sampling_ratio) in
                [("avg", "half_pixel", 0), ("avg", "output_half_pixel", 3), ("max", "output_half_pixel", 0)]
            {
                let op = RoiAlign {
                    coordinate_transformation_mode: half_pixel.into(),
                    mode: mode.into(),
                    output_height: 2,
                    output_width: 3,
                    sampling_ratio,
                    spatial_scale: 1.5,
                };
                let out = run(op, &[x(), floats(&[1, 4], &[a, b, b, a]), list(&[0])]).unwrap();
                // All elements are 1, and what is outside is 0.
                let range = -1e-6..=1.0 + 1e-6;
                assert!(out.to_f64s().unwrap().iter().all(|v| range.contains(v)), "{a} {b} {mode}: {out:?}");
            }
            let op = MaxRoiPool { pooled_shape: vec![2, 3], spatial_scale: 0.5 };
            let out = run(op, &[x(), floats(&[1, 5], &[0.0, a, b, b, a])]).unwrap();
            assert!(out.to_f64s().unwrap().iter().all(|&v| v == 0.0 || v == 1.0), "{a} {b}: {out:?}");
        }
    }
}

#[test]
fn positions_anywhere() {
    let x = || floats(&[1, 1, 3, 4], &[1.0; 12]);
    for a in ODD {
        for b in ODD {
            for mode in ["nearest", "linear", "cubic"] {
                for padding_mode in ["zeros", "border", "reflection"] {
                    for align_corners in [false, true] {
                        let op = GridSample {
                            align_corners,
                            mode: mode.into(),
                            padding_mode: padding_mode.into(),
                        };
                        let out = run(op, &[x(), floats(&[1, 1, 1, 2], &[a, b])]).unwrap();
                        let value = out.to_f64s().unwrap()[0];
                        // A cubic may overshoot where the padding is zero.
                        let fits = match (padding_mode, mode) {
                            ("zeros", _) => (-0.5..1.5).contains(&value),
                            _ => (value - 1.0).abs() < 1e-5,
                        };
                        assert!(fits, "{a} {b} {mode} {padding_mode}: {value}");
                    }
                }
            }
            let op = DeformConv {
                dilations: None,
                group: 1,
                kernel_shape: None,
                offset_group: 1,
                pads: None,
                strides: None,
            };
            let inputs = [x(), floats(&[1, 1, 3, 4], &[1.0; 12]), floats(&[1, 24, 1, 1], &[a, b].repeat(12))];
            assert!(run(op, &inputs).unwrap().to_f64s().unwrap()[0].abs() < 13.0);
        }
    }
    let op = |mode: &str, padding_mode: &str| GridSample {
        align_corners: true,
        mode: mode.into(),
        padding_mode: padding_mode.into(),
    };
    // One element has no room to mirror in, none nothing to give.
    for padding in ["zeros", "border", "reflection"] {
        for mode in ["nearest", "linear", "cubic"] {
            let grid = || floats(&[1, 2, 1], &[0.3, -7.0]);
            run(op(mode, padding), &[floats(&[1, 1, 1], &[4.0]), grid()]).unwrap();
            assert_eq!(
                run(op(mode, padding), &[floats(&[1, 1, 0], &[]), grid()]).unwrap().to_f64s().unwrap(),
                [0.0; 2]
            );
        }
    }
    error(op("linear", "zeros"), &[x(), floats(&[2, 1, 1, 2], &[0.0; 4])]);
    error(op("linear", "zeros"), &[x(), floats(&[1, 1, 1, 3], &[0.0; 3])]);
    error(op("linear", "zeros"), &[x(), floats(&[1, 1, 2], &[0.0; 2])]);
    error(op("bilinear", "zeros"), &[x(), floats(&[1, 1, 1, 2], &[0.0; 2])]);
    error(op("linear", "zero"), &[x(), floats(&[1, 1, 1, 2], &[0.0; 2])]);
    let deep = |rank: usize| [vec![1; 2], vec![2; rank]].concat();
    error(op("cubic", "zeros"), &[noise(&deep(9), 1), noise(&[vec![1; 10], vec![9]].concat(), 2)]);
    run(op("nearest", "zeros"), &[noise(&deep(9), 1), noise(&[vec![1; 10], vec![9]].concat(), 2)]).unwrap();
}

#[test]
fn boxes_anywhere() {
    for a in ODD {
        for b in ODD {
            for center_point_box in [false, true] {
                let boxes = floats(&[1, 3, 4], &[a, b, b, a, 0.0, 0.0, a, b, b, b, 1.0, 1.0]);
                let out = run(
                    NonMaxSuppression { center_point_box },
                    &[boxes, floats(&[1, 1, 3], &[a, b, 0.5]), scalar(i64::MAX)],
                );
                assert!(out.unwrap().to_i64s().unwrap().iter().all(|i| (0..3).contains(i)));
            }
        }
    }
    let op = || NonMaxSuppression { center_point_box: false };
    let (boxes, scores) = (|| noise(&[1, 3, 4], 1), || noise(&[1, 2, 3], 2));
    for most in EXTREMES {
        let out = run(op(), &[boxes(), scores(), scalar(most)]).unwrap();
        assert_eq!(out.shape()[0] > 0, most > 0);
    }
    error(op(), &[boxes(), noise(&[1, 2, 4], 2)]);
    error(op(), &[boxes(), noise(&[2, 2, 3], 2)]);
    error(op(), &[noise(&[1, 3, 5], 1), scores()]);
    error(op(), &[boxes(), scores(), list(&[1, 2])]);
    for threshold in [f32::NAN, -0.1, 1.5, f32::INFINITY] {
        error(op(), &[boxes(), scores(), scalar(1), floats(&[], &[threshold])]);
    }
}

#[test]
fn places_of_unpooling_outside() {
    let op = || MaxUnpool { kernel_shape: vec![2], pads: None, strides: Some(vec![2]) };
    let x = || floats(&[1, 1, 2], &[1.0, 2.0]);
    for at in EXTREMES.into_iter().filter(|&at| at != 5) {
        let what = error(op(), &[x(), ints(&[1, 1, 2], &[0, at])]);
        assert!(what.contains(&at.to_string()), "{what}");
    }
    error(op(), &[x(), ints(&[1, 1, 2], &[0, 4])]);
    error(op(), &[x(), ints(&[1, 2, 1], &[0, 1])]);
    error(op(), &[x(), ints(&[1, 1, 2], &[0, 3]), list(&[1, 1, 3])]);
    run(op(), &[x(), ints(&[1, 1, 2], &[0, 2]), list(&[1, 1, 3])]).unwrap();
    for size in [i64::MIN, -1, 1 << 40, i64::MAX] {
        error(op(), &[x(), ints(&[1, 1, 2], &[0, 3]), list(&[1, 1, size])]);
        error(MaxUnpool { kernel_shape: vec![size], ..op() }, &[x(), ints(&[1, 1, 2], &[0, 3])]);
        error(MaxUnpool { strides: Some(vec![size]), ..op() }, &[x(), ints(&[1, 1, 2], &[0, 3])]);
        error(MaxUnpool { pads: Some(vec![size, 0]), ..op() }, &[x(), ints(&[1, 1, 2], &[0, 3])]);
    }
}

#[test]
fn sizes_beyond_memory_and_below_zero() {
    let fold = || Col2Im { dilations: None, pads: None, strides: None };
    let columns = || noise(&[1, 4, 4], 1);
    for size in [i64::MIN, -1, 0, 1 << 40, i64::MAX] {
        error(fold(), &[columns(), list(&[size, 3]), list(&[2, 2])]);
        error(fold(), &[columns(), list(&[3, 3]), list(&[size, 2])]);
        error(Col2Im { strides: Some(vec![size, 1]), ..fold() }, &[columns(), list(&[3, 3]), list(&[2, 2])]);
        error(
            Col2Im { dilations: Some(vec![size, 1]), ..fold() },
            &[columns(), list(&[3, 3]), list(&[2, 2])],
        );
    }
    error(fold(), &[columns(), list(&[3, 4]), list(&[2, 2])]);
    error(fold(), &[columns(), list(&[3, 3]), list(&[2])]);
    error(fold(), &[noise(&[1, 6, 4], 1), list(&[3, 3]), list(&[2, 2])]);
    for size in [i64::MIN, -1, 1 << 40, i64::MAX] {
        error(CenterCropPad { axes: None }, &[noise(&[2], 1), list(&[size])]);
        error(AffineGrid { align_corners: true }, &[noise(&[1, 2, 3], 1), list(&[1, 1, size, 2])]);
        error(AffineGrid { align_corners: true }, &[noise(&[1, 2, 3], 1), list(&[size, 1, 2, 2])]);
    }
    for axis in [i64::MIN, -2, 1, i64::MAX] {
        error(CenterCropPad { axes: Some(vec![axis]) }, &[noise(&[2], 1), list(&[1])]);
    }
    error(CenterCropPad { axes: Some(vec![0, -1]) }, &[noise(&[2], 1), list(&[1, 1])]);
    error(CenterCropPad { axes: None }, &[noise(&[2], 1), list(&[1, 1])]);
    error(AffineGrid { align_corners: false }, &[noise(&[1, 3, 4], 1), list(&[1, 1, 2, 2])]);
    error(AffineGrid { align_corners: false }, &[noise(&[1, 2, 3], 1), list(&[1, 2])]);
}

#[test]
fn lengths_of_signals() {
    let op = |inverse, onesided| DFT { inverse, onesided };
    let x = || noise(&[1, 6, 1], 1);
    for length in [i64::MIN, -1, 0, 1 << 40, 1 << 62, i64::MAX] {
        for inverse in [false, true] {
            for onesided in [false, true] {
                error(op(inverse, onesided), &[x(), scalar(length)]);
            }
        }
        error(STFT { onesided: true }, &[x(), scalar(1), noise(&[2], 1), scalar(length)]);
        if length < 1 {
            error(STFT { onesided: true }, &[x(), scalar(length), noise(&[2], 1)]);
        } else {
            // One frame, whatever the step behind it.
            run(STFT { onesided: true }, &[x(), scalar(length), noise(&[2], 1)]).unwrap();
        }
        let window = |periodic| CosineWindow { kind: &HANN, output_datatype: DType::F32, periodic };
        if length != 0 {
            error(window(true), &[scalar(length)]);
            error(window(false), &[scalar(length)]);
        }
    }
    // A long prime needs more scratch than it has output.
    error(op(false, true), &[floats(&[1, 1, 1], &[1.0]), scalar(999_983)]);
    for axis in [i64::MIN, -4, -1, 2, i64::MAX] {
        error(op(false, false), &[x(), scalar(6), scalar(axis)]);
    }
    error(op(false, false), &[noise(&[1, 6], 1)]);
    error(op(false, true), &[noise(&[1, 6, 2], 1)]);
    error(op(false, false), &[noise(&[1, 0, 1], 1)]);
    error(STFT { onesided: true }, &[noise(&[1, 6, 2], 1), scalar(1)]);
    error(STFT { onesided: true }, &[x(), scalar(1), noise(&[7], 1)]);
    error(STFT { onesided: true }, &[x(), scalar(1), noise(&[0], 1)]);
    error(STFT { onesided: true }, &[x(), list(&[1, 2])]);
    error(STFT { onesided: true }, &[noise(&[6, 1], 1), scalar(1)]);
    let mel = |bands: i64, length: i64, rate: i64, low: f32, high: f32| {
        run(
            MelWeightMatrix { output_datatype: DType::F32 },
            &[scalar(bands), scalar(length), scalar(rate), floats(&[], &[low]), floats(&[], &[high])],
        )
    };
    mel(4, 16, 8000, 0.0, 4000.0).unwrap();
    mel(0, 16, 8000, 0.0, 4000.0).unwrap();
    for n in [i64::MIN, -1, 1 << 40, i64::MAX] {
        mel(n, 16, 8000, 0.0, 4000.0).unwrap_err();
        mel(4, n, 8000, 0.0, 4000.0).unwrap_err();
    }
    for rate in [i64::MIN, -1, 0, 1] {
        mel(4, 16, rate, 0.0, 4000.0).unwrap_err();
    }
    for edge in [f32::NAN, f32::INFINITY, -1.0, 1e30] {
        mel(4, 16, 8000, edge, 4000.0).unwrap_err();
        mel(4, 16, 8000, 0.0, edge).unwrap_err();
    }
}

#[test]
fn shapes_of_deformed_convolutions() {
    let op = || DeformConv {
        dilations: None,
        group: 1,
        kernel_shape: None,
        offset_group: 1,
        pads: None,
        strides: None,
    };
    let (x, w) = (|| noise(&[1, 2, 3, 3], 1), || noise(&[2, 2, 2, 2], 2));
    let offset = || noise(&[1, 8, 2, 2], 3);
    run(op(), &[x(), w(), offset()]).unwrap();
    error(op(), &[x(), w(), noise(&[1, 8, 2, 1], 3)]);
    error(op(), &[x(), w(), noise(&[1, 7, 2, 2], 3)]);
    error(op(), &[x(), w(), offset(), noise(&[3], 4)]);
    error(op(), &[x(), w(), offset(), noise(&[2], 4), noise(&[1, 8, 2, 2], 5)]);
    for n in [i64::MIN, -1, 0, 3, i64::MAX] {
        error(DeformConv { group: n, ..op() }, &[x(), w(), offset()]);
        error(DeformConv { offset_group: n, ..op() }, &[x(), w(), offset()]);
        error(DeformConv { strides: Some(vec![n, 1]), ..op() }, &[x(), w(), offset()]);
        error(DeformConv { dilations: Some(vec![n, 1]), ..op() }, &[x(), w(), offset()]);
        error(DeformConv { kernel_shape: Some(vec![n, 2]), ..op() }, &[x(), w(), offset()]);
    }
}

#[test]
fn pictures_that_are_none() {
    let decode = |bytes: &[u8]| {
        let op = ImageDecoder { pixel_format: "RGB".into() };
        run(op, &[Tensor::new(&[bytes.len()], bytes).unwrap()])
    };
    for bytes in [
        &b""[..],
        b"P6",
        b"P6 1 1 255\n\x01",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBPVP8 ",
    ] {
        assert_eq!(decode(bytes).unwrap().shape(), [0, 0, 3], "{bytes:?}");
    }
    // A few bytes that promise a picture beyond the budget.
    let what = decode(b"P6 60000 60000 255\n").unwrap_err();
    assert!(what.contains("budget"), "{what}");
    error(ImageDecoder { pixel_format: "rgb".into() }, &[Tensor::new(&[0], &[0u8; 0]).unwrap()]);
}
