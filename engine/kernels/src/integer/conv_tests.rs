use super::tests::{noise, value};
use super::*;
use crate::window::Window;

struct Case {
    batch: usize,
    input: [usize; 3],
    outputs: usize,
    kernel: [usize; 2],
    strides: [i64; 2],
    dilations: [i64; 2],
    pads: [i64; 4],
}

const fn case(batch: usize, input: [usize; 3], outputs: usize, kernel: [usize; 2]) -> Case {
    Case { batch, input, outputs, kernel, strides: [1, 1], dilations: [1, 1], pads: [0; 4] }
}

/// By index arithmetic alone: the sums of a convolution, channels last.
fn slow(case: &Case, x: &[i32], w: &[i32], x_zero: i32, bias: &[i32]) -> (usize, usize, Vec<i32>) {
    let ([c, h, wide], [kh, kw]) = (case.input, case.kernel);
    let span = |k: usize, d: i64| (k as i64 - 1) * d + 1;
    let size = |n: usize, axis: usize| {
        let padded = n as i64 + case.pads[axis] + case.pads[axis + 2];
        ((padded - span(case.kernel[axis], case.dilations[axis])) / case.strides[axis] + 1) as usize
    };
    let (oh, ow) = (size(h, 0), size(wide, 1));
    let mut out = Vec::new();
    for n in 0..case.batch {
        for oy in 0..oh as i64 {
            for ox in 0..ow as i64 {
                for o in 0..case.outputs {
                    let mut sum = bias[o];
                    for ky in 0..kh as i64 {
                        for kx in 0..kw as i64 {
                            let y = oy * case.strides[0] + ky * case.dilations[0] - case.pads[0];
                            let x_ = ox * case.strides[1] + kx * case.dilations[1] - case.pads[1];
                            if y < 0 || x_ < 0 || y >= h as i64 || x_ >= wide as i64 {
                                continue;
                            }
                            for i in 0..c {
                                let at = ((n * h + y as usize) * wide + x_ as usize) * c + i;
                                let of = ((o * c + i) * kh + ky as usize) * kw + kx as usize;
                                sum += (x[at] - x_zero) * w[of];
                            }
                        }
                    }
                    out.push(sum);
                }
            }
        }
    }
    (oh, ow, out)
}

