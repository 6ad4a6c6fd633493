use super::*;

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + i / 5 + i * i) % 23) as f32 - 11.0).collect()
}

/// The elements of each window with their places in the plane, and how many taps lie in the padded input.
fn windows(shape: &PoolShape) -> Vec<(Vec<usize>, usize)> {
    let w = &shape.window;
    let rank = w.rank();
    let (mut at, mut tap) = (vec![0; rank], vec![0; rank]);
    let taps: usize = w.kernel.iter().product();
    (0..shape.positions())
        .map(|p| {
            unravel(p, &shape.output[2..], &mut at);
            let (mut places, mut padded) = (vec![], 0);
            for t in 0..taps {
                unravel(t, &w.kernel, &mut tap);
                let q: Vec<usize> =
                    (0..rank).map(|a| at[a] * w.strides[a] + tap[a] * w.dilations[a]).collect();
                let size = |a: usize| shape.input[2 + a];
                padded += usize::from((0..rank).all(|a| q[a] < size(a) + w.begins[a] + w.ends[a]));
                if (0..rank).all(|a| q[a] >= w.begins[a] && q[a] - w.begins[a] < size(a)) {
                    places.push((0..rank).fold(0, |base, a| base * size(a) + q[a] - w.begins[a]));
                }
            }
            (places, padded)
        })
        .collect()
}

fn check(x: &[usize], window: Window, ceil_mode: bool) {
    let shape = PoolShape::new(x, window, ceil_mode).unwrap();
    let values = numbers(x.iter().product());
    let tensor = Tensor::new(x, &values).unwrap();
    let windows = windows(&shape);
    let (planes, plane) = (shape.planes(), shape.plane());
    let each = |f: &dyn Fn(&[f64], usize) -> f64| -> Vec<f32> {
        let mut out = vec![];
        for p in 0..planes {
            for (places, padded) in &windows {
                let seen: Vec<f64> = places.iter().map(|&q| f64::from(values[p * plane + q])).collect();
                out.push(f(&seen, *padded) as f32);
            }
        }
        out
    };
    for width in [1, 2, 4] {
        let pool = Pool::new(width);
        let max = each(&|v, _| v.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        assert_eq!(max_pool(&pool, &shape, &tensor).unwrap().slice::<f32>().unwrap(), max);
        let (again, places) = max_pool_indices(&pool, &shape, StorageOrder::RowMajor, &tensor).unwrap();
        assert_eq!(again.slice::<f32>().unwrap(), max);
        let first: Vec<i64> = (0..planes * windows.len())
            .map(|i| {
                let (p, seen) = (i / windows.len(), &windows[i % windows.len()].0);
                let place = seen.iter().find(|&&q| values[p * plane + q] == max[i]);
                place.map_or(-1, |&q| (p * plane + q) as i64)
            })
            .collect();
        assert_eq!(places.slice::<i64>().unwrap(), first);
        for pads in [false, true] {
            let mean = each(&|v, padded| {
                let n = if pads { padded } else { v.len() };
                if n == 0 { 0.0 } else { v.iter().sum::<f64>() / n as f64 }
            });
            let out = average_pool(&pool, &shape, pads, &tensor).unwrap();
            assert_eq!(out.slice::<f32>().unwrap(), mean);
        }
        for p in 1..4 {
            let norm = each(&|v, _| v.iter().map(|v| v.abs().powi(p)).sum::<f64>().powf(1.0 / f64::from(p)));
            let out = lp_pool(&pool, &shape, i64::from(p), &tensor).unwrap();
            for (a, b) in out.slice::<f32>().unwrap().iter().zip(norm) {
                assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{a} {b}");
            }
        }
    }
}

#[test]
fn agrees_with_the_definition() {
    for ceil in [false, true] {
        for stride in 1..4 {
            for dilation in 1..3 {
                for pad in 0..2 {
                    let (s, d) = ([stride, 2], [dilation, 1]);
                    let w = Window::new(&[3, 2], &s, &d, &[pad, 1, 0, pad]).unwrap();
                    check(&[2, 3, 9, 11], w, ceil);
                    let w = Window::new(&[3], &s[..1], &d[..1], &[pad, 2]).unwrap();
                    check(&[1, 2, 17], w, ceil);
                }
            }
        }
        let w = Window::new(&[2, 3, 2], &[1, 2, 3], &[2, 1, 1], &[1, 0, 1, 0, 1, 1]).unwrap();
        check(&[1, 2, 5, 6, 7], w, ceil);
        let w = Window::new(&[3, 3], &[2, 2], &[], &[]).unwrap();
        check(&[0, 2, 5, 6], w, ceil);
    }
}

#[test]
fn columns_first_and_small_types() {
    let pool = Pool::sequential();
    let shape = PoolShape::new(&[1, 1, 3, 4], Window::new(&[2, 2], &[], &[], &[]).unwrap(), false).unwrap();
    let x = Tensor::new(&[1, 1, 3, 4], &[0u8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]).unwrap();
    let (out, places) = max_pool_indices(&pool, &shape, StorageOrder::ColumnMajor, &x).unwrap();
    assert_eq!(out.slice::<u8>().unwrap(), &[5, 6, 7, 9, 10, 11]);
    assert_eq!(places.slice::<i64>().unwrap(), &[4, 7, 10, 5, 8, 11]);
}

#[test]
fn whole_channels() {
    let pool = Pool::new(2);
    let x = Tensor::new(&[2, 2, 3, 7], &numbers(84)).unwrap();
    let values = numbers(84);
    let mean = global_pool(&pool, GlobalPool::Average, &x).unwrap();
    assert_eq!(mean.shape(), [2, 2, 1, 1]);
    let max = global_pool(&pool, GlobalPool::Max, &x).unwrap();
    let two = global_pool(&pool, GlobalPool::Lp(2), &x).unwrap();
    for (p, plane) in values.chunks(21).enumerate() {
        assert_eq!(mean.slice::<f32>().unwrap()[p], plane.iter().sum::<f32>() / 21.0);
        assert_eq!(max.slice::<f32>().unwrap()[p], plane.iter().copied().fold(f32::MIN, f32::max));
        let norm = plane.iter().map(|v| v * v).sum::<f32>().sqrt();
        assert!((two.slice::<f32>().unwrap()[p] - norm).abs() < 1e-4);
    }
    assert!(global_pool(&pool, GlobalPool::Lp(0), &x).is_err());
}
