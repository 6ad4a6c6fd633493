use super::moments::{self, Moments, factor, of_channels};
use crate::pattern::Pattern;
use crate::{Refused, Rule, Site};
use oxidane_graph::Attributes;
use oxidane_tensor::Tensor;

/// A normalization over all axes but the first two, written as reductions, is InstanceNormalization.
pub(crate) struct InstanceNormalization {
    pattern: Pattern,
}

impl InstanceNormalization {
    pub(crate) fn new() -> InstanceNormalization {
        InstanceNormalization { pattern: moments::normalized() }
    }
}

impl Rule for InstanceNormalization {
    fn name(&self) -> &'static str {
        "instance_normalization"
    }

    fn doc(&self) -> &'static str {
        "a normalization of each channel written as reductions and arithmetic becomes InstanceNormalization"
    }

    fn roots(&self) -> &[&'static str] {
        &["Div", "Mul"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let found = self.pattern.find(site)?;
        let Moments { x, epsilon, axes, shape, dtype } = Moments::of(site, &found)?;
        let rank = shape.len();
        if rank < 3 || !axes.iter().copied().eq(2..rank) {
            return Err(Refused::because("the reduced axes are not those behind the channels"));
        }
        let channels = shape[1].as_size();
        let channels = channels.ok_or(Refused::Because("the number of channels is not known".into()))?;
        let fits = |t: &Tensor| of_channels(t, rank, channels).is_some();
        let root = found.root();
        let scaled = factor(site, root, "Mul", &fits);
        let shifted = scaled.and_then(|(_, out)| factor(site, out, "Add", &fits));
        let vector = |given: Option<(_, _)>, otherwise: f64| -> Result<Tensor, Refused> {
            let given = given.and_then(|(v, _)| of_channels(site.constant(v)?, rank, channels));
            given.map_or_else(
                || {
                    Tensor::from_f64s(dtype, &[channels], &vec![otherwise; channels])
                        .map_err(|e| Refused::because(e.to_string()))
                },
                Ok,
            )
        };
        let (scale, bias) = (vector(scaled, 1.0)?, vector(shifted, 0.0)?);
        let op = site.op("InstanceNormalization", &Attributes::new().with("epsilon", epsilon as f32))?;
        let last = shifted.or(scaled).map_or(root, |(_, out)| out);
        let (scale, bias) = (site.tensor(scale), site.tensor(bias));
        let new = site.add(op, &[x, scale, bias]);
        site.replace(last, new)
    }
}