#[test]
fn convolutions_are_exact() {
    let cases = [
        case(1, [64, 5, 7], 32, [1, 1]),
        case(2, [64, 6, 5], 40, [3, 3]),
        Case { pads: [1; 4], ..case(1, [64, 14, 14], 64, [3, 3]) },
        Case { pads: [1; 4], strides: [2, 2], ..case(2, [128, 9, 10], 33, [3, 3]) },
        Case { strides: [2, 2], ..case(1, [64, 8, 7], 20, [1, 1]) },
        Case { pads: [3; 4], strides: [2, 2], ..case(1, [3, 23, 37], 64, [7, 7]) },
        Case { pads: [0, 1, 2, 3], strides: [1, 2], ..case(3, [20, 9, 8], 17, [2, 3]) },
        Case { pads: [2, 1, 2, 0], dilations: [2, 3], ..case(2, [5, 12, 11], 9, [3, 2]) },
        Case { pads: [4; 4], strides: [3, 2], dilations: [2, 1], ..case(1, [33, 11, 13], 31, [3, 5]) },
        Case { pads: [6, 0, 6, 0], ..case(1, [16, 1, 3], 5, [7, 1]) },
        case(2, [1, 4, 40], 3, [3, 3]),
        Case { strides: [1, 4], ..case(1, [2, 3, 40], 3, [1, 2]) },
    ];
    for (seed, case) in cases.iter().enumerate() {
        for (x_signed, w_signed, y_signed) in
            [(false, true, false), (true, true, true), (false, false, true), (true, false, false)]
        {
            for (last, add) in [(true, None), (false, None), (true, Some(false)), (true, Some(true))] {
                let ([c, h, w], taps) = (case.input, case.kernel[0] * case.kernel[1]);
                let x = noise(case.batch * c * h * w, seed as u64);
                let weights = noise(case.outputs * c * taps, seed as u64 + 40);
                let bias: Vec<i32> = (0..case.outputs).map(|i| i as i32 * 100 - 500).collect();
                let scales: Vec<f32> = (0..case.outputs).map(|i| 0.002 + 0.0001 * i as f32).collect();
                let x_zero = if x_signed { -17 } else { 100 };
                let w_zero = if w_signed { 0 } else { 128 };
                let coding = |scale, zero: i32, signed| Coding {
                    scale,
                    zero: if signed { zero - 128 } else { zero },
                    signed,
                };
                let y = coding(0.9, 120, y_signed);
                let (middle, other) = (coding(0.8, 130, !y_signed), coding(0.07, 60, add == Some(true)));
                let window = Window::new(&case.kernel, &case.strides, &case.dilations, &case.pads).unwrap();
                let spec = ConvSpec {
                    input: case.input,
                    channels_last: last,
                    window: &window,
                    weights: (&weights, w_signed),
                    outputs: case.outputs,
                    scales: &scales,
                    zeros: &[w_zero],
                    bias: &bias,
                    codings: (Coding { scale: 0.05, zero: x_zero, signed: x_signed }, y),
                    rectified: seed % 2 == 1,
                    addend: add.map(|_| (middle, other)),
                };
                let conv = Conv::new(&spec).unwrap().unwrap();
                let wide: Vec<i32> = x.iter().map(|&v| value(v, x_signed)).collect();
                let w_wide: Vec<i32> = weights.iter().map(|&v| value(v, w_signed) - w_zero).collect();
                let (oh, ow, sums) = slow(case, &wide, &w_wide, x_zero, &bias);
                assert_eq!(conv.output(), [oh, ow, case.outputs]);
                let given = if last {
                    x.clone()
                } else {
                    let mut planes = vec![0; x.len()];
                    for (i, &v) in x.iter().enumerate() {
                        let (channel, place) = (i % c, i / c);
                        planes[(place / (h * w) * c + channel) * h * w + place % (h * w)] = v;
                    }
                    planes
                };
                let added = noise(sums.len(), 99);
                let mut out = vec![0; sums.len()];
                let pool = Pool::new(1 + seed % 3);
                conv.run(&pool, case.batch, &given, add.map(|_| &added[..]), &mut out).unwrap();
                for (i, (&got, &sum)) in out.iter().zip(&sums).enumerate() {
                    let cut = |steps: f32, to: Coding| {
                        let (low, high) = if to.signed { (-128, 127) } else { (0, 255) };
                        (steps.round_ties_even() as i32 + to.zero).clamp(low, high)
                    };
                    let scale = 0.05 * scales[i % case.outputs];
                    let steps = match add {
                        None => sum as f32 * (scale / y.scale),
                        Some(signed) => {
                            let first = cut(sum as f32 * (scale / middle.scale), middle) - middle.zero;
                            let second = value(added[i], signed) - other.zero;
                            (first as f32 * middle.scale + second as f32 * other.scale) / y.scale
                        }
                    };
                    let mut want = cut(steps, y);
                    if spec.rectified {
                        want = want.max(y.zero);
                    }
                    // Where an addend is worth half a step more or less, roundings differ.
                    let near = add.is_some() && (steps - steps.floor() - 0.5).abs() < 1e-3;
                    let got = value(got, y_signed);
                    assert!(
                        got == want || near && (got - want).abs() <= 1,
                        "case {seed} at {i}: {got} {want} {steps}"
                    );
                }
            }
        }
    }
}

#[test]
fn zero_points_off_the_middle_have_another_form() {
    let window = Window::new(&[1, 1], &[], &[], &[]).unwrap();
    let coding = Coding { scale: 1.0, zero: 0, signed: false };
    let spec = ConvSpec {
        input: [4, 2, 2],
        channels_last: true,
        window: &window,
        weights: (&[1; 8], true),
        outputs: 2,
        scales: &[1.0],
        zeros: &[0, 3],
        bias: &[],
        codings: (coding, coding),
        rectified: false,
        addend: None,
    };
    assert!(Conv::new(&spec).unwrap().is_none());
    assert!(Conv::new(&ConvSpec { zeros: &[0, 0, 0], ..spec }).is_err());
    let conv = Conv::new(&ConvSpec { zeros: &[0], ..spec }).unwrap().unwrap();
    let pool = Pool::sequential();
    assert!(conv.run(&pool, 1, &[0; 15], None, &mut [0; 8]).is_err());
    assert!(conv.run(&pool, 1, &[0; 16], Some(&[0; 8]), &mut [0; 8]).is_err());
    assert!(conv.run(&pool, 1, &[0; 16], None, &mut [0; 8]).is_ok());
}

