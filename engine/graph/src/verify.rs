//! The invariants of a graph, checked by [`Graph::verify`]:
//!
//! 1. Every input and output slot of a node, every graph input and output refers to a live value.
//! 2. Every value that is read or is a graph output has a source; a value made by a node is that node's output
//!    at that slot, and the other way round.
//! 3. A value's uses are exactly the slots that read it, each once.
//! 4. Graph inputs have an input as their source, and every input source is listed once.
//! 5. Names are unique where they are not empty, and the index of names is right.
//! 6. There is no cycle.
//! 7. A node has as many bodies as its op has body names; every body takes the captures after its own inputs.
//! 8. The number of a node's inputs and outputs fits its op's signature.
//! 9. Bodies hold all of this too, at most [`MAX_DEPTH`] deep.

use crate::{Graph, NodeId, OpError, Problem, Problems, Source, Use};
use std::collections::HashMap;

/// Bodies nest at most this deep.
pub const MAX_DEPTH: usize = 64;

impl Graph {
    /// Checks all invariants.
    ///
    /// # Errors
    /// Lists every violation with its place.
    pub fn verify(&self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        self.verify_into(0, &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    fn verify_into(&self, depth: usize, problems: &mut Vec<Problem>) {
        if depth > MAX_DEPTH {
            problems.push(Problem::at(
                "graph",
                OpError::new(format!("bodies nest more than {MAX_DEPTH} deep"))
                    .help("flatten the control flow before export"),
            ));
            return;
        }
        let mut say = |node: Option<NodeId>, what: String| {
            problems.push(match node {
                Some(id) => Problem::new(self.place(id), OpError::new(what)),
                None => Problem::at(format!("graph `{}`", self.name()), OpError::new(what)),
            });
        };
        for (id, node) in self.nodes() {
            for (slot, value) in node.inputs().iter().enumerate() {
                let Some(value) = *value else { continue };
                match self.get_value(value) {
                    None => say(Some(id), format!("input {slot} refers to a removed value")),
                    Some(v) => {
                        if matches!(v.source(), Source::Undefined) {
                            say(Some(id), format!("input {slot} is `{}`, which nothing defines", v.name()));
                        }
                        if !v.is_used_by(Use { node: id, slot: slot as u32 }) {
                            say(Some(id), format!("the uses of `{}` do not list input {slot}", v.name()));
                        }
                    }
                }
            }
            for (slot, value) in node.outputs().iter().enumerate() {
                let Some(value) = *value else { continue };
                let made = self.get_value(value).map(|v| v.source());
                if !matches!(made, Some(&Source::Node(n, s)) if n == id && s == slot) {
                    say(Some(id), format!("output {slot} is a value that this node does not make"));
                }
            }
            let names = node.op().body_names().len();
            if node.bodies().len() != names {
                say(Some(id), format!("has {} bodies, but its operator needs {names}", node.bodies().len()));
            }
            if node.bodies().iter().any(|b| b.inputs().len() < node.captures()) {
                say(Some(id), "a body takes fewer inputs than the node captures".into());
            }
            if let Some(signature) = node.op().signature() {
                let inputs = node.formal_inputs().len();
                let (least, most) = signature.input_count();
                if inputs < least || most.is_some_and(|m| inputs > m) {
                    say(
                        Some(id),
                        format!("has {inputs} inputs, but its operator takes {}", span(least, most)),
                    );
                }
                let outputs = node.outputs().len();
                let (least, most) = signature.output_count();
                if outputs < least || most.is_some_and(|m| outputs > m) {
                    say(
                        Some(id),
                        format!("has {outputs} outputs, but its operator gives {}", span(least, most)),
                    );
                }
            }
        }
        let mut listed = HashMap::new();
        for &input in self.inputs() {
            *listed.entry(input).or_insert(0) += 1;
        }
        for (id, value) in self.values() {
            for u in value.uses() {
                if self.get_node(u.node).and_then(|n| n.input(u.slot as usize)) != Some(id) {
                    say(None, format!("`{}` lists a use that does not read it", value.name()));
                }
            }
            match *value.source() {
                Source::Node(node, slot) if self.get_node(node).and_then(|n| n.output(slot)) != Some(id) => {
                    say(None, format!("`{}` names a source that does not make it", value.name()));
                }
                Source::Input { .. } if listed.get(&id) != Some(&1) => {
                    say(None, format!("input `{}` is not listed once", value.name()));
                }
                _ => {}
            }
            if !value.name().is_empty() && self.value_named(value.name()) != Some(id) {
                say(None, format!("the name `{}` stands for another value", value.name()));
            }
        }
        for &input in self.inputs() {
            if !matches!(self.get_value(input).map(|v| v.source()), Some(Source::Input { .. })) {
                say(None, format!("{input:?} is listed as an input but is none"));
            }
        }
        for &output in self.outputs() {
            match self.get_value(output) {
                None => say(None, "an output refers to a removed value".into()),
                Some(v) if matches!(v.source(), Source::Undefined) => {
                    say(None, format!("output `{}` is not defined by anything", v.name()));
                }
                Some(_) => {}
            }
        }
        if let Err(node) = self.order() {
            say(Some(node), "is on a cycle: its output leads back to its input".into());
        }
        for (id, node) in self.nodes() {
            for (k, body) in node.bodies().iter().enumerate() {
                let mut inner = Vec::new();
                body.verify_into(depth + 1, &mut inner);
                let step = self.body_path(id, k);
                problems.extend(inner.into_iter().map(|p| p.inside(&step)));
            }
        }
    }
}

fn span(least: usize, most: Option<usize>) -> String {
    match most {
        Some(most) if most == least => least.to_string(),
        Some(most) => format!("{least} to {most}"),
        None => format!("{least} or more"),
    }
}
