use super::*;

/// The specification's equations, a number at a time.
struct Slow<'a> {
    layer: &'a Recurrence,
    inputs: &'a RecurrentInputs<'a>,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Slow<'_> {
    fn at(t: Option<&Tensor>, index: usize) -> f64 {
        t.map_or(0.0, |t| t.slice::<f64>().unwrap()[index])
    }

    /// States of (step, direction, batch, hidden), then last states and last cells.
    fn run(&self) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let RecurrentInputs { x, w, r, b, sequence_lens, initial_h, initial_c, p } = *self.inputs;
        let (s, batch, size) = (x.shape()[0], x.shape()[1], x.shape()[2]);
        let (dirs, hidden) = (self.layer.direction.count(), r.shape()[2]);
        let gates = self.layer.cell.gates();
        let clip = self.layer.clip.map_or(f64::INFINITY, f64::from);
        let cut = |v: f64| v.clamp(-clip, clip);
        let mut y = vec![0.0; s * dirs * batch * hidden];
        let (mut yh, mut yc) = (vec![], vec![]);
        for d in 0..dirs {
            for n in 0..batch {
                let mut h: Vec<f64> =
                    (0..hidden).map(|i| Slow::at(initial_h, (d * batch + n) * hidden + i)).collect();
                let mut c: Vec<f64> =
                    (0..hidden).map(|i| Slow::at(initial_c, (d * batch + n) * hidden + i)).collect();
                let len = sequence_lens.map_or(s, |l| l.slice::<i32>().unwrap()[n] as usize);
                for step in 0..len {
                    let reverse = d == 1 || self.layer.direction == Direction::Reverse;
                    let t = if reverse { len - 1 - step } else { step };
                    let from_x = |g: usize, i: usize| -> f64 {
                        let row = d * gates * hidden + g * hidden + i;
                        (0..size)
                            .map(|k| {
                                Slow::at(Some(x), (t * batch + n) * size + k)
                                    * Slow::at(Some(w), row * size + k)
                            })
                            .sum::<f64>()
                            + Slow::at(b, d * 2 * gates * hidden + g * hidden + i)
                    };
                    let from_h = |g: usize, i: usize, h: &[f64]| -> f64 {
                        let row = d * gates * hidden + g * hidden + i;
                        (0..hidden).map(|k| h[k] * Slow::at(Some(r), row * hidden + k)).sum::<f64>()
                    };
                    let rb =
                        |g: usize, i: usize| Slow::at(b, d * 2 * gates * hidden + (gates + g) * hidden + i);
                    let both = |g: usize, i: usize, h: &[f64]| from_x(g, i) + from_h(g, i, h) + rb(g, i);
                    let peep = |g: usize, i: usize| Slow::at(p, d * 3 * hidden + g * hidden + i);
                    let old = h.clone();
                    for i in 0..hidden {
                        match self.layer.cell {
                            Cell::Rnn => h[i] = cut(both(0, i, &old)).tanh(),
                            Cell::Lstm { input_forget } => {
                                let input = sigmoid(cut(both(0, i, &old) + peep(0, i) * c[i]));
                                let forget = sigmoid(cut(both(2, i, &old) + peep(2, i) * c[i]));
                                let forget = if input_forget { 1.0 - input } else { forget };
                                c[i] = forget * c[i] + input * cut(both(3, i, &old)).tanh();
                                h[i] = sigmoid(cut(both(1, i, &old) + peep(1, i) * c[i])) * cut(c[i]).tanh();
                            }
                            Cell::Gru { linear_before_reset } => {
                                let reset: Vec<f64> =
                                    (0..hidden).map(|i| sigmoid(cut(both(1, i, &old)))).collect();
                                let damped: Vec<f64> = reset.iter().zip(&old).map(|(r, h)| r * h).collect();
                                let inner = if linear_before_reset {
                                    from_x(2, i) + reset[i] * (from_h(2, i, &old) + rb(2, i))
                                } else {
                                    both(2, i, &damped)
                                };
                                let z = sigmoid(cut(both(0, i, &old)));
                                h[i] = (1.0 - z) * cut(inner).tanh() + z * old[i];
                            }
                        }
                        y[((t * dirs + d) * batch + n) * hidden + i] = h[i];
                    }
                }
                yh.extend(h);
                yc.extend(c);
            }
        }
        (y, yh, yc)
    }
}

