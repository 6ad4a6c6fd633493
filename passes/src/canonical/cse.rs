use super::dead::pure;
use crate::site::standard;
use crate::{Report, label};
use oxidane_graph::{Attribute, Attributes, Graph, Node, NodeId, Type, ValueId, same_tensor};
use oxidane_tensor::Tensor;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

pub(crate) const NAME: &str = "cse";
pub(crate) const DOC: &str = "computes equal expressions once and keeps equal small constants once";

/// Larger constants are equal only where they share their bytes.
const COMPARED: usize = 4096;

/// Merges equal constants, then equal nodes in topological order, so that expressions of merged nodes are
/// found equal in the same walk.
pub(crate) fn sweep(graph: &mut Graph, path: &[String], report: &mut Report) {
    merge_constants(graph);
    let Ok(order) = graph.order() else { return };
    let mut seen: HashMap<u64, SmallVec<[NodeId; 4]>> = HashMap::with_capacity(order.len());
    for id in order {
        let node = graph.node(id);
        if !node.bodies().is_empty() || node.outputs().is_empty() || !pure(node) {
            continue;
        }
        let attributes = node.op().attributes();
        let bucket = seen.entry(hash_node(node, &attributes)).or_default();
        let twin = bucket.iter().copied().find(|&other| {
            let twin = graph.node(other);
            same_call(twin, node) && twin.op().attributes() == attributes
        });
        let Some(twin) = twin else {
            bucket.push(id);
            continue;
        };
        // One node stands for all equal ones, those included that cannot be merged: a bucket that kept each of
        // them would be searched in quadratic time.
        if !may_merge(graph, graph.node(id), graph.node(twin)) {
            continue;
        }
        let pairs: Vec<(ValueId, ValueId)> = (node.outputs().iter().enumerate())
            .filter_map(|(slot, v)| Some(((*v)?, graph.node(twin).output(slot)?)))
            .collect();
        report.fire(NAME, path, id, label(graph, id));
        for (old, new) in pairs {
            let met = match (graph.value(old).ty(), graph.value(new).ty()) {
                (Some(a), Some(b)) => Type::meet(b, a).ok(),
                (a, b) => a.or(b).cloned(),
            };
            if graph.replace_uses(old, new) && met.is_some() {
                graph.set_type(new, met);
            }
        }
        graph.remove_node(id);
    }
}

/// Whether every output of `node` can be taken from `twin`.
fn may_merge(graph: &Graph, node: &Node, twin: &Node) -> bool {
    node.outputs().iter().enumerate().all(|(slot, &v)| match (v, twin.output(slot)) {
        (None, _) => true,
        (Some(old), Some(new)) => graph.may_replace(old, new),
        (Some(_), None) => false,
    })
}

fn same_call(a: &Node, b: &Node) -> bool {
    a.op().name() == b.op().name()
        && a.op().domain() == b.op().domain()
        && a.outputs().len() == b.outputs().len()
        && inputs(a) == inputs(b)
}

/// The inputs, sorted where their order does not matter.
fn inputs(node: &Node) -> SmallVec<[Option<ValueId>; 4]> {
    let mut inputs = SmallVec::from_slice(node.inputs());
    if matches!(standard(node), Some("Add" | "Mul" | "And" | "Or" | "Xor" | "Equal")) {
        inputs.sort_unstable();
    }
    inputs
}

fn hash_node(node: &Node, attributes: &Attributes) -> u64 {
    let mut state = DefaultHasher::new();
    node.op().domain().hash(&mut state);
    node.op().name().hash(&mut state);
    inputs(node).hash(&mut state);
    node.outputs().len().hash(&mut state);
    for (name, value) in attributes.iter() {
        name.hash(&mut state);
        hash_attribute(value, &mut state);
    }
    state.finish()
}

fn hash_attribute(value: &Attribute, state: &mut DefaultHasher) {
    match value {
        Attribute::Float(v) => v.to_bits().hash(state),
        Attribute::Int(v) => v.hash(state),
        Attribute::String(v) => v.hash(state),
        Attribute::Tensor(v) => hash_tensor(v, state),
        Attribute::Floats(v) => v.iter().for_each(|f| f.to_bits().hash(state)),
        Attribute::Ints(v) => v.hash(state),
        Attribute::Strings(v) => v.hash(state),
        // Rare: equality tells them apart.
        other => other.kind().hash(state),
    }
}

fn hash_tensor(tensor: &Tensor, state: &mut DefaultHasher) {
    tensor.dtype().hash(state);
    tensor.shape().hash(state);
    if let Some(bytes) = tensor.dense_bytes() {
        bytes[..bytes.len().min(COMPARED)].hash(state);
    }
}

/// Lets equal constants that are small, or share their bytes, be one. A constant that the graph gives out stays.
fn merge_constants(graph: &mut Graph) {
    let mut seen: HashMap<u64, SmallVec<[ValueId; 4]>> = HashMap::new();
    let constants: Vec<ValueId> =
        graph.values().filter(|(_, v)| v.constant().is_some()).map(|(id, _)| id).collect();
    for id in constants {
        let Some(tensor) = graph.value(id).constant() else { continue };
        let mut state = DefaultHasher::new();
        match tensor.byte_len() <= COMPARED {
            true => hash_tensor(tensor, &mut state),
            false => {
                tensor.dtype().hash(&mut state);
                tensor.shape().hash(&mut state);
                tensor.dense_bytes().map(<[u8]>::as_ptr).hash(&mut state);
            }
        }
        let bucket = seen.entry(state.finish()).or_default();
        let small = tensor.byte_len() <= COMPARED;
        let equal = |other: &Tensor| {
            let shared = match (tensor.dense_bytes(), other.dense_bytes()) {
                (Some(a), Some(b)) => std::ptr::eq(a, b),
                _ => false,
            };
            (small || shared) && same_tensor(tensor, other)
        };
        let twin = bucket.iter().copied().find(|&v| graph.value(v).constant().is_some_and(equal));
        match twin {
            Some(twin) if graph.may_replace(id, twin) => {
                graph.replace_uses(id, twin);
                // Nothing reads it any more.
                let _ = graph.remove_value(id);
            }
            Some(_) => {}
            None => bucket.push(id),
        }
    }
}
