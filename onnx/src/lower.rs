//! Nodes brought from the newest opset to the one that is written.

use std::sync::Arc;

use oxidane_graph::{Attributes, Build, Graph, Id, NodeId, NodeSpec, Op, OpError, Opaque, Problem, ValueId};
use oxidane_ops::constraints::{self, Place};
use oxidane_ops::control::batch_scan;
use oxidane_ops::control::call::Call;
use oxidane_ops::tensor::identity::Identity;
use oxidane_ops::{Draft, Room, room};

use crate::export::Exporter;
use crate::function::domain;
use crate::import::behind;

/// Steps that add nodes, whose steps add nodes, go at most this deep.
const DEPTH: usize = 8;

/// Operators of today and ONNX's own of older opsets whose place they took; a step of the older one's room says how.
const SUCCESSORS: &[(&str, &str, &str)] = &[
    ("", "Resize", "Upsample"),
    ("", "ScatterElements", "Scatter"),
    (batch_scan::ROOM.domain, batch_scan::ROOM.name, "Scan"),
];

/// An operator in the form of an older opset: what is written of it, and nothing else.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    domain: String,
    name: String,
    attributes: Attributes,
    /// The operator in its newest form, which names the bodies.
    newest: Arc<dyn Op>,
}

impl Op for Written {
    fn domain(&self) -> &str {
        &self.domain
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn attributes(&self) -> Attributes {
        self.attributes.clone()
    }

    fn body_names(&self) -> &[&str] {
        self.newest.body_names()
    }
}

/// The room of the operator that stood in the place of `name` before.
fn predecessor(known: &Room) -> Option<&'static Room> {
    let (.., older) =
        SUCCESSORS.iter().find(|(domain, newer, _)| *domain == known.domain && *newer == known.name)?;
    room("", older)
}

fn downgrade(known: &Room, draft: &mut Draft<'_>, opset: i64) -> Result<(), OpError> {
    match (known.version_at(opset), predecessor(known)) {
        (None, Some(older)) => {
            known.downgrade(draft, older.newest())?;
            older.downgrade(draft, opset)
        }
        _ => known.downgrade(draft, opset),
    }
}

/// Whether an operator of `opset` has the newest form already.
fn is_newest(known: &Room, opset: i64) -> bool {
    known.version_at(opset).is_some_and(|version| known.steps.iter().all(|step| step.to <= version))
}

impl Exporter {
    /// Replaces operators of domains that the model does not import by standard ones, where they can be.
    pub(crate) fn expand(&mut self, graph: &mut Graph) {
        for _ in 0..DEPTH {
            let own = self.written("");
            let strange = |op: &dyn Op| {
                let returns = || {
                    let known = room(op.domain(), op.name())?;
                    predecessor(known)?.version_at(own).filter(|_| known.version_at(own).is_none())
                };
                let plain = !op.is::<Opaque>() && !op.is::<Call>();
                plain && self.is_strange(op.domain()) && returns().is_none()
            };
            let found: Vec<NodeId> =
                graph.nodes().filter(|(_, n)| strange(n.op().as_ref())).map(|(id, _)| id).collect();
            if found.is_empty() {
                return;
            }
            let before = graph.node_bound();
            for id in found {
                let op = graph.node(id).op().clone();
                let outputs = graph.node(id).outputs().to_vec();
                let result = op.expand(&mut Build::new(graph, "export"), id);
                match result {
                    Ok(Some(values)) => stand_in(graph, id, &outputs, &values),
                    Ok(None) => {}
                    Err(error) => self.problems.push(Problem::new(graph.place(id), error)),
                }
            }
            if graph.node_bound() == before {
                return;
            }
        }
    }

