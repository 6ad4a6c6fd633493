//! Recurrent layers: `LSTM`, `GRU`, `RNN`.
//!
//! The projection of all steps' inputs is one product; each step then multiplies the state by the recurrent
//! weights and runs the gates on whole rows.

use crate::gemm::{Matrix, product_into};
use crate::half_floats::{is_half, narrowed, widened};
use crate::lanes::vectorized;
use crate::real::Real;
use crate::{KernelError, Scalar};
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Tensor, TensorMut, element_count};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// An activation of a recurrent layer with its constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// max(0, x)
    Relu,
    /// tanh(x)
    Tanh,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// alpha * x + beta
    Affine(f32, f32),
    /// x, or alpha * x below nought
    LeakyRelu(f32),
    /// x, or nought below alpha
    ThresholdedRelu(f32),
    /// alpha * tanh(beta * x)
    ScaledTanh(f32, f32),
    /// alpha * x + beta, kept between 0 and 1
    HardSigmoid(f32, f32),
    /// x, or alpha * (e^x - 1) below nought
    Elu(f32),
    /// x / (1 + |x|)
    Softsign,
    /// ln(1 + e^x)
    Softplus,
}

impl Activation {
    /// From ONNX's `activations`, `activation_alpha` and `activation_beta`: constants are taken in order by the
    /// functions that have them, missing ones are the defaults of the operators of the same names.
    ///
    /// # Errors
    /// When a name is unknown.
    pub fn list(names: &[&str], alphas: &[f32], betas: &[f32]) -> Result<Vec<Activation>, KernelError> {
        let (mut alphas, mut betas) = (alphas.iter().copied(), betas.iter().copied());
        names
            .iter()
            .map(|name| {
                let mut alpha = |default: f32| alphas.next().unwrap_or(default);
                let mut beta = |default: f32| betas.next().unwrap_or(default);
                Ok(match name.to_ascii_lowercase().as_str() {
                    "relu" => Activation::Relu,
                    "tanh" => Activation::Tanh,
                    "sigmoid" => Activation::Sigmoid,
                    "affine" => Activation::Affine(alpha(1.0), beta(0.0)),
                    "leakyrelu" => Activation::LeakyRelu(alpha(0.01)),
                    "thresholdedrelu" => Activation::ThresholdedRelu(alpha(1.0)),
                    "scaledtanh" => Activation::ScaledTanh(alpha(1.0), beta(1.0)),
                    "hardsigmoid" => Activation::HardSigmoid(alpha(0.2), beta(0.5)),
                    "elu" => Activation::Elu(alpha(1.0)),
                    "softsign" => Activation::Softsign,
                    "softplus" => Activation::Softplus,
                    _ => return Err(KernelError::Shape(format!("there is no activation {name:?}"))),
                })
            })
            .collect()
    }
}

/// Which way a layer goes through its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// From the first step to the last.
    #[default]
    Forward,
    /// From the last step to the first.
    Reverse,
    /// Both, with weights of their own.
    Bidirectional,
}

impl Direction {
    /// From ONNX's spelling; `None` for an unknown one.
    pub fn from_name(name: &str) -> Option<Direction> {
        Some(match name {
            "forward" => Direction::Forward,
            "reverse" => Direction::Reverse,
            "bidirectional" => Direction::Bidirectional,
            _ => return None,
        })
    }

    /// How many sets of weights it takes: 1 or 2.
    pub fn count(self) -> usize {
        if self == Direction::Bidirectional { 2 } else { 1 }
    }
}

/// Which recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Gates input, output, forget, cell; three activations a direction (default Sigmoid, Tanh, Tanh).
    Lstm {
        /// Whether the forget gate is one minus the input gate.
        input_forget: bool,
    },
    /// Gates update, reset, hidden; two activations a direction (default Sigmoid, Tanh).
    Gru {
        /// Whether the reset gate applies after the recurrent product.
        linear_before_reset: bool,
    },
    /// One gate, one activation a direction (default Tanh).
    Rnn,
}

impl Cell {
    /// How many gates the weights hold.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm { .. } => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn => 1,
        }
    }

    /// The activations of one direction where none are given.
    pub fn default_activations(self) -> &'static [Activation] {
        match self {
            Cell::Lstm { .. } => &[Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
            Cell::Gru { .. } => &[Activation::Sigmoid, Activation::Tanh],
            Cell::Rnn => &[Activation::Tanh],
        }
    }
}

