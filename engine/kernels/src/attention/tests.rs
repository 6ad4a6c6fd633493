use super::*;

/// A call of the test: sizes, and what is in effect.
#[derive(Clone, Debug)]
struct Shape {
    batches: usize,
    heads: usize,
    kv_heads: usize,
    queries: usize,
    keys: usize,
    size: usize,
    value_size: usize,
    /// Whether the heads of a row lie side by side.
    flat: bool,
    span: (Option<i64>, Option<i64>),
    /// Keys of the first batch less than all.
    missing: usize,
    /// Sizes of the bias; none where the first is zero.
    bias: [usize; 4],
    scale: f32,
    cap: f32,
}

const PLAIN: Shape = Shape {
    batches: 1,
    heads: 2,
    kv_heads: 2,
    queries: 5,
    keys: 5,
    size: 4,
    value_size: 4,
    flat: true,
    span: (None, None),
    missing: 0,
    bias: [0; 4],
    scale: 0.5,
    cap: 0.0,
};

fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn heads<T>(data: &[T], flat: bool, (heads, rows, size): (usize, usize, usize)) -> Heads<'_, T> {
    let (head, row) = if flat { (size, heads * size) } else { (rows * size, size) };
    Heads { data, batch: heads * rows * size, head, row }
}

/// All numbers of a call.
struct Data {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    bias: Vec<f32>,
}

impl Shape {
    fn data(&self) -> Data {
        let bias = self.bias.iter().product();
        let mut bias = noise(bias, 4);
        // Some keys are hidden, and so is a whole row.
        let last = self.bias[3];
        for (i, b) in bias.iter_mut().enumerate() {
            if i % 7 == 3 || last > 1 && i / last == 2 {
                *b = f32::NEG_INFINITY;
            }
        }
        Data {
            q: noise(self.batches * self.heads * self.queries * self.size, 1),
            k: noise(self.batches * self.kv_heads * self.keys * self.size, 2),
            v: noise(self.batches * self.kv_heads * self.keys * self.value_size, 3),
            bias,
        }
    }

    fn spans(&self) -> Vec<Span> {
        let span = |b| Span {
            first: self.span.0,
            end: self.span.1,
            valid: self.keys - if b == 0 { self.missing } else { 0 },
        };
        (0..self.batches).map(span).collect()
    }

    fn run(&self, data: &Data, width: usize) -> Vec<f32> {
        let steps = std::array::from_fn(|axis| match self.bias[axis] {
            0 | 1 => 0,
            _ => self.bias[axis + 1..].iter().product(),
        });
        let spans = self.spans();
        let call = Attention {
            batches: self.batches,
            heads: self.heads,
            kv_heads: self.kv_heads,
            queries: self.queries,
            keys: self.keys,
            size: self.size,
            value_size: self.value_size,
            query: heads(&data.q, self.flat, (self.heads, self.queries, self.size)),
            key: heads(&data.k, self.flat, (self.kv_heads, self.keys, self.size)),
            value: heads(&data.v, self.flat, (self.kv_heads, self.keys, self.value_size)),
            scale: self.scale,
            cap: self.cap,
            bias: (self.bias[0] > 0).then_some(Bias {
                data: &data.bias,
                steps,
                keys: if self.bias[3] == 1 { self.keys } else { self.bias[3] },
            }),
            spans: &spans,
            dtype: DType::F32,
            softmax: DType::F32,
        };
        let mut out = vec![f32::NAN; self.batches * self.heads * self.queries * self.value_size];
        let placed = heads(&out, self.flat, (self.heads, self.queries, self.value_size));
        let placed = (placed.batch, placed.head, placed.row);
        attention(&Pool::new(width), &call, &mut out, placed, None, &|| true).unwrap();
        out
    }

