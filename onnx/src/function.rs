//! The functions that a model defines itself: found by name, and kept from calling themselves.

use std::collections::{HashMap, HashSet};

use oxidane_graph::{OpError, Problem, qualified};

use crate::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto};

/// Domain, name and overload.
pub(crate) type Key<'p> = (&'p str, &'p str, &'p str);

/// The domain of an operator; `ai.onnx` is ONNX's own, which is spelled empty.
pub(crate) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// What a node calls, if there is a function of that name.
pub(crate) fn callee(node: &NodeProto) -> Key<'_> {
    (domain(node.domain()), node.op_type(), node.overload())
}

/// The functions of a model.
pub(crate) struct Functions<'p> {
    by_key: HashMap<Key<'p>, &'p FunctionProto>,
    /// Those that lead back to themselves or to such a one.
    endless: HashSet<Key<'p>>,
}

impl<'p> Functions<'p> {
    /// Reads the table of a model's functions; what is wrong with it goes to `problems`.
    pub(crate) fn new(model: &'p ModelProto, problems: &mut Vec<Problem>) -> Functions<'p> {
        let mut by_key = HashMap::new();
        for function in &model.functions {
            let key = (domain(function.domain()), function.name(), function.overload());
            if by_key.insert(key, function).is_some() {
                let error = OpError::new("is defined twice").help("remove one, or give it an overload name");
                problems.push(Problem::at(format!("function `{}`", shown(key)), error));
            }
        }
        let calls: HashMap<Key<'p>, HashSet<Key<'p>>> = by_key
            .iter()
            .map(|(&key, function)| (key, called(function).filter(|k| by_key.contains_key(k)).collect()))
            .collect();
        // Functions that call nothing left are taken away until only those remain that cannot end.
        let mut callers: HashMap<Key<'p>, Vec<Key<'p>>> = HashMap::new();
        let mut open: HashMap<Key<'p>, usize> = HashMap::new();
        for (&key, inner) in &calls {
            open.insert(key, inner.len());
            for &called in inner {
                callers.entry(called).or_default().push(key);
            }
        }
        let mut done: Vec<Key<'p>> = open.iter().filter(|(_, n)| **n == 0).map(|(&key, _)| key).collect();
        while let Some(key) = done.pop() {
            open.remove(&key);
            for caller in callers.get(&key).into_iter().flatten() {
                if let Some(left) = open.get_mut(caller) {
                    *left -= 1;
                    if *left == 0 {
                        done.push(*caller);
                    }
                }
            }
        }
        let endless: HashSet<Key<'p>> = open.into_keys().collect();
        let mut reported: HashSet<Key<'p>> = HashSet::new();
        let mut sorted: Vec<Key<'p>> = endless.iter().copied().collect();
        sorted.sort_unstable();
        for start in sorted {
            // Every function here calls another one of them, so that the walk meets itself.
            let (mut chain, mut at): (Vec<Key<'p>>, Key<'p>) = (Vec::new(), start);
            while !chain.contains(&at) && !reported.contains(&at) {
                chain.push(at);
                let Some(next) = calls.get(&at).and_then(|c| c.iter().filter(|k| endless.contains(*k)).min())
                else {
                    break;
                };
                at = *next;
            }
            if let Some(from) = chain.iter().position(|&k| k == at) {
                let names: Vec<String> = chain[from..].iter().chain([&at]).map(|&k| shown(k)).collect();
                let error = OpError::new(format!("calls itself: {}", names.join(" -> ")))
                    .help("functions of a model are put in at their calls, so none may lead back to itself; use a Loop");
                problems.push(Problem::at(format!("function `{}`", shown(at)), error));
            }
            reported.extend(chain);
        }
        Functions { by_key, endless }
    }

    /// The function that a node calls.
    pub(crate) fn get(&self, key: Key<'_>) -> Option<&'p FunctionProto> {
        self.by_key.get(&key).copied()
    }

    /// Whether a function would call itself without end.
    pub(crate) fn is_endless(&self, key: Key<'_>) -> bool {
        self.endless.contains(&key)
    }
}

/// How a function is called in messages.
pub(crate) fn shown((domain, name, overload): Key<'_>) -> String {
    let name = qualified(domain, name);
    if overload.is_empty() { name } else { format!("{name}:{overload}") }
}

/// What the nodes of a function call, those of its subgraphs too.
fn called(function: &FunctionProto) -> impl Iterator<Item = Key<'_>> {
    let mut nodes: Vec<&NodeProto> = function.node.iter().collect();
    std::iter::from_fn(move || {
        let node = nodes.pop()?;
        let graphs = node.attribute.iter().flat_map(graphs);
        nodes.extend(graphs.flat_map(|g| &g.node));
        Some(callee(node))
    })
}

/// The graphs that an attribute holds.
pub(crate) fn graphs(attribute: &AttributeProto) -> impl Iterator<Item = &GraphProto> {
    attribute.g.iter().chain(&attribute.graphs)
}
