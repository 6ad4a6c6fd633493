//! What is constant is computed: nodes of constant inputs by the interpreter, shapes by what inference knows,
//! conditionals of a known condition by the branch they take, and loops of one turn by their body.

use crate::canonical::dead::pure;
use crate::site::{scalar, standard};
use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, Dim, Graph, NodeSpec, Source, ValueId};
use oxidane_ops::Interpreter;
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Datum, Tensor};
use std::collections::HashMap;

pub(crate) fn rules() -> Vec<Box<dyn Rule>> {
    vec![Box::new(Branch), Box::new(LoopOnce), Box::new(Fold)]
}

struct Fold;

/// Operators that are kept although they could be computed: the quantized form of a weight is the small one,
/// and fast kernels look for it.
const KEPT: &[&str] = &["DequantizeLinear", "QuantizeLinear"];

impl Rule for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn doc(&self) -> &'static str {
        "computes nodes of constant inputs, and shapes that are known"
    }

    fn roots(&self) -> &[&'static str] {
        &[]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let node = site.node();
        if node.outputs().is_empty() {
            return Err(Refused::NoMatch);
        }
        let name = node.op().name();
        let handed_out = || node.outputs().iter().flatten().any(|&v| site.graph().is_output(v));
        if (name == "Identity" || crate::cost(node) == 0) && handed_out() {
            // Such an Identity is how a graph gives out a constant, and would cost more than what costs nothing.
            return Err(Refused::NoMatch);
        }
        if !node.inputs().is_empty()
            && let Some(known) = known_outputs(site)
        {
            if !pure(node) {
                return Err(Refused::NoMatch);
            }
            return site.settle(known);
        }
        let given: Option<Vec<Option<Datum>>> = (node.inputs().iter())
            .map(|input| match input {
                Some(value) => site.constant(*value).map(|t| Some(Datum::Tensor(t.clone()))),
                None => Some(None),
            })
            .collect();
        let Some(given) = given else { return Err(Refused::NoMatch) };
        if !pure(node) {
            return Err(Refused::because("equal inputs may give other outputs each time"));
        }
        if KEPT.contains(&name) {
            return Err(Refused::because("the quantized form is kept"));
        }
        if !node.bodies().is_empty() && name != "If" {
            return Err(Refused::because("how long a loop runs is not known before it runs"));
        }
        let freed = freed(site);
        let declared: usize = node.outputs().iter().flatten().filter_map(|&v| byte_len(site, v)).sum();
        let bounds = site.bounds();
        let growth = declared.saturating_sub(freed);
        if growth > bounds.tensor || declared > bounds.work {
            return Err(Refused::because(format!(
                "the result would make the model larger by {growth} bytes; at most {} are allowed",
                bounds.tensor
            )));
        }
        let outputs = Interpreter::new(Pool::new(1), bounds.work)
            .node(site.graph(), site.id(), given)
            .map_err(|e| Refused::because(format!("it cannot be computed: {e}")))?;
        let mut tensors = Vec::with_capacity(outputs.len());
        for output in outputs {
            tensors.push(match output {
                Some(Datum::Tensor(t)) => Some(t.to_dense()?),
                Some(_) => return Err(Refused::because("the result is no tensor")),
                None => None,
            });
        }
        // The only use of a Constant's tensor is the node itself.
        if name != "Constant" {
            site.grow(tensors.iter().flatten().map(Tensor::byte_len).sum(), freed)?;
        }
        site.settle(tensors)
    }
}

/// The outputs where inference knows all elements of each that is read.
fn known_outputs(site: &Site<'_>) -> Option<Vec<Option<Tensor>>> {
    let node = site.node();
    let read = |v: ValueId| site.graph().is_output(v) || !site.graph().value(v).uses().is_empty();
    let known = |slot: &Option<ValueId>| match *slot {
        Some(v) if read(v) => known_value(site, v).map(Some),
        _ => Some(None),
    };
    node.outputs().iter().map(known).collect()
}

