//! `onnx-convert`: reads a model, rewrites it as asked, and writes it.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use oxidane::graph::Graph;
use oxidane::onnx::{EXTERNAL_THRESHOLD, ModelFile, SaveOptions, is_text};
use oxidane::passes::Options;
use oxidane::{Level, Model};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Converts a model: between ONNX files, ONNX's text syntax (.onnxtxt, .txt, .text) and weights inside or beside
/// the file; optimizes it; writes it in another opset.
///
/// The output is written beside its name and renamed, so that a failure leaves nothing half done.
///
/// Examples:
///   onnx-convert model.onnx model.onnxtxt
///   onnx-convert model.onnx small.onnx --level basic
///   onnx-convert model.onnx beside.onnx --external-data
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// The model: an ONNX file or text.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Where to write; the ending says whether text.
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// How much is rewritten.
    #[arg(long, value_enum, default_value = "none")]
    level: LevelName,
    /// Passes not to run; with `--list-passes` one sees their names.
    #[arg(long, value_name = "PASS")]
    without: Vec<String>,
    /// The opset to write; by default the one that the model came with.
    #[arg(long, value_name = "N")]
    opset: Option<i64>,
    /// Weights of 1 KiB or more go to OUT.data beside the model; required above 2 GB.
    #[arg(long)]
    external_data: bool,
    /// Writes the types that were worked out beside those that the file declares.
    #[arg(long)]
    value_info: bool,
    /// Says what each pass did.
    #[arg(long)]
    explain: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LevelName {
    /// Nothing.
    None,
    /// What changes no bit of any output: dead code, no-ops, common subexpressions, constants.
    Basic,
    /// Everything; fused operators may round differently.
    Full,
}

fn main() -> ExitCode {
    // The list stands alone: it needs no files.
    if std::env::args().any(|a| a == "--list-passes") {
        for pass in oxidane::passes::passes() {
            println!("{:28} {}", pass.name, pass.doc);
        }
        return ExitCode::SUCCESS;
    }
    match convert(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn convert(args: &Args) -> Result<()> {
    if same_file(&args.input, &args.output) && args.external_data {
        bail!("with --external-data the output must be another file than the input");
    }
    let level = match args.level {
        LevelName::None => Level::None,
        LevelName::Basic => Level::Basic,
        LevelName::Full => Level::Full,
    };
    // Text is a spelling of the file: where nothing else is asked for, the file is spelled as it is.
    let spelling = is_text(&args.input) || is_text(&args.output);
    if spelling && level == Level::None && args.opset.is_none() && !args.external_data && !args.value_info {
        let file = ModelFile::open(&args.input)?;
        if is_text(&args.output) {
            oxidane::onnx::text::save_text(&file.model, &args.output, &Default::default())?;
        } else {
            oxidane::onnx::save(&file.model, &args.output)?;
        }
        return Ok(());
    }
    let mut options = Options::level_of(level);
    for pass in &args.without {
        options = options.without(pass)?;
    }
    let mut model = Model::open(&args.input).with_context(|| args.input.display().to_string())?;
    if level > Level::None {
        let before = model.graph().node_count();
        let (optimized, report) = model.optimize_with(&options)?;
        model = optimized;
        println!("{before} nodes became {}", model.graph().node_count());
        if args.explain {
            print!("{report}");
        }
    }
    if args.value_info {
        declare(&mut model.onnx_mut().graph);
    }
    let mut save = SaveOptions::default();
    save.opset = args.opset;
    save.external = args.external_data.then_some(EXTERNAL_THRESHOLD);
    model.onnx().save(&args.output, &save).with_context(|| args.output.display().to_string())?;
    Ok(())
}

/// Declares the types that inference finds, so that they are written.
fn declare(graph: &mut Graph) {
    oxidane::graph::infer(graph);
    let outputs: Vec<_> = graph.nodes().flat_map(|(_, node)| node.outputs().to_vec()).flatten().collect();
    for id in outputs {
        if let Some(ty) = graph.value(id).ty().cloned() {
            graph.set_declared(id, Some(ty));
        }
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
