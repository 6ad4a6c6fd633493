use crate::Files;
use crate::source::Source;
use crate::writing::{Rewritten, Writing};
use anyhow::Result;
use clap::{Args, ValueEnum};
use oxidane::Level;
use oxidane::passes::{Options, Report};
use oxidane_inspect::say;
use oxidane_inspect::verify::Reference;
use serde_json::{Map, json};
use std::process::ExitCode;

/// Rewrites a model so that it is smaller and faster.
///
/// At level `basic` every runtime can still run it: standard operators of the model's opset only; arithmetic that goes
/// into weights may change the last bits of results. At level `full` nodes are fused for this project's runtime, and a
/// later opset is written, with a note, where the model's own does not have a fused operator.
///
/// Examples:
///   onnx-convert optimize model.onnx small.onnx --level basic
///   onnx-convert optimize model.onnx fast.onnx --level full --opset 23 --explain
///   onnx-convert optimize model.onnx small.onnx --without cse --explain /layer/MatMul
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Optimize {
    #[command(flatten)]
    files: Files,
    /// How much is rewritten.
    #[arg(long, value_enum, default_value = "basic")]
    level: LevelName,
    #[command(flatten)]
    passes: PassArgs,
    /// The opset to write; by default the one that the model came with.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(7..=oxidane::onnx::OPSET))]
    opset: Option<i64>,
    #[command(flatten)]
    writing: Writing,
}

/// Which passes run and how much they tell.
#[derive(Args, Clone, Default)]
pub(crate) struct PassArgs {
    /// Passes not to run; `onnx-convert passes` lists their names. May be repeated.
    #[arg(long, value_name = "PASS")]
    without: Vec<String>,
    /// Passes to run that do not run unless asked for. May be repeated.
    #[arg(long, value_name = "PASS")]
    with: Vec<String>,
    /// Runs these passes only. May be repeated.
    #[arg(long, value_name = "PASS", conflicts_with_all = ["with", "without"])]
    only: Vec<String>,
    /// By how many bytes computed constants may make the model larger in all.
    #[arg(long, value_name = "BYTES")]
    growth: Option<usize>,
    /// Says what each pass did; with a node's name, what was done with that node and what was not, and why.
    #[arg(long, value_name = "NODE", num_args = 0..=1, default_missing_value = "")]
    explain: Option<String>,
}

impl PassArgs {
    /// The passes of a level.
    ///
    /// # Errors
    /// Where a pass does not exist.
    pub(crate) fn options(&self, level: Level) -> Result<Options> {
        let mut options = Options::level_of(level);
        for pass in &self.without {
            options = options.without(pass)?;
        }
        for pass in &self.with {
            options = options.with(pass)?;
        }
        if !self.only.is_empty() {
            let names: Vec<&str> = self.only.iter().map(String::as_str).collect();
            options = options.only(&names)?;
        }
        Ok(match self.growth {
            Some(bytes) => options.fold_growth(bytes, bytes),
            None => options,
        })
    }

    /// Prints what was asked for.
    pub(crate) fn explain(&self, report: &Report) {
        match self.explain.as_deref() {
            None => {}
            Some("") => say!("{report}"),
            Some(node) => match report.of(node) {
                lines if lines.is_empty() => {
                    say!("{node}: no rule looked at a node of this name, or none fits")
                }
                lines => lines.iter().for_each(|line| say!("{node}: {line}")),
            },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LevelName {
    /// Nothing.
    None,
    /// Standard operators only, the same results: dead code, no-ops, common subexpressions, constants.
    Basic,
    /// Everything; fused operators may round differently.
    Full,
}

impl LevelName {
    pub(crate) fn level(self) -> Level {
        match self {
            LevelName::None => Level::None,
            LevelName::Basic => Level::Basic,
            LevelName::Full => Level::Full,
        }
    }

    /// What verification lets pass.
    pub(crate) fn tolerance(self) -> f64 {
        if self == LevelName::None { 1e-5 } else { 1e-4 }
    }
}

impl Optimize {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let options = self.passes.options(self.level.level())?;
        let source = Source::open(&self.files.input)?;
        let (model, report) = source.model.clone().optimize_with(&options)?;
        if !self.writing.json {
            self.passes.explain(&report);
        }
        let mut told = Map::new();
        let fired =
            oxidane::passes::passes().into_iter().map(|p| (p.name.to_owned(), json!(report.count(p.name))));
        told.insert("passes".into(), fired.filter(|(_, n)| n != 0).collect::<Map<_, _>>().into());
        let rewritten = Rewritten {
            source: &source,
            reference: Some(Reference::graph(source.model.graph())?),
            model,
            opset: self.opset,
            may_raise: true,
            tolerance: self.level.tolerance(),
            told,
        };
        self.writing.finish(rewritten, &self.files.output)
    }
}
