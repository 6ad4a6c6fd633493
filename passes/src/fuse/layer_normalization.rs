use super::moments::{self, Moments, factor, has_sizes, trailing};
use crate::pattern::Pattern;
use crate::{Refused, Rule, Site};
use oxidane_graph::Attributes;

/// `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale + bias`, as exporters write it before
/// opset 17, is LayerNormalization.
pub(crate) struct LayerNormalization {
    pattern: Pattern,
}

impl LayerNormalization {
    pub(crate) fn new() -> LayerNormalization {
        LayerNormalization { pattern: moments::normalized() }
    }
}

impl Rule for LayerNormalization {
    fn name(&self) -> &'static str {
        "layer_normalization"
    }

    fn doc(&self) -> &'static str {
        "a normalization written as reductions and arithmetic becomes LayerNormalization"
    }

    fn roots(&self) -> &[&'static str] {
        &["Div", "Mul"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let found = self.pattern.find(site)?;
        let Moments { x, epsilon, axes, shape, dtype } = Moments::of(site, &found)?;
        let axes = trailing(&axes, shape.len())?;
        let attributes = Attributes::new()
            .with("axis", -(axes as i64))
            .with("epsilon", epsilon as f32)
            .with("stash_type", 1i64);
        let normal = site.op("LayerNormalization", &attributes)?;
        let sizes = &shape[shape.len() - axes..];
        let root = found.root();
        let scaled = factor(site, root, "Mul", &|t| has_sizes(t, sizes));
        let shifted = scaled.and_then(|(_, out)| factor(site, out, "Add", &|t| has_sizes(t, sizes)));
        let scale = match scaled {
            Some((scale, _)) => scale,
            None => moments::ones(site, dtype, sizes)?,
        };
        let mut inputs = vec![x, scale];
        inputs.extend(shifted.map(|(bias, _)| bias));
        let last = shifted.or(scaled).map_or(root, |(_, out)| out);
        let new = site.add(normal, &inputs);
        site.replace(last, new)
    }
}