/// A recurrent layer's attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrence {
    /// The cell.
    pub cell: Cell,
    /// Which way it goes.
    pub direction: Direction,
    /// The activations of all directions, or empty for the defaults.
    pub activations: Vec<Activation>,
    /// The bound of what goes into activations.
    pub clip: Option<f32>,
    /// Whether the batch is the first dimension (ONNX's `layout` 1).
    pub batch_first: bool,
}

/// A recurrent layer's inputs, in ONNX's shapes; D directions, G gates, H hidden, I input sizes, S steps, B batch.
#[derive(Debug, Clone, Copy)]
pub struct RecurrentInputs<'a> {
    /// (S, B, I), or (B, S, I) with the batch first.
    pub x: &'a Tensor,
    /// (D, G * H, I).
    pub w: &'a Tensor,
    /// (D, G * H, H).
    pub r: &'a Tensor,
    /// (D, 2 * G * H): of the input product, then of the recurrent one.
    pub b: Option<&'a Tensor>,
    /// (B) int32.
    pub sequence_lens: Option<&'a Tensor>,
    /// (D, B, H), or (B, D, H) with the batch first.
    pub initial_h: Option<&'a Tensor>,
    /// As `initial_h`; LSTM only.
    pub initial_c: Option<&'a Tensor>,
    /// (D, 3 * H): input, output, forget; LSTM only.
    pub p: Option<&'a Tensor>,
}

/// A recurrent layer's outputs.
#[derive(Debug, Clone)]
pub struct RecurrentOutputs {
    /// All states: (S, D, B, H), or (B, S, D, H) with the batch first; noughts after a sequence's end.
    pub y: Tensor,
    /// The last states: (D, B, H), or (B, D, H) with the batch first.
    pub y_h: Tensor,
    /// The last cells of an LSTM, shaped as `y_h`.
    pub y_c: Option<Tensor>,
}

trait Float:
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

/// Runs a recurrent layer; 16-bit floats compute in f32.
///
/// # Errors
/// When shapes or types do not agree, a sequence is longer than the steps, or there is no memory.
pub fn recurrent(
    pool: &Pool,
    layer: &Recurrence,
    inputs: &RecurrentInputs<'_>,
) -> Result<RecurrentOutputs, KernelError> {
    let dtype = inputs.x.dtype();
    match dtype {
        half if is_half(half) => {
            let wide = |t: Option<&Tensor>| t.map(widened).transpose();
            let (x, w, r) = (widened(inputs.x)?, widened(inputs.w)?, widened(inputs.r)?);
            let (b, p) = (wide(inputs.b)?, wide(inputs.p)?);
            let (h, c) = (wide(inputs.initial_h)?, wide(inputs.initial_c)?);
            let inputs = RecurrentInputs {
                x: &x,
                w: &w,
                r: &r,
                b: b.as_ref(),
                sequence_lens: inputs.sequence_lens,
                initial_h: h.as_ref(),
                initial_c: c.as_ref(),
                p: p.as_ref(),
            };
            let RecurrentOutputs { y, y_h, y_c } = recurrent(pool, layer, &inputs)?;
            let y_c = y_c.map(|c| narrowed(c, half)).transpose()?;
            Ok(RecurrentOutputs { y: narrowed(y, half)?, y_h: narrowed(y_h, half)?, y_c })
        }
        DType::F32 => recurrent_of::<f32>(pool, layer, inputs),
        DType::F64 => recurrent_of::<f64>(pool, layer, inputs),
        other => Err(KernelError::Type(format!("there is no recurrent layer of {other}"))),
    }
}

fn expect(name: &str, found: Option<&Tensor>, shape: &[usize]) -> Result<(), KernelError> {
    match found {
        Some(t) if t.shape() != shape => Err(KernelError::Shape(format!(
            "{name} of a recurrent layer has shape {:?}, expected {shape:?}",
            t.shape()
        ))),
        _ => Ok(()),
    }
}