fn random(shape: &[usize], seed: usize) -> Tensor {
    let count = element_count(shape).unwrap();
    let values: Vec<f64> = (0..count).map(|i| ((i * 7919 + seed * 104_729) as f64).sin() * 0.7).collect();
    Tensor::new(shape, &values).unwrap()
}

fn as_f32(t: &Tensor) -> Tensor {
    let values: Vec<f32> = t.slice::<f64>().unwrap().iter().map(|&v| v as f32).collect();
    Tensor::new(t.shape(), &values).unwrap()
}

fn close(found: &Tensor, want: &[f64], tolerance: f64) {
    let found: Vec<f64> = match found.dtype() {
        DType::F32 => found.slice::<f32>().unwrap().iter().map(|&v| f64::from(v)).collect(),
        _ => found.slice::<f64>().unwrap().to_vec(),
    };
    assert_eq!(found.len(), want.len());
    for (a, b) in found.iter().zip(want) {
        assert!((a - b).abs() < tolerance, "{a} {b}");
    }
}

fn check(cell: Cell, direction: Direction, (s, b, i, h): (usize, usize, usize, usize), full: bool) {
    let (d, g) = (direction.count(), cell.gates());
    // Weights of many units are small, so that steps do not blow roundings up.
    let small = (6.0 / h as f64).sqrt().min(1.0);
    let scaled = |shape: &[usize], seed| {
        let values: Vec<f64> =
            random(shape, seed).slice::<f64>().unwrap().iter().map(|v| v * small).collect();
        Tensor::new(shape, &values).unwrap()
    };
    let (x, w, r) = (random(&[s, b, i], 1), scaled(&[d, g * h, i], 2), scaled(&[d, g * h, h], 3));
    let (bias, h0, c0) = (random(&[d, 2 * g * h], 4), random(&[d, b, h], 5), random(&[d, b, h], 6));
    let p = random(&[d, 3 * h], 7);
    let lens: Vec<i32> = (0..b).map(|n| ((n * 3 + 1) % (s + 1)) as i32).collect();
    let lens = Tensor::new(&[b], &lens).unwrap();
    let lstm = matches!(cell, Cell::Lstm { .. });
    let clip = full.then_some(0.6);
    let mut layer = Recurrence { cell, direction, activations: vec![], clip, batch_first: false };
    let inputs = RecurrentInputs {
        x: &x,
        w: &w,
        r: &r,
        b: full.then_some(&bias),
        sequence_lens: full.then_some(&lens),
        initial_h: full.then_some(&h0),
        initial_c: (full && lstm).then_some(&c0),
        p: (full && lstm).then_some(&p),
    };
    let (y, yh, yc) = Slow { layer: &layer, inputs: &inputs }.run();
    for width in [1, 2, 4] {
        let out = recurrent(&Pool::new(width), &layer, &inputs).unwrap();
        assert_eq!(out.y.shape(), [s, d, b, h]);
        close(&out.y, &y, 1e-9);
        close(&out.y_h, &yh, 1e-9);
        assert_eq!(out.y_c.is_some(), lstm);
        if let Some(c) = out.y_c {
            close(&c, &yc, 1e-9);
        }
    }
    let (x32, w32, r32) = (as_f32(&x), as_f32(&w), as_f32(&r));
    let (b32, h32, c32, p32) = (as_f32(&bias), as_f32(&h0), as_f32(&c0), as_f32(&p));
    let small = RecurrentInputs {
        x: &x32,
        w: &w32,
        r: &r32,
        b: inputs.b.map(|_| &b32),
        initial_h: inputs.initial_h.map(|_| &h32),
        initial_c: inputs.initial_c.map(|_| &c32),
        p: inputs.p.map(|_| &p32),
        ..inputs
    };
    let out = recurrent(&Pool::sequential(), &layer, &small).unwrap();
    close(&out.y, &y, 1e-5);
    close(&out.y_h, &yh, 1e-5);
    if let Some(c) = &out.y_c {
        close(c, &yc, 1e-5);
    }
    // Weights that were packed before, and more threads, give the same bits.
    let packed = Packed::new(&layer, &w32, &r32).unwrap();
    for width in [2, 3, 5] {
        let pool = Pool::new(width);
        let allocate = |_, dtype, shape: &[usize]| -> Result<TensorMut, KernelError> {
            let mut out = TensorMut::zeroed(dtype, shape)?;
            out.slice_mut::<f32>()?.fill(f32::NAN);
            Ok(out)
        };
        let again = recurrent_with(&pool, &layer, &small, packed.as_ref(), allocate, &|| true).unwrap();
        assert_eq!(again.y.slice::<f32>().unwrap(), out.y.slice::<f32>().unwrap());
        assert_eq!(again.y_h.slice::<f32>().unwrap(), out.y_h.slice::<f32>().unwrap());
        assert_eq!(
            again.y_c.as_ref().map(|c| c.slice::<f32>().unwrap()),
            out.y_c.as_ref().map(|c| c.slice::<f32>().unwrap())
        );
    }
    // The batch first gives the same, turned.
    let turn = |t: &Tensor| t.permute(&[1, 0, 2]).unwrap();
    let (xt, ht, ct) = (turn(&x32), turn(&h32), turn(&c32));
    layer.batch_first = true;
    let turned = RecurrentInputs {
        x: &xt,
        initial_h: inputs.initial_h.map(|_| &ht),
        initial_c: inputs.initial_c.map(|_| &ct),
        ..small
    };
    let out = recurrent(&Pool::new(2), &layer, &turned).unwrap();
    close(&out.y.permute(&[1, 2, 0, 3]).unwrap().to_dense().unwrap(), &y, 1e-5);
    close(&turn(&out.y_h).to_dense().unwrap(), &yh, 1e-5);
    let (xt, ht, ct) = (turn(&x), turn(&h0), turn(&c0));
    let turned = RecurrentInputs {
        x: &xt,
        initial_h: inputs.initial_h.map(|_| &ht),
        initial_c: inputs.initial_c.map(|_| &ct),
        ..inputs
    };
    let out = recurrent(&Pool::sequential(), &layer, &turned).unwrap();
    assert_eq!(out.y.shape(), [b, s, d, h]);
    close(&out.y.permute(&[1, 2, 0, 3]).unwrap().to_dense().unwrap(), &y, 1e-9);
    close(&turn(&out.y_h).to_dense().unwrap(), &yh, 1e-9);
}

