//! [Gradient](https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Gradient.html): the derivatives of a value of
//! the graph. It names by its attributes the part of the graph that it speaks of; read in, it is a [`Call`] of the
//! [`function`] that this part and its derivatives make.

use crate::control::call::{Call, has_calls, inline_calls};
use crate::differentiate::{differentiate, filled};
use oxidane_graph::{Build, Graph, Inference, NodeId, NodeSpec, OpError, Problem, Source, Type, ValueId};
use std::collections::{HashMap, HashSet};

/// The domain of the operator.
pub const DOMAIN: &str = "ai.onnx.preview.training";
/// The name of the operator.
pub const NAME: &str = "Gradient";

/// Whether a call stands for this operator.
pub fn is_gradient(call: &Call) -> bool {
    call.domain == DOMAIN && call.name == NAME
}

/// Puts the derivatives in the place of the operator, in bodies too, so that passes see them.
///
/// # Errors
/// When a call has no body that fits it; the graph stays as it is.
pub fn inline(graph: &mut Graph) -> Result<(), OpError> {
    if has_calls(graph, &is_gradient) {
        let mut inlined = graph.clone();
        inline_calls(&mut inlined, &is_gradient)?;
        *graph = inlined;
    }
    Ok(())
}

/// A function of the values in `by`, and after them of what else it reads from `graph` (given second), whose results
/// are the derivatives of the sum of `of` with respect to each of the first `count` of `by`. Inputs have the types
/// that are given, or else those of the values.
///
/// # Errors
/// When `of` is no float tensor, and where an operator on the way has no rule.
pub fn function(
    graph: &Graph,
    by: &[ValueId],
    types: &[Option<Type>],
    count: usize,
    of: ValueId,
) -> Result<(Graph, Vec<ValueId>), OpError> {
    let (mut made, captured) = part(graph, by, types, of)?;
    inline_calls(&mut made, &|_| true)?;
    let mut walk = Inference::default();
    walk.graph(&mut made);
    if let Some(problem) = walk.findings.problems.pop() {
        return Err(OpError::inside(problem));
    }
    let y = made.outputs()[0];
    let xs: Vec<ValueId> = made.inputs()[..count].to_vec();
    let mut build = Build::resume(&mut made, "gradient", walk);
    for &value in xs.iter().chain([&y]) {
        if !build.ty(value).is_some_and(|ty| ty.dtype().is_some_and(|d| d.is_float())) {
            let name = build.graph().value(value).name().to_owned();
            let ty = build.ty(value).map_or("of unknown type".to_owned(), |ty| ty.to_string());
            return Err(OpError::new(format!("`{name}` is {ty}, but derivatives are of floats")));
        }
    }
    let seed = filled(&mut build, y, 1.0)?;
    let found = differentiate(&mut build, &[(y, seed)], &xs)?;
    let mut results = Vec::with_capacity(count);
    for (&x, gradient) in xs.iter().zip(found) {
        // What does not depend on it has the derivative nought.
        results.push(match gradient {
            Some(gradient) => gradient,
            None => filled(&mut build, x, 0.0)?,
        });
    }
    if let Some(problem) = build.into_inference().findings.problems.pop() {
        return Err(OpError::inside(problem));
    }
    made.set_outputs(results);
    drop_unread(&mut made);
    Ok((made, captured))
}

/// The part of a graph that computes `of` from `by`, as a graph of its own with that output, and the values behind
/// `by` that it takes from the graph.
fn part(
    graph: &Graph,
    by: &[ValueId],
    types: &[Option<Type>],
    of: ValueId,
) -> Result<(Graph, Vec<ValueId>), OpError> {
    let order = graph.order().map_err(|_| OpError::new("the graph has a cycle"))?;
    let leaves: HashSet<ValueId> = by.iter().copied().collect();
    let mut varying = leaves.clone();
    let mut way: Vec<NodeId> = Vec::new();
    for id in order {
        let node = graph.node(id);
        if node.inputs().iter().flatten().any(|v| varying.contains(v)) {
            varying.extend(node.outputs().iter().flatten());
            way.push(id);
        }
    }
    let mut wanted = HashSet::from([of]);
    way.reverse();
    way.retain(|&id| {
        let node = graph.node(id);
        let needed = node.outputs().iter().flatten().any(|v| wanted.contains(v) && !leaves.contains(v));
        if needed {
            wanted.extend(node.inputs().iter().flatten());
        }
        needed
    });
    way.reverse();

    let mut made = Graph::new(NAME);
    let mut map = HashMap::new();
    for (&value, ty) in by.iter().zip(types) {
        let (name, own) = (graph.value(value).name(), graph.value(value).ty());
        let input = made.add_input(name, ty.clone().or_else(|| own.cloned()), None)?;
        map.insert(value, input);
    }
    let made_here: HashSet<ValueId> =
        way.iter().flat_map(|&id| graph.node(id).outputs().iter().flatten().copied()).collect();
    let mut captured = Vec::new();
    let read = way.iter().flat_map(|&id| graph.node(id).inputs().iter().flatten().copied());
    for value in read.chain([of]) {
        if map.contains_key(&value) || made_here.contains(&value) {
            continue;
        }
        let name = graph.value(value).name();
        let input = match graph.value(value).source() {
            Source::Constant(tensor) => made.add_constant(name, oxidane_tensor::Tensor::clone(tensor))?,
            _ => {
                captured.push(value);
                made.add_input(name, graph.value(value).ty().cloned(), None)?
            }
        };
        map.insert(value, input);
    }
    for id in way {
        let node = graph.node(id);
        let mut outputs = Vec::new();
        for output in node.outputs() {
            outputs.push(match *output {
                // An output that counts as independent has its value from outside.
                Some(v) if leaves.contains(&v) => Some(made.add_undefined("")?),
                Some(v) => {
                    let value = made.add_undefined(graph.value(v).name())?;
                    made.set_declared(value, graph.value(v).declared().cloned());
                    map.insert(v, value);
                    Some(value)
                }
                None => None,
            });
        }
        let inputs: Vec<Option<ValueId>> =
            node.inputs().iter().map(|slot| slot.and_then(|v| map.get(&v).copied())).collect();
        made.add_node(NodeSpec {
            captures: node.captures(),
            bodies: node.bodies().to_vec(),
            name: node.name().to_owned(),
            ..NodeSpec::new(node.op().clone(), &inputs, &outputs)
        })
        .map_err(|e| OpError::inside(Problem::new(graph.place(id), OpError::from(e))))?;
    }
    let output = map.get(&of).copied().ok_or_else(|| OpError::new("the value is not part of the graph"))?;
    made.set_outputs(vec![output]);
    Ok((made, captured))
}

/// Takes away the nodes whose results nobody reads.
fn drop_unread(graph: &mut Graph) {
    let Ok(order) = graph.order() else { return };
    for id in order.into_iter().rev() {
        let outputs = graph.node(id).outputs().to_vec();
        let unread = |v: &ValueId| graph.value(*v).uses().is_empty() && !graph.is_output(*v);
        if outputs.iter().flatten().all(unread) {
            graph.remove_node(id);
        }
    }
}
