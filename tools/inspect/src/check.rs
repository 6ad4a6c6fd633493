//! What is wrong with a model.

use crate::several;
use anyhow::{Context, Result};
use oxidane::graph::{Call, Graph, Node, OpError, Opaque};
use oxidane::{Model, Problem, Tensor, Type};
use serde::Serialize;
use std::path::Path;

/// Larger constants are not shown to the kernels, so that none of them is prepared or copied.
const SHOWN_CONSTANT: usize = 64 * 1024;

/// What [`check`] found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Nodes, those of bodies included.
    pub nodes: usize,
    /// What is wrong with the model, and what keeps it from running.
    pub problems: Vec<Problem>,
    /// What the file declares and the graph contradicts, which hinders nothing.
    pub warnings: Vec<Problem>,
    /// Values whose type stays unknown, and why.
    pub unknown: Vec<Problem>,
}

impl Findings {
    /// Whether nothing is wrong.
    pub fn is_fine(&self) -> bool {
        self.problems.is_empty()
    }

    /// One line for each finding and a last one with the counts; values of unknown type only where `verbose`.
    pub fn text(&self, path: &Path, verbose: bool) -> String {
        let mut text = String::new();
        let shown = if verbose { &self.unknown[..] } else { &[] };
        for (what, found) in
            [("problem", &self.problems[..]), ("warning", &self.warnings), ("unknown", shown)]
        {
            for problem in found {
                text += &format!("{what}: {problem}\n");
            }
        }
        let more = match (self.unknown.len(), verbose) {
            (0, _) | (_, true) => String::new(),
            (n, false) => format!(", {} of unknown type (--verbose lists them)", several(n, "value")),
        };
        text + &format!(
            "{}: {}, {}, {}{more}",
            path.display(),
            several(self.nodes, "node"),
            several(self.problems.len(), "problem"),
            several(self.warnings.len(), "warning")
        )
    }

    /// The findings as an object of lists, for scripts.
    pub fn summary(&self) -> Summary {
        let list = |found: &[Problem]| found.iter().map(Finding::of).collect();
        Summary {
            fine: self.is_fine(),
            nodes: self.nodes,
            problems: list(&self.problems),
            warnings: list(&self.warnings),
            unknown: list(&self.unknown),
        }
    }
}

/// [`Findings`] as they are written for scripts.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Whether there are no problems.
    pub fine: bool,
    /// Nodes, those of bodies included.
    pub nodes: usize,
    /// As in [`Findings`].
    pub problems: Vec<Finding>,
    /// As in [`Findings`].
    pub warnings: Vec<Finding>,
    /// As in [`Findings`].
    pub unknown: Vec<Finding>,
}

/// A problem, its parts apart.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// The way through bodies to the graph that it is in.
    pub path: Vec<String>,
    /// The name of the node, or what else is at fault.
    pub node: String,
    /// The operator, where it is a node.
    pub op: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it, where that is known.
    pub advice: Option<String>,
}

impl Finding {
    /// The parts of a problem.
    pub fn of(problem: &Problem) -> Finding {
        Finding {
            path: problem.place.path.clone(),
            node: problem.place.node.clone(),
            op: problem.place.op.clone(),
            what: problem.error.what().to_owned(),
            advice: problem.error.advice().map(str::to_owned),
        }
    }
}

/// Finds everything that is wrong with a model.
///
/// # Errors
/// When the file cannot be read.
pub fn check(path: &Path) -> Result<Findings> {
    let (mut model, findings) = Model::open_leniently(path).with_context(|| format!("{}", path.display()))?;
    let mut problems = findings.problems;
    let nodes = count(model.graph());
    let mut kernels = Vec::new();
    if problems.is_empty() {
        if !model.onnx().functions().is_empty() {
            let graph = &mut model.onnx_mut().graph;
            match oxidane::ops::control::call::inline(graph) {
                Ok(()) => {
                    oxidane::graph::infer(graph);
                }
                Err(error) => kernels.push(Problem::at("model", error)),
            }
        }
        without_kernel(model.graph(), false, &mut kernels);
        if kernels.is_empty() {
            without_kernel(model.graph(), true, &mut kernels);
        }
    } else {
        // Types are not to be relied on: only what no room knows can be told.
        unknown_ops(model.graph(), &mut kernels);
        kernels.retain(|k| !problems.iter().any(|p| p.place == k.place));
    }
    problems.append(&mut kernels);
    Ok(Findings { nodes, problems, warnings: findings.warnings, unknown: findings.unknown })
}

/// How many nodes a graph has, those of bodies included.
pub fn count(graph: &Graph) -> usize {
    let mut todo = vec![graph];
    let mut nodes = 0;
    while let Some(graph) = todo.pop() {
        nodes += graph.node_count();
        todo.extend(graph.nodes().flat_map(|(_, node)| node.bodies()));
    }
    nodes
}

/// The nodes that no kernel takes. Those with inputs of unknown type are asked only where `all` says so: where
/// another node is at fault, they would only repeat it.
fn without_kernel(graph: &Graph, all: bool, problems: &mut Vec<Problem>) {
    walk(graph, problems, &|graph, node| {
        let types: Vec<Option<Type>> =
            node.formal_inputs().iter().map(|i| graph.value((*i)?).ty().cloned()).collect();
        let known =
            node.formal_inputs().iter().zip(&types).all(|(input, ty)| input.is_none() || ty.is_some());
        if !known && !all && !node.op().is::<Opaque>() {
            return None;
        }
        let constants: Vec<Option<Tensor>> = node
            .formal_inputs()
            .iter()
            .map(|i| graph.value((*i)?).constant().filter(|t| t.byte_len() <= SHOWN_CONSTANT).cloned())
            .collect();
        let wanted: Vec<bool> = node
            .outputs()
            .iter()
            .map(|o| o.is_some_and(|v| !graph.value(v).uses().is_empty() || graph.is_output(v)))
            .collect();
        node.op().kernel(&Call { inputs: &types, constants: &constants, outputs: &wanted }).err()
    });
}

fn unknown_ops(graph: &Graph, problems: &mut Vec<Problem>) {
    walk(graph, problems, &|_, node| {
        node.op().downcast::<Opaque>()?;
        node.op().kernel(&Call { inputs: &[], constants: &[], outputs: &[] }).err()
    });
}

fn walk(graph: &Graph, problems: &mut Vec<Problem>, test: &dyn Fn(&Graph, &Node) -> Option<OpError>) {
    // Nesting is bounded when a model is read.
    for (id, node) in graph.nodes() {
        if let Some(error) = test(graph, node) {
            problems.push(Problem::new(graph.place(id), error));
        }
        for (k, body) in node.bodies().iter().enumerate() {
            let mut inner = Vec::new();
            walk(body, &mut inner, test);
            let step = graph.body_path(id, k);
            problems.extend(inner.into_iter().map(|p| p.inside(&step)));
        }
    }
}
