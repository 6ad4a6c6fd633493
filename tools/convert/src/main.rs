//! `onnx-convert`: rewrites, shrinks, cuts, compares and spells ONNX models.

#![forbid(unsafe_code)]

mod bisect;
mod compose;
mod diff;
mod edit;
mod extract;
mod look;
mod opset;
mod optimize;
mod precision;
mod recipe;
mod short;
mod source;
mod view;
mod weights;
mod writing;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Rewrites, shrinks, cuts, compares and spells ONNX models.
///
/// A command whose result must compute the same as its input runs both on the same made inputs before it writes, prints
/// the difference, and writes nothing where that is above the tolerance. The output is written beside its name and
/// renamed, so that a failure leaves nothing half done.
///
/// Exit codes: 0 success, 1 the model is at fault, 2 bad usage, 3 verification refused to write.
///
/// Examples:
///   onnx-convert model.onnx model.onnxtxt
///   onnx-convert optimize model.onnx small.onnx --level basic
///   onnx-convert opset model.onnx old.onnx --to 13
#[derive(Parser)]
#[command(name = "onnx-convert", version, verbatim_doc_comment)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    short: short::Short,
}

#[derive(Subcommand)]
enum Command {
    Optimize(optimize::Optimize),
    Opset(opset::Opset),
    Fp16(precision::ToHalf),
    Bf16(precision::ToHalf),
    Extract(extract::Extract),
    Compose(compose::Compose),
    Edit(edit::Edit),
    Diff(diff::Diff),
    Bisect(bisect::Bisect),
    Check(look::Check),
    Info(look::Info),
    Weights(weights::Weights),
    View(view::View),
    Text(look::Text),
    Json(look::Json),
    Dot(look::Dot),
    Recipe(recipe::RunRecipe),
    /// Lists the passes: name, stage and what each does.
    Passes(look::Passes),
}

/// The files of a command that rewrites.
#[derive(Args, Clone)]
struct Files {
    /// The model: an ONNX file, text or JSON.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Where to write; the ending says whether text (.onnxtxt, .txt, .text) or JSON (.json, .onnxjson).
    #[arg(value_name = "OUT")]
    output: PathBuf,
}

impl Cli {
    fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            None => self.short.run(),
            Some(Command::Optimize(command)) => command.run(),
            Some(Command::Opset(command)) => command.run(),
            Some(Command::Fp16(command)) => command.run(oxidane::DType::F16),
            Some(Command::Bf16(command)) => command.run(oxidane::DType::BF16),
            Some(Command::Extract(command)) => command.run(),
            Some(Command::Compose(command)) => command.run(),
            Some(Command::Edit(command)) => command.run(),
            Some(Command::Diff(command)) => command.run(),
            Some(Command::Bisect(command)) => command.run(),
            Some(Command::Check(command)) => command.run(),
            Some(Command::Info(command)) => command.run(),
            Some(Command::Weights(command)) => command.run(),
            Some(Command::View(command)) => command.run(),
            Some(Command::Text(command)) => command.run(),
            Some(Command::Json(command)) => command.run(),
            Some(Command::Dot(command)) => command.run(),
            Some(Command::Recipe(command)) => command.run(),
            Some(Command::Passes(command)) => command.run(),
        }
    }
}

/// The command with paragraphs of its help on one line each, which clap then breaks as wide as the terminal is; lists of
/// examples keep their lines.
fn reflowed(command: clap::Command) -> clap::Command {
    let flow = |text: String| -> String {
        let listed = |part: &str| part.lines().any(|line| line.starts_with("  "));
        let parts = text.split("\n\n").map(|part| match listed(part) {
            true => part.to_owned(),
            false => part.replace('\n', " "),
        });
        parts.collect::<Vec<_>>().join("\n\n")
    };
    let (short, long) = (command.get_about().cloned(), command.get_long_about().cloned());
    let mut command = command;
    if let Some(short) = short {
        command = command.about(flow(short.to_string()));
    }
    if let Some(long) = long {
        command = command.long_about(flow(long.to_string()));
    }
    command.mut_subcommands(reflowed)
}

fn main() -> ExitCode {
    let matches = reflowed(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", oxidane_inspect::told(&error));
            match error.downcast_ref::<writing::Refused>() {
                Some(_) => ExitCode::from(3),
                None => ExitCode::FAILURE,
            }
        }
    }
}