fn recurrent_of<T: Float>(
    pool: &Pool,
    layer: &Recurrence,
    inputs: &RecurrentInputs<'_>,
) -> Result<RecurrentOutputs, KernelError> {
    let turned = |t: &Tensor| -> Result<Tensor, KernelError> {
        Ok(if layer.batch_first && t.rank() == 3 { t.permute(&[1, 0, 2])?.to_dense()? } else { t.clone() })
    };
    let x = turned(inputs.x)?;
    let (&[steps, batch, size], &[_, _, hidden]) = (x.shape(), inputs.r.shape()) else {
        return Err(KernelError::Shape(format!(
            "a recurrent layer takes X and R of rank 3, found {:?} and {:?}",
            inputs.x.shape(),
            inputs.r.shape()
        )));
    };
    let (gates, directions) = (layer.cell.gates(), layer.direction.count());
    let large = || KernelError::Shape(format!("hidden size {hidden} is too large"));
    let width = hidden.checked_mul(2 * gates).ok_or_else(large)? / 2;
    let initial_h = inputs.initial_h.map(&turned).transpose()?;
    let initial_c = inputs.initial_c.map(&turned).transpose()?;
    expect("W", Some(inputs.w), &[directions, width, size])?;
    expect("R", Some(inputs.r), &[directions, width, hidden])?;
    expect("B", inputs.b, &[directions, 2 * width])?;
    expect("sequence_lens", inputs.sequence_lens, &[batch])?;
    expect("initial_h", initial_h.as_ref(), &[directions, batch, hidden])?;
    expect("initial_c", initial_c.as_ref(), &[directions, batch, hidden])?;
    expect("P", inputs.p, &[directions, 3 * hidden])?;
    let defaults = layer.cell.default_activations();
    let activations: Vec<Activation> = match layer.activations.len() {
        0 => defaults.iter().copied().cycle().take(directions * defaults.len()).collect(),
        n if n == directions * defaults.len() => layer.activations.clone(),
        n => {
            return Err(KernelError::Shape(format!(
                "{n} activations for {directions} directions of {}",
                defaults.len()
            )));
        }
    };
    let lens: Vec<usize> = match inputs.sequence_lens {
        None => vec![steps; batch],
        Some(lens) => lens
            .values::<i32>()?
            .iter()
            .map(|&n| {
                usize::try_from(n).ok().filter(|&n| n <= steps).ok_or_else(|| {
                    KernelError::Shape(format!("sequence length {n} is not between 0 and the {steps} steps"))
                })
            })
            .collect::<Result<_, _>>()?,
    };
    let mut y = TensorMut::zeroed(T::DTYPE, &[steps, directions, batch, hidden])?;
    let mut y_h = TensorMut::zeroed(T::DTYPE, &[directions, batch, hidden])?;
    let mut y_c = TensorMut::zeroed(T::DTYPE, &[directions, batch, hidden])?;
    element_count(&[steps.max(1), batch.max(1), width.max(1)])?;
    if let Some(h) = &initial_h {
        y_h.slice_mut::<T>()?.copy_from_slice(&h.values::<T>()?);
    }
    if let Some(c) = &initial_c {
        y_c.slice_mut::<T>()?.copy_from_slice(&c.values::<T>()?);
    }
    let (xs, ws, rs) = (x.values::<T>()?, inputs.w.values::<T>()?, inputs.r.values::<T>()?);
    let biases = inputs.b.map(|b| b.values::<T>()).transpose()?;
    let peepholes = inputs.p.map(|p| p.values::<T>()).transpose()?;
    let state = batch * hidden;
    for d in 0..directions {
        let bias = biases.as_ref().map(|b| &b[d * 2 * width..(d + 1) * 2 * width]);
        let run = Pass {
            pool,
            cell: layer.cell,
            f: activations[d * defaults.len()],
            g: activations[d * defaults.len() + defaults.len().min(2) - 1],
            h: activations[(d + 1) * defaults.len() - 1],
            clip: layer.clip.filter(|&c| c > 0.0).map(|c| <T as Real>::of(f64::from(c))),
            r: &rs[d * width * hidden..(d + 1) * width * hidden],
            recurrent_bias: bias.map(|b| &b[width..]),
            p: peepholes.as_ref().map(|p| &p[d * 3 * hidden..(d + 1) * 3 * hidden]),
            batch,
            hidden,
            width,
        };
        let w = Matrix::dense(&ws[d * width * size..(d + 1) * width * size], width, size)?.transposed();
        let mut projected = vec![<T as Scalar>::ZERO; steps * batch * width];
        if let Some(bias) = bias {
            run.add_biases(bias, &mut projected);
        }
        product_into(
            pool,
            <T as Scalar>::ONE,
            Matrix::dense(&xs, steps * batch, size)?,
            w,
            true,
            &mut projected,
        )?;
        let reverse = d == 1 || layer.direction == Direction::Reverse;
        let h = &mut y_h.slice_mut::<T>()?[d * state..(d + 1) * state];
        let c = &mut y_c.slice_mut::<T>()?[d * state..(d + 1) * state];
        let place = |t: usize, b: usize| ((t * directions + d) * batch + b) * hidden;
        run.walk(&projected, &lens, reverse, h, c, place, y.slice_mut::<T>()?)?;
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
        if let Some(bound) = self.clip {
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

#[cfg(test)]
#[path = "rnn_tests.rs"]
mod tests;
