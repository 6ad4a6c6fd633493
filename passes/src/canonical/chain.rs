use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, NodeId, ValueId, axis_index};
use oxidane_tensor::{DType, Tensor};

/// The node before, of the same operator, whose result nothing else reads.
fn before(site: &Site<'_>, value: ValueId, name: &str) -> Result<NodeId, Refused> {
    let maker =
        site.graph().value(value).producer().filter(|&id| site.is(id, name)).ok_or(Refused::NoMatch)?;
    match site.sole_user(value) {
        Some(_) => Ok(maker),
        None => Err(Refused::because("the result in between is read elsewhere as well")),
    }
}

/// A Transpose of a Transpose is one.
pub(crate) struct TransposeOfTranspose;

impl Rule for TransposeOfTranspose {
    fn name(&self) -> &'static str {
        "transpose_of_transpose"
    }

    fn doc(&self) -> &'static str {
        "a Transpose of a Transpose becomes one, or none"
    }

    fn roots(&self) -> &[&'static str] {
        &["Transpose"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let inner = before(site, site.input(0)?, "Transpose")?;
        let source = site.graph().node(inner).input(0).ok_or(Refused::NoMatch)?;
        let rank = site.rank(source)?;
        let order = |id: NodeId| -> Result<Vec<usize>, Refused> {
            let reversed = || (0..rank as i64).rev().collect();
            let perm: Vec<i64> = site.attribute(id, "perm").unwrap_or_else(reversed);
            perm.iter()
                .map(|&p| usize::try_from(p).ok().filter(|p| *p < rank).ok_or(Refused::NoMatch))
                .collect()
        };
        let (first, second) = (order(inner)?, order(site.id())?);
        if first.len() != rank || second.len() != rank {
            return Err(Refused::NoMatch);
        }
        let perm: Vec<i64> = second.iter().map(|&p| first[p] as i64).collect();
        let op = site.op("Transpose", &Attributes::new().with("perm", perm))?;
        let new = site.add(op, &[source]);
        site.replace(site.output(0)?, new)
    }
}

/// A Slice of a Slice along other axes is one.
pub(crate) struct SliceOfSlice;

/// Starts, ends, axes and steps.
type Ranges = [Vec<i64>; 4];

fn ranges(site: &Site<'_>, id: NodeId, rank: usize) -> Result<Ranges, Refused> {
    let node = site.graph().node(id);
    let list = |slot: usize| node.input(slot).map(|v| site.known_ints(v).ok_or(Refused::NoMatch)).transpose();
    let (starts, ends) = (list(1)?.ok_or(Refused::NoMatch)?, list(2)?.ok_or(Refused::NoMatch)?);
    let axes = list(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    let axes = axes
        .iter()
        .map(|&a| axis_index(a, rank).map(|a| a as i64).map_err(|e| Refused::because(e.to_string())));
    Ok([starts, ends, axes.collect::<Result<_, _>>()?, steps])
}

impl Rule for SliceOfSlice {
    fn name(&self) -> &'static str {
        "slice_of_slice"
    }

    fn doc(&self) -> &'static str {
        "a Slice of a Slice along other axes becomes one"
    }

    fn roots(&self) -> &[&'static str] {
        &["Slice"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let inner = before(site, site.input(0)?, "Slice")?;
        let source = site.graph().node(inner).input(0).ok_or(Refused::NoMatch)?;
        let rank = site.rank(source)?;
        let (first, second) = (ranges(site, inner, rank)?, ranges(site, site.id(), rank)?);
        if first[2].iter().any(|axis| second[2].contains(axis)) {
            return Err(Refused::because("both slices are along the same axis"));
        }
        let slice = site.node().op().clone();
        let mut inputs = vec![source];
        for (mut list, more) in first.into_iter().zip(second) {
            list.extend(more);
            let tensor = Tensor::new(&[list.len()], &list)?;
            inputs.push(site.tensor(tensor));
        }
        let new = site.add(slice, &inputs);
        site.replace(site.output(0)?, new)
    }
}

/// A Concat of a Concat along the same axis is one.
pub(crate) struct ConcatOfConcat;

impl Rule for ConcatOfConcat {
    fn name(&self) -> &'static str {
        "concat_of_concat"
    }

    fn doc(&self) -> &'static str {
        "a Concat of Concats along the same axis becomes one"
    }

    fn roots(&self) -> &[&'static str] {
        &["Concat"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let old = site.output(0)?;
        let rank = site.shape(old).map(<[_]>::len).ok_or(Refused::NoMatch)?;
        let axis = |id: NodeId| axis_index(site.attribute::<i64>(id, "axis").unwrap_or(0), rank).ok();
        let own = axis(site.id());
        let mut all = Vec::new();
        let mut merged = false;
        for &value in site.node().inputs().iter().flatten() {
            match before(site, value, "Concat") {
                Ok(inner) if axis(inner) == own => {
                    merged = true;
                    all.extend(site.graph().node(inner).inputs().iter().flatten().copied());
                }
                _ => all.push(value),
            }
        }
        if !merged {
            return Err(Refused::NoMatch);
        }
        let concat = site.node().op().clone();
        let new = site.add(concat, &all);
        site.replace(old, new)
    }
}

/// A Cast of a Cast that lost nothing is one.
pub(crate) struct CastOfCast;

/// Whether every number of one type is a number of another.
fn holds(from: DType, to: DType) -> bool {
    let bits = |d: DType| d.bits();
    match (from, to) {
        _ if from == to => true,
        (DType::Bool, to) => {
            to.is_integer() || matches!(to, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
        }
        (DType::F16 | DType::BF16, DType::F32 | DType::F64) | (DType::F32, DType::F64) => true,
        (a, b) if a.is_signed_integer() && b.is_signed_integer() => bits(a) <= bits(b),
        (a, b) if a.is_unsigned_integer() && b.is_unsigned_integer() => bits(a) <= bits(b),
        (a, b) if a.is_unsigned_integer() && b.is_signed_integer() => bits(a) < bits(b),
        (a, DType::F32) if a.is_integer() => bits(a) <= 16,
        (a, DType::F64) if a.is_integer() => bits(a) <= 32,
        _ => false,
    }
}

impl Rule for CastOfCast {
    fn name(&self) -> &'static str {
        "cast_of_cast"
    }

    fn doc(&self) -> &'static str {
        "a Cast of a Cast to a type that holds every number becomes one, or none"
    }

    fn roots(&self) -> &[&'static str] {
        &["Cast"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let middle = site.input(0)?;
        let inner = site.made_by(middle, "Cast");
        let source = inner.and_then(|id| site.graph().node(id).input(0)).ok_or(Refused::NoMatch)?;
        let dtype = |v: ValueId| site.ty(v).and_then(|t| t.dtype());
        let (Some(from), Some(between)) = (dtype(source), dtype(middle)) else {
            return Err(Refused::NoMatch);
        };
        if from == DType::String || between == DType::String || !holds(from, between) {
            return Err(Refused::because(format!("{between} does not hold every number of {from}")));
        }
        let cast = site.node().op().clone();
        let new = site.add(cast, &[source]);
        site.replace(site.output(0)?, new)
    }
}
