use crate::optimize::{LevelName, PassArgs};
use crate::source::Source;
use crate::writing::{Rewritten, Writing};
use anyhow::{Result, bail};
use clap::Args;
use oxidane::Level;
use oxidane::onnx::{ModelFile, is_json, is_text};
use oxidane_inspect::verify::Reference;
use serde_json::Map;
use std::path::PathBuf;
use std::process::ExitCode;

/// The short form: a model in, a model out.
#[derive(Args)]
pub(crate) struct Short {
    /// The model: an ONNX file, text or JSON.
    #[arg(value_name = "IN", required = true)]
    input: Option<PathBuf>,
    /// Where to write; the ending says whether text (.onnxtxt, .txt, .text) or JSON (.json, .onnxjson).
    #[arg(value_name = "OUT", required = true)]
    output: Option<PathBuf>,
    /// How much is rewritten.
    #[arg(long, value_enum, default_value = "none")]
    level: LevelName,
    #[command(flatten)]
    passes: PassArgs,
    /// The opset to write; by default the one that the model came with.
    #[arg(long, value_name = "N")]
    opset: Option<i64>,
    #[command(flatten)]
    writing: Writing,
}

impl Short {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let (Some(input), Some(output)) = (&self.input, &self.output) else { bail!("IN and OUT are needed") };
        let level = self.level.level();
        let rewrites = level > Level::None || self.opset.is_some();
        // Text and JSON are spellings of the file: where nothing else is asked for, the file is spelled as it is.
        let spelling = [input, output].into_iter().any(|path| is_text(path) || is_json(path));
        if spelling && !rewrites && !self.writing.external_data && !self.writing.infer_shapes {
            let file = ModelFile::open(input)?;
            if is_text(output) {
                oxidane::onnx::text::save_text(&file.model, output, &Default::default())?;
            } else if is_json(output) {
                oxidane::onnx::save_json(&file.model, output)?;
            } else {
                oxidane::onnx::save(&file.model, output)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let options = self.passes.options(level)?;
        let source = Source::open(input)?;
        let mut model = source.model.clone();
        if level > Level::None {
            let (optimized, report) = model.optimize_with(&options)?;
            model = optimized;
            if !self.writing.json {
                self.passes.explain(&report);
            }
        }
        let rewritten = Rewritten {
            source: &source,
            reference: rewrites.then(|| Reference::graph(source.model.graph())).transpose()?,
            model,
            opset: self.opset,
            may_raise: true,
            tolerance: self.level.tolerance(),
            told: Map::new(),
        };
        self.writing.finish(rewritten, output)
    }
}
