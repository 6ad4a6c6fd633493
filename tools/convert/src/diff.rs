use crate::source::Source;
use crate::writing::dim;
use anyhow::Result;
use clap::Args;
use oxidane_inspect::say;
use oxidane_inspect::structure::compare;
use oxidane_inspect::verify::{self, verify};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Tells what differs between two models: header, inputs and outputs, nodes, attributes, edges, weights, names, and
/// their outputs on the same made inputs.
///
/// Both are compared in their newest form: the same operator spelled for two opsets is equal.
///
/// Examples:
///   onnx-convert diff old.onnx new.onnx
///   onnx-convert diff old.onnx new.onnx --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Diff {
    /// A model.
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The model to compare it with.
    #[arg(value_name = "B")]
    second: PathBuf,
    /// Does not run the models.
    #[arg(long)]
    no_run: bool,
    /// The size of a symbolic dimension; by default several are tried. May be repeated.
    #[arg(long, value_name = "NAME=N", value_parser = dim)]
    dim: Vec<(String, i64)>,
    /// Ends with 1 where the models differ.
    #[arg(long)]
    exit_code: bool,
    /// Prints a JSON object: equal, differences (kind, where, what), outputs.
    #[arg(long)]
    json: bool,
}

impl Diff {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let (first, second) = (Source::open(&self.first)?, Source::open(&self.second)?);
        let changes = compare(&first.model, &second.model);
        let options = verify::Options { sizes: self.dim.clone(), ..verify::Options::default() };
        let outputs = match self.no_run {
            true => None,
            false => {
                Some(verify(first.model.graph(), second.model.graph(), &options).map_err(|e| e.to_string()))
            }
        };
        if self.json {
            let (outcome, why) = match &outputs {
                Some(Ok(outcome)) => (Some(outcome), None),
                Some(Err(why)) => (None, Some(why)),
                None => (None, None),
            };
            let object = json!({
                "equal": changes.is_empty(),
                "differences": changes,
                "outputs": outcome.map(|o| json!({
                    "equal": o.failure.is_none() && o.compared() && o.trials.iter().all(
                        |t| t.outputs.iter().all(|o| o.difference.is_some_and(|d| d.unequal == 0))),
                    "worst": o.worst(),
                    "failure": o.failure,
                    "trials": o.trials,
                })),
                "not_compared": why,
            });
            say!("{object}");
        } else {
            changes.iter().for_each(|change| say!("{change}"));
            match changes.len() {
                0 => say!("the models are equal"),
                n => say!("{}", oxidane_inspect::several(n, "difference")),
            }
            match &outputs {
                Some(Ok(outcome)) => {
                    say!("outputs: {outcome}");
                    outcome.by_output().iter().for_each(|line| say!("  {line}"));
                }
                Some(Err(why)) => say!("outputs: not compared, {why}"),
                None => {}
            }
        }
        let fails = self.exit_code && !changes.is_empty();
        Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
