use super::moments::of_channels;
use crate::pattern::{Pattern, any, constant, op};
use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, Dims};
use oxidane_tensor::Tensor;

/// InstanceNormalization of the groups as channels, between two reshapes, then a scale and a bias for each channel, is
/// GroupNormalization.
pub(crate) struct GroupNormalization {
    pattern: Pattern,
}

impl GroupNormalization {
    pub(crate) fn new() -> GroupNormalization {
        let grouped = op("Reshape", [any("x"), any("groups")]).named("grouped");
        let normal =
            op("InstanceNormalization", [grouped, constant("ones"), constant("zeros")]).named("normal");
        let back = op("Reshape", [normal, any("target")]).named("back");
        GroupNormalization { pattern: back * constant("scale") + constant("bias") }
    }
}

impl Rule for GroupNormalization {
    fn name(&self) -> &'static str {
        "group_normalization"
    }

    fn doc(&self) -> &'static str {
        "InstanceNormalization of reshaped groups with a scale and a bias becomes GroupNormalization"
    }

    fn roots(&self) -> &[&'static str] {
        &["Add"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let found = self.pattern.find(site)?;
        let x = found.value("x")?;
        let shape =
            |v| site.shape(v).map(Dims::from_slice).ok_or(Refused::Because("a shape is not known".into()));
        let (before, grouped, after) =
            (shape(x)?, shape(found.value("grouped")?)?, shape(found.value("back")?)?);
        let size = |dims: &Dims| dims.get(1).and_then(|d| d.as_size()).ok_or(Refused::NoMatch);
        let (channels, groups) = (size(&before)?, size(&grouped)?);
        let same = before == after && grouped.len() >= 3 && grouped[0] == before[0];
        if !same || groups == 0 || channels % groups != 0 {
            return Err(Refused::because("the reshapes do not make groups of channels"));
        }
        let all = |v, wanted: f64| {
            let values = site.constant(v).and_then(|t| t.to_f64s().ok());
            values.is_some_and(|values| values.iter().all(|&v| v == wanted))
        };
        if !all(found.value("ones")?, 1.0) || !all(found.value("zeros")?, 0.0) {
            return Err(Refused::because("the groups have a scale or a bias of their own"));
        }
        let per_channel = |name: &str| -> Result<Tensor, Refused> {
            let tensor = site.constant(found.value(name)?).ok_or(Refused::NoMatch)?;
            of_channels(tensor, before.len(), channels)
                .ok_or_else(|| Refused::because(format!("the {name} differs within a channel")))
        };
        let (scale, bias) = (per_channel("scale")?, per_channel("bias")?);
        let normal = found.node(site, "normal")?;
        let epsilon: f32 = site.attribute(normal, "epsilon").unwrap_or(1e-5);
        let attributes = Attributes::new().with("epsilon", epsilon).with("num_groups", groups as i64);
        let op = site.op("GroupNormalization", &attributes)?;
        let (scale, bias) = (site.tensor(scale), site.tensor(bias));
        let new = site.add(op, &[x, scale, bias]);
        site.replace(found.root(), new)
    }
}
