//! What is wrong with a model.

use anyhow::{Context, Result};
use oxidane::graph::{Call, Graph, Node, OpError, Opaque};
use oxidane::{Model, Problem, Tensor, Type};
use std::path::Path;

/// Larger constants are not shown to the kernels, so that none of them is prepared or copied.
const SHOWN_CONSTANT: usize = 64 * 1024;

/// Prints everything that is wrong with a model and gives whether nothing is.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn check(path: &Path, verbose: bool) -> Result<bool> {
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

    for problem in &problems {
        println!("problem: {problem}");
    }
    for warning in &findings.warnings {
        println!("warning: {warning}");
    }
    if verbose {
        for unknown in &findings.unknown {
            println!("unknown: {unknown}");
        }
    }
    let more = match (findings.unknown.len(), verbose) {
        (0, _) | (_, true) => String::new(),
        (n, false) => format!(", {} of unknown type (--verbose lists them)", several(n, "value")),
    };
    println!(
        "{}: {}, {}, {}{more}",
        path.display(),
        several(nodes, "node"),
        several(problems.len(), "problem"),
        several(findings.warnings.len(), "warning")
    );
    Ok(problems.is_empty())
}

fn several(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

fn count(graph: &Graph) -> usize {
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
