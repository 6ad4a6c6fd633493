use super::moments::{factor, float, has_sizes, ones, reduced, trailing};
use crate::pattern::{Pattern, any, constant, either, op, reciprocal, scalar, sqrt};
use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, Dims};

/// `x / sqrt(mean(x^2) + epsilon) * scale`, as exporters write it before opset 23, is RMSNormalization.
pub(crate) struct RmsNormalization {
    pattern: Pattern,
}

impl RmsNormalization {
    pub(crate) fn new() -> RmsNormalization {
        let x = any("x");
        let squared = either([op("Pow", [x.clone(), scalar(2.0)]), x.clone() * x.clone()]);
        let mean = op("ReduceMean", [squared, constant("axes")]).with("keepdims", 1i64);
        let shifted = mean + constant("epsilon");
        let root = sqrt(shifted.clone());
        let pattern = either([
            x.clone() / root.clone(),
            x.clone() * reciprocal(root.clone()),
            x.clone() * (1.0 / root),
            x * op("Pow", [shifted, scalar(-0.5)]),
        ]);
        RmsNormalization { pattern }
    }
}

impl Rule for RmsNormalization {
    fn name(&self) -> &'static str {
        "rms_normalization"
    }

    fn doc(&self) -> &'static str {
        "a division by the root of the mean square becomes RMSNormalization"
    }

    fn roots(&self) -> &[&'static str] {
        &["Div", "Mul"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let found = self.pattern.find(site)?;
        let x = found.value("x")?;
        let dtype = float(site, x)?;
        let epsilon = site.scalar(found.value("epsilon")?).ok_or(Refused::NoMatch)?;
        let shape = site.shape(x).map(Dims::from_slice);
        let shape = shape.ok_or(Refused::Because("the rank is not known".into()))?;
        let axes = trailing(&reduced(site, found.value("axes")?, shape.len())?, shape.len())?;
        let normalized = &shape[shape.len() - axes..];
        let attributes = Attributes::new().with("axis", -(axes as i64)).with("epsilon", epsilon as f32);
        let normal = site.op("RMSNormalization", &attributes)?;
        let (scale, last) = match factor(site, found.root(), "Mul", &|t| has_sizes(t, normalized)) {
            Some((scale, out)) => (scale, out),
            None => (ones(site, dtype, normalized)?, found.root()),
        };
        let new = site.add(normal, &[x, scale]);
        site.replace(last, new)
    }
}
