//! Recurrent layers by products of matrices: the projection of all steps' inputs is one product; each step then
//! multiplies the state by the recurrent weights and runs the gates on whole rows.

use super::{Activation, Cell, Direction, Recurrence, RecurrentInputs, RecurrentOutputs, Sizes};
use crate::gemm::{Matrix, product_into};
use crate::lanes::vectorized;
use crate::real::Real;
use crate::{KernelError, Scalar};
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Tensor, TensorMut};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// What the loops are written in.
pub(super) trait Float:
    Scalar
    + Real
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
}
impl Float for f32 {}
impl Float for f64 {}

/// A layer of `f64`.
pub(super) fn recurrent(
    pool: &Pool,
    layer: &Recurrence,
    sizes: &Sizes,
    inputs: &RecurrentInputs<'_>,
) -> Result<RecurrentOutputs, KernelError> {
    let turned = |t: &Tensor| -> Result<Tensor, KernelError> {
        Ok(if layer.batch_first && t.rank() == 3 { t.permute(&[1, 0, 2])?.to_dense()? } else { t.clone() })
    };
    let x = turned(inputs.x)?;
    let Sizes { steps, batch, size, hidden, gates, directions, .. } = *sizes;
    let (width, activations) = (gates * hidden, &sizes.activations);
    let defaults = layer.cell.default_activations();
    let initial_h = inputs.initial_h.map(&turned).transpose()?;
    let initial_c = inputs.initial_c.map(&turned).transpose()?;
    let lens: Vec<usize> = match inputs.sequence_lens {
        None => vec![steps; batch],
        Some(lens) => lens.values::<i32>()?.iter().map(|&n| n as usize).collect(),
    };
    let mut y = TensorMut::zeroed(DType::F64, &[steps, directions, batch, hidden])?;
    let mut y_h = TensorMut::zeroed(DType::F64, &[directions, batch, hidden])?;
    let mut y_c = TensorMut::zeroed(DType::F64, &[directions, batch, hidden])?;
    if let Some(h) = &initial_h {
        y_h.slice_mut::<f64>()?.copy_from_slice(&h.values::<f64>()?);
    }
    if let Some(c) = &initial_c {
        y_c.slice_mut::<f64>()?.copy_from_slice(&c.values::<f64>()?);
    }
    let (xs, ws, rs) = (x.values::<f64>()?, inputs.w.values::<f64>()?, inputs.r.values::<f64>()?);
    let biases = inputs.b.map(|b| b.values::<f64>()).transpose()?;
    let peepholes = inputs.p.map(|p| p.values::<f64>()).transpose()?;
    let state = batch * hidden;
    for d in 0..directions {
        let bias = biases.as_ref().map(|b| &b[d * 2 * width..(d + 1) * 2 * width]);
        let run = Pass {
            pool,
            cell: layer.cell,
            f: activations[d * defaults.len()],
            g: activations[d * defaults.len() + defaults.len().min(2) - 1],
            h: activations[(d + 1) * defaults.len() - 1],
            clip: layer.clip.filter(|&c| c > 0.0).map(f64::from),
            r: &rs[d * width * hidden..(d + 1) * width * hidden],
            recurrent_bias: bias.map(|b| &b[width..]),
            p: peepholes.as_ref().map(|p| &p[d * 3 * hidden..(d + 1) * 3 * hidden]),
            batch,
            hidden,
            width,
        };
        let w = Matrix::dense(&ws[d * width * size..(d + 1) * width * size], width, size)?.transposed();
        let mut projected = vec![<f64 as Scalar>::ZERO; steps * batch * width];
        if let Some(bias) = bias {
            run.add_biases(bias, &mut projected);
        }
        product_into(
            pool,
            <f64 as Scalar>::ONE,
            Matrix::dense(&xs, steps * batch, size)?,
            w,
            true,
            &mut projected,
        )?;
        let reverse = d == 1 || layer.direction == Direction::Reverse;
        let h = &mut y_h.slice_mut::<f64>()?[d * state..(d + 1) * state];
        let c = &mut y_c.slice_mut::<f64>()?[d * state..(d + 1) * state];
        let place = |t: usize, b: usize| ((t * directions + d) * batch + b) * hidden;
        run.walk(&projected, &lens, reverse, h, c, place, y.slice_mut::<f64>()?)?;
    }
    let (y, y_h, y_c) = (y.freeze(), y_h.freeze(), y_c.freeze());
    let lstm = matches!(layer.cell, Cell::Lstm { .. });
    if !layer.batch_first {
        return Ok(RecurrentOutputs { y, y_h, y_c: lstm.then_some(y_c) });
    }
    Ok(RecurrentOutputs {
        y: y.permute(&[2, 0, 1, 3])?.to_dense()?,
        y_h: y_h.permute(&[1, 0, 2])?.to_dense()?,
        y_c: if lstm { Some(y_c.permute(&[1, 0, 2])?.to_dense()?) } else { None },
    })
}

