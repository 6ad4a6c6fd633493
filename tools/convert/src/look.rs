//! Commands that only look at a model.

use crate::writing::dim;
use anyhow::{Context, Result};
use clap::Args;
use oxidane::Model;
use oxidane::onnx::ModelFile;
use oxidane_inspect::say;
use oxidane_inspect::{check, info};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Lists everything that is wrong with a model at once: schema, types, shapes, and what keeps it from running.
///
/// Ends with 1 where there is a problem.
///
/// Example:
///   onnx-convert check model.onnx --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Check {
    /// The model.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Lists values whose type stays unknown, too.
    #[arg(long, short)]
    verbose: bool,
    /// Prints a JSON object: fine, nodes, problems, warnings, unknown.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let found = check::check(&self.input)?;
        match self.json {
            true => say!("{}", serde_json::to_string(&found.summary())?),
            false => say!("{}", found.text(&self.input, self.verbose)),
        }
        Ok(if found.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Describes a model: inputs, outputs, operators, parameters, multiply-adds, memory.
///
/// Example:
///   onnx-convert info model.onnx --dim batch=8
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Info {
    /// The model.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The size that a symbolic dimension of the inputs has, for multiply-adds and memory. May be repeated.
    #[arg(long, value_name = "NAME=N", value_parser = dim)]
    dim: Vec<(String, i64)>,
    /// Prints a JSON object.
    #[arg(long)]
    json: bool,
}

impl Info {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let model = Model::open(&self.input).with_context(|| self.input.display().to_string())?;
        let info = info::Info::of(&model, &self.dim);
        match self.json {
            true => say!("{}", serde_json::to_string(&info)?),
            false => say!("{}\n{info}", self.input.display()),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints a model in ONNX's text syntax; `onnx-convert IN OUT.onnxtxt` writes it to a file.
///
/// Example:
///   onnx-convert text model.onnx | less
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Text {
    /// The model.
    #[arg(value_name = "IN")]
    input: PathBuf,
}

impl Text {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let file = ModelFile::open(&self.input)?;
        print(&oxidane::onnx::text::print_model(&file.model)?)
    }
}

/// Prints a model as JSON, in protobuf's mapping, as PyPI's onnx writes it.
///
/// `onnx-convert IN OUT.json` writes it to a file, and every command reads such files as models.
///
/// Example:
///   onnx-convert json model.onnx | jq '.graph.node[].op_type'
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Json {
    /// The model.
    #[arg(value_name = "IN")]
    input: PathBuf,
}

impl Json {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let file = ModelFile::open(&self.input)?;
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        match oxidane::onnx::write_json(&file.model, &mut out).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Prints a model's graph in the language of Graphviz.
///
/// Example:
///   onnx-convert dot model.onnx | dot -Tsvg -o model.svg
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Dot {
    /// The model.
    #[arg(value_name = "IN")]
    input: PathBuf,
}

impl Dot {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let model = Model::open(&self.input).with_context(|| self.input.display().to_string())?;
        print(&model.graph().to_dot())
    }
}

#[derive(Args)]
pub(crate) struct Passes {
    /// Prints a JSON list.
    #[arg(long)]
    json: bool,
}

impl Passes {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let passes = oxidane::passes::passes();
        if self.json {
            let stage = |p: &oxidane::passes::Pass| format!("{:?}", p.stage).to_lowercase();
            let list: Vec<_> = (passes.iter())
                .map(|p| serde_json::json!({ "name": p.name, "stage": stage(p), "default": p.by_default, "doc": p.doc }))
                .collect();
            say!("{}", serde_json::Value::from(list));
            return Ok(ExitCode::SUCCESS);
        }
        for pass in passes {
            let stage = format!("{:?}", pass.stage).to_lowercase();
            let asked = if pass.by_default { "" } else { " (only where asked for, --with)" };
            say!("{:28} {:10} {}{asked}", pass.name, stage, pass.doc);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints a long text; a reader that has seen enough is no error.
fn print(text: &str) -> Result<ExitCode> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
