//! Element by element, blocks are as good as anything else.

use super::{Blocked, blocked, conv::function, image, replace};
use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, Dim, ValueId};
use oxidane_tensor::{DType, Tensor};
use smallvec::SmallVec;

/// Operators of one input that give finite numbers for finite ones, so that lanes without a channel stay harmless.
pub(super) const FUNCTIONS: &[&str] = &[
    "Relu",
    "Clip",
    "Sigmoid",
    "Tanh",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "HardSigmoid",
    "HardSwish",
    "Softplus",
    "Softsign",
    "Mish",
    "Gelu",
    "Swish",
    "Abs",
    "Neg",
    "Erf",
];

/// A function of a blocked value.
pub(super) struct Unary;

impl Rule for Unary {
    fn name(&self) -> &'static str {
        "function_in_blocks"
    }

    fn doc(&self) -> &'static str {
        "a function of what was brought out of blocks works on the blocks"
    }

    fn roots(&self) -> &[&'static str] {
        FUNCTIONS
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let from = blocked(site, site.input(0)?).ok_or(Refused::NoMatch)?;
        if function(site, site.id()).is_none() {
            return Err(Refused::because("the bounds are no constants"));
        }
        let op = site.node().op().clone();
        let mut inputs: SmallVec<[_; 4]> = site.node().inputs().into();
        inputs[0] = Some(from.value);
        let new = site.add_node(op, &inputs, 1)[0];
        replace(site, site.output(0)?, Blocked { value: new, ..from })
    }
}

/// A sum, difference or product of blocked values, or of one and a constant.
pub(super) struct Binary;

impl Rule for Binary {
    fn name(&self) -> &'static str {
        "arithmetic_in_blocks"
    }

    fn doc(&self) -> &'static str {
        "sums, differences and products of what was brought out of blocks work on the blocks"
    }

    fn roots(&self) -> &[&'static str] {
        &["Add", "Sub", "Mul"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let (a, b) = (site.input(0)?, site.input(1)?);
        let (from_a, from_b) = (blocked(site, a), blocked(site, b));
        let rank = |v: ValueId| site.shape(v).map(<[_]>::len);
        let (new_a, new_b, channels) = match (from_a, from_b) {
            (Some(x), Some(y)) if x.channels == y.channels && rank(a) == rank(b) => {
                (x.value, y.value, x.channels)
            }
            (Some(x), None) => {
                let other = reblocked(site, b, x.channels, image(site, a).map(<[_]>::len))?;
                (x.value, other, x.channels)
            }
            (None, Some(y)) => {
                let other = reblocked(site, a, y.channels, image(site, b).map(<[_]>::len))?;
                (other, y.value, y.channels)
            }
            (Some(_), Some(_)) => return Err(Refused::because("channels or ranks differ")),
            (None, None) => return Err(Refused::NoMatch),
        };
        let op = site.node().op().clone();
        let new = site.add(op, &[new_a, new_b]);
        replace(site, site.output(0)?, Blocked { value: new, channels })
    }
}

/// A constant that is one number, or one for each channel, as it must be beside a blocked value of `rank` before.
fn reblocked(
    site: &mut Site<'_>,
    value: ValueId,
    channels: i64,
    rank: Option<usize>,
) -> Result<ValueId, Refused> {
    let Some(tensor) = site.constant(value) else {
        return Err(Refused::because("the other operand is neither in blocks nor a constant"));
    };
    let (Some(rank), DType::F32) = (rank, tensor.dtype()) else { return Err(Refused::NoMatch) };
    let shape = tensor.shape();
    if tensor.len() == 1 && shape.len() <= rank {
        let one = tensor.reshape(&[])?;
        return Ok(site.tensor(one));
    }
    // From the last axis: spatial sizes, the channels, the batch.
    let of_channel = shape.len() >= rank - 1
        && shape.len() <= rank
        && shape[shape.len() - (rank - 2)..].iter().all(|&n| n == 1)
        && shape[shape.len() - (rank - 1)] as i64 == channels
        && shape[..shape.len() - (rank - 1)].iter().all(|&n| n == 1);
    if !of_channel {
        return Err(Refused::because("the constant is neither one number nor one for each channel"));
    }
    let dense = tensor.to_dense()?;
    let mut lanes = dense.slice::<f32>()?.to_vec();
    lanes.resize(lanes.len().next_multiple_of(16), 0.0);
    let mut shape = vec![1; rank + 1];
    (shape[1], shape[rank]) = (lanes.len() / 16, 16);
    Ok(site.tensor(Tensor::new(&shape, &lanes)?))
}

/// Blocked values side by side, all but the last of whole blocks.
pub(super) struct Concat;

impl Rule for Concat {
    fn name(&self) -> &'static str {
        "concat_in_blocks"
    }

    fn doc(&self) -> &'static str {
        "Concat on channels of whole blocks works on the blocks"
    }

    fn roots(&self) -> &[&'static str] {
        &["Concat"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let first = site.input(0)?;
        let rank = image(site, first).map(<[Dim]>::len).ok_or(Refused::NoMatch)? as i64;
        let axis: i64 = site.attribute(site.id(), "axis").ok_or(Refused::NoMatch)?;
        if axis != 1 && axis != 1 - rank {
            return Err(Refused::NoMatch);
        }
        let parts: Option<Vec<Blocked>> = site.node().inputs().iter().map(|v| blocked(site, (*v)?)).collect();
        let parts = parts.ok_or(Refused::NoMatch)?;
        let Some((_, whole)) = parts.split_last() else { return Err(Refused::NoMatch) };
        if whole.iter().any(|p| p.channels % 16 != 0) {
            return Err(Refused::because("the channels do not fill whole blocks"));
        }
        let op = site.op("Concat", &Attributes::new().with("axis", 1i64))?;
        let values: Vec<ValueId> = parts.iter().map(|p| p.value).collect();
        let new = site.add(op, &values);
        let channels = parts.iter().map(|p| p.channels).sum();
        replace(site, site.output(0)?, Blocked { value: new, channels })
    }
}
