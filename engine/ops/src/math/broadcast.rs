//! Broadcasting: the attributes `broadcast` and `axis` that it needed before opset 7, and the sum that leads
//! back from a broadcast shape to an operand's.

use crate::tensor::reshape::Reshape;
use crate::{Draft, Step};
use oxidane_graph::{
    Attributes, Build, Dim, Dims, Op, OpError, ShownDims, Type, ValueId, axis_index, broadcast_dims,
};
use oxidane_tensor::Tensor;
use std::sync::Arc;

/// The steps of Add, Sub, Mul and Div before opset 7.
pub(crate) const FROM_1: &[Step] = &[super::unary::UNCONSUMED, BROADCAST];

/// From `broadcast` and `axis` to NumPy's rule: an operand that was aligned at an axis gets sizes of 1 behind.
pub(crate) const BROADCAST: Step = Step {
    to: 7,
    up: |d| {
        let broadcast = d.take::<i64>("broadcast")?.unwrap_or(0) != 0;
        let axis = d.take::<i64>("axis")?;
        let (true, Some(axis)) = (broadcast, axis) else { return Ok(()) };
        let rank = |d: &Draft<'_>, slot| {
            d.rank(slot).ok_or_else(|| {
                OpError::new(format!(
                    "attribute `axis` aligns the inputs, but the rank of input {slot} is not known"
                ))
                .help("declare the shapes of the model's inputs")
            })
        };
        let (a, b) = (rank(d, 0)?, rank(d, 1)?);
        if b == 0 {
            return Ok(());
        }
        let axis = axis_index(axis, a)?;
        let behind = a.checked_sub(axis + b).ok_or_else(|| {
            OpError::new(format!("input 1 of rank {b} does not fit input 0 of rank {a} at axis {axis}"))
        })?;
        if behind > 0 {
            lengthen(d, 1, b, behind)?;
        }
        Ok(())
    },
    down: |d| {
        let shapes = |slot| d.ty(slot).and_then(Type::shape).map(Dims::from_slice);
        let (Some(a), Some(b)) = (shapes(0), shapes(1)) else {
            return Err(OpError::new(
                "opset 6 needs to know how the inputs broadcast, but their ranks are not known",
            )
            .help("export to opset 7 or later"));
        };
        if a == b {
            return Ok(());
        }
        d.attributes.set("broadcast", 1i64);
        if b.iter().all(|&size| size == Dim::known(1)) {
            return reshape_to(d, 1, &[]);
        }
        let impossible = || {
            OpError::new(format!(
                "opset 6 cannot broadcast {} and {} to each other",
                ShownDims(&a),
                ShownDims(&b)
            ))
            .help("export to opset 7 or later")
        };
        // What remains of the second shape without sizes of 1 at its ends must be a run of the first.
        let is_one = |size: &Dim| *size == Dim::known(1);
        let first = b.iter().position(|s| !is_one(s)).unwrap_or(0);
        let last = b.iter().rposition(|s| !is_one(s)).unwrap_or(0);
        let core = Dims::from_slice(&b[first..=last]);
        let axis = (a.len() + first).checked_sub(b.len()).ok_or_else(impossible)?;
        if a.get(axis..axis + core.len()) != Some(&core[..]) {
            return Err(impossible());
        }
        if core.len() < b.len() {
            reshape_to(d, 1, &core)?;
        }
        if axis + core.len() < a.len() {
            d.attributes.set("axis", axis as i64);
        }
        Ok(())
    },
};

/// Gives an input of rank `rank` so many sizes of 1 behind its own.
pub(crate) fn lengthen(d: &mut Draft<'_>, slot: usize, rank: usize, behind: usize) -> Result<(), OpError> {
    let Some(value) = d.input(slot) else { return Ok(()) };
    let made = if let Some(tensor) = d.constant(slot) {
        let shape: Vec<usize> =
            tensor.shape().iter().copied().chain(std::iter::repeat_n(1, behind)).collect();
        d.add_constant(tensor.reshape(&shape)?)
    } else {
        // A zero copies a size.
        let shape: Vec<i64> = std::iter::repeat_n(0, rank).chain(std::iter::repeat_n(1, behind)).collect();
        let shape = d.add_constant(Tensor::new(&[shape.len()], &shape)?);
        d.add(Reshape { allowzero: false }, &[value, shape])
    };
    d.set_input(slot, Some(made));
    Ok(())
}

/// Gives an input another shape of the same number of elements.
pub(crate) fn reshape_to(d: &mut Draft<'_>, slot: usize, dims: &[Dim]) -> Result<(), OpError> {
    let Some(value) = d.input(slot) else { return Ok(()) };
    if d.rank(slot) == Some(dims.len()) {
        return Ok(());
    }
    let sizes: Option<Vec<i64>> = dims.iter().map(|s| s.as_known()).collect();
    let Some(sizes) = sizes else {
        return Err(OpError::new(format!(
            "input {slot} must become {} in this opset, which is not known",
            ShownDims(dims)
        ))
        .help("export to opset 7 or later"));
    };
    let made = if let Some(tensor) = d.constant(slot) {
        let shape: Vec<usize> = sizes.iter().filter_map(|&s| usize::try_from(s).ok()).collect();
        d.add_constant(tensor.reshape(&shape)?)
    } else {
        let shape = d.add_constant(Tensor::new(&[sizes.len()], &sizes)?);
        d.add(Reshape { allowzero: false }, &[value, shape])
    };
    d.set_input(slot, Some(made));
    Ok(())
}