    /// Brings a node to the opset that is written; gives the nodes that stand in its place, in order.
    pub(crate) fn lower(&mut self, graph: &mut Graph, id: NodeId, depth: usize) -> Vec<NodeId> {
        // A step may take nodes away that the step up had added.
        let Some(node) = graph.get_node(id) else { return Vec::new() };
        let op = node.op().clone();
        if op.is::<Call>() {
            return vec![id];
        }
        let known = room(op.domain(), op.name());
        let opset = match op.is::<Opaque>() && !domain(op.domain()).is_empty() {
            // What is not known is written as it came.
            true => 0,
            false if known.is_some_and(|known| predecessor(known).is_some()) => self.opset(""),
            false => self.opset(op.domain()),
        };
        if let Some(opaque) = op.downcast::<Opaque>() {
            let own = domain(&opaque.domain).is_empty();
            if own && opaque.opset != opset && opaque.opset != 0 {
                let what =
                    format!("is not known, so it cannot be brought from opset {} to {opset}", opaque.opset);
                let help = format!("write opset {}, or replace the operator", opaque.opset);
                self.problems.push(Problem::new(graph.place(id), OpError::unsupported(what).help(help)));
            }
            return vec![id];
        }
        let Some(known) = known else { return vec![id] };
        if is_newest(known, opset) || depth > DEPTH {
            self.check_types(graph, id, opset);
            return vec![id];
        }
        let (mut place, written) = (graph.place(id), node.inputs().to_vec());
        let made = node.outputs().to_vec();
        let (captures, name, origin) = (node.captures(), node.name().to_owned(), node.origin());
        let notes = node.notes().cloned().unwrap_or_default();
        // The steps find the outputs without a source, as they do on the way up; listed as outputs of the graph
        // they outlive the node.
        let kept = graph.outputs().to_vec();
        graph.set_outputs(kept.iter().copied().chain(made.iter().flatten().copied()).collect());
        let formal = written.len() - captures;
        let bodies = graph.bodies_mut(id).iter_mut().map(std::mem::take).collect();
        graph.remove_node(id);
        let bound = graph.node_bound();
        let mut draft = Draft::new(graph, op.domain(), op.name());
        draft.attributes = op.attributes();
        draft.inputs = written[..formal].into();
        draft.outputs = made[..].into();
        let result = downgrade(known, &mut draft, opset);
        let Draft { domain, name: op_type, attributes, mut inputs, outputs, .. } = draft;
        inputs.extend(written[formal..].iter().copied());
        let helpers: Vec<NodeId> = (bound..graph.node_bound()).map(NodeId::from_index).collect();
        if let Err(error) = result {
            for &helper in helpers.iter().rev() {
                graph.remove_node(helper);
            }
            let spec =
                NodeSpec { captures, bodies, name, origin, notes, ..NodeSpec::new(op, &written, &made) };
            let id = graph.add_node(spec).unwrap_or(id);
            graph.set_outputs(kept);
            let what = match lowest(graph, id, known, opset) {
                Some(v) => format!("cannot be written in opset {opset}, but in opset {v}: {}", error.what()),
                None => format!("cannot be written in opset {opset}: {}", error.what()),
            };
            let help = error.advice().unwrap_or("write a later opset").to_owned();
            place.path.clone_from(&self.path);
            self.problems.push(Problem::new(place, OpError::new(what).help(help)));
            return vec![id];
        }
        let behind = behind(graph, &helpers, &outputs);
        let op: Arc<dyn Op> = Arc::new(Written { domain, name: op_type, attributes, newest: op });
        let spec = NodeSpec { captures, bodies, name, origin, notes, ..NodeSpec::new(op, &inputs, &outputs) };
        let own = graph.add_node(spec);
        graph.set_outputs(kept);
        let mut sequence = Vec::new();
        for &helper in helpers.iter().filter(|h| !behind.contains(h)) {
            sequence.extend(self.lower(graph, helper, depth + 1));
        }
        match own {
            Ok(own) => {
                self.check_types(graph, own, opset);
                sequence.push(own);
            }
            Err(error) => self.problems.push(Problem::new(place, error)),
        }
        for helper in behind {
            sequence.extend(self.lower(graph, helper, depth + 1));
        }
        sequence
    }
}

impl Exporter {
    /// Names the types of a node that its operator takes in later opsets only. A model that is written as it came keeps
    /// what it came with.
    fn check_types(&mut self, graph: &Graph, id: NodeId, opset: i64) {
        if self.same {
            return;
        }
        let node = graph.node(id);
        let (domain, name) = (node.op().domain(), node.op().name());
        let inputs = node.formal_inputs().iter().enumerate().map(|(i, &v)| (Place::Input(i), v));
        let outputs = node.outputs().iter().enumerate().map(|(i, &v)| (Place::Output(i), v));
        for (place, value) in inputs.chain(outputs) {
            let Some(ty) = value.and_then(|v| graph.value(v).ty()) else { continue };
            if constraints::allows(domain, name, opset, place, ty) != Some(false) {
                continue;
            }
            let (Place::Input(slot) | Place::Output(slot)) = place;
            let what = if matches!(place, Place::Input(_)) { "input" } else { "output" };
            let (later, help) = match constraints::first_after(domain, name, opset, place, ty) {
                Some(later) => {
                    (format!(", but in opset {later}"), format!("export to opset {later} or later"))
                }
                None => (String::new(), "write a later opset".to_owned()),
            };
            let told = format!(
                "cannot be written in opset {opset}{later}: {what} {slot} is {ty}, which {name} does not take yet"
            );
            let mut at = graph.place(id);
            at.path.clone_from(&self.path);
            self.problems.push(Problem::new(at, OpError::new(told).help(help)));
            return;
        }
    }
}

/// The first later opset that can express a node.
fn lowest(graph: &Graph, id: NodeId, known: &Room, opset: i64) -> Option<i64> {
    known.since.iter().copied().filter(|&v| v > opset).find(|&v| {
        let mut scratch = graph.clone();
        let node = graph.node(id);
        let kept = node.outputs().iter().flatten().copied();
        scratch.set_outputs(graph.outputs().iter().copied().chain(kept).collect());
        scratch.remove_node(id);
        let mut draft = Draft::new(&mut scratch, node.op().domain(), node.op().name());
        draft.attributes = node.op().attributes();
        draft.inputs = node.formal_inputs().into();
        draft.outputs = node.outputs().into();
        downgrade(known, &mut draft, v).is_ok()
    })
}

/// Lets `values` take the place of a node's outputs.
fn stand_in(graph: &mut Graph, id: NodeId, outputs: &[Option<ValueId>], values: &[ValueId]) {
    let mut left = Vec::new();
    for (old, &new) in outputs.iter().zip(values) {
        let Some(old) = *old else { continue };
        if !graph.replace_uses(old, new) {
            left.push((old, new));
        }
    }
    let outputs_now = graph.outputs().to_vec();
    graph.set_outputs(outputs_now.iter().copied().chain(left.iter().map(|l| l.0)).collect());
    graph.remove_node(id);
    for (old, new) in left {
        // The old value has lost its node, so that it can have another one.
        let _ = Build::new(graph, "export").define(Arc::new(Identity {}), &[Some(new)], &[Some(old)]);
    }
    graph.set_outputs(outputs_now);
}