fn known_value(site: &Site<'_>, value: ValueId) -> Option<Tensor> {
    if let Some(tensor) = site.constant(value) {
        return Some(tensor.clone());
    }
    let ints = site.ints(value)?;
    let numbers: Option<Vec<i64>> = ints.dims.iter().map(|d: &Dim| d.as_known()).collect();
    let numbers = numbers?;
    let shape = [numbers.len()];
    let shape = if ints.scalar { &[][..] } else { &shape[..] };
    match site.ty(value)?.dtype()? {
        DType::I64 => Tensor::new(shape, &numbers).ok(),
        DType::I32 => {
            let narrow: Option<Vec<i32>> = numbers.iter().map(|&n| i32::try_from(n).ok()).collect();
            Tensor::new(shape, &narrow?).ok()
        }
        _ => None,
    }
}

/// The bytes of constants that nothing but the node reads.
fn freed(site: &Site<'_>) -> usize {
    let only = |v: &ValueId| {
        let value = site.graph().value(*v);
        !site.graph().is_output(*v) && value.uses().iter().all(|u| u.node == site.id())
    };
    let mut inputs: Vec<ValueId> = site.node().inputs().iter().flatten().copied().collect();
    inputs.sort_unstable();
    inputs.dedup();
    let constants = inputs.iter().filter(|v| only(v)).filter_map(|&v| site.graph().value(v).constant());
    constants.map(Tensor::byte_len).fold(0, usize::saturating_add)
}

/// The bytes of a value, where its type tells.
fn byte_len(site: &Site<'_>, value: ValueId) -> Option<usize> {
    let dtype = site.ty(value)?.dtype()?;
    let sizes: Option<Vec<usize>> = site.shape(value)?.iter().map(|d| d.as_size()).collect();
    dtype.byte_len(oxidane_tensor::element_count(&sizes?).unwrap_or(usize::MAX)).or(Some(usize::MAX))
}

/// If of a known condition: the branch takes its place.
struct Branch;

impl Rule for Branch {
    fn name(&self) -> &'static str {
        "branch"
    }

    fn doc(&self) -> &'static str {
        "replaces an If whose condition is known by the branch that it takes"
    }

    fn roots(&self) -> &[&'static str] {
        &["If"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let condition = site.scalar(site.input(0)?).ok_or(Refused::NoMatch)?;
        let wanted = if condition != 0.0 { "then_branch" } else { "else_branch" };
        let node = site.node();
        let at = node.op().body_names().iter().position(|&n| n == wanted).ok_or(Refused::NoMatch)?;
        let body = node.bodies().get(at).cloned().ok_or(Refused::NoMatch)?;
        let captured: Vec<Option<ValueId>> = node.captured().to_vec();
        let outputs: Vec<Option<ValueId>> = node.outputs().to_vec();
        let results = inline(site, &body, &captured)?;
        give(site, &outputs, &results)
    }
}

/// A Loop that takes one turn, by its count or because its body says so: the body takes its place.
struct LoopOnce;

impl Rule for LoopOnce {
    fn name(&self) -> &'static str {
        "loop_once"
    }

    fn doc(&self) -> &'static str {
        "replaces a Loop that takes exactly one turn by its body"
    }

    fn roots(&self) -> &[&'static str] {
        &["Loop"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let node = site.node();
        let known = |slot: usize| match node.input(slot) {
            Some(value) => site.scalar(value).map(Some),
            None => Some(None),
        };
        let body = node.bodies().first().cloned().ok_or(Refused::NoMatch)?;
        // What is not known may forbid the first turn; a count or condition that is left out does not.
        let (Some(count), Some(begin)) = (known(0), known(1)) else { return Err(Refused::NoMatch) };
        let begins = count.is_none_or(|c| c >= 1.0) && begin.is_none_or(|c| c != 0.0);
        let ends = count == Some(1.0) || body.outputs().first().is_some_and(|&v| stops(&body, v));
        if !begins || !ends {
            return Err(Refused::NoMatch);
        }
        let carried = node.formal_inputs().get(2..).unwrap_or_default().to_vec();
        let captured = node.captured().to_vec();
        let outputs: Vec<Option<ValueId>> = node.outputs().to_vec();
        let mut inputs = vec![
            Some(site.tensor(Tensor::scalar(0i64))),
            Some(site.tensor(Tensor::from_bools(&[], &[true])?)),
        ];
        inputs.extend(carried.iter().chain(&captured));
        let mut results = inline(site, &body, &inputs)?;
        if results.is_empty() {
            return Err(Refused::NoMatch);
        }
        results.remove(0);
        // Of a scan output the turn gives the only element.
        for (result, output) in results.iter_mut().zip(&outputs).skip(carried.len()) {
            if output.is_some() {
                let (unsqueeze, axes) = (site.op("Unsqueeze", &Attributes::new())?, site.list(&[0])?);
                *result = site.add(unsqueeze, &[*result, axes]);
            }
        }
        give(site, &outputs, &results)
    }
}

