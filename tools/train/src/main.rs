//! `onnx-train`: trains ONNX models.

#![forbid(unsafe_code)]

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// Trains an ONNX model as a recipe says.
///
/// Gradients are not built yet: the command reads its arguments and ends with an error that says so.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The recipe.
    #[arg(value_name = "RECIPE.yaml")]
    recipe: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    eprintln!(
        "error: {}: training needs gradients of whole graphs, which this version does not have; \
         use onnx-run to run the model",
        args.recipe.display()
    );
    ExitCode::FAILURE
}
