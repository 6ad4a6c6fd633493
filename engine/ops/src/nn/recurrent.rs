//! What LSTM, GRU and RNN share: their attributes in the kernel's terms, the sizes of results, the steps.

use crate::{Draft, Step};
use oxidane_graph::{Call, Dim, InferCtx, Kernel, OpError, Run, Unknown, kernel};
use oxidane_kernels::rnn::{
    Activation, Cell, Direction, Packed, Recurrence, RecurrentInputs, recurrent_with,
};

/// The attributes that the three have in common.
pub(super) struct Layer<'a> {
    pub(super) cell: Cell,
    pub(super) activations: Option<&'a [String]>,
    pub(super) alphas: Option<&'a [f32]>,
    pub(super) betas: Option<&'a [f32]>,
    pub(super) clip: Option<f32>,
    pub(super) direction: &'a str,
    pub(super) hidden_size: Option<i64>,
    pub(super) batch_first: bool,
}

/// Opset 7 dropped `output_sequence`: whether the first output is in use says it all.
pub(super) const NO_SEQUENCE_FLAG: Step = Step {
    to: 7,
    up: |d: &mut Draft<'_>| {
        d.attributes.take("output_sequence");
        Ok(())
    },
    down: |d| {
        let used = d.outputs.first().copied().flatten().is_some();
        d.attributes.set("output_sequence", used);
        Ok(())
    },
};

/// Opset 14 added `layout`.
pub(super) const LAYOUT: Step =
    Step { to: 14, up: |_| Ok(()), down: |d: &mut Draft<'_>| d.drop_default("layout", false) };

impl Layer<'_> {
    fn direction(&self) -> Result<Direction, OpError> {
        Direction::from_name(self.direction).ok_or_else(|| {
            OpError::new(format!("attribute `direction` is `{}`", self.direction))
                .help("it is one of forward, reverse, bidirectional")
        })
    }

    /// The attributes as the kernel takes them.
    ///
    /// # Errors
    /// When the direction or an activation is unknown.
    pub(super) fn recurrence(&self) -> Result<Recurrence, OpError> {
        let direction = self.direction()?;
        let mut names: Vec<&str> = self.activations.unwrap_or(&[]).iter().map(String::as_str).collect();
        // The default of RNN has an activation for two directions, whatever the direction.
        names.truncate(direction.count() * self.cell.default_activations().len());
        Ok(Recurrence {
            cell: self.cell,
            direction,
            activations: Activation::list(&names, self.alphas.unwrap_or(&[]), self.betas.unwrap_or(&[]))?,
            clip: self.clip,
            batch_first: self.batch_first,
        })
    }

    /// Sets the types of the outputs: all states, the last ones, the last cells.
    ///
    /// # Errors
    /// When the inputs' ranks are at fault, or an attribute is.
    pub(super) fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let directions = Dim::from(self.recurrence()?.direction.count());
        for input in [0, 1, 2] {
            if let Some(shape) = ctx.shape(input)
                && shape.len() != 3
            {
                let (called, rank) = (ctx.called(input), shape.len());
                return Err(Unknown::wrong(format!("{called} has rank {rank}, but must have 3")));
            }
        }
        let size = |input: usize, axis: usize| ctx.shape(input).and_then(|s| s.get(axis).copied());
        let (first, second) = (size(0, 0), size(0, 1));
        let (steps, batch) = if self.batch_first { (second, first) } else { (first, second) };
        let hidden = self.hidden_size.map(Dim::from).or_else(|| size(2, 2));
        let all: [Option<Dim>; 4] = match self.batch_first {
            true => [batch, steps, Some(directions), hidden],
            false => [steps, Some(directions), batch, hidden],
        };
        let last: [Option<Dim>; 3] = match self.batch_first {
            true => [batch, Some(directions), hidden],
            false => [Some(directions), batch, hidden],
        };
        for (output, dims) in [(0, &all[..]), (1, &last[..]), (2, &last[..])] {
            let dims: Vec<Dim> = dims
                .iter()
                .enumerate()
                .map(|(axis, dim)| dim.unwrap_or_else(|| ctx.unknown_dim(output, axis)))
                .collect();
            ctx.set_tensor(output, dtype, dims);
        }
        Ok(())
    }
}

/// The kernel of a layer; weights that are constant are packed here and now.
///
/// # Errors
/// When the direction or an activation is unknown.
pub(super) fn bind(layer: &Layer<'_>, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let (recurrence, hidden_size) = (layer.recurrence()?, layer.hidden_size);
    let packed = match (call.constant(1), call.constant(2)) {
        // Weights that do not fit are reported when they are run.
        (Some(w), Some(r)) => Packed::new(&recurrence, w, r).ok().flatten(),
        _ => None,
    };
    kernel(move |run| run_layer(&recurrence, hidden_size, packed.as_ref(), run))
}

/// Runs a layer on the inputs of a call.
fn run_layer(
    layer: &Recurrence,
    hidden_size: Option<i64>,
    packed: Option<&Packed>,
    run: &mut Run<'_>,
) -> Result<(), OpError> {
    let r = run.tensor(2)?;
    if let (Some(stated), Some(&found)) = (hidden_size, r.shape().last())
        && usize::try_from(stated) != Ok(found)
    {
        return Err(OpError::new(format!(
            "attribute `hidden_size` is {stated}, but the recurrent weights have shape {:?}",
            r.shape()
        )));
    }
    let dense = |input| -> Result<_, OpError> {
        Ok(run.try_tensor(input)?.map(oxidane_tensor::Tensor::to_dense).transpose()?)
    };
    let (x, w, r) = (run.dense(0)?, run.dense(1)?, run.dense(2)?);
    let (b, lens, h, c, p) = (dense(3)?, dense(4)?, dense(5)?, dense(6)?, dense(7)?);
    let inputs = RecurrentInputs {
        x: &x,
        w: &w,
        r: &r,
        b: b.as_ref(),
        sequence_lens: lens.as_ref(),
        initial_h: h.as_ref(),
        initial_c: c.as_ref(),
        p: p.as_ref(),
    };
    run.check_scratch(memory(layer, &inputs, packed.is_some()))?;
    let host = &*run;
    let allocate = |output, dtype, shape: &[usize]| host.allocate(output, dtype, shape);
    let go_on = || host.checkpoint().is_ok();
    let outputs = recurrent_with(run.pool(), layer, &inputs, packed, allocate, &go_on)?;
    run.checkpoint()?;
    run.set(0, outputs.y);
    run.set(1, outputs.y_h);
    if let Some(c) = outputs.y_c {
        run.set(2, c);
    }
    Ok(())
}

/// An upper bound of the bytes that a layer takes: its outputs, the products of its inputs, and what a step needs.
fn memory(layer: &Recurrence, inputs: &RecurrentInputs<'_>, packed: bool) -> Option<usize> {
    let (&[a, b, _], &[.., hidden]) = (inputs.x.shape(), inputs.r.shape()) else { return Some(0) };
    let (steps, batch) = if layer.batch_first { (b, a) } else { (a, b) };
    // Units are computed sixteen at a time.
    let state = batch.checked_mul(hidden.checked_next_multiple_of(16)?)?;
    let gates = layer.direction.count() * (1 + layer.cell.gates());
    let elements = state.checked_mul(steps.checked_add(5)?.checked_mul(gates)?)?.checked_add(batch)?;
    let weights = if packed { 0 } else { Packed::bytes(inputs.w, inputs.r)? };
    elements.checked_mul(size_of::<f64>())?.checked_add(weights)
}