/// One direction of a layer.
struct Pass<'a, T> {
    pool: &'a Pool,
    cell: Cell,
    f: Activation,
    g: Activation,
    h: Activation,
    clip: Option<T>,
    /// (width, hidden)
    r: &'a [T],
    recurrent_bias: Option<&'a [T]>,
    p: Option<&'a [T]>,
    batch: usize,
    hidden: usize,
    /// Gates times hidden.
    width: usize,
}

impl<T: Float> Pass<'_, T> {
    /// Fills each row with the biases that both products share; that of a reset hidden gate stays out.
    fn add_biases(&self, bias: &[T], rows: &mut [T]) {
        let apart = match self.cell {
            Cell::Gru { linear_before_reset: true } => 2 * self.hidden,
            _ => self.width,
        };
        let (of_input, of_state) = bias.split_at(self.width);
        let both: Vec<T> = (0..self.width)
            .map(|i| if i < apart { of_input[i] + of_state[i] } else { of_input[i] })
            .collect();
        if !both.is_empty() {
            rows.chunks_exact_mut(self.width).for_each(|row| row.copy_from_slice(&both));
        }
    }

    /// All steps. `h` and `c` hold the initial states and take the last ones; `place` is where a state goes in `y`.
    #[allow(clippy::too_many_arguments, reason = "the parts of one pass, borrowed apart")]
    fn walk(
        &self,
        projected: &[T],
        lens: &[usize],
        reverse: bool,
        h: &mut [T],
        c: &mut [T],
        place: impl Fn(usize, usize) -> usize,
        y: &mut [T],
    ) -> Result<(), KernelError> {
        let (hidden, width) = (self.hidden, self.width);
        if hidden == 0 || self.batch == 0 {
            return Ok(());
        }
        let mut sums = vec![<T as Scalar>::ZERO; self.batch * width];
        let mut spare = vec![<T as Scalar>::ZERO; self.batch * hidden];
        for step in 0..lens.iter().copied().max().unwrap_or(0) {
            let time = |b: usize| {
                let left = lens[b].checked_sub(step + 1)?;
                Some(if reverse { left } else { step })
            };
            match self.cell {
                Cell::Gru { linear_before_reset } => {
                    // The gates whose recurrent product does not wait for the reset gate.
                    let held = if linear_before_reset { width } else { 2 * hidden };
                    self.multiply(h, 0, held, &mut sums)?;
                    for b in 0..self.batch {
                        let Some(t) = time(b) else { continue };
                        let input = &projected[(t * self.batch + b) * width..][..width];
                        let sums = &mut sums[b * held..(b + 1) * held];
                        for (sum, &x) in sums[..2 * hidden].iter_mut().zip(input) {
                            *sum = *sum + x;
                        }
                        self.activate(self.f, &mut sums[..2 * hidden]);
                        let state = &h[b * hidden..(b + 1) * hidden];
                        let reset = &sums[hidden..2 * hidden];
                        let spare = &mut spare[b * hidden..(b + 1) * hidden];
                        if linear_before_reset {
                            for i in 0..hidden {
                                let bias =
                                    self.recurrent_bias.map_or(<T as Scalar>::ZERO, |r| r[2 * hidden + i]);
                                spare[i] = reset[i] * (sums[2 * hidden + i] + bias);
                            }
                        } else {
                            for i in 0..hidden {
                                spare[i] = reset[i] * state[i];
                            }
                        }
                    }
                    let mut late = Vec::new();
                    if !linear_before_reset {
                        late = vec![<T as Scalar>::ZERO; self.batch * hidden];
                        self.multiply(&spare, 2 * hidden, width, &mut late)?;
                    }
                    for b in 0..self.batch {
                        let Some(t) = time(b) else { continue };
                        let from = (t * self.batch + b) * width + 2 * hidden;
                        let spare = &mut spare[b * hidden..(b + 1) * hidden];
                        if !linear_before_reset {
                            spare.copy_from_slice(&late[b * hidden..(b + 1) * hidden]);
                        }
                        for (cell, &x) in spare.iter_mut().zip(&projected[from..from + hidden]) {
                            *cell = *cell + x;
                        }
                        self.activate(self.g, spare);
                        let update = &sums[b * held..b * held + hidden];
                        let state = &mut h[b * hidden..(b + 1) * hidden];
                        for i in 0..hidden {
                            state[i] = (<T as Scalar>::ONE - update[i]) * spare[i] + update[i] * state[i];
                        }
                        y[place(t, b)..][..hidden].copy_from_slice(state);
                    }
                }
                Cell::Lstm { .. } | Cell::Rnn => {
                    self.multiply(h, 0, width, &mut sums)?;
                    for b in 0..self.batch {
                        let Some(t) = time(b) else { continue };
                        let from = (t * self.batch + b) * width;
                        let gates = &mut sums[b * width..(b + 1) * width];
                        for (gate, &x) in gates.iter_mut().zip(&projected[from..from + width]) {
                            *gate = *gate + x;
                        }
                        let state = &mut h[b * hidden..(b + 1) * hidden];
                        if let Cell::Lstm { input_forget } = self.cell {
                            let cells = &mut c[b * hidden..(b + 1) * hidden];
                            self.lstm(input_forget, gates, cells, state);
                        } else {
                            self.activate(self.f, gates);
                            state.copy_from_slice(gates);
                        }
                        y[place(t, b)..][..hidden].copy_from_slice(state);
                    }
                }
            }
        }
        Ok(())
    }

    /// The states times rows `from..to` of the recurrent weights.
    fn multiply(&self, states: &[T], from: usize, to: usize, out: &mut [T]) -> Result<(), KernelError> {
        let states = Matrix::dense(states, self.batch, self.hidden)?;
        let r = Matrix::dense(&self.r[from * self.hidden..to * self.hidden], to - from, self.hidden)?;
        let out = &mut out[..self.batch * (to - from)];
        product_into(self.pool, <T as Scalar>::ONE, states, r.transposed(), false, out)
    }

    /// One step of one sequence: gates input, output, forget, cell.
    fn lstm(&self, input_forget: bool, gates: &mut [T], cells: &mut [T], state: &mut [T]) {
        let n = self.hidden;
        let (input, rest) = gates.split_at_mut(n);
        let (output, rest) = rest.split_at_mut(n);
        let (forget, cell) = rest.split_at_mut(n);
        if let Some(p) = self.p {
            for i in 0..n {
                input[i] = input[i] + p[i] * cells[i];
                forget[i] = forget[i] + p[2 * n + i] * cells[i];
            }
        }
        self.activate(self.f, input);
        if input_forget {
            for (f, &i) in forget.iter_mut().zip(&*input) {
                *f = <T as Scalar>::ONE - i;
            }
        } else {
            self.activate(self.f, forget);
        }
        self.activate(self.g, cell);
        vectorized(|| {
            for i in 0..n {
                cells[i] = forget[i] * cells[i] + input[i] * cell[i];
            }
        });
        if let Some(p) = self.p {
            for i in 0..n {
                output[i] = output[i] + p[n + i] * cells[i];
            }
        }
        self.activate(self.f, output);
        state.copy_from_slice(cells);
        self.activate(self.h, state);
        for (s, &o) in state.iter_mut().zip(&*output) {
            *s = *s * o;
        }
    }

    fn activate(&self, activation: Activation, values: &mut [T]) {
        activate(activation, self.clip, values);
    }
}