#[test]
fn agrees_with_the_equations() {
    let cells = [
        Cell::Rnn,
        Cell::Lstm { input_forget: false },
        Cell::Lstm { input_forget: true },
        Cell::Gru { linear_before_reset: false },
        Cell::Gru { linear_before_reset: true },
    ];
    for cell in cells {
        for direction in [Direction::Forward, Direction::Reverse, Direction::Bidirectional] {
            for full in [false, true] {
                for sizes in [(1, 1, 1, 1), (5, 3, 4, 6), (4, 9, 3, 5), (3, 0, 2, 2), (0, 2, 2, 2)] {
                    check(cell, direction, sizes, full);
                }
            }
        }
    }
}

/// Sizes at which threads share the units of a step, the rows of a batch, or both directions.
#[test]
fn agrees_with_the_equations_where_threads_share() {
    for cell in [
        Cell::Rnn,
        Cell::Lstm { input_forget: false },
        Cell::Gru { linear_before_reset: false },
        Cell::Gru { linear_before_reset: true },
    ] {
        check(cell, Direction::Forward, (9, 2, 30, 203), true);
        check(cell, Direction::Bidirectional, (7, 17, 40, 75), false);
        check(cell, Direction::Reverse, (40, 45, 33, 17), true);
    }
}

#[test]
fn activations_take_their_constants_in_order() {
    let list =
        Activation::list(&["LeakyRelu", "tanh", "HardSigmoid", "Elu"], &[0.5, 0.25], &[0.125]).unwrap();
    assert_eq!(
        list,
        [
            Activation::LeakyRelu(0.5),
            Activation::Tanh,
            Activation::HardSigmoid(0.25, 0.125),
            Activation::Elu(1.0)
        ]
    );
    assert!(Activation::list(&["Swish"], &[], &[]).is_err());
}

