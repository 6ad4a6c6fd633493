//! What the normalizations have in common: a mean, a variance, and a scale and a bias behind them.

use crate::pattern::{Match, Pattern, any, constant, either, op, reciprocal, scalar, sqrt};
use crate::{Refused, Site};
use oxidane_graph::{Dim, NodeId, ValueId, axis_index};
use oxidane_tensor::{DType, Tensor, element_count};

/// `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon)`.
pub(crate) fn normalized() -> Pattern {
    let x = any("x");
    let mean = |of: Pattern, axes| op("ReduceMean", [of, constant(axes)]).with("keepdims", 1i64);
    let centred = x.clone() - mean(x, "axes");
    let squared = either([op("Pow", [centred.clone(), scalar(2.0)]), centred.clone() * centred.clone()]);
    let shifted = mean(squared, "variance_axes") + constant("epsilon");
    let deviation = sqrt(shifted);
    either([
        centred.clone() / deviation.clone(),
        centred.clone() * reciprocal(deviation.clone()),
        centred * (1.0 / deviation),
    ])
}

/// What [`normalized`] matched.
pub(crate) struct Moments {
    pub(crate) x: ValueId,
    pub(crate) epsilon: f64,
    /// The reduced axes in order.
    pub(crate) axes: Vec<usize>,
    pub(crate) shape: Vec<Dim>,
    pub(crate) dtype: DType,
}

impl Moments {
    pub(crate) fn of(site: &Site<'_>, found: &Match) -> Result<Moments, Refused> {
        let x = found.value("x")?;
        let dtype = float(site, x)?;
        let epsilon = site.scalar(found.value("epsilon")?).ok_or(Refused::NoMatch)?;
        let shape = site.shape(x).ok_or(Refused::Because("the rank is not known".into()))?.to_vec();
        let axes = reduced(site, found.value("axes")?, shape.len())?;
        if axes != reduced(site, found.value("variance_axes")?, shape.len())? {
            return Err(Refused::because("mean and variance are taken over different axes"));
        }
        Ok(Moments { x, epsilon, axes, shape, dtype })
    }
}

/// The type of a value that a normalization may take: the operators reduce in single precision.
pub(crate) fn float(site: &Site<'_>, x: ValueId) -> Result<DType, Refused> {
    match site.ty(x).and_then(|t| t.dtype()) {
        Some(dtype @ (DType::F32 | DType::F16 | DType::BF16)) => Ok(dtype),
        _ => Err(Refused::because("only 32- and 16-bit floats keep their precision")),
    }
}

/// The axes that a constant names, in order.
pub(crate) fn reduced(site: &Site<'_>, axes: ValueId, rank: usize) -> Result<Vec<usize>, Refused> {
    let axes = site.known_ints(axes).ok_or(Refused::NoMatch)?;
    let mut places = Vec::with_capacity(axes.len());
    for axis in axes {
        places.push(axis_index(axis, rank)?);
    }
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

/// How many of the last axes these are, without gap.
pub(crate) fn trailing(axes: &[usize], rank: usize) -> Result<usize, Refused> {
    if axes.is_empty() || !axes.iter().copied().eq(rank - axes.len()..rank) {
        return Err(Refused::because("the reduced axes are not the last ones"));
    }
    Ok(axes.len())
}

/// A node that alone reads a value and combines it with a constant: the constant, and its result.
pub(crate) fn factor(
    site: &Site<'_>,
    value: ValueId,
    name: &str,
    fits: &dyn Fn(&Tensor) -> bool,
) -> Option<(ValueId, ValueId)> {
    let user: NodeId = site.sole_user(value).filter(|&user| site.is(user, name))?;
    let node = site.graph().node(user);
    let other = node.inputs().iter().flatten().copied().find(|&v| v != value)?;
    fits(site.constant(other)?).then_some((other, node.output(0)?))
}

/// Whether a tensor has one element for each of the last axes of these sizes.
pub(crate) fn has_sizes(tensor: &Tensor, sizes: &[Dim]) -> bool {
    let wanted = sizes.iter().map(|d| d.as_size());
    tensor.rank() == sizes.len() && tensor.shape().iter().map(|&n| Some(n)).eq(wanted)
}

/// The elements of a constant with one for each channel, the second axis of `rank`, as a vector.
pub(crate) fn of_channels(tensor: &Tensor, rank: usize, channels: usize) -> Option<Tensor> {
    let lead = rank.checked_sub(tensor.rank())?;
    let wanted = |axis: usize| if axis == 1 { channels } else { 1 };
    let fits = tensor.shape().iter().enumerate().all(|(i, &n)| n == wanted(lead + i));
    (fits && tensor.len() == channels).then(|| tensor.reshape(&[channels]).ok()).flatten()
}

/// A scale that changes nothing, where there is none.
pub(crate) fn ones(site: &mut Site<'_>, dtype: DType, sizes: &[Dim]) -> Result<ValueId, Refused> {
    let sizes: Option<Vec<usize>> = sizes.iter().map(|d| d.as_size()).collect();
    let sizes = sizes.ok_or(Refused::Because(
        "there is no scale, and the sizes that one would need are not known".into(),
    ))?;
    let count = element_count(&sizes).unwrap_or(usize::MAX);
    site.grow(dtype.byte_len(count).unwrap_or(usize::MAX), 0)?;
    let ones = Tensor::from_f64s(dtype, &sizes, &vec![1.0; count]);
    Ok(site.tensor(ones?))
}