/// Whether a condition that a body gives is always false.
fn stops(body: &Graph, condition: ValueId) -> bool {
    let value = body.value(condition);
    let constant = match value.producer().map(|id| body.node(id)) {
        Some(node) if standard(node) == Some("Identity") => {
            node.input(0).and_then(|v| body.value(v).constant())
        }
        Some(_) => None,
        None => value.constant(),
    };
    constant.and_then(scalar) == Some(0.0)
}

/// Lets the results of an inlined body stand for the outputs of the site's node.
fn give(site: &mut Site<'_>, outputs: &[Option<ValueId>], results: &[ValueId]) -> Result<(), Refused> {
    if results.len() < outputs.len() {
        return Err(Refused::because("the body gives fewer outputs than the node"));
    }
    // A result that cannot carry the name of an output of the graph, or stands for two of the node's
    // outputs, goes through an Identity.
    let mut pairs: Vec<(ValueId, ValueId)> = Vec::new();
    for (old, &result) in outputs.iter().zip(results) {
        let Some(old) = *old else { continue };
        let taken = pairs.iter().any(|p| p.1 == result);
        let through = site.graph().is_output(old) && (taken || !site.graph().may_replace(old, result));
        let new = match through {
            true => {
                let identity = site.op("Identity", &Attributes::new())?;
                site.add(identity, &[result])
            }
            false => result,
        };
        pairs.push((old, new));
    }
    for &(old, new) in &pairs {
        if let (Some(a), Some(b)) = (site.ty(old), site.ty(new))
            && !a.agrees(b)
        {
            return Err(Refused::because("the body gives another type than the node declares"));
        }
    }
    for (old, new) in pairs {
        site.replace(old, new)?;
    }
    Ok(())
}

/// Copies the nodes of a body into the site's graph; gives the values that stand for its outputs.
fn inline(site: &mut Site<'_>, body: &Graph, inputs: &[Option<ValueId>]) -> Result<Vec<ValueId>, Refused> {
    let broken = || Refused::because("the body does not hold together");
    let mut mapped: HashMap<ValueId, ValueId> = HashMap::new();
    for (&inner, outer) in body.inputs().iter().zip(inputs) {
        mapped.extend(outer.map(|outer| (inner, outer)));
    }
    for (id, value) in body.values() {
        if let Source::Constant(tensor) = value.source() {
            mapped.insert(id, site.tensor(oxidane_tensor::Tensor::clone(tensor)));
        }
    }
    for id in body.order().map_err(|_| broken())? {
        let node = body.node(id);
        let mut read = Vec::with_capacity(node.inputs().len());
        for input in node.inputs() {
            read.push(match input {
                Some(v) => Some(*mapped.get(v).ok_or_else(broken)?),
                None => None,
            });
        }
        let mut made = Vec::with_capacity(node.outputs().len());
        for output in node.outputs() {
            made.push(output.map(|inner| {
                let outer = site.value();
                mapped.insert(inner, outer);
                outer
            }));
        }
        let spec = NodeSpec {
            captures: node.captures(),
            bodies: node.bodies().to_vec(),
            name: node.name().to_owned(),
            origin: node.origin(),
            notes: node.notes().cloned().unwrap_or_default(),
            ..NodeSpec::new(node.op().clone(), &read, &made)
        };
        site.add_spec(spec)?;
    }
    body.outputs().iter().map(|v| mapped.get(v).copied().ok_or_else(broken)).collect()
}
