//! How a rewritten model is verified and written.

use crate::source::Source;
use anyhow::{Context, Result, bail};
use clap::Args;
use oxidane::graph::Graph;
use oxidane::onnx::{self, EXTERNAL_THRESHOLD, OPSET, is_json, is_text};
use oxidane::passes::lower;
use oxidane::{Datum, Model, Type};
use oxidane_inspect::made::{Sizes, given};
use oxidane_inspect::say;
use oxidane_inspect::size;
use oxidane_inspect::verify::{self, Outcome, Reference, verify_by};
use prost::Message;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A protobuf file holds at most so many bytes.
const MOST_INSIDE: usize = i32::MAX as usize;

/// What all commands that write a model have in common.
#[derive(Args, Clone, Default)]
pub(crate) struct Writing {
    /// Weights of 1 KiB or more go to OUT.data beside the model. Without it they do where the input has them so,
    /// or where the model would exceed the 2 GB that a file can hold.
    #[arg(long)]
    pub(crate) external_data: bool,
    /// All weights go into the file, whatever the input has.
    #[arg(long, conflicts_with = "external_data")]
    pub(crate) one_file: bool,
    /// Writes the types that were worked out, symbolic sizes included, and lists the values of unknown type.
    #[arg(long, visible_alias = "value-info")]
    pub(crate) infer_shapes: bool,
    /// Writes the model even where verification finds a difference.
    #[arg(long)]
    pub(crate) force: bool,
    /// Does not run the models to compare them.
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// The largest difference that verification lets pass, relative to the largest element of an output.
    #[arg(long, value_name = "X", value_parser = tolerance)]
    pub(crate) tolerance: Option<f64>,
    /// The size of a symbolic dimension in verification; by default several are tried. May be repeated.
    #[arg(long, value_name = "NAME=N", value_parser = dim)]
    pub(crate) dim: Vec<(String, i64)>,
    /// An .npz file with inputs by name to compare on; by default inputs are made.
    #[arg(long, value_name = "FILE")]
    pub(crate) inputs: Option<PathBuf>,
    /// Prints a JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "is not a number".to_owned())?;
    if number >= 0.0 { Ok(number) } else { Err("must not be negative".to_owned()) }
}

/// `NAME=N` of a dimension.
pub(crate) fn dim(text: &str) -> Result<(String, i64), String> {
    let parts = text.rsplit_once('=').and_then(|(name, n)| Some((name.to_owned(), n.parse::<i64>().ok()?)));
    parts
        .filter(|(name, n)| !name.is_empty() && *n >= 0)
        .ok_or_else(|| "is not NAME=N, such as batch=4".to_owned())
}

/// Verification found a difference, and nothing was written.
#[derive(Debug, thiserror::Error)]
#[error("verification refused to write {path}: {why}; --force writes it all the same")]
pub(crate) struct Refused {
    path: String,
    why: String,
}

/// A model on its way to a file.
pub(crate) struct Rewritten<'a> {
    /// What it was made from.
    pub(crate) source: &'a Source,
    /// What it must compute the same as; `None` where it is meant to compute something else.
    pub(crate) reference: Option<Reference<'a>>,
    /// The new model.
    pub(crate) model: Model,
    /// The opset to write, where it is another one.
    pub(crate) opset: Option<i64>,
    /// Whether a later opset may be written where the model's own cannot express it.
    pub(crate) may_raise: bool,
    /// The tolerance where the user gives none.
    pub(crate) tolerance: f64,
    /// More for the JSON object.
    pub(crate) told: Map<String, Value>,
}

impl Writing {
    /// The sizes of symbolic dimensions that the user chose.
    pub(crate) fn sizes(&self) -> Sizes {
        self.dim.clone()
    }

    /// The inputs to compare on that the user gives.
    ///
    /// # Errors
    /// When they cannot be read, or one is missing.
    pub(crate) fn given(&self, graph: &Graph) -> Result<Option<Vec<Option<Datum>>>> {
        self.inputs.as_deref().map(|path| given(graph, path)).transpose()
    }

