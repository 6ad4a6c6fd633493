//! GFLOP/s of blocked convolutions as ResNet-50 and MobileNet have them, those of direct sums counted. `cold` is the chosen
//! way as within a network: the input was just written, while weights, output and a sum that is added come from memory.

use oxidane_kernels::blocked::{Convolution, Input, Spec};
use oxidane_kernels::window::Window;
use oxidane_pool::Pool;
use oxidane_tensor::Tensor;
use std::time::Instant;

/// Bytes that no cache near a core holds.
const COLD: usize = 64 << 20;

fn main() {
    let only = std::env::args().nth(1).filter(|a| !a.starts_with("--"));
    let threads = std::env::var("THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let pool = Pool::new(threads);
    println!(
        "{:40} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "layer", "chosen", "cold", "bf16", "direct", "F(2x2)", "F(4x4)"
    );
    // groups, inputs, outputs, kernel, stride, size of the input
    for (groups, inputs, outputs, kernel, stride, size) in [
        (1, 3, 64, 7, 2, 224),
        (1, 64, 64, 1, 1, 56),
        (1, 64, 256, 1, 1, 56),
        (1, 256, 64, 1, 1, 56),
        (1, 128, 512, 1, 1, 28),
        (1, 512, 128, 1, 1, 28),
        (1, 256, 1024, 1, 1, 14),
        (1, 1024, 256, 1, 1, 14),
        (1, 512, 2048, 1, 1, 7),
        (1, 2048, 512, 1, 1, 7),
        (1, 256, 512, 1, 2, 56),
        (1, 128, 128, 3, 2, 56),
        (1, 256, 256, 3, 2, 28),
        (1, 512, 512, 3, 2, 14),
        (1, 64, 64, 3, 1, 56),
        (1, 128, 128, 3, 1, 28),
        (1, 256, 256, 3, 1, 14),
        (1, 512, 512, 3, 1, 7),
        (1, 16, 16, 1, 1, 112),
        (1, 16, 64, 1, 1, 112),
        (1, 64, 24, 1, 1, 56),
        (1, 24, 72, 1, 1, 56),
        (1, 72, 24, 1, 1, 56),
        (1, 40, 120, 1, 1, 28),
        (1, 120, 40, 1, 1, 28),
        (1, 40, 240, 1, 1, 28),
        (1, 80, 200, 1, 1, 14),
        (1, 200, 80, 1, 1, 14),
        (1, 112, 672, 1, 1, 14),
        (1, 160, 960, 1, 1, 7),
        (1, 960, 160, 1, 1, 7),
        (1, 960, 1280, 1, 1, 1),
        (1, 16, 16, 3, 1, 56),
        (1, 32, 16, 3, 1, 56),
        (1, 32, 32, 1, 1, 7),
        (16, 16, 16, 3, 1, 112),
        (64, 64, 64, 3, 2, 112),
        (120, 120, 120, 5, 1, 28),
        (240, 240, 240, 3, 2, 28),
        (672, 672, 672, 5, 2, 14),
        (960, 960, 960, 5, 1, 7),
    ] {
        let name = format!("{inputs} to {outputs}, {kernel}x{kernel} by {stride}, {groups} groups, {size}");
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let pad = kernel as i64 / 2;
        let window = Window::new(&[kernel; 2], &[stride; 2], &[], &[pad; 4]).unwrap();
        let spec = Spec { groups, inputs, outputs, window };
        let input = if inputs < 8 { Input::Dense } else { Input::Blocked };
        let channels = if inputs < 8 { inputs } else { inputs.next_multiple_of(16) };
        let x: Vec<f32> = (0..channels * size * size).map(|i| (i % 23) as f32 - 11.0).collect();
        let weights = vec![0.01f32; outputs * inputs / groups * kernel * kernel];
        let tensor = Tensor::new(&[weights.len()], &weights).unwrap();
        let make = || Convolution::new(&spec, input, &tensor, None, None).unwrap();
        let out_size = spec.window.output(&[size, size], false).unwrap()[0];
        let mut out = vec![0.0; outputs.next_multiple_of(16) * out_size * out_size];
        let len = out.len();
        let work = 2.0 * (weights.len() * out_size * out_size) as f64;
        let mut measure = |convolution: Convolution| {
            let mut best = f64::INFINITY;
            let start = Instant::now();
            while start.elapsed().as_secs_f64() < 0.15 {
                let once = Instant::now();
                convolution.run(&pool, 1, &[size, size], &x, None, &mut out).unwrap();
                best = best.min(once.elapsed().as_secs_f64());
            }
            work / best / 1e9
        };
        let chosen = measure(make());
        let cold = {
            let copies: Vec<_> = (0..(COLD / (4 * weights.len())).clamp(2, 64)).map(|_| make()).collect();
            let mut outs = vec![vec![0.0; len]; (COLD / (4 * len)).clamp(2, 32)];
            let sums = outs.clone();
            let (mut written, mut times, mut turn) = (x.clone(), Vec::new(), 0);
            let start = Instant::now();
            while start.elapsed().as_secs_f64() < 0.4 || turn <= copies.len() {
                written.copy_from_slice(&x);
                let (out, sum) = (turn % outs.len(), &sums[turn % sums.len()]);
                let once = Instant::now();
                let convolution = &copies[turn % copies.len()];
                convolution.run(&pool, 1, &[size, size], &written, Some(sum), &mut outs[out]).unwrap();
                if turn >= copies.len() {
                    times.push(once.elapsed().as_secs_f64());
                }
                turn += 1;
            }
            times.sort_by(f64::total_cmp);
            work / times[times.len() / 4] / 1e9
        };
        let mut line = format!("{name:40} {chosen:10.1} {cold:10.1} {:10.1}", measure(make().in_bf16()));
        if (kernel, stride, groups) == (3, 1, 1) {
            for side in [0, 2, 4] {
                line += &format!(" {:10.1}", measure(make().by_tiles_of(side)));
            }
        }
        println!("{line}");
    }
}
