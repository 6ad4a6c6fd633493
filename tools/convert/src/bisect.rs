use crate::optimize::{LevelName, PassArgs};
use crate::source::Source;
use crate::writing::dim;
use anyhow::Result;
use clap::Args;
use oxidane_inspect::bisect::{nodes, rewrites};
use oxidane_inspect::made::given;
use oxidane_inspect::{say, several, verify};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Finds where two models first compute something else, or which rewrite first changes what a model computes.
///
/// With two models: both run on the same inputs, and values of the same name are compared; told are the nodes whose
/// results differ though all that they read is the same. With one model: its rewrites at --level are done one by one
/// as far as it takes to find the first after which the outputs are off.
///
/// Ends with 1 where something is found.
///
/// Examples:
///   onnx-convert bisect good.onnx bad.onnx
///   onnx-convert bisect model.onnx --level full --tolerance 1e-5
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Bisect {
    /// The model that is right.
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The model to compare it with; without it, the passes are searched.
    #[arg(value_name = "B")]
    second: Option<PathBuf>,
    /// The level of the passes to search.
    #[arg(long, value_enum, default_value = "full")]
    level: LevelName,
    #[command(flatten)]
    passes: PassArgs,
    /// What is no difference, relative to the largest element.
    #[arg(long, value_name = "X", default_value = "1e-4")]
    tolerance: f64,
    /// The size of a symbolic dimension; by default several are tried. May be repeated.
    #[arg(long, value_name = "NAME=N", value_parser = dim)]
    dim: Vec<(String, i64)>,
    /// An .npz file with inputs by name; by default inputs are made.
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// Prints a JSON object instead of text.
    #[arg(long)]
    json: bool,
}

impl Bisect {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let first = Source::open(&self.first)?;
        let graph = first.model.graph();
        let options = verify::Options {
            tolerance: self.tolerance,
            sizes: self.dim.clone(),
            inputs: self.inputs.as_deref().map(|path| given(graph, path)).transpose()?,
            ..verify::Options::default()
        };
        let found = match &self.second {
            Some(second) => self.nodes(&first, &Source::open(second)?, &options)?,
            None => self.rewrites(&first, &options)?,
        };
        Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn nodes(&self, first: &Source, second: &Source, options: &verify::Options) -> Result<bool> {
        let search = nodes(first.model.graph(), second.model.graph(), options)?;
        if self.json {
            say!("{}", serde_json::to_string(&search)?);
            return Ok(!search.culprits.is_empty() || search.failure.is_some());
        }
        for culprit in &search.culprits {
            let op = match culprit.op == culprit.other_op {
                true => culprit.op.clone(),
                false => format!("{}, {} in the other model", culprit.op, culprit.other_op),
            };
            let how = match (&culprit.fault, culprit.difference) {
                (Some(fault), _) => fault.clone(),
                (None, Some(d)) => format!(
                    "{:.1e} of the largest off, {} ULP, in {} of {} elements",
                    d.relative, d.ulp, d.unequal, d.elements
                ),
                (None, None) => "differs".to_owned(),
            };
            say!("{} ({op}): `{}` {how}", culprit.node, culprit.value);
        }
        if let Some(failure) = &search.failure {
            say!("the other model stops: {failure}");
        }
        let compared = several(search.compared, "value");
        match search.culprits.len() {
            0 => say!("{compared} of the same name compared, none differs"),
            _ => say!(
                "{compared} of the same name compared, {} differ; above are the nodes where that begins",
                search.differ
            ),
        }
        Ok(!search.culprits.is_empty() || search.failure.is_some())
    }

    fn rewrites(&self, first: &Source, options: &verify::Options) -> Result<bool> {
        let passes = self.passes.options(self.level.level())?;
        let rewrite = |graph: &mut oxidane::graph::Graph, limit: usize| {
            oxidane::passes::optimize(graph, &passes.clone().limit(limit))
        };
        let turn = rewrites(first.model.graph(), &rewrite, options)?;
        let Some(turn) = turn else {
            match self.json {
                true => say!("{}", json!({ "found": false })),
                false => say!("no rewrite changes what the model computes"),
            }
            return Ok(false);
        };
        if self.json {
            let fired: Vec<_> = (turn.fired.iter())
                .map(|f| json!({ "pass": f.pass, "path": f.path, "node": f.node }))
                .collect();
            let object = json!({
                "found": true, "rewrites": turn.rewrites, "before": turn.before, "fired": fired,
                "worst": turn.outcome.worst(), "failure": turn.outcome.failure, "trials": turn.outcome.trials,
            });
            say!("{object}");
            return Ok(true);
        }
        for fired in &turn.fired {
            let path = if fired.path.is_empty() { String::new() } else { format!("{}/", fired.path) };
            say!("{} at {path}{}", fired.pass, fired.node);
        }
        say!("rewrite {} of {}: {}", turn.before + 1, turn.rewrites, turn.outcome);
        turn.outcome.by_output().iter().for_each(|line| say!("  {line}"));
        Ok(true)
    }
}