/// Applies a function to values that are kept within a bound before.
pub(super) fn activate<T: Float>(activation: Activation, clip: Option<T>, values: &mut [T]) {
    if let Some(bound) = clip {
        for v in values.iter_mut() {
            *v = least(most(*v, -bound), bound);
        }
    }
    let of = |x: f32| <T as Real>::of(f64::from(x));
    let (zero, one) = (<T as Scalar>::ZERO, <T as Scalar>::ONE);
    match activation {
        Activation::Relu => each(values, |x| most(x, zero)),
        Activation::Tanh => each(values, Real::tanh),
        Activation::Sigmoid => each(values, |x| one / (one + (-x).exp())),
        Activation::Affine(a, b) => each(values, |x| of(a) * x + of(b)),
        Activation::LeakyRelu(a) => each(values, |x| if x >= zero { x } else { of(a) * x }),
        Activation::ThresholdedRelu(a) => each(values, |x| if x >= of(a) { x } else { zero }),
        Activation::ScaledTanh(a, b) => each(values, |x| of(a) * (of(b) * x).tanh()),
        Activation::HardSigmoid(a, b) => each(values, |x| least(most(of(a) * x + of(b), zero), one)),
        Activation::Elu(a) => each(values, |x| if x >= zero { x } else { of(a) * x.exp_m1() }),
        Activation::Softsign => each(values, |x| x / (one + most(x, -x))),
        // ln(1 + e^x) without overflow.
        Activation::Softplus => each(values, |x| most(x, zero) + (-most(x, -x)).exp().ln_1p_unit()),
    }
}

#[inline(always)]
fn most<T: PartialOrd>(a: T, b: T) -> T {
    if a < b { b } else { a }
}

#[inline(always)]
fn least<T: PartialOrd>(a: T, b: T) -> T {
    if a > b { b } else { a }
}

#[inline(always)]
fn each<T: Copy>(values: &mut [T], f: impl Fn(T) -> T) {
    vectorized(|| {
        for v in values.iter_mut() {
            *v = f(*v);
        }
    });
}
