use crate::{Refused, Site};
use oxidane_graph::{NodeId, Op, ValueId};
use oxidane_tensor::Tensor;
use std::sync::Arc;

/// A Conv or ConvTranspose with constant weights and bias, whose result only the site's node reads.
pub(super) struct Convolution {
    pub(super) id: NodeId,
    pub(super) op: Arc<dyn Op>,
    pub(super) x: ValueId,
    pub(super) w: ValueId,
    pub(super) weights: Tensor,
    pub(super) bias: Option<ValueId>,
    /// Channels of the result.
    pub(super) channels: usize,
    /// Where the weights are turned: how many groups there are.
    turned: Option<usize>,
}

impl Convolution {
    /// The node that makes a value, where it is a convolution, whatever else holds.
    pub(super) fn maker(site: &Site<'_>, value: ValueId) -> Option<NodeId> {
        let maker = site.graph().value(value).producer();
        maker.filter(|&id| site.is(id, "Conv") || site.is(id, "ConvTranspose"))
    }

    pub(super) fn before(site: &Site<'_>, value: ValueId) -> Result<Convolution, Refused> {
        let id = Convolution::maker(site, value).ok_or(Refused::NoMatch)?;
        if site.sole_user(value) != Some(site.id()) {
            return Err(Refused::because("the result of the convolution is read elsewhere as well"));
        }
        let node = site.graph().node(id);
        let (Some(x), Some(w)) = (node.input(0), node.input(1)) else { return Err(Refused::NoMatch) };
        let weights = site.constant(w).ok_or(Refused::Because("the weights are no constant".into()))?.clone();
        let size = |axis: usize| weights.shape().get(axis).copied().unwrap_or(0);
        let (channels, turned) = match site.is(id, "ConvTranspose") {
            false => (size(0), None),
            true => {
                let groups: i64 = site.attribute(id, "group").unwrap_or(1);
                let groups = usize::try_from(groups).ok().filter(|&g| g > 0).ok_or(Refused::NoMatch)?;
                (size(1).saturating_mul(groups), Some(groups))
            }
        };
        if channels == 0 || turned.is_some_and(|groups| size(0) % groups != 0) {
            return Err(Refused::NoMatch);
        }
        Ok(Convolution { id, op: node.op().clone(), x, w, weights, bias: node.input(2), channels, turned })
    }

    /// The bias of each channel.
    pub(super) fn shift(&self, site: &Site<'_>) -> Result<Vec<f64>, Refused> {
        let shift = match self.bias {
            None => vec![0.0; self.channels],
            Some(b) => {
                let tensor = site.constant(b).ok_or(Refused::Because("the bias is no constant".into()))?;
                tensor.to_f64s()?
            }
        };
        if shift.len() == self.channels { Ok(shift) } else { Err(Refused::NoMatch) }
    }

    /// The weights, those of each channel of the result times its factor, computed in double precision.
    pub(super) fn scaled(&self, factors: &[f64]) -> Result<Tensor, Refused> {
        let failed = |e: oxidane_tensor::TensorError| Refused::because(e.to_string());
        let mut values = self.weights.to_f64s().map_err(failed)?;
        let shape = self.weights.shape();
        // Rows of weights, and the channel that each belongs to.
        let (rows, in_group) = match self.turned {
            None => (self.channels, 0),
            Some(groups) => (shape[0] * shape[1], shape[0] / groups),
        };
        let row = values.len() / rows.max(1);
        if row > 0 {
            for (i, slice) in values.chunks_exact_mut(row).enumerate() {
                let channel = match self.turned {
                    None => i,
                    Some(_) => i / shape[1] / in_group * shape[1] + i % shape[1],
                };
                slice.iter_mut().for_each(|v| *v *= factors[channel]);
            }
        }
        Tensor::from_f64s(self.weights.dtype(), shape, &values).map_err(failed)
    }

    /// Bytes of the weights that are gone once nothing but this convolution reads them.
    pub(super) fn freed(&self, site: &Site<'_>) -> usize {
        if site.sole_user(self.w) == Some(self.id) { self.weights.byte_len() } else { 0 }
    }
}
