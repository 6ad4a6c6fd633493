//! Recurrent layers: `LSTM`, `GRU`, `RNN`.
//!
//! `f32` runs on packed weights by vectors ([`steps`]), `f64` by plain products of matrices ([`plain`]).

mod packed;
mod plain;
mod relay;
mod steps;

pub use packed::Packed;

use crate::KernelError;
use crate::half_floats::{is_half, narrowed, widened};
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Tensor, TensorMut, element_count};
use smallvec::SmallVec;

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

/// The sizes of a call, and its activations.
#[derive(Debug)]
struct Sizes {
    steps: usize,
    batch: usize,
    size: usize,
    hidden: usize,
    gates: usize,
    directions: usize,
    /// Of all directions.
    activations: SmallVec<[Activation; 6]>,
}

impl Sizes {
    fn of(layer: &Recurrence, inputs: &RecurrentInputs<'_>) -> Result<Sizes, KernelError> {
        let (&[a, b, size], &[_, _, hidden]) = (inputs.x.shape(), inputs.r.shape()) else {
            return Err(KernelError::Shape(format!(
                "a recurrent layer takes X and R of rank 3, found {:?} and {:?}",
                inputs.x.shape(),
                inputs.r.shape()
            )));
        };
        let (steps, batch) = if layer.batch_first { (b, a) } else { (a, b) };
        let (gates, directions) = (layer.cell.gates(), layer.direction.count());
        let large = || KernelError::Shape(format!("hidden size {hidden} is too large"));
        let width = hidden.checked_mul(2 * gates).ok_or_else(large)? / 2;
        let state = if layer.batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] };
        expect("W", Some(inputs.w), &[directions, width, size])?;
        expect("R", Some(inputs.r), &[directions, width, hidden])?;
        expect("B", inputs.b, &[directions, 2 * width])?;
        expect("sequence_lens", inputs.sequence_lens, &[batch])?;
        expect("initial_h", inputs.initial_h, &state)?;
        expect("initial_c", inputs.initial_c, &state)?;
        expect("P", inputs.p, &[directions, 3 * hidden])?;
        element_count(&[steps.max(1), batch.max(1), width.max(1)])?;
        let defaults = layer.cell.default_activations();
        let activations = match layer.activations.len() {
            0 => defaults.iter().copied().cycle().take(directions * defaults.len()).collect(),
            n if n == directions * defaults.len() => layer.activations.iter().copied().collect(),
            n => {
                return Err(KernelError::Shape(format!(
                    "{n} activations for {directions} directions of {}",
                    defaults.len()
                )));
            }
        };
        if let Some(lens) = inputs.sequence_lens {
            let lens = lens.values::<i32>()?;
            if let Some(n) = lens.iter().find(|&&n| !usize::try_from(n).is_ok_and(|n| n <= steps)) {
                return Err(KernelError::Shape(format!(
                    "sequence length {n} is not between 0 and the {steps} steps"
                )));
            }
        }
        Ok(Sizes { steps, batch, size, hidden, gates, directions, activations })
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

/// Runs a recurrent layer; 16-bit floats compute in f32.
///
/// # Errors
/// When shapes or types do not agree, a sequence is longer than the steps, or there is no memory.
pub fn recurrent(
    pool: &Pool,
    layer: &Recurrence,
    inputs: &RecurrentInputs<'_>,
) -> Result<RecurrentOutputs, KernelError> {
    let allocate = |_, dtype, shape: &[usize]| Ok(TensorMut::zeroed(dtype, shape)?);
    recurrent_with(pool, layer, inputs, None, allocate, &|| true)
}

/// As [`recurrent`], with weights that were packed before, and with memory for `f32` outputs by their number. `go_on`
/// is asked now and then, and the rest is skipped once it says no.
///
/// # Errors
/// Those of [`recurrent`] and of `allocate`.
pub fn recurrent_with<E: From<KernelError>>(
    pool: &Pool,
    layer: &Recurrence,
    inputs: &RecurrentInputs<'_>,
    packed: Option<&Packed>,
    mut allocate: impl FnMut(usize, DType, &[usize]) -> Result<TensorMut, E>,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<RecurrentOutputs, E> {
    if inputs.x.dtype() != DType::F32 {
        return Ok(other_types(pool, layer, inputs, packed, go_on)?);
    }
    let sizes = Sizes::of(layer, inputs)?;
    let Sizes { steps, batch, hidden, directions, .. } = sizes;
    let state = if layer.batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] };
    let mut y = match layer.batch_first {
        true => allocate(0, DType::F32, &[batch, steps, directions, hidden])?,
        false => allocate(0, DType::F32, &[steps, directions, batch, hidden])?,
    };
    let mut y_h = allocate(1, DType::F32, &state)?;
    let mut y_c = match layer.cell {
        Cell::Lstm { .. } => Some(allocate(2, DType::F32, &state)?),
        _ => None,
    };
    let fast = |y: &mut TensorMut, y_h: &mut TensorMut, y_c: Option<&mut TensorMut>| {
        let outputs = steps::Outputs {
            y: y.slice_mut().map_err(KernelError::from)?,
            y_h: y_h.slice_mut().map_err(KernelError::from)?,
            y_c: y_c.map(TensorMut::slice_mut).transpose().map_err(KernelError::from)?,
        };
        match packed.filter(|p| p.fits(layer.cell, &sizes)) {
            Some(packed) => steps::run(pool, layer, &sizes, inputs, packed, outputs, go_on),
            None => {
                let packed = Packed::new(layer, inputs.w, inputs.r)?.ok_or_else(|| {
                    KernelError::Type("the weights of a recurrent layer have another type than X".into())
                })?;
                steps::run(pool, layer, &sizes, inputs, &packed, outputs, go_on)
            }
        }
    };
    fast(&mut y, &mut y_h, y_c.as_mut())?;
    Ok(RecurrentOutputs { y: y.freeze(), y_h: y_h.freeze(), y_c: y_c.map(TensorMut::freeze) })
}

fn other_types(
    pool: &Pool,
    layer: &Recurrence,
    inputs: &RecurrentInputs<'_>,
    packed: Option<&Packed>,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<RecurrentOutputs, KernelError> {
    match inputs.x.dtype() {
        half if is_half(half) => {
            let wide = |t: Option<&Tensor>| t.map(widened).transpose();
            let x = widened(inputs.x)?;
            let (b, p) = (wide(inputs.b)?, wide(inputs.p)?);
            let (h, c) = (wide(inputs.initial_h)?, wide(inputs.initial_c)?);
            let inputs = RecurrentInputs {
                x: &x,
                b: b.as_ref(),
                initial_h: h.as_ref(),
                initial_c: c.as_ref(),
                p: p.as_ref(),
                ..*inputs
            };
            let allocate = |_, dtype, shape: &[usize]| Ok(TensorMut::zeroed(dtype, shape)?);
            let RecurrentOutputs { y, y_h, y_c } =
                recurrent_with::<KernelError>(pool, layer, &inputs, packed, allocate, go_on)?;
            let y_c = y_c.map(|c| narrowed(c, half)).transpose()?;
            Ok(RecurrentOutputs { y: narrowed(y, half)?, y_h: narrowed(y_h, half)?, y_c })
        }
        DType::F64 => plain::recurrent(pool, layer, &Sizes::of(layer, inputs)?, inputs),
        other => Err(KernelError::Type(format!("there is no recurrent layer of {other}"))),
    }
}

#[cfg(test)]
mod tests;
