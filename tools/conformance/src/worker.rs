use crate::{Case, DataSet, Tolerance, compare, draws};
use anyhow::{Context, Result};
use bytes::Bytes;
use oxidane::graph::{Inference, OpError};
use oxidane::ops::{control::call, expansion};
use oxidane::{Datum, Model, SessionOptions};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A way of running a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Compiled and run as users do, after optimizing.
    Full,
    /// Compiled and run without optimizing.
    Plain,
    /// Node by node, by the interpreter that folding uses, every value held against its inferred type.
    Interpreter,
    /// As `interpreter`, with the operators that are defined by others replaced by these.
    Expanded,
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All outputs are as expected.
    Passed,
    /// The case is one draw of random numbers, which nobody can repeat; type, shape and statistics are right.
    Drawn,
    /// An output is not.
    Wrong,
    /// The model could not be imported, compiled or run; the error says why.
    Error,
    /// Our code panicked.
    Panic,
    /// The process died.
    Crash,
    /// It took too long.
    Timeout,
}

/// The verdict on a case, and what it is founded on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// The first error; empty where there is none.
    pub message: String,
    /// Whether the model was read and understood; false for a case whose process died.
    pub imported: bool,
    /// The operators of the model, with their domains, sorted.
    pub ops: Vec<String>,
}

/// Runs a case in this process. A panic is caught and becomes a verdict.
pub fn run_case(case: &Case, runtime: Runtime, threads: usize) -> Outcome {
    let ops = catch_unwind(|| operators(&case.model)).unwrap_or_default();
    let mut imported = false;
    let checked = catch_unwind(AssertUnwindSafe(|| check(case, &ops, runtime, threads, &mut imported)));
    let (verdict, message) = match checked {
        Ok(Ok(verdict)) => (verdict, String::new()),
        Ok(Err(Fault::Wrong(what))) => (Verdict::Wrong, what),
        Ok(Err(Fault::Error(what))) => (Verdict::Error, what),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
            (Verdict::Panic, text.unwrap_or_else(|| "panicked".into()))
        }
    };
    Outcome { verdict, message, imported, ops }
}

enum Fault {
    Wrong(String),
    Error(String),
}

fn error(e: impl std::fmt::Display) -> Fault {
    Fault::Error(e.to_string())
}

fn check(
    case: &Case,
    ops: &[String],
    runtime: Runtime,
    threads: usize,
    imported: &mut bool,
) -> Result<Verdict, Fault> {
    let mut verdict = Verdict::Passed;
    let mut model = Model::from_bytes(case.model.clone(), None).map_err(error)?;
    *imported = true;
    if runtime == Runtime::Full {
        model = model.optimize(oxidane::Level::Full).map_err(error)?;
    }
    let session = match runtime {
        Runtime::Interpreter => None,
        Runtime::Expanded => {
            expand(&mut model).map_err(error)?;
            None
        }
        _ => {
            let options = SessionOptions { threads, ..SessionOptions::default() };
            Some(model.session_with(&options).map_err(error)?)
        }
    };
    for (number, set) in case.data.iter().enumerate() {
        let inputs = model.inputs_from_bytes(&set.inputs).map_err(error)?;
        let outputs: Vec<Datum> = match &session {
            Some(session) => session.run_in_order(inputs).map_err(error)?,
            None => model.interpret(inputs).map_err(error)?,
        };
        let expected = model.outputs_from_bytes(&set.outputs).map_err(error)?;
        if outputs.len() < expected.len() {
            return Err(Fault::Wrong(format!("{} outputs, expected {}", outputs.len(), expected.len())));
        }
        for (i, (actual, expected)) in outputs.iter().zip(&expected).enumerate() {
            let Err(what) = compare(actual, expected, case.tolerance) else { continue };
            let what = match draws::fair(&case.model, ops, set) {
                Some(Ok(())) => {
                    verdict = Verdict::Drawn;
                    continue;
                }
                Some(Err(statistics)) => statistics,
                None => what,
            };
            return Err(Fault::Wrong(format!("data set {number}, output {i} {what}")));
        }
    }
    Ok(verdict)
}

/// Puts their expansions in the place of all operators that have one.
fn expand(model: &mut Model) -> Result<(), OpError> {
    let graph = &mut model.onnx_mut().graph;
    call::inline(graph)?;
    let mut walk = Inference::default();
    walk.graph(graph);
    expansion::expand_those(graph, walk, &|_| true)?;
    Ok(())
}

/// The operators of a model, functions and bodies included, as `domain.Name` or `Name`.
fn operators(model: &Bytes) -> Vec<String> {
    use oxidane::onnx::proto::{GraphProto, NodeProto};
    let Ok(file) = oxidane::onnx::ModelFile::decode(model.clone(), "the case", &Default::default()) else {
        return Vec::new();
    };
    let mut names = std::collections::BTreeSet::new();
    let mut todo: Vec<&NodeProto> = file.model.functions.iter().flat_map(|f| &f.node).collect();
    todo.extend(file.model.graph.iter().flat_map(|g| &g.node));
    while let Some(node) = todo.pop() {
        names.insert(oxidane::graph::qualified(node.domain(), node.op_type()));
        let graphs = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
        todo.extend(graphs.flat_map(|g: &GraphProto| &g.node));
    }
    names.into_iter().collect()
}

/// What a parent writes before the files of a case.
#[derive(Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) runtime: Runtime,
    pub(crate) threads: usize,
    tolerance: Tolerance,
    model: usize,
    /// Lengths of inputs and outputs, by data set.
    data: Vec<(Vec<usize>, Vec<usize>)>,
}

/// Sends a case to a worker.
pub(crate) fn send(to: &mut impl Write, case: &Case, runtime: Runtime, threads: usize) -> Result<()> {
    let lengths = |files: &[Bytes]| files.iter().map(Bytes::len).collect();
    let data = case.data.iter().map(|set| (lengths(&set.inputs), lengths(&set.outputs))).collect();
    let header = Header { runtime, threads, tolerance: case.tolerance, model: case.model.len(), data };
    serde_json::to_writer(&mut *to, &header)?;
    to.write_all(b"\n")?;
    to.write_all(&case.model)?;
    for set in &case.data {
        for file in set.inputs.iter().chain(&set.outputs) {
            to.write_all(file)?;
        }
    }
    Ok(to.flush()?)
}

/// A worker's life: cases come in, an outcome a line goes out, until the input ends.
///
/// # Errors
/// When the parent breaks off in the middle of a case.
pub fn serve(mut from: impl BufRead, mut to: impl Write) -> Result<()> {
    let mut line = String::new();
    while from.read_line(&mut line)? > 0 {
        let header: Header = serde_json::from_str(&line).context("a case starts with a JSON line")?;
        line.clear();
        let mut read = |length: usize| -> Result<Bytes> {
            let mut bytes = vec![0; length];
            from.read_exact(&mut bytes)?;
            Ok(bytes.into())
        };
        let model = read(header.model)?;
        let mut data = Vec::new();
        for (inputs, outputs) in &header.data {
            let inputs = inputs.iter().map(|&n| read(n)).collect::<Result<_>>()?;
            let outputs = outputs.iter().map(|&n| read(n)).collect::<Result<_>>()?;
            data.push(DataSet { inputs, outputs });
        }
        let case =
            Case { suite: String::new(), name: String::new(), model, data, tolerance: header.tolerance };
        let outcome = run_case(&case, header.runtime, header.threads);
        serde_json::to_writer(&mut to, &outcome)?;
        to.write_all(b"\n")?;
        to.flush()?;
    }
    Ok(())
}