/// `cargo test --release -p oxidane-kernels --lib speed_of_convolutions -- --ignored --nocapture`: ResNet-50.
#[test]
#[ignore = "a measurement"]
fn speed_of_convolutions() {
    let pool = Pool::sequential();
    let mut total = 0.0;
    for (c, h, o, k, s, add, count) in [
        (3, 224, 64, 7, 2, false, 1),
        (64, 56, 64, 1, 1, false, 1),
        (64, 56, 64, 3, 1, false, 3),
        (64, 56, 256, 1, 1, false, 1),
        (64, 56, 256, 1, 1, true, 3),
        (256, 56, 64, 1, 1, false, 2),
        (256, 56, 128, 1, 1, false, 1),
        (128, 56, 128, 3, 2, false, 1),
        (256, 56, 512, 1, 2, false, 1),
        (128, 28, 512, 1, 1, true, 4),
        (512, 28, 128, 1, 1, false, 3),
        (128, 28, 128, 3, 1, false, 3),
        (512, 28, 256, 1, 1, false, 1),
        (256, 28, 256, 3, 2, false, 1),
        (512, 28, 1024, 1, 2, false, 1),
        (256, 14, 1024, 1, 1, true, 6),
        (1024, 14, 256, 1, 1, false, 5),
        (256, 14, 256, 3, 1, false, 5),
        (1024, 14, 512, 1, 1, false, 1),
        (512, 14, 512, 3, 2, false, 1),
        (1024, 14, 2048, 1, 2, false, 1),
        (512, 7, 2048, 1, 1, true, 3),
        (2048, 7, 512, 1, 1, false, 2),
        (512, 7, 512, 3, 1, false, 2),
    ] {
        let pad = (k as i64 - 1) / 2;
        let window = Window::new(&[k, k], &[s, s], &[], &[pad; 4]).unwrap();
        let weights = noise(o * c * k * k, 3);
        let coding = Coding { scale: 0.02, zero: 0, signed: false };
        let middle = Coding { scale: 0.02, zero: 120, signed: false };
        let convs: Vec<Conv> = (0..count)
            .map(|_| {
                let spec = ConvSpec {
                    input: [c, h, h],
                    channels_last: c > 3,
                    window: &window,
                    weights: (&weights, true),
                    outputs: o,
                    scales: &[0.001],
                    zeros: &[0],
                    bias: &[],
                    codings: (coding, coding),
                    rectified: false,
                    addend: add.then_some((middle, coding)),
                };
                Conv::new(&spec).unwrap().unwrap()
            })
            .collect();
        let mut x = noise(c * h * h + 64, 4);
        let x = &aligned(&mut x)[..c * h * h];
        let [oh, ow, _] = convs[0].output();
        let (mut out, mut other) = (vec![0; oh * ow * o + 64], noise(oh * ow * o + 64, 5));
        let (out, other) = (&mut aligned(&mut out)[..oh * ow * o], &aligned(&mut other)[..oh * ow * o]);
        let mut best = f64::MAX;
        let flush: Vec<u8> = vec![1; 8 << 20];
        for _ in 0..30 {
            std::hint::black_box(flush.iter().step_by(64).map(|&v| u64::from(v)).sum::<u64>());
            let start = std::time::Instant::now();
            for conv in &convs {
                conv.run(&pool, 1, x, add.then_some(other), out).unwrap();
            }
            best = best.min(start.elapsed().as_secs_f64());
        }
        total += best;
        let rate = (count * c * k * k * oh * ow * o) as f64 / best / 1e9;
        println!("{c}x{h} to {o}, {k}x{k}/{s}, {count} times: {:.0} us, {rate:.0} GMAC/s", best * 1e6);
    }
    println!("all: {:.2} ms", total * 1e3);
}
