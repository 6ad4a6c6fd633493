use super::{Cell, Sizes};
use crate::half_floats::widened;
use crate::isa::LANES;
use crate::panel::{Line, floats};
use crate::{KernelError, rnn::Recurrence};
use oxidane_tensor::{Tensor, element_count};

/// A matrix of gates in panels: for each block of sixteen units, for each element of the depth, the block's columns
/// of all gates side by side. Units beyond the last are zero.
pub(super) struct Panels {
    lines: Vec<Line>,
    /// Lines of a block.
    block: usize,
}

impl Panels {
    /// Gates `from..to` of (gates * hidden, depth).
    fn new(
        matrix: &[f32],
        hidden: usize,
        depth: usize,
        gates: std::ops::Range<usize>,
    ) -> Result<Panels, KernelError> {
        let blocks = hidden.div_ceil(LANES);
        let width = gates.len();
        let count = element_count(&[blocks, depth, width * LANES])? / LANES;
        let mut lines = vec![Line([0.0; LANES]); count];
        for unit in 0..hidden {
            for (g, gate) in gates.clone().enumerate() {
                let row = &matrix[(gate * hidden + unit) * depth..][..depth];
                let at = unit / LANES * depth * width + g;
                for (i, &v) in row.iter().enumerate() {
                    lines[at + i * width].0[unit % LANES] = v;
                }
            }
        }
        Ok(Panels { lines, block: depth * width })
    }

    /// The panel of a block.
    pub(super) fn block(&self, block: usize) -> *const f32 {
        floats(&self.lines[block * self.block..]).as_ptr()
    }
}

/// The weights of one direction.
pub(super) struct Weights {
    /// Of the inputs, all gates.
    pub(super) input: Panels,
    /// Of the states, for the gates whose product does not wait for another gate.
    pub(super) state: Panels,
    /// Of the states times the reset gate.
    pub(super) late: Option<Panels>,
}

/// The weights of a recurrent layer as its loops take them.
pub struct Packed {
    pub(super) directions: Vec<Weights>,
    cell: Cell,
    hidden: usize,
    size: usize,
}

impl Packed {
    /// Of `W` (directions, gates * hidden, size) and `R` (directions, gates * hidden, hidden); `None` where the type
    /// of the weights has no packed form.
    ///
    /// # Errors
    /// When the shapes do not agree, or there is no memory.
    pub fn new(layer: &Recurrence, w: &Tensor, r: &Tensor) -> Result<Option<Packed>, KernelError> {
        let (w, r) = (widened(w)?, widened(r)?);
        let (&[directions, width, size], &[_, _, hidden]) = (w.shape(), r.shape()) else {
            return Err(KernelError::Shape("the weights of a recurrent layer must have rank 3".into()));
        };
        let gates = layer.cell.gates();
        if hidden.checked_mul(gates) != Some(width)
            || r.shape() != [directions, width, hidden]
            || directions != layer.direction.count()
        {
            return Err(KernelError::Shape(format!(
                "the weights {:?} and {:?} of a recurrent layer do not go together",
                w.shape(),
                r.shape()
            )));
        }
        let (Ok(w), Ok(r)) = (w.values::<f32>(), r.values::<f32>()) else { return Ok(None) };
        let held = held(layer.cell);
        let directions = (0..directions)
            .map(|d| {
                let w = &w[d * width * size..(d + 1) * width * size];
                let r = &r[d * width * hidden..(d + 1) * width * hidden];
                Ok(Weights {
                    input: Panels::new(w, hidden, size, 0..gates)?,
                    state: Panels::new(r, hidden, hidden, 0..held)?,
                    late: match held < gates {
                        true => Some(Panels::new(r, hidden, hidden, held..gates)?),
                        false => None,
                    },
                })
            })
            .collect::<Result<_, KernelError>>()?;
        Ok(Some(Packed { directions, cell: layer.cell, hidden, size }))
    }

    /// Whether it is for such a layer.
    pub(super) fn fits(&self, cell: Cell, sizes: &Sizes) -> bool {
        self.cell == cell
            && (self.hidden, self.size, self.directions.len()) == (sizes.hidden, sizes.size, sizes.directions)
    }

    /// Bytes that packing weights takes.
    pub fn bytes(w: &Tensor, r: &Tensor) -> Option<usize> {
        let (&[_, _, size], &[directions, width, hidden]) = (w.shape(), r.shape()) else { return Some(0) };
        let padded = width.checked_next_multiple_of(LANES)?.checked_add(width.min(LANES) * LANES)?;
        directions.checked_mul(padded)?.checked_mul(size.checked_add(hidden)?)?.checked_mul(size_of::<f32>())
    }
}

/// How many gates have a recurrent product that does not wait for another gate.
pub(super) fn held(cell: Cell) -> usize {
    match cell {
        Cell::Gru { linear_before_reset: false } => 2,
        _ => cell.gates(),
    }
}
