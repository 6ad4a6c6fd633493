//! Operators that have no kernel of their own: what runs is what [`Op::expand`](oxidane_graph::Op::expand) gives.
//!
//! Such a room states its `expand()`, says `of_expansion!(infer)` inside its `impl Op` (or `of_expansion!()` and an
//! `infer()` of its own), and is done. A plan puts the expansion in the node's place once types are known
//! ([`expand`]); where it cannot, and in the interpreter, the kernel makes the expansion for the types that come in
//! and interprets it ([`kernel`]). Types are those that the expansion's outputs have ([`infer`]).

use crate::Interpreter;
use crate::tensor::identity::Identity;
use oxidane_graph::{
    Build, Dims, Graph, InferCtx, Inference, Kernel, NodeId, NodeSpec, Op, OpError, Type, Unknown, qualified,
};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Inside `impl Op for ...`: runs the operator by its expansion, and with `infer` takes its types from there too. The
/// type must be `Clone`.
#[macro_export]
macro_rules! of_expansion {
    (infer) => {
        fn infer(&self, ctx: &mut oxidane_graph::InferCtx<'_>) -> Result<(), oxidane_graph::Unknown> {
            $crate::expansion::infer(ctx)
        }

        $crate::of_expansion!();
    };
    () => {
        fn kernel(
            &self,
            _: &oxidane_graph::Call<'_>,
        ) -> Result<Box<dyn oxidane_graph::Kernel>, oxidane_graph::OpError> {
            $crate::expansion::kernel(std::sync::Arc::new(self.clone()))
        }

        fn runs_expanded(&self) -> bool {
            true
        }
    };
}

/// An expansion for inputs and outputs of this form.
struct Expanded {
    inputs: Vec<(bool, Option<Type>)>,
    outputs: Vec<bool>,
    graph: Graph,
}

/// A kernel that runs the expansion of `op`; the last one made is kept.
///
/// # Errors
/// None; the result is what [`Op::kernel`] returns.
pub fn kernel(op: Arc<dyn Op>) -> Result<Box<dyn Kernel>, OpError> {
    let kept: Mutex<Option<Arc<Expanded>>> = Mutex::new(None);
    oxidane_graph::kernel(move |run| {
        let count = run.input_count();
        let inputs: Vec<_> =
            (0..count).map(|i| (run.try_datum(i).is_some(), run.try_datum(i).and_then(Type::of))).collect();
        let outputs: Vec<bool> = (0..run.output_count()).map(|i| run.wants(i)).collect();
        let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().clone().filter(|e| e.inputs == inputs && e.outputs == outputs);
        let expanded = match known {
            Some(expanded) => expanded,
            None => {
                let graph = alone(&op, &inputs, &outputs, &[], &[])?;
                let made = Arc::new(Expanded { inputs, outputs, graph });
                *lock() = Some(made.clone());
                made
            }
        };
        let given = (0..count).filter_map(|i| run.take_datum(i)).map(Some).collect();
        let mut results =
            Interpreter::within(run.host()).run(&expanded.graph, given).map_err(OpError::from)?.into_iter();
        for (i, _) in expanded.outputs.iter().enumerate().filter(|(_, wanted)| **wanted) {
            if let Some(value) = results.next() {
                run.set(i, value);
            }
        }
        Ok(())
    })
}

/// Sets the types of the outputs to those that the node's expansion gives.
///
/// # Errors
/// [`Unknown::Because`] where there is no expansion for what is known of the inputs; the faults that it finds.
pub fn infer(ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
    let op = ctx.node().op().clone();
    let mut graph = Graph::new("");
    let mut slots = Vec::new();
    let mut known = HashSet::new();
    for i in 0..ctx.input_count() {
        slots.push(match (ctx.has_input(i), ctx.constant(i)) {
            (false, _) => None,
            (true, Some(tensor)) => Some(graph.add_constant("", tensor.clone())?),
            (true, None) => Some(graph.add_input(&format!("x{i}"), ctx.ty(i).cloned(), None)?),
        });
        known.extend(ctx.shape(i).unwrap_or_default().iter().flat_map(|d| d.symbols()));
    }
    let mut made = Vec::new();
    for i in 0..ctx.output_count() {
        made.push(Some(graph.add_undefined(&format!("y{i}"))?));
    }
    let node = graph.add_node(NodeSpec::new(op.clone(), &slots, &made))?;
    let mut build = Build::new(&mut graph, "expansion");
    let values = op.expand(&mut build, node)?.ok_or_else(|| {
        Unknown::Because("too little is known of the inputs to put simpler operators in its place".into())
    })?;
    if let Some(problem) = build.into_inference().findings.problems.pop() {
        return Err(Unknown::Wrong(problem.error));
    }
    for (output, value) in values.into_iter().enumerate() {
        let Some(ty) = graph.value(value).ty() else { continue };
        let (Some(dtype), Some(shape)) = (ty.dtype(), ty.shape()) else {
            ctx.set(output, ty.clone());
            continue;
        };
        // Names of sizes that only the expansion knows would mean other sizes elsewhere.
        let dims: Dims = shape
            .iter()
            .enumerate()
            .map(|(axis, d)| match d.symbols().iter().all(|s| known.contains(s)) {
                true => *d,
                false => ctx.unknown_dim(output, axis),
            })
            .collect();
        ctx.set_tensor(output, dtype, dims);
    }
    Ok(())
}