    /// The definition in double precision.
    fn slow(&self, data: &Data) -> Vec<f64> {
        let q = heads(&data.q, self.flat, (self.heads, self.queries, self.size));
        let k = heads(&data.k, self.flat, (self.kv_heads, self.keys, self.size));
        let v = heads(&data.v, self.flat, (self.kv_heads, self.keys, self.value_size));
        let at = |h: &Heads<'_, f32>, (b, head, row, i): (usize, usize, usize, usize)| {
            f64::from(h.data[b * h.batch + head * h.head + row * h.row + i])
        };
        let mut out = vec![0.0; self.batches * self.heads * self.queries * self.value_size];
        let to = heads(&data.q, self.flat, (self.heads, self.queries, self.value_size));
        let spans = self.spans();
        for b in 0..self.batches {
            for h in 0..self.heads {
                let kv = h / (self.heads / self.kv_heads);
                for i in 0..self.queries {
                    let first = spans[b].first.map_or(0, |f| f + i as i64);
                    let end = spans[b].end.map_or(i64::MAX, |e| e + i as i64).min(spans[b].valid as i64);
                    let scores: Vec<f64> = (0..self.keys)
                        .map(|j| {
                            if (j as i64) < first || j as i64 >= end {
                                return f64::NEG_INFINITY;
                            }
                            let dot: f64 =
                                (0..self.size).map(|e| at(&q, (b, h, i, e)) * at(&k, (b, kv, j, e))).sum();
                            let mut s = dot * f64::from(self.scale);
                            if self.cap > 0.0 {
                                s = f64::from(self.cap) * (s / f64::from(self.cap)).tanh();
                            }
                            if self.bias[0] == 0 {
                                return s;
                            }
                            if self.bias[3] > 1 && j >= self.bias[3] {
                                return f64::NEG_INFINITY;
                            }
                            let index = [b, h, i, j];
                            let place = (0..4).fold(0, |place, axis| {
                                place * self.bias[axis] + if self.bias[axis] > 1 { index[axis] } else { 0 }
                            });
                            s + f64::from(data.bias[place])
                        })
                        .collect();
                    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    if top == f64::NEG_INFINITY {
                        continue;
                    }
                    let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                    for e in 0..self.value_size {
                        let mixed: f64 = scores
                            .iter()
                            .enumerate()
                            .map(|(j, s)| (s - top).exp() / sum * at(&v, (b, kv, j, e)))
                            .sum();
                        out[b * to.batch + h * to.head + i * to.row + e] = mixed;
                    }
                }
            }
        }
        out
    }

    fn check(&self) {
        let data = self.data();
        let found = self.run(&data, 1);
        for (i, (a, b)) in found.iter().zip(self.slow(&data)).enumerate() {
            assert!((f64::from(*a) - b).abs() < 3e-6, "{self:?}: {a} {b} at {i}");
        }
        for width in [2, 3] {
            assert_eq!(found, self.run(&data, width), "{self:?}");
        }
    }
}

#[test]
fn agrees_with_the_definition() {
    for (queries, keys) in
        [(1, 1), (1, 37), (3, 64), (5, 17), (6, 128), (13, 13), (50, 50), (100, 65), (197, 197)]
    {
        for (size, value_size) in [(64, 64), (1, 1), (7, 19), (16, 48), (80, 33)] {
            for flat in [false, true] {
                let shape = Shape { queries, keys, size, value_size, flat, ..PLAIN };
                shape.check();
                let small = queries * keys < 5000;
                Shape { heads: 6, batches: if small { 2 } else { 1 }, missing: keys / 3, ..shape.clone() }
                    .check();
                Shape { span: (None, Some(1)), scale: 1.5, ..shape.clone() }.check();
                let past = keys as i64 - queries as i64;
                Shape { span: (Some(past - 9), Some(past + 1)), cap: 1.5, ..shape.clone() }.check();
                for bias in
                    [[1, 1, queries, keys], [1, 2, queries, 1], [1, 1, 1, keys], [1, 1, 1, keys.div_ceil(2)]]
                {
                    Shape { bias, scale: -0.3, ..shape.clone() }.check();
                }
            }
        }
    }
}

#[test]
fn more_keys_than_a_block() {
    for (queries, keys) in [(1, 4500), (2, 9000), (30, 1300), (700, 1100)] {
        let shape = Shape { queries, keys, size: 16, value_size: 24, heads: 2, kv_heads: 1, ..PLAIN };
        shape.check();
        Shape { span: (None, Some(1)), ..shape.clone() }.check();
        Shape { span: (Some(300), Some(900)), missing: 3, ..shape.clone() }.check();
        Shape { bias: [1, 1, queries, keys], cap: 2.0, flat: false, ..shape }.check();
    }
}

#[test]
fn groups_of_heads() {
    for (heads, kv_heads, queries) in [(8, 1, 1), (8, 2, 1), (6, 3, 20), (4, 1, 33)] {
        let shape =
            Shape { batches: 2, heads, kv_heads, queries, keys: 70, size: 32, value_size: 32, ..PLAIN };
        shape.check();
        Shape { span: (None, Some(71 - queries as i64)), bias: [2, 1, 1, 70], flat: false, ..shape }.check();
    }
}

/// Numbers that are none reach their rows alone, and hidden keys reach nothing.
#[test]
fn odd_numbers() {
    let shape = Shape { queries: 9, keys: 40, size: 16, value_size: 16, heads: 1, kv_heads: 1, ..PLAIN };
    let mut data = shape.data();
    data.q[3 * 16] = f32::NAN;
    data.q[5 * 16] = f32::INFINITY;
    let found = shape.run(&data, 1);
    for (i, row) in found.chunks(16).enumerate() {
        assert_eq!(row.iter().all(|v| v.is_nan()), i == 3 || i == 5);
    }
    // Weights that underflow or overflow where they stand alone.
    for scale in [0.0, 1e-30, 1e30, -1e30] {
        let found = Shape { scale, ..shape.clone() }.run(&shape.data(), 1);
        assert!(found.iter().all(|v| v.is_finite()), "{scale}");
    }
}