/// An operator of the standard by its name, for rules that build on rooms of other families.
pub(crate) fn standard(name: &str, attributes: &Attributes) -> Result<Arc<dyn Op>, OpError> {
    let room = crate::room("", name).ok_or_else(|| OpError::unsupported(format!("there is no {name}")))?;
    (room.read)(attributes)
}

/// Adds a node of a standard operator with one output.
fn add(
    build: &mut Build<'_>,
    name: &str,
    attributes: &Attributes,
    inputs: &[ValueId],
) -> Result<ValueId, OpError> {
    let inputs: Vec<Option<ValueId>> = inputs.iter().map(|&v| Some(v)).collect();
    Ok(build.add_node(standard(name, attributes)?, &inputs, 1)[0])
}

/// Sums `gradient`, which has the shape of a broadcast result, over what was repeated, so that it has the shape
/// of `operand`. Where symbols leave open which axes those are, the model finds out when it runs.
///
/// # Errors
/// When the rank of the operand is not known.
pub fn unbroadcast(build: &mut Build<'_>, gradient: ValueId, operand: ValueId) -> Result<ValueId, OpError> {
    let shape =
        |build: &Build<'_>, value: ValueId| build.ty(value).and_then(Type::shape).map(Dims::from_slice);
    let target = shape(build, operand).ok_or_else(|| {
        OpError::new("the gradient of a broadcast needs to know the rank of the operand")
            .help("declare the shapes of the model's inputs")
    })?;
    let Some(full) = shape(build, gradient) else {
        return unbroadcast_any(build, gradient, operand, target.len());
    };
    let extra = full.len().checked_sub(target.len()).ok_or_else(|| {
        OpError::new(format!("{} does not broadcast to {}", ShownDims(&target), ShownDims(&full)))
    })?;
    broadcast_dims(&target, &full)?;
    let mut sum = gradient;
    if extra > 0 {
        let axes: Vec<i64> = (0..extra as i64).collect();
        sum = reduce(build, sum, &axes, false)?;
    }
    let one = Dim::known(1);
    let pairs = || target.iter().zip(&full[extra..]);
    // A size other than 1 is never repeated, and neither is anything to a size of 1.
    let open = pairs().any(|(&t, &f)| t != f && f != one && t.as_known().is_none());
    if !open {
        let repeated: Vec<i64> =
            (0i64..).zip(pairs()).filter(|(_, (t, f))| **t == one && **f != one).map(|(i, _)| i).collect();
        return if repeated.is_empty() { Ok(sum) } else { reduce(build, sum, &repeated, true) };
    }
    unbroadcast_open(build, sum, operand)
}

/// As [`unbroadcast`], where the rank of the gradient is found out when the model runs.
fn unbroadcast_any(
    build: &mut Build<'_>,
    gradient: ValueId,
    operand: ValueId,
    rank: usize,
) -> Result<ValueId, OpError> {
    let none = Attributes::new();
    let number = |build: &mut Build<'_>, n: i64| -> Result<ValueId, OpError> {
        Ok(build.constant(Tensor::new(&[], &[n])?))
    };
    let shape = add(build, "Shape", &none, &[gradient])?;
    let all = add(build, "Size", &none, &[shape])?;
    let (zero, one, own) = (number(build, 0)?, number(build, 1)?, number(build, rank as i64)?);
    let extra = add(build, "Sub", &none, &[all, own])?;
    let axes = add(build, "Range", &none, &[zero, extra, one])?;
    let attributes = Attributes::new().with("keepdims", false).with("noop_with_empty_axes", true);
    let sum = add(build, "ReduceSum", &attributes, &[gradient, axes])?;
    unbroadcast_open(build, sum, operand)
}

/// Sums over the axes in which the shape of a value of the operand's rank differs from the operand's.
fn unbroadcast_open(build: &mut Build<'_>, sum: ValueId, operand: ValueId) -> Result<ValueId, OpError> {
    let none = Attributes::new();
    let have = add(build, "Shape", &none, &[sum])?;
    let want = add(build, "Shape", &none, &[operand])?;
    let same = add(build, "Equal", &none, &[have, want])?;
    let differ = add(build, "Not", &none, &[same])?;
    let places = add(build, "NonZero", &none, &[differ])?;
    let flat = build.constant(Tensor::new(&[1], &[-1i64])?);
    let axes = add(build, "Reshape", &none, &[places, flat])?;
    let attributes = Attributes::new().with("keepdims", true).with("noop_with_empty_axes", true);
    let sum = add(build, "ReduceSum", &attributes, &[sum, axes])?;
    // Which has that shape already; Reshape lets inference know.
    add(build, "Reshape", &Attributes::new().with("allowzero", true), &[sum, want])
}

fn reduce(build: &mut Build<'_>, value: ValueId, axes: &[i64], keepdims: bool) -> Result<ValueId, OpError> {
    let axes = build.constant(Tensor::new(&[axes.len()], axes)?);
    add(build, "ReduceSum", &Attributes::new().with("keepdims", keepdims), &[value, axes])
}
