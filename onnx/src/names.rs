//! Which names the nodes of a graph read and make, and an order in which every name is made before it is read.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::rc::Rc;

use oxidane_graph::MAX_DEPTH;
use oxidane_ops::training::gradient;

use crate::function::graphs;
use crate::proto::{GraphProto, NodeProto};

/// The names that graphs read from outside of them, worked out once a graph.
#[derive(Default)]
pub(crate) struct FreeNames<'p>(HashMap<*const GraphProto, Rc<[&'p str]>>);

impl<'p> FreeNames<'p> {
    /// The names that `graph` and the graphs inside read and do not define, each once, in the order of
    /// reading. Graphs nested more than [`MAX_DEPTH`] deep are not looked at.
    pub(crate) fn of(&mut self, graph: &'p GraphProto) -> Rc<[&'p str]> {
        self.within(graph, 0)
    }

    fn within(&mut self, graph: &'p GraphProto, depth: usize) -> Rc<[&'p str]> {
        if let Some(known) = self.0.get(&std::ptr::from_ref(graph)) {
            return known.clone();
        }
        let own: HashSet<&str> = definitions(graph).collect();
        let mut seen: HashSet<&str> = HashSet::new();
        let mut free: Vec<&'p str> = Vec::new();
        let mut read = |name: &'p str| {
            if !name.is_empty() && !own.contains(name) && seen.insert(name) {
                free.push(name);
            }
        };
        for node in &graph.node {
            node.input.iter().for_each(|name| read(name));
            if depth < MAX_DEPTH {
                for inner in node.attribute.iter().flat_map(graphs) {
                    self.within(inner, depth + 1).iter().for_each(|name| read(name));
                }
            }
        }
        graph.output.iter().for_each(|output| read(output.name()));
        let free: Rc<[&str]> = free.into();
        self.0.insert(std::ptr::from_ref(graph), free.clone());
        free
    }

    /// What a node reads: its inputs, what a Gradient names, then what its graphs read from outside.
    pub(crate) fn of_node(&mut self, node: &'p NodeProto) -> Vec<&'p str> {
        let mut read: Vec<&str> = node.input.iter().map(String::as_str).collect();
        if (node.domain(), node.op_type()) == (gradient::DOMAIN, gradient::NAME) {
            let spelled = node.attribute.iter().flat_map(|a| a.strings.iter().map(|s| &s[..]).chain([a.s()]));
            read.extend(spelled.filter_map(|name| std::str::from_utf8(name).ok()));
        }
        for inner in node.attribute.iter().flat_map(graphs) {
            read.extend(self.of(inner).iter());
        }
        read
    }
}

/// The names that a graph defines: inputs, initializers, outputs of its nodes.
pub(crate) fn definitions(graph: &GraphProto) -> impl Iterator<Item = &str> {
    let sparse = graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()).map(|v| v.name());
    let outputs = graph.node.iter().flat_map(|n| &n.output).map(String::as_str);
    let inputs = graph.input.iter().map(|i| i.name());
    inputs.chain(graph.initializer.iter().map(|i| i.name())).chain(sparse).chain(outputs)
}

/// An order of nodes, each after those that it reads from, as close to the order of the file as that allows.
pub(crate) struct Order {
    /// The positions of the nodes; those on a cycle, or behind one, come last.
    pub(crate) nodes: Vec<usize>,
    /// A cycle, if there is one: each node reads from the one before it, the first from the last.
    pub(crate) cycle: Vec<usize>,
}

/// Orders nodes; `made` says which node makes a name.
pub(crate) fn order<'p>(
    nodes: &'p [NodeProto],
    made: &HashMap<&str, usize>,
    free: &mut FreeNames<'p>,
) -> Order {
    let reads: Vec<Vec<usize>> = nodes
        .iter()
        .map(|node| {
            let mut from: Vec<usize> =
                free.of_node(node).iter().filter_map(|name| made.get(name).copied()).collect();
            from.sort_unstable();
            from.dedup();
            from
        })
        .collect();
    if reads.iter().enumerate().all(|(at, from)| from.iter().all(|&f| f < at)) {
        return Order { nodes: (0..nodes.len()).collect(), cycle: Vec::new() };
    }
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut left: Vec<usize> = reads.iter().map(Vec::len).collect();
    for (at, from) in reads.iter().enumerate() {
        for &f in from {
            readers[f].push(at);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        left.iter().enumerate().filter(|(_, n)| **n == 0).map(|(at, _)| Reverse(at)).collect();
    let mut sorted = Vec::with_capacity(nodes.len());
    while let Some(Reverse(at)) = ready.pop() {
        sorted.push(at);
        for &reader in &readers[at] {
            left[reader] -= 1;
            if left[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    let mut cycle = Vec::new();
    if let Some(start) = left.iter().position(|&n| n > 0) {
        // Each node that is left reads from another one that is left: going back ends in a cycle.
        let (mut at, mut seen) = (start, HashMap::new());
        while !seen.contains_key(&at) {
            seen.insert(at, cycle.len());
            cycle.push(at);
            match reads[at].iter().find(|&&f| left[f] > 0) {
                Some(&from) => at = from,
                None => break,
            }
        }
        cycle.drain(..seen.get(&at).copied().unwrap_or(0));
        cycle.reverse();
        let first = (0..cycle.len()).min_by_key(|&i| cycle[i]).unwrap_or(0);
        cycle.rotate_left(first);
        sorted.extend((0..nodes.len()).filter(|&n| left[n] > 0));
    }
    Order { nodes: sorted, cycle }
}
