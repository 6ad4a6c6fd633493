//! Reverse-mode differentiation: the rules of the operators ([`Op::gradient`](oxidane_graph::Op::gradient)) chained
//! from results back to what they depend on.

use crate::formula::{Formula, plain};
use crate::math::variadic::{Function, Variadic};
use oxidane_graph::{Build, NodeId, OpError, Place, Problem, Type, ValueId};
use std::collections::{HashMap, HashSet};

/// Expansions within expansions that are followed for a rule.
const DEPTH: usize = 8;

/// The gradients with respect to each of `by`, given those of some values: pairs of a value and its gradient, which
/// has its shape and type. Each of `by` counts as independent of the others, whatever computes it. `None` where
/// nothing of the values depends on it. The nodes that are added are standard operators, so that they can be
/// differentiated again. An operator without a rule is differentiated by its expansion.
///
/// # Errors
/// Names every operator on the way that has neither rule nor expansion, and where a rule does not fit its node.
pub fn differentiate(
    build: &mut Build<'_>,
    given: &[(ValueId, ValueId)],
    by: &[ValueId],
) -> Result<Vec<Option<ValueId>>, OpError> {
    let mut missing = Vec::new();
    let found = chain(build, given, by, DEPTH, &mut missing)?;
    if missing.is_empty() {
        return Ok(found);
    }
    let places: Vec<String> = missing.iter().map(|place| place.to_string()).collect();
    Err(OpError::unsupported(format!("no gradient rule for {}", places.join("; ")))
        .help("compute what depends on them outside of the differentiated part, or with other operators"))
}

/// The sum of gradients that meet at a value.
fn total(build: &mut Build<'_>, parts: &[ValueId]) -> ValueId {
    match parts {
        [one] => *one,
        _ => build.add(Variadic::new(Function::Sum), parts),
    }
}

/// Whether derivatives go through a value: it is a float tensor, or of unknown type.
fn is_differentiable(build: &Build<'_>, value: ValueId) -> bool {
    build.ty(value).is_none_or(|ty| ty.dtype().is_some_and(|d| d.is_float()) && matches!(ty, Type::Tensor(_)))
}

fn chain(
    build: &mut Build<'_>,
    given: &[(ValueId, ValueId)],
    by: &[ValueId],
    depth: usize,
    missing: &mut Vec<Place>,
) -> Result<Vec<Option<ValueId>>, OpError> {
    let order = build.graph().order().map_err(|_| OpError::new("the graph has a cycle"))?;
    let leaves: HashSet<ValueId> = by.iter().copied().collect();
    let mut varying = leaves.clone();
    let mut way: Vec<NodeId> = Vec::new();
    for id in order {
        let node = build.graph().node(id);
        // Integers, such as the sizes of what varies, carry no derivative on.
        if node.inputs().iter().flatten().any(|v| varying.contains(v)) {
            varying.extend(node.outputs().iter().flatten().filter(|v| is_differentiable(build, **v)));
            way.push(id);
        }
    }
    let mut parts: HashMap<ValueId, Vec<ValueId>> = HashMap::new();
    for &(value, gradient) in given {
        parts.entry(value).or_default().push(gradient);
    }
    for id in way.into_iter().rev() {
        let node = build.graph().node(id);
        let (op, inputs, outputs) = (node.op().clone(), node.inputs().to_vec(), node.outputs().to_vec());
        let mut gradients = Vec::with_capacity(outputs.len());
        for output in outputs {
            let own = output.filter(|v| !leaves.contains(v)).and_then(|v| parts.remove(&v));
            gradients.push(own.map(|own| total(build, &own)));
        }
        if gradients.iter().all(Option::is_none) {
            continue;
        }
        let reaches = |build: &Build<'_>, slot: &Option<ValueId>| {
            slot.filter(|v| varying.contains(v) && is_differentiable(build, *v))
        };
        let back: Vec<(ValueId, ValueId)> = match op.gradient(build, id, &gradients) {
            Ok(back) => inputs
                .iter()
                .zip(back)
                .filter_map(|(slot, gradient)| Some((reaches(build, slot)?, gradient?)))
                .collect(),
            Err(error) if !error.is_unsupported() => {
                return Err(OpError::inside(Problem::new(build.graph().place(id), error)));
            }
            Err(_) => {
                let mut wanted: Vec<ValueId> =
                    inputs.iter().filter_map(|slot| reaches(build, slot)).collect();
                wanted.sort_unstable();
                wanted.dedup();
                match if depth > 0 { op.expand(build, id)? } else { None } {
                    Some(values) => {
                        let inner: Vec<(ValueId, ValueId)> = values
                            .into_iter()
                            .zip(&gradients)
                            .filter_map(|(v, g)| Some((v, (*g)?)))
                            .collect();
                        let back = chain(build, &inner, &wanted, depth - 1, missing)?;
                        wanted.into_iter().zip(back).filter_map(|(v, g)| Some((v, g?))).collect()
                    }
                    None => {
                        missing.push(build.graph().place(id));
                        // Anything of the right type, so that what else is missing is found too.
                        wanted.into_iter().map(|v| (v, v)).collect()
                    }
                }
            }
        };
        for (value, gradient) in back {
            parts.entry(value).or_default().push(gradient);
        }
    }
    Ok(by.iter().map(|v| parts.get(v).cloned().map(|own| total(build, &own))).collect())
}

/// A tensor of one number in the shape and type of `like`.
///
/// # Errors
/// When the type of `like` is not known, or has no such number.
pub fn filled(build: &mut Build<'_>, like: ValueId, number: f64) -> Result<ValueId, OpError> {
    let mut formula = Formula::free(build);
    let dtype = formula.dtype(like)?;
    let value = oxidane_tensor::Tensor::from_f64s(dtype, &[1], &[number])?;
    let shape = formula.op("Shape", &[like])?;
    formula.with("ConstantOfShape", plain().with("value", value), &[shape])
}
