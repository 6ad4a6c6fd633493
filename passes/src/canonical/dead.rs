use crate::Report;
use crate::label;
use oxidane_graph::{Graph, Id, Node, NodeId, Source, ValueId};

pub(crate) const NAME: &str = "dead";
pub(crate) const DOC: &str = "removes nodes, constants and captures that nothing reads";

/// Whether a node has no effect but its outputs.
pub(crate) fn pure(node: &Node) -> bool {
    node.op().is_pure() && node.bodies().iter().all(|body| body.nodes().all(|(_, n)| pure(n)))
}

/// Whether a node can go: nothing reads its outputs and it does nothing else.
pub(crate) fn removable(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let read = |v: &ValueId| graph.is_output(*v) || !graph.value(*v).uses().is_empty();
    !node.outputs().iter().flatten().any(read) && pure(node)
}

/// Removes what no output and no effect needs.
pub(crate) fn sweep(graph: &mut Graph, path: &[String], report: &mut Report) {
    let mut needed = vec![false; graph.node_bound()];
    let mut todo: Vec<NodeId> = Vec::new();
    for (id, node) in graph.nodes() {
        let given = node.outputs().iter().flatten().any(|&v| graph.is_output(v));
        if given || !pure(node) {
            needed[id.index()] = true;
            todo.push(id);
        }
    }
    while let Some(id) = todo.pop() {
        for &input in graph.node(id).inputs().iter().flatten() {
            if let Some(maker) = graph.value(input).producer()
                && !std::mem::replace(&mut needed[maker.index()], true)
            {
                todo.push(maker);
            }
        }
    }
    let gone: Vec<NodeId> = graph.nodes().map(|(id, _)| id).filter(|id| !needed[id.index()]).collect();
    for id in gone {
        let called = label(graph, id);
        report.fire(NAME, path, id, called);
        graph.remove_node(id);
    }
    let holders: Vec<NodeId> = graph.holders().collect();
    for id in holders {
        drop_captures(graph, id);
    }
    let idle = |v: &oxidane_graph::Value| {
        v.uses().is_empty() && matches!(v.source(), Source::Constant(_) | Source::Undefined)
    };
    let stray: Vec<ValueId> = graph.values().filter(|(_, v)| idle(v)).map(|(id, _)| id).collect();
    for value in stray {
        // Refused for outputs of the graph, which stay.
        let _ = graph.remove_value(value);
    }
}

/// Removes captures that no body reads.
fn drop_captures(graph: &mut Graph, id: NodeId) {
    let node = graph.node(id);
    let (captures, formal) = (node.captures(), node.formal_inputs().len());
    let unread = |body: &Graph, k: usize| {
        let at = body.inputs().len().checked_sub(captures).and_then(|first| body.inputs().get(first + k));
        at.is_some_and(|&v| body.value(v).uses().is_empty() && !body.is_output(v))
    };
    let dropped: Vec<usize> =
        (0..captures).filter(|&k| node.bodies().iter().all(|body| unread(body, k))).collect();
    if dropped.is_empty() {
        return;
    }
    let kept = |k: usize| dropped.binary_search(&k).is_err();
    let inputs: Vec<Option<ValueId>> = (node.inputs().iter().enumerate())
        .filter(|(slot, _)| slot.checked_sub(formal).is_none_or(kept))
        .map(|(_, &v)| v)
        .collect();
    for body in graph.bodies_mut(id) {
        let first = body.inputs().len() - captures;
        let gone: Vec<ValueId> = dropped.iter().map(|k| body.inputs()[first + k]).collect();
        for value in gone {
            body.remove_input(value).expect("nothing reads the input");
        }
    }
    graph.set_inputs(id, &inputs, captures - dropped.len());
}
