use super::convolution::Convolution;
use crate::{Refused, Rule, Site};
use oxidane_graph::{Dim, NodeId, ValueId};
use oxidane_tensor::Tensor;

/// A constant for each channel that is added to the result of a convolution goes into its bias; one that is multiplied
/// with it into its weights, which round differently then.
pub(crate) enum ConvArithmetic {
    Bias,
    Scale,
}

impl Rule for ConvArithmetic {
    fn name(&self) -> &'static str {
        match self {
            ConvArithmetic::Bias => "conv_bias",
            ConvArithmetic::Scale => "conv_scale",
        }
    }

    fn doc(&self) -> &'static str {
        match self {
            ConvArithmetic::Bias => "constants added to a convolution go into its bias",
            ConvArithmetic::Scale => "constants multiplied with a convolution go into its weights and bias",
        }
    }

    fn roots(&self) -> &[&'static str] {
        match self {
            ConvArithmetic::Bias => &["Add", "Sub"],
            ConvArithmetic::Scale => &["Mul", "Div"],
        }
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let (a, b) = (site.input(0)?, site.input(1)?);
        let commutes = site.is(site.id(), "Add") || site.is(site.id(), "Mul");
        let conv = |v: ValueId| Convolution::maker(site, v).is_some();
        let (convolved, other) = match (conv(a), conv(b)) {
            (true, _) if site.constant(b).is_some() => (a, b),
            (_, true) if commutes && site.constant(a).is_some() => (b, a),
            _ => return Err(Refused::NoMatch),
        };
        let conv = Convolution::before(site, convolved)?;
        let (weights, channels) = (&conv.weights, conv.channels);
        let rank = weights.rank();
        let factors = per_channel(site, other, convolved, rank, channels)?;
        let mut shift = conv.shift(site)?;
        let freed = |site: &Site<'_>, v: ValueId, by: NodeId| match site.sole_user(v) == Some(by) {
            true => site.constant(v).map_or(0, Tensor::byte_len),
            false => 0,
        };
        let name = site.node().op().name().to_owned();
        let scales: Option<Vec<f64>> = match name.as_str() {
            "Mul" => Some(factors.clone()),
            "Div" => Some(factors.iter().map(|f| 1.0 / f).collect()),
            _ => None,
        };
        let made = weights.dtype().byte_len(channels).unwrap_or(usize::MAX);
        let mut added = made;
        let mut gone = freed(site, other, site.id()) + conv.bias.map_or(0, |b| freed(site, b, conv.id));
        let scaled = match &scales {
            Some(scales) if scales.iter().any(|s| !s.is_finite()) => {
                return Err(Refused::because("a factor is no finite number"));
            }
            Some(scales) => {
                shift.iter_mut().zip(scales).for_each(|(b, s)| *b *= s);
                added = added.saturating_add(weights.byte_len());
                gone += conv.freed(site);
                Some(conv.scaled(scales)?)
            }
            None => {
                let sign = if name == "Sub" { -1.0 } else { 1.0 };
                shift.iter_mut().zip(&factors).for_each(|(b, f)| *b += sign * f);
                None
            }
        };
        let keeps_bias = conv.bias.is_none() && scaled.is_some();
        let shift = Tensor::from_f64s(weights.dtype(), &[channels], &shift)?;
        // A bias is small beside the node that goes.
        site.grow(added, gone.saturating_add(made.saturating_mul(4)))?;
        let w = match scaled {
            Some(scaled) => site.tensor(scaled),
            None => conv.w,
        };
        let new = match keeps_bias {
            true => site.add(conv.op, &[conv.x, w]),
            false => {
                let shift = site.tensor(shift);
                site.add(conv.op, &[conv.x, w, shift])
            }
        };
        site.replace(site.output(0)?, new)
    }
}

/// The number for each channel that a constant comes to where it spreads over the result of a convolution.
fn per_channel(
    site: &Site<'_>,
    constant: ValueId,
    convolved: ValueId,
    rank: usize,
    channels: usize,
) -> Result<Vec<f64>, Refused> {
    let tensor = site.constant(constant).ok_or(Refused::NoMatch)?;
    let shape = tensor.shape();
    if shape.len() > rank || site.ty(convolved).and_then(|t| t.dtype()) != Some(tensor.dtype()) {
        return Err(Refused::NoMatch);
    }
    // Where it has as many axes as the result it may not be longer than that along the first.
    let lead = rank - shape.len();
    let fits = shape.iter().enumerate().all(|(i, &size)| size == 1 || lead + i == 1 && size == channels);
    if !fits {
        return Err(Refused::because("the constant differs within a channel"));
    }
    if channels == 1 && site.shape(convolved).is_some_and(|s| s.get(1) != Some(&Dim::known(1))) {
        return Err(Refused::NoMatch);
    }
    let values = tensor.to_f64s()?;
    Ok(match values.len() {
        1 => vec![values[0]; channels],
        _ => values,
    })
}
