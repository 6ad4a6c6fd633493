use crate::pattern::{Pattern, any, constant, either, op, reciprocal, scalar, sqrt};
use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, Dims, NodeId, ValueId};
use oxidane_tensor::{DType, Tensor};

/// `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale + bias`, as exporters write it before
/// opset 17, is LayerNormalization.
pub(crate) struct LayerNormalization {
    pattern: Pattern,
}

impl LayerNormalization {
    pub(crate) fn new() -> LayerNormalization {
        let x = any("x");
        let mean = |of: Pattern, axes| op("ReduceMean", [of, constant(axes)]).with("keepdims", 1i64);
        let centred = (x.clone() - mean(x, "axes").named("mean")).named("centred");
        let squared = either([op("Pow", [centred.clone(), scalar(2.0)]), centred.clone() * centred.clone()]);
        let variance = mean(squared, "variance_axes").named("variance");
        let deviation = sqrt(variance + constant("epsilon"));
        let pattern = either([centred.clone() / deviation.clone(), centred * reciprocal(deviation)]);
        LayerNormalization { pattern }
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
        let x = found.value("x")?;
        let dtype = site.ty(x).and_then(|t| t.dtype());
        // LayerNormalization reduces in single precision.
        if !matches!(dtype, Some(DType::F32 | DType::F16 | DType::BF16)) {
            return Err(Refused::because("only 32- and 16-bit floats keep their precision"));
        }
        let epsilon = site.scalar(found.value("epsilon")?).ok_or(Refused::NoMatch)?;
        let shape = site.shape(x).map(Dims::from_slice);
        let shape = shape.ok_or(Refused::Because("the rank is not known".into()))?;
        let axes = trailing(site, found.value("axes")?, shape.len())?;
        if axes != trailing(site, found.value("variance_axes")?, shape.len())? {
            return Err(Refused::because("mean and variance are taken over different axes"));
        }
        let attributes = Attributes::new()
            .with("axis", -(axes as i64))
            .with("epsilon", epsilon as f32)
            .with("stash_type", 1i64);
        let normal = site.op("LayerNormalization", &attributes)?;
        let normalized = &shape[shape.len() - axes..];
        let root = found.root();
        let scaled = factor(site, root, "Mul", normalized);
        let shifted = scaled.and_then(|(_, _, out)| factor(site, out, "Add", normalized));
        let scale = match scaled {
            Some((_, scale, _)) => scale,
            None => {
                let sizes: Option<Vec<usize>> = normalized.iter().map(|d| d.as_size()).collect();
                let sizes = sizes.ok_or(Refused::Because(
                    "there is no scale, and the sizes that one would need are not known".into(),
                ))?;
                let dtype = dtype.unwrap_or(DType::F32);
                let count = oxidane_tensor::element_count(&sizes).unwrap_or(usize::MAX);
                site.grow(dtype.byte_len(count).unwrap_or(usize::MAX), 0)?;
                let ones = Tensor::from_f64s(dtype, &sizes, &vec![1.0; count]);
                site.tensor(ones.map_err(|e| Refused::because(e.to_string()))?)
            }
        };
        let mut inputs = vec![x, scale];
        inputs.extend(shifted.map(|(_, bias, _)| bias));
        let last = shifted.or(scaled).map_or(root, |(_, _, out)| out);
        let new = site.add(normal, &inputs);
        site.replace(last, new)
    }
}

/// How many of the last axes a constant list of axes names, without gap.
fn trailing(site: &Site<'_>, axes: ValueId, rank: usize) -> Result<usize, Refused> {
    let axes = site.known_ints(axes).ok_or(Refused::NoMatch)?;
    let mut places: Vec<usize> = Vec::with_capacity(axes.len());
    for axis in axes {
        places.push(oxidane_graph::axis_index(axis, rank).map_err(|e| Refused::because(e.to_string()))?);
    }
    places.sort_unstable();
    places.dedup();
    let first = rank.saturating_sub(places.len());
    if places.is_empty() || !places.iter().copied().eq(first..rank) {
        return Err(Refused::because("the reduced axes are not the last ones"));
    }
    Ok(places.len())
}

/// The node that alone reads `value` and combines it with a constant of the normalized sizes: the node, the
/// constant, and its result.
fn factor(
    site: &Site<'_>,
    value: ValueId,
    name: &str,
    sizes: &[oxidane_graph::Dim],
) -> Option<(NodeId, ValueId, ValueId)> {
    let user = site.sole_user(value).filter(|&user| site.is(user, name))?;
    let node = site.graph().node(user);
    let other = node.inputs().iter().flatten().copied().find(|&v| v != value)?;
    let fits = site.constant(other).is_some() && site.shape(other) == Some(sizes);
    Some((user, other, node.output(0)?)).filter(|_| fits)
}
