use super::*;
use crate::window::Window;
use oxidane_pool::Pool as Threads;

fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn blocked(batch: usize, channels: usize, positions: usize, x: &[f32]) -> Vec<f32> {
    let mut out = vec![9.0; batch * channels.next_multiple_of(LANES) * positions];
    block(&Threads::sequential(), batch, channels, positions, x, &mut out).unwrap();
    out
}

fn dense(batch: usize, channels: usize, positions: usize, x: &[f32]) -> Vec<f32> {
    let mut out = vec![9.0; batch * channels * positions];
    unblock(&Threads::sequential(), batch, channels, positions, x, &mut out).unwrap();
    out
}

/// The convolution by its definition, in double precision.
fn slow(spec: &Spec, batch: usize, spatial: &[usize], x: &[f32], w: &[f32], bias: &[f32]) -> Vec<f64> {
    let window = &spec.window;
    let out = window.output(spatial, false).unwrap();
    let full = |list: &[usize], otherwise| shape::pair(list, otherwise);
    let ((height, width), (oh, ow)) = (full(spatial, 1), full(&out, 1));
    let (kernel, strides) = (full(&window.kernel, 1), full(&window.strides, 1));
    let (dilations, begins) = (full(&window.dilations, 1), full(&window.begins, 0));
    let (ic, oc) = (spec.inputs / spec.groups, spec.outputs / spec.groups);
    let mut y = Vec::new();
    for n in 0..batch {
        for o in 0..spec.outputs {
            for at in 0..oh * ow {
                let mut sum = f64::from(bias[o]);
                for c in 0..ic {
                    for tap in 0..kernel.0 * kernel.1 {
                        let row = (at / ow * strides.0 + tap / kernel.1 * dilations.0).checked_sub(begins.0);
                        let column =
                            (at % ow * strides.1 + tap % kernel.1 * dilations.1).checked_sub(begins.1);
                        let (Some(row), Some(column)) = (row, column) else { continue };
                        if row < height && column < width {
                            let channel = n * spec.inputs + o / oc * ic + c;
                            let v = x[(channel * height + row) * width + column];
                            let w = w[(o * ic + c) * kernel.0 * kernel.1 + tap];
                            sum += f64::from(v) * f64::from(w);
                        }
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

fn tensor(values: &[f32]) -> Tensor {
    Tensor::new(&[values.len()], values).unwrap()
}

fn window(kernel: &[usize], strides: &[i64], dilations: &[i64], pads: &[i64]) -> Window {
    Window::new(kernel, strides, dilations, pads).unwrap()
}

fn check(spec: &Spec, input: Input, batch: usize, spatial: &[usize], function: Option<Function>) {
    assert!(Convolution::fits(spec, input), "{spec:?}");
    let positions: usize = spatial.iter().product();
    let taps: usize = spec.window.kernel.iter().product();
    let x = noise(batch * spec.inputs * positions, 1);
    let w = noise(spec.outputs * spec.inputs / spec.groups * taps, 2);
    let bias = noise(spec.outputs, 3);
    let convolution = Convolution::new(spec, input, &tensor(&w), Some(&bias), function).unwrap();
    let out_positions: usize = convolution.output(spatial).unwrap().iter().product();
    let seen = match input {
        Input::Dense => x.clone(),
        Input::Blocked => blocked(batch, spec.inputs, positions, &x),
    };
    let want = slow(spec, batch, spatial, &x, &w, &bias);
    let most = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let other = noise(want.len(), 4);
    let summed = blocked(batch, spec.outputs, out_positions, &other);
    for sum in [false, true] {
        let mut bits: Option<Vec<f32>> = None;
        for width in [1, 2, 3] {
            let mut out = vec![7.0; summed.len()];
            let sum = sum.then_some(&summed[..]);
            convolution.run(&Threads::new(width), batch, spatial, &seen, sum, &mut out).unwrap();
            let got = dense(batch, spec.outputs, out_positions, &out);
            for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
                let want = if sum.is_some() { want + f64::from(other[i]) } else { want };
                let mut wanted = [want];
                if let Some(function) = function {
                    crate::Operand::apply(function, &[want], &mut wanted).unwrap();
                }
                let off = (f64::from(got) - wanted[0]).abs();
                assert!(
                    off <= 2e-5 * most,
                    "{spec:?} {spatial:?} {function:?} at {i}: {got} for {}",
                    wanted[0]
                );
            }
            assert!(bits.get_or_insert_with(|| out.clone()) == &out, "other bits on {width} threads");
        }
    }
}

fn spec(groups: usize, inputs: usize, outputs: usize, window: Window) -> Spec {
    Spec { groups, inputs, outputs, window }
}

#[test]
fn single_positions() {
    for (inputs, outputs) in [(1, 1), (16, 16), (3, 40), (37, 100), (64, 48), (130, 33)] {
        for spatial in [[1, 1], [3, 5], [7, 7], [14, 9]] {
            check(
                &spec(1, inputs, outputs, window(&[1, 1], &[], &[], &[])),
                Input::Blocked,
                1,
                &spatial,
                None,
            );
        }
    }
    let strided = window(&[1, 1], &[2, 2], &[], &[]);
    check(&spec(1, 33, 65, strided), Input::Blocked, 2, &[7, 10], Some(Function::Relu));
    check(&spec(1, 20, 20, window(&[1], &[], &[], &[])), Input::Blocked, 3, &[50], Some(Function::HardSwish));
}

#[test]
fn windows_of_all_kinds() {
    let hard = Function::HardSigmoid { alpha: 0.3, beta: 0.4 };
    check(&spec(1, 20, 40, window(&[3, 3], &[2, 2], &[], &[1; 4])), Input::Blocked, 2, &[9, 14], Some(hard));
    check(
        &spec(1, 17, 16, window(&[5, 3], &[1, 2], &[2, 1], &[2, 0, 1, 3])),
        Input::Blocked,
        1,
        &[11, 12],
        None,
    );
    check(
        &spec(1, 48, 20, window(&[2, 2], &[], &[], &[])),
        Input::Blocked,
        1,
        &[5, 31],
        Some(Function::Tanh),
    );
    let clip = Function::Clip { min: -0.5, max: 1.5 };
    check(&spec(1, 40, 70, window(&[5], &[2], &[], &[2, 2])), Input::Blocked, 2, &[61], Some(clip));
    check(&spec(2, 32, 64, window(&[3, 3], &[2, 1], &[], &[1; 4])), Input::Blocked, 2, &[8, 6], None);
    check(&spec(3, 48, 96, window(&[1, 1], &[], &[], &[])), Input::Blocked, 1, &[4, 6], None);
    check(&spec(1, 16, 16, window(&[4, 4], &[4, 4], &[], &[3; 4])), Input::Blocked, 1, &[2, 3], None);
}

#[test]
fn few_dense_channels() {
    check(
        &spec(1, 3, 64, window(&[7, 7], &[2, 2], &[], &[3; 4])),
        Input::Dense,
        2,
        &[21, 30],
        Some(Function::Relu),
    );
    check(
        &spec(1, 3, 16, window(&[3, 3], &[2, 2], &[], &[1; 4])),
        Input::Dense,
        1,
        &[9, 40],
        Some(Function::HardSwish),
    );
    check(&spec(1, 1, 40, window(&[5, 5], &[], &[], &[2; 4])), Input::Dense, 1, &[6, 8], None);
    check(&spec(1, 8, 33, window(&[3, 4], &[1, 3], &[2, 2], &[0, 2, 4, 0])), Input::Dense, 1, &[8, 17], None);
    check(&spec(1, 2, 24, window(&[9], &[4], &[], &[4, 4])), Input::Dense, 2, &[100], None);
    // Wider than a vector.
    check(&spec(1, 1, 36, window(&[256], &[64], &[], &[0, 0])), Input::Dense, 2, &[1000], None);
    check(&spec(1, 2, 20, window(&[17], &[3], &[2], &[9, 20])), Input::Dense, 1, &[90], None);
    check(&spec(1, 3, 16, window(&[2, 33], &[1, 5], &[], &[1, 4, 0, 30])), Input::Dense, 1, &[5, 61], None);
}

#[test]
fn a_channel_a_group() {
    for (kernel, stride, pad) in [(3, 1, 1), (3, 2, 1), (5, 1, 2), (5, 2, 2), (7, 3, 0)] {
        for spatial in [[7, 7], [14, 15], [8, 40]] {
            let w = window(&[kernel, kernel], &[stride, stride], &[], &[pad; 4]);
            check(&spec(40, 40, 40, w), Input::Blocked, 2, &spatial, Some(Function::Relu));
        }
    }
    let dilated = window(&[3, 2], &[1, 2], &[2, 3], &[1, 2, 0, 3]);
    check(&spec(16, 16, 16, dilated), Input::Blocked, 1, &[9, 23], Some(Function::Sigmoid));
    check(&spec(24, 24, 24, window(&[5], &[], &[], &[4, 0])), Input::Blocked, 1, &[30], None);
}

#[test]
fn minimal_filtering() {
    for (inputs, outputs) in [(32, 32), (40, 70), (64, 64)] {
        for spatial in [[7, 7], [8, 8], [13, 15], [28, 28]] {
            for pads in [[1; 4], [0; 4], [2, 0, 1, 1]] {
                let spec = spec(1, inputs, outputs, window(&[3, 3], &[], &[], &pads));
                check(&spec, Input::Blocked, 1, &spatial, Some(Function::Relu));
                check_winograd::<2>(&spec, &spatial);
                check_winograd::<4>(&spec, &spatial);
            }
        }
    }
    let deep = spec(1, 512, 48, window(&[3, 3], &[], &[], &[1; 4]));
    check_winograd::<2>(&deep, &[7, 7]);
    check_winograd::<4>(&deep, &[7, 7]);
}

#[test]
fn products_are_those_of_the_sums_or_fewer() {
    let products = |spec: &Spec, input, spatial: &[usize]| {
        Convolution::products(spec, input, false, 2, spatial).expect("sizes that fit").count
    };
    let depthwise = spec(24, 24, 24, window(&[3, 3], &[2, 2], &[], &[1; 4]));
    assert_eq!(products(&depthwise, Input::Blocked, &[9, 9]), 2 * 24 * 25 * 9);
    let dense = spec(1, 3, 20, window(&[7, 7], &[], &[], &[]));
    assert_eq!(products(&dense, Input::Dense, &[10, 12]), 2 * 20 * 4 * 6 * 3 * 49);
    // Tiles of 4 x 4 outputs take 36 products for each pair of channels, not 144.
    let filtered = spec(1, 64, 64, window(&[3, 3], &[], &[], &[1; 4]));
    assert_eq!(products(&filtered, Input::Blocked, &[56, 56]), 2 * 14 * 14 * 36 * 64 * 64);
    assert!(Convolution::products(&dense, Input::Dense, false, 1, &[6, 6]).is_err());
}

/// Minimal filtering of both sizes, whichever would be chosen.
fn check_winograd<const M: usize>(spec: &Spec, spatial: &[usize]) {
    let positions: usize = spatial.iter().product();
    let x = noise(spec.inputs * positions, 1);
    let w = noise(spec.outputs * spec.inputs * 9, 2);
    let bias = vec![0.0; spec.outputs.next_multiple_of(LANES)];
    let sizes = Sizes::new(spec, Input::Blocked, 1, spatial).unwrap();
    let seen = blocked(1, spec.inputs, positions, &x);
    let want = slow(spec, 1, spatial, &x, &w, &bias);
    let most = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let winograd = Winograd::new(&Threads::sequential(), spec, &w, M).unwrap();
    let call = Call { sizes: &sizes, x: &seen, sum: None, bias: &bias, after: After::Nothing };
    for width in [1, 2] {
        let mut out = vec![7.0; sizes.output_len()];
        winograd.run(&Threads::new(width), &call, &mut out);
        let got = dense(1, spec.outputs, sizes.positions(), &out);
        for (&got, &want) in got.iter().zip(&want) {
            assert!(
                (f64::from(got) - want).abs() <= 1e-5 * most,
                "F({M}) {spec:?} {spatial:?}: {got} for {want}"
            );
        }
    }
}

/// Sums of rounded numbers, whether that is quicker or not.
fn check_rounded(spec: &Spec, input: Input, batch: usize, spatial: &[usize], function: Option<Function>) {
    let positions: usize = spatial.iter().product();
    let taps: usize = spec.window.kernel.iter().product();
    let near =
        |values: &[f32]| -> Vec<f32> { values.iter().map(|&v| half::bf16::from_f32(v).into()).collect() };
    let x = noise(batch * spec.inputs * positions, 1);
    let w = noise(spec.outputs * spec.inputs * taps, 2);
    let bias = noise(spec.outputs, 3);
    let mut padded = bias.clone();
    padded.resize(spec.outputs.next_multiple_of(LANES), 0.0);
    let sizes = Sizes::new(spec, input, batch, spatial).unwrap();
    let seen = match input {
        Input::Dense => x.clone(),
        Input::Blocked => {
            let mut seen = blocked(batch, spec.inputs, positions, &x);
            // Lanes beyond the channels hold anything.
            let plane = positions * LANES;
            for (at, v) in seen.iter_mut().enumerate() {
                let channel = at / plane % spec.inputs.div_ceil(LANES) * LANES + at % LANES;
                if channel >= spec.inputs {
                    *v = f32::MAX;
                }
            }
            seen
        }
    };
    let want = slow(spec, batch, spatial, &near(&x), &near(&w), &bias);
    let most = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let other = noise(want.len(), 4);
    let summed = blocked(batch, spec.outputs, sizes.positions(), &other);
    let rounded = Rounded::new(&Threads::new(2), spec, input, &w).unwrap();
    for sum in [None, Some(&summed[..])] {
        let call = Call { sizes: &sizes, x: &seen, sum, bias: &padded, after: After::new(function) };
        let mut bits: Option<Vec<f32>> = None;
        for width in [1, 3] {
            let mut out = vec![7.0; sizes.output_len()];
            rounded.run(&Threads::new(width), &call, &mut out);
            let got = dense(batch, spec.outputs, sizes.positions(), &out);
            for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
                let want = if sum.is_some() { want + f64::from(other[i]) } else { want };
                let mut wanted = [want];
                if let Some(function) = function {
                    crate::Operand::apply(function, &[want], &mut wanted).unwrap();
                }
                let off = (f64::from(got) - wanted[0]).abs();
                assert!(off <= 1e-5 * most, "{spec:?} {spatial:?} at {i}: {got} for {}", wanted[0]);
            }
            assert!(bits.get_or_insert_with(|| out.clone()) == &out, "other bits on {width} threads");
        }
    }
}

#[test]
fn rounded_to_bf16() {
    let relu = Some(Function::Relu);
    for (inputs, outputs) in [(1, 1), (16, 16), (3, 40), (37, 100), (64, 48), (130, 33)] {
        for spatial in [[1, 1], [3, 5], [7, 7], [21, 34]] {
            for (kernel, stride, pad) in [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (2, 2, 0)] {
                if pad == 0 && kernel > spatial[0] {
                    continue;
                }
                let w = window(&[kernel; 2], &[stride; 2], &[], &[pad; 4]);
                check_rounded(&spec(1, inputs, outputs, w), Input::Blocked, 1, &spatial, relu);
            }
        }
    }
    let hard = Some(Function::HardSigmoid { alpha: 0.3, beta: 0.4 });
    for (w, spatial) in [
        (window(&[5, 3], &[1, 2], &[2, 1], &[2, 0, 1, 3]), vec![11, 12]),
        (window(&[3, 3], &[3, 2], &[2, 3], &[4, 5, 6, 7]), vec![13, 31]),
        (window(&[2, 4], &[2, 4], &[3, 6], &[3; 4]), vec![8, 20]),
        (window(&[3, 3], &[], &[], &[9, 9, 8, 2]), vec![2, 3]),
        (window(&[4, 4], &[4, 4], &[], &[3; 4]), vec![2, 3]),
        (window(&[5], &[2], &[], &[2, 2]), vec![61]),
        (window(&[1], &[], &[], &[]), vec![700]),
        (window(&[3, 3], &[], &[], &[1; 4]), vec![45, 61]),
        (window(&[3, 3], &[2, 2], &[], &[1; 4]), vec![61, 57]),
    ] {
        check_rounded(&spec(1, 40, 70, w.clone()), Input::Blocked, 2, &spatial, hard);
        check_rounded(&spec(1, 20, 36, w.clone()), Input::Blocked, 5, &spatial, Some(Function::Tanh));
        check_rounded(&spec(1, 3, 50, w), Input::Dense, 2, &spatial, None);
    }
    for (inputs, kernel, stride, pad, spatial) in
        [(3, 7, 2, 3, [40, 61]), (3, 16, 16, 0, [48, 64]), (1, 5, 1, 2, [6, 8]), (8, 3, 3, 1, [20, 31])]
    {
        let w = window(&[kernel; 2], &[stride; 2], &[], &[pad; 4]);
        check_rounded(&spec(1, inputs, 40, w), Input::Dense, 2, &spatial, relu);
    }
    check_rounded(&spec(1, 1, 36, window(&[256], &[64], &[], &[0, 0])), Input::Dense, 2, &[1000], None);
}

#[test]
fn poolings() {
    let threads = Threads::new(2);
    let x = noise(2 * 20 * 9 * 11, 5);
    let seen = blocked(2, 20, 99, &x);
    for (pooling, name) in [
        (Pooling::Max, "max"),
        (Pooling::Average { count_pads: false }, "mean"),
        (Pooling::Average { count_pads: true }, "all"),
    ] {
        for w in [
            window(&[3, 3], &[2, 2], &[], &[1; 4]),
            window(&[2, 3], &[1, 2], &[2, 1], &[0, 1, 1, 0]),
            window(&[9, 11], &[], &[], &[]),
        ] {
            let out_sizes = w.output(&[9, 11], false).unwrap();
            let positions = out_sizes[0] * out_sizes[1];
            let mut out = vec![0.0; 2 * 32 * positions];
            pool(&threads, pooling, &w, 4, &[9, 11], &seen, &mut out).unwrap();
            let got = dense(2, 20, positions, &out);
            for (i, &got) in got.iter().enumerate() {
                let (plane, at) = (i / positions, i % positions);
                let mut seen = Vec::new();
                for tap in 0..w.kernel[0] * w.kernel[1] {
                    let row = w.position(0, at / out_sizes[1], tap / w.kernel[1], 9);
                    let column = w.position(1, at % out_sizes[1], tap % w.kernel[1], 11);
                    if let (Some(row), Some(column)) = (row, column) {
                        seen.push(x[plane * 99 + row * 11 + column]);
                    }
                }
                let sum: f32 = seen.iter().sum();
                let want = match name {
                    "max" => seen.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                    "mean" => sum / seen.len() as f32,
                    _ => sum / (w.kernel[0] * w.kernel[1]) as f32,
                };
                assert!((got - want).abs() < 1e-5, "{name} {w:?}: {got} for {want}");
            }
        }
    }
    let mut means = vec![0.0; 2 * 32];
    global_average(&threads, 4, 99, &seen, &mut means).unwrap();
    for (i, &mean) in dense(2, 20, 1, &means).iter().enumerate() {
        let want: f32 = x[i * 99..(i + 1) * 99].iter().sum::<f32>() / 99.0;
        assert!((mean - want).abs() < 1e-5);
    }
    let mut nan = seen.clone();
    nan[3 * LANES] = f32::NAN;
    let mut out = vec![0.0; 4 * 16];
    pool(&threads, Pooling::Max, &window(&[9, 11], &[], &[], &[]), 4, &[9, 11], &nan, &mut out).unwrap();
    assert!(out[0].is_nan() && !out[1].is_nan());
}

#[test]
fn wrong_sizes_are_errors() {
    let threads = Threads::sequential();
    let spec = spec(1, 16, 16, window(&[3, 3], &[], &[], &[]));
    assert!(Convolution::new(&spec, Input::Blocked, &tensor(&[0.0; 5]), None, None).is_err());
    let convolution =
        Convolution::new(&spec, Input::Blocked, &tensor(&[0.0; 16 * 16 * 9]), None, None).unwrap();
    assert!(convolution.run(&threads, 1, &[2, 2], &[0.0; 64], None, &mut []).is_err());
    assert!(convolution.run(&threads, 1, &[3, 3], &[0.0; 64], None, &mut [0.0; 16]).is_err());
    assert!(block(&threads, 1, 3, 4, &[0.0; 11], &mut [0.0; 64]).is_err());
    assert!(global_average(&threads, 1, 4, &[0.0; 11], &mut [0.0; 16]).is_err());
}