    /// Verifies a rewritten model and writes it.
    ///
    /// # Errors
    /// When the opset cannot express it, verification refuses ([`Refused`]), or it cannot be written.
    pub(crate) fn finish(&self, rewritten: Rewritten<'_>, output: &Path) -> Result<ExitCode> {
        let Rewritten { source, reference, mut model, opset, may_raise, tolerance, mut told } = rewritten;
        let unknown = match self.infer_shapes {
            true => declare(&mut model.onnx_mut().graph),
            false => Vec::new(),
        };
        if let Some(opset) = opset {
            let lowered = lower(&mut model.onnx_mut().graph, opset)
                .map_err(|e| anyhow::anyhow!("{}: {e}", output.display()))?;
            if !lowered.is_empty() && !self.json {
                let list: Vec<String> = lowered.iter().map(|(op, n)| format!("{op} ({n})")).collect();
                eprintln!(
                    "note: opset {opset} does not have these yet, they are written out in simpler operators: {}",
                    list.join(", ")
                );
            }
            told.insert("lowered".into(), json!(lowered));
        }
        let onnx = model.onnx();
        let proto = match onnx.to_proto(opset) {
            Err(error) if may_raise && opset.is_none() => {
                let later = onnx.opset("").map_or(OPSET, |own| own + 1)..=OPSET;
                let raised = later.into_iter().find_map(|v| Some((v, onnx.to_proto(Some(v)).ok()?)));
                let (opset, proto) = raised.ok_or(error).with_context(|| output.display().to_string())?;
                eprintln!("note: written in opset {opset}, the first that has all operators");
                proto
            }
            other => other.with_context(|| output.display().to_string())?,
        };
        let outcome = match &reference {
            Some(reference) if !self.no_verify => {
                // What is compared is what will be in the file.
                let written = Model::from_proto(proto.clone(), None).context("the new model")?;
                let options = verify::Options {
                    tolerance: self.tolerance.unwrap_or(tolerance),
                    sizes: self.sizes(),
                    inputs: self.given(reference.graph)?,
                    ..verify::Options::default()
                };
                Some(verify_by(reference, written.graph(), &options)?)
            }
            _ => None,
        };
        if let Some(outcome) = outcome.as_ref().filter(|o| !o.holds() && !self.force) {
            if !self.json {
                outcome.by_output().iter().for_each(|line| say!("  {line}"));
            }
            let (path, why) = (output.display().to_string(), outcome.to_string());
            if self.json {
                told.insert("verification".into(), summary(Some(outcome)));
                told.insert("written".into(), json!(false));
                say!("{}", Value::Object(told));
            }
            return Err(Refused { path, why }.into());
        }
        let before = std::fs::metadata(&source.path).map_or(0, |m| m.len());
        let bytes = proto.encoded_len();
        let written_out = is_text(output) || is_json(output);
        let wanted = self.external_data || source.external || bytes > MOST_INSIDE;
        let external = wanted && !self.one_file && !written_out;
        if external && same_file(&source.path, output) {
            bail!(
                "weights are written beside the model, so OUT must be another file than IN, whose weights are read \
                 meanwhile"
            );
        }
        let written = match (written_out, external) {
            (true, _) if is_json(output) => onnx::save_json(&proto, output),
            (true, _) => onnx::text::save_text(&proto, output, &Default::default()),
            (false, true) => onnx::save_with_external_data(proto, output, EXTERNAL_THRESHOLD),
            (false, false) => onnx::save(&proto, output),
        };
        written.with_context(|| output.display().to_string())?;
        let after = std::fs::metadata(output).map_or(0, |m| m.len());
        if self.json {
            told.insert("input".into(), json!(source.path));
            told.insert("output".into(), json!(output));
            told.insert("nodes_before".into(), json!(source.model.graph().node_count()));
            told.insert("nodes_after".into(), json!(model.graph().node_count()));
            told.insert("bytes".into(), json!(bytes));
            told.insert("external_data".into(), json!(external));
            told.insert("verification".into(), summary(outcome.as_ref()));
            told.insert("unknown".into(), json!(unknown));
            told.insert("written".into(), json!(true));
            say!("{}", Value::Object(told));
            return Ok(ExitCode::SUCCESS);
        }
        unknown.iter().for_each(|line| say!("unknown: {line}"));
        say!(
            "{}: {} -> {} nodes, {} -> {}{}",
            output.display(),
            source.model.graph().node_count(),
            model.graph().node_count(),
            size(before.into()),
            size(after.into()),
            if external { " and the weights beside it" } else { "" }
        );
        match &outcome {
            Some(outcome) => {
                say!("verified: {outcome}");
                if outcome.worst() > 0.0 {
                    outcome.by_output().iter().for_each(|line| say!("  {line}"));
                }
            }
            None if reference.is_some() => say!("not verified, as asked"),
            None => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn summary(outcome: Option<&Outcome>) -> Value {
    match outcome {
        None => Value::Null,
        Some(outcome) => json!({
            "holds": outcome.holds(),
            "compared": outcome.compared(),
            "worst": outcome.worst(),
            "tolerance": outcome.tolerance,
            "failure": outcome.failure,
            "trials": outcome.trials,
            "refused": outcome.refused,
        }),
    }
}

/// Declares the types that inference finds, so that they are written; gives what stays unknown and why.
fn declare(graph: &mut Graph) -> Vec<String> {
    let findings = oxidane::graph::infer(graph);
    declare_values(graph);
    findings.unknown.iter().map(ToString::to_string).collect()
}

fn declare_values(graph: &mut Graph) {
    let known: Vec<_> = graph.nodes().map(|(id, _)| id).collect();
    for id in known {
        for value in graph.node(id).outputs().to_vec().into_iter().flatten() {
            let ty: Option<Type> = graph.value(value).ty().cloned();
            if ty.is_some() {
                graph.set_declared(value, ty);
            }
        }
        // Nesting is bounded when a model is read.
        graph.bodies_mut(id).iter_mut().for_each(declare_values);
    }
}

/// Whether two paths lead to one file.
fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
