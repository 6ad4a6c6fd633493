use crate::Files;
use crate::source::Source;
use crate::writing::{Rewritten, Writing};
use anyhow::Result;
use clap::Args;
use oxidane_inspect::verify::Reference;
use serde_json::{Map, json};
use std::process::ExitCode;

/// Writes a model in another opset, up or down, its functions and the bodies of its control flow included.
///
/// Operators that the opset does not have yet are written out in simpler ones where they have such a form. Where it
/// cannot express a node at all, every such node is listed with the lowest opset that can.
///
/// Example:
///   onnx-convert opset model.onnx old.onnx --to 13
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Opset {
    #[command(flatten)]
    files: Files,
    /// The opset to write, 7 to 28.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(7..=oxidane::onnx::OPSET))]
    to: i64,
    #[command(flatten)]
    writing: Writing,
}

impl Opset {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let source = Source::open(&self.files.input)?;
        let mut told = Map::new();
        told.insert("from".into(), json!(source.model.onnx().opset("")));
        told.insert("to".into(), json!(self.to));
        let rewritten = Rewritten {
            source: &source,
            reference: Some(Reference::graph(source.model.graph())?),
            model: source.model.clone(),
            opset: Some(self.to),
            may_raise: false,
            tolerance: 1e-5,
            told,
        };
        self.writing.finish(rewritten, &self.files.output)
    }
}