#[test]
fn every_activation() {
    let one = random(&[1, 1, 1], 1);
    let unit = Tensor::new(&[1, 1, 1], &[1f64]).unwrap();
    for (activation, f) in [
        (Activation::Relu, (|x| x.max(0.0)) as fn(f64) -> f64),
        (Activation::Sigmoid, sigmoid),
        (Activation::Affine(2.0, 0.5), |x| 2.0 * x + 0.5),
        (Activation::LeakyRelu(0.5), |x| if x < 0.0 { 0.5 * x } else { x }),
        (Activation::ThresholdedRelu(0.25), |x| if x < 0.25 { 0.0 } else { x }),
        (Activation::ScaledTanh(2.0, 0.5), |x| 2.0 * (0.5 * x).tanh()),
        (Activation::HardSigmoid(0.5, 0.5), |x| (0.5 * x + 0.5).clamp(0.0, 1.0)),
        (Activation::Elu(0.5), |x| if x < 0.0 { 0.5 * x.exp_m1() } else { x }),
        (Activation::Softsign, |x| x / (1.0 + x.abs())),
        (Activation::Softplus, |x| x.exp().ln_1p()),
    ] {
        for x in [-3.0, -0.5, 0.1, 0.75, 4.0] {
            let layer = Recurrence {
                cell: Cell::Rnn,
                direction: Direction::Forward,
                activations: vec![activation],
                clip: None,
                batch_first: false,
            };
            let x_tensor = Tensor::new(&[1, 1, 1], &[x]).unwrap();
            let inputs = RecurrentInputs {
                x: &x_tensor,
                w: &unit,
                r: &one,
                b: None,
                sequence_lens: None,
                initial_h: None,
                initial_c: None,
                p: None,
            };
            let out = recurrent(&Pool::sequential(), &layer, &inputs).unwrap();
            close(&out.y, &[f(x)], 1e-12);
        }
    }
}

#[test]
fn shapes_that_do_not_agree_are_errors() {
    let layer = Recurrence {
        cell: Cell::Lstm { input_forget: false },
        direction: Direction::Forward,
        activations: vec![],
        clip: None,
        batch_first: false,
    };
    let (x, w, r) = (random(&[2, 3, 4], 1), random(&[1, 20, 4], 2), random(&[1, 20, 5], 3));
    let lens = Tensor::new(&[3], &[1, 3, 0]).unwrap();
    let inputs = RecurrentInputs {
        x: &x,
        w: &w,
        r: &r,
        b: None,
        sequence_lens: None,
        initial_h: None,
        initial_c: None,
        p: None,
    };
    let pool = Pool::sequential();
    assert!(recurrent(&pool, &layer, &inputs).is_ok());
    assert!(recurrent(&pool, &layer, &RecurrentInputs { w: &r, ..inputs }).is_err());
    assert!(recurrent(&pool, &layer, &RecurrentInputs { b: Some(&x), ..inputs }).is_err());
    assert!(recurrent(&pool, &layer, &RecurrentInputs { initial_h: Some(&x), ..inputs }).is_err());
    assert!(recurrent(&pool, &layer, &RecurrentInputs { sequence_lens: Some(&lens), ..inputs }).is_err());
    let both = Recurrence { direction: Direction::Bidirectional, ..layer.clone() };
    assert!(recurrent(&pool, &both, &inputs).is_err());
    let few = Recurrence { activations: vec![Activation::Relu], ..layer };
    assert!(recurrent(&pool, &few, &inputs).is_err());
}
