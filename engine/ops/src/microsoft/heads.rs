//! What the attention operators share: projections split into heads, and masks of several forms as numbers to add.

use crate::formula::{Formula, plain};
use oxidane_graph::{Attributes, OpError, ValueId};
use oxidane_tensor::DType;

/// What masked scores are lowered by where an operator does not say.
pub(super) const FILTER: f32 = -10000.0;

/// The scale as the standard's operator takes it: absent where files say 0.
pub(super) fn scaled(mut attributes: Attributes, scale: Option<f32>) -> Attributes {
    if let Some(scale) = scale.filter(|&s| s != 0.0) {
        attributes.set("scale", scale);
    }
    attributes
}

impl Formula<'_, '_> {
    /// The parts of these sizes along the last axis.
    pub(super) fn parts(&mut self, value: ValueId, sizes: &[i64]) -> Result<Vec<ValueId>, OpError> {
        let lengths = self.ints(sizes)?;
        let inputs = [Some(value), Some(lengths)];
        Ok(self.node("Split", &plain().with("axis", -1i64), &inputs, sizes.len())?.to_vec())
    }

    /// One of the matrices that axis `axis` stacks.
    pub(super) fn pick(&mut self, value: ValueId, axis: i64, index: i64) -> Result<ValueId, OpError> {
        let index = self.scalar(index as f64, DType::I64)?;
        self.with("Gather", plain().with("axis", axis), &[value, index])
    }

    /// `[batch, row, head and element]` as `[batch, head, row, element]`.
    pub(super) fn heads(&mut self, value: ValueId, heads: i64) -> Result<ValueId, OpError> {
        let [batch, rows, hidden] = self.sizes(value)?;
        if heads < 1 || hidden % heads != 0 {
            return Err(OpError::new(format!("{hidden} elements do not divide into {heads} heads")));
        }
        let split = self.reshape(value, &[batch, rows, heads, hidden / heads])?;
        self.transpose(split, &[0, 2, 1, 3])
    }

    /// Back to `[batch, row, head and element]`.
    pub(super) fn rows(&mut self, value: ValueId) -> Result<ValueId, OpError> {
        let rows = self.transpose(value, &[0, 2, 1, 3])?;
        self.reshape(rows, &[0, 0, -1])
    }

    /// A mask of any of its forms as numbers to add to scores of `[batch, head, rows, keys]`: 0 where a key is
    /// seen, `filter` where it is not.
    pub(super) fn mask(
        &mut self,
        mask: ValueId,
        [batch, rows, keys]: [i64; 3],
        filter: f32,
        dtype: DType,
    ) -> Result<ValueId, OpError> {
        let shape = self.shape(mask)?;
        let unfit = || {
            OpError::new(format!(
                "a mask of shape {shape:?} does not fit {batch} batches of {rows} rows and {keys} keys"
            ))
        };
        let seen = match *shape.as_slice() {
            // Where the keys of each batch end, and perhaps where they start.
            [n] if n == batch || n == 2 * batch => {
                let end = self.scalar(keys as f64, DType::I64)?;
                let places = self.count(end)?;
                let places = self.cast(places, DType::I32)?;
                let ends = self.slice(mask, 0, 0, batch)?;
                let ends = self.reshape(ends, &[batch, 1, 1, 1])?;
                let mut seen = self.op("Less", &[places, ends])?;
                if n != batch {
                    let starts = self.slice(mask, 0, batch, n)?;
                    let starts = self.reshape(starts, &[batch, 1, 1, 1])?;
                    let started = self.op("GreaterOrEqual", &[places, starts])?;
                    seen = self.op("And", &[seen, started])?;
                }
                seen
            }
            [_] => return Err(OpError::unsupported("masks of packed sequences are not supported")),
            _ => {
                let flags = match *shape.as_slice() {
                    [b, k] if b == batch && k == keys => self.reshape(mask, &[batch, 1, 1, keys])?,
                    [b, r, k] if b == batch && r == rows && k == keys => {
                        self.reshape(mask, &[batch, 1, rows, keys])?
                    }
                    [b, 1, r, k] if b == batch && r >= keys && k >= keys => {
                        let mask = self.slice(mask, 2, keys - rows, keys)?;
                        self.slice(mask, 3, 0, keys)?
                    }
                    _ => return Err(unfit()),
                };
                let zero = self.number(0.0, flags)?;
                self.op("Greater", &[flags, zero])?
            }
        };
        let (zero, filter) = (self.scalar(0.0, dtype)?, self.scalar(filter.into(), dtype)?);
        self.op("Where", &[seen, zero, filter])
    }

    /// The sum of those that are given.
    pub(super) fn sum(&mut self, a: Option<ValueId>, b: Option<ValueId>) -> Result<Option<ValueId>, OpError> {
        Ok(match (a, b) {
            (Some(a), Some(b)) => Some(self.op("Add", &[a, b])?),
            (a, b) => a.or(b),
        })
    }
}

/// Self-attention behind a projection that makes queries, keys and values at once.
pub(super) struct Projected {
    pub(super) heads: i64,
    /// The sizes of queries, keys and values.
    pub(super) sizes: [i64; 3],
    pub(super) causal: bool,
    pub(super) scale: Option<f32>,
    pub(super) filter: f32,
}

impl Projected {
    /// The output and what is kept, from the projections, a mask, what was kept, and numbers to add.
    pub(super) fn attend(
        &self,
        f: &mut Formula<'_, '_>,
        projections: ValueId,
        [mask, past, bias]: [Option<ValueId>; 3],
    ) -> Result<Vec<ValueId>, OpError> {
        let [batch, rows, _] = f.sizes(projections)?;
        let dtype = f.dtype(projections)?;
        let parts = f.parts(projections, &self.sizes)?;
        let mut keys = rows;
        let (mut past_key, mut past_value) = (None, None);
        if let Some(past) = past {
            keys += f.sizes::<5>(past)?[3];
            past_key = Some(f.pick(past, 0, 0)?);
            past_value = Some(f.pick(past, 0, 1)?);
        }
        let mask = mask.map(|m| f.mask(m, [batch, rows, keys], self.filter, dtype)).transpose()?;
        let mask = f.sum(mask, bias)?;
        let attributes = plain()
            .with("is_causal", self.causal)
            .with("q_num_heads", self.heads)
            .with("kv_num_heads", self.heads);
        let attributes = scaled(attributes, self.scale);
        let inputs = [Some(parts[0]), Some(parts[1]), Some(parts[2]), mask, past_key, past_value];
        if !f.wants(1) {
            return Ok(f.node("Attention", &attributes, &inputs, 1)?.to_vec());
        }
        let made = f.node("Attention", &attributes, &inputs, 3)?;
        let axis = f.ints(&[0])?;
        let key = f.op("Unsqueeze", &[made[1], axis])?;
        let value = f.op("Unsqueeze", &[made[2], axis])?;
        Ok(vec![made[0], f.concat(&[key, value], 0)?])
    }
}