/// A graph of the expansion of `op` for inputs of these types. It also takes what the bodies, whose types are given,
/// capture.
///
/// # Errors
/// When there is no expansion.
pub(crate) fn alone(
    op: &Arc<dyn Op>,
    inputs: &[(bool, Option<Type>)],
    outputs: &[bool],
    bodies: &[Graph],
    captured: &[Option<Type>],
) -> Result<Graph, OpError> {
    let mut graph = Graph::new("");
    let mut slots = Vec::new();
    for (i, (given, ty)) in inputs.iter().enumerate() {
        slots.push(match given {
            true => Some(graph.add_input(&format!("x{i}"), ty.clone(), None)?),
            false => None,
        });
    }
    let mut made = Vec::new();
    for (i, wanted) in outputs.iter().enumerate() {
        made.push(match wanted {
            true => Some(graph.add_undefined(&format!("y{i}"))?),
            false => None,
        });
    }
    for (i, ty) in captured.iter().enumerate() {
        slots.push(Some(graph.add_input(&format!("c{i}"), ty.clone(), None)?));
    }
    let node = graph.add_node(NodeSpec {
        captures: captured.len(),
        bodies: bodies.to_vec(),
        ..NodeSpec::new(op.clone(), &slots, &made)
    })?;
    let mut walk = Inference::default();
    walk.node(&mut graph, node);
    if let Some(problem) = walk.findings.problems.pop() {
        return Err(problem.error);
    }
    let mut build = Build::resume(&mut graph, "expansion", walk);
    let values = op.expand(&mut build, node)?.ok_or_else(|| {
        OpError::unsupported(format!(
            "operator {} has no expansion for these inputs",
            qualified(op.domain(), op.name())
        ))
    })?;
    if let Some(problem) = build.into_inference().findings.problems.pop() {
        return Err(problem.error);
    }
    graph.remove_node(node);
    let wanted = values.into_iter().zip(outputs).filter(|(_, wanted)| **wanted).map(|(value, _)| value);
    graph.set_outputs(wanted.collect());
    Ok(graph)
}

/// Puts the expansions of operators that run by them in their place, as far as types allow it. `walk` is the
/// inference of the graph.
///
/// # Errors
/// When an expansion does not fit its node.
pub fn expand(graph: &mut Graph, walk: Inference) -> Result<Inference, OpError> {
    expand_those(graph, walk, &|op| op.runs_expanded())
}

/// Puts their expansions in the place of operators, of those nodes of the graph whose operator is `wanted`. A node
/// whose operator has no expansion, or none for what is known of its inputs, stays.
///
/// # Errors
/// When an expansion does not fit its node.
pub fn expand_those(
    graph: &mut Graph,
    mut walk: Inference,
    wanted: &dyn Fn(&dyn Op) -> bool,
) -> Result<Inference, OpError> {
    let nodes: Vec<NodeId> =
        graph.nodes().filter(|(_, node)| wanted(&**node.op())).map(|(id, _)| id).collect();
    for id in nodes {
        let op = graph.node(id).op().clone();
        let outputs = graph.node(id).outputs().to_vec();
        let mut build = Build::resume(graph, "expansion", walk);
        let made = op.expand(&mut build, id);
        walk = build.into_inference();
        // The kernel tries again with the types that come in.
        let Ok(Some(values)) = made else { continue };
        let mut copies = Vec::new();
        for (old, new) in outputs.into_iter().zip(values) {
            let Some(old) = old else { continue };
            let known = (graph.value(old).ty().cloned(), graph.value(new).ty().cloned());
            match known {
                (Some(a), Some(b)) => {
                    if let Ok(met) = Type::meet(&b, &a) {
                        graph.set_type(new, Some(met));
                    }
                }
                (Some(a), None) => graph.set_type(new, Some(a)),
                _ => {}
            }
            if !graph.replace_uses(old, new) {
                copies.push((old, new));
            }
        }
        graph.remove_node(id);
        for (old, new) in copies {
            let mut build = Build::resume(graph, "expansion", walk);
            build.define(Arc::new(Identity {}), &[Some(new)], &[Some(old)])?;
            walk = build.into_inference();
        }
    }
    Ok(walk)
}
