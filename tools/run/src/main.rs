//! `onnx-run`: runs, measures, profiles, checks and describes ONNX models.

#![forbid(unsafe_code)]

mod bench;
mod inputs;
mod outputs;
mod peak;
mod profile;
mod recipe;
mod table;

use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use inputs::InputArgs;
use oxidane::passes::Options;
use oxidane::{Level, Model, Session, SessionOptions};
use oxidane_inspect::say;
use oxidane_inspect::{check, info::Info};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs, measures, profiles, checks and describes ONNX models on the CPU.
#[derive(Parser)]
#[command(name = "onnx-run", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a model once on inputs from files, or as a recipe says on a picture, a sound or a file.
    Run(RunArgs),
    /// Measures how long a model takes to load and to run.
    Bench(BenchArgs),
    Profile(profile::ProfileArgs),
    Peak(peak::PeakArgs),
    /// Lists everything that is wrong with a model, and what keeps it from running.
    Check(CheckArgs),
    /// Describes a model: inputs, outputs, operators, parameters, multiply-adds, memory.
    Info(InfoArgs),
}

/// Examples:
///   onnx-run run model.onnx --inputs in.npz --outputs out.npz
///   onnx-run run model.onnx --image input=cat.png --size 224x224 --scale --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
///   onnx-run run --recipe recipe.yaml photo.jpg --out results
#[derive(Args)]
#[command(verbatim_doc_comment)]
struct RunArgs {
    /// The model; with --recipe the picture, sound or file instead of the recipe's own.
    #[arg(value_name = "MODEL|FILE", required_unless_present = "recipe")]
    file: Option<PathBuf>,
    #[command(flatten)]
    inputs: InputArgs,
    /// Writes the outputs: an .npz file, or a folder that gets output_0.pb, output_1.pb, ...; without it they
    /// are shown. With --recipe an .npz file, in which the outputs of several runs are stacked along a new first
    /// dimension.
    #[arg(long, value_name = "FILE.npz|FOLDER")]
    outputs: Option<PathBuf>,
    /// A YAML file that says how to make the inputs and how to show the outputs.
    #[arg(long, value_name = "FILE.yaml", conflicts_with_all = ["inputs", "input", "image", "random", "dim"])]
    recipe: Option<PathBuf>,
    /// The model instead of the recipe's own.
    #[arg(long, value_name = "MODEL", requires = "recipe")]
    model: Option<PathBuf>,
    /// The folder for what the recipe writes; default: the current one.
    #[arg(long, value_name = "FOLDER", requires = "recipe")]
    out: Option<PathBuf>,
    /// Threads; 0 takes one for each processor.
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// The numbers that products with constant weights are computed in.
    #[arg(long, value_enum, default_value_t = Precision::F32, conflicts_with = "recipe")]
    precision: Precision,
}

/// What weights are multiplied in.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Precision {
    /// Single precision.
    F32,
    /// Both sides rounded to bfloat16, sums in single precision, where the processor has such products.
    Bf16,
}

#[derive(Args)]
struct BenchArgs {
    /// The model.
    model: PathBuf,
    #[command(flatten)]
    inputs: InputArgs,
    /// Threads; 0 takes one for each processor.
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// Seconds to measure, after a quarter of them to warm up; there are at least 5 runs.
    #[arg(long, default_value_t = 2.0, value_name = "S")]
    seconds: f64,
    /// Threads that call the session at the same time, each one run after the other.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    callers: u16,
    /// The numbers that products with constant weights are computed in.
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Prints a JSON object: load_ms, first_ms, median_ms, min_ms, runs, per_second, peak_rss_mb.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct CheckArgs {
    /// The model.
    model: PathBuf,
    /// Lists values whose type stays unknown, too.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Args)]
struct InfoArgs {
    /// The model.
    model: PathBuf,
    /// The size that a symbolic dimension of the inputs has, for multiply-adds and memory.
    #[arg(long, value_name = "NAME=N", value_parser = inputs::parse_dim)]
    dim: Vec<(String, i64)>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Bench(args) = &cli.command
        && !(args.seconds.is_finite() && (0.0..=86_400.0).contains(&args.seconds))
    {
        usage("--seconds must be between 0 and 86400");
    }
    let done = match &cli.command {
        Command::Run(args) => run(args).map(|()| true),
        Command::Bench(args) => bench::bench(args).map(|()| true),
        Command::Profile(args) => profile::profile(args).map(|()| true),
        Command::Peak(args) => peak::peak(args).map(|()| true),
        Command::Check(args) => check(args),
        Command::Info(args) => info(args).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", oxidane_inspect::told(&error));
            ExitCode::FAILURE
        }
    }
}

/// Ends the program as clap does where the command line is wrong.
fn usage(what: &str) -> ! {
    Cli::command().error(ErrorKind::ValueValidation, what).exit()
}

fn run(args: &RunArgs) -> Result<()> {
    if let Some(recipe) = &args.recipe {
        return recipe::run(&recipe::Call {
            recipe,
            model: args.model.as_deref(),
            source: args.file.as_deref(),
            out: args.out.as_deref().unwrap_or(Path::new(".")),
            outputs: args.outputs.as_deref(),
            threads: args.threads,
        });
    }
    let Some(path) = &args.file else { bail!("no model is given") };
    let model = open(path)?;
    let inputs = args.inputs.read(&model)?;
    let session = compile(model, path, args.threads, args.precision)?;
    let outputs = session.run(inputs).with_context(|| format!("{}", path.display()))?;
    match &args.outputs {
        Some(to) => outputs::write(to, &outputs),
        None => outputs::show(&outputs),
    }
}

fn check(args: &CheckArgs) -> Result<bool> {
    let found = check::check(&args.model)?;
    say!("{}", found.text(&args.model, args.verbose));
    Ok(found.is_fine())
}

fn info(args: &InfoArgs) -> Result<()> {
    let info = Info::of(&open(&args.model)?, &args.dim);
    say!("{}\n{info}", args.model.display());
    Ok(())
}

/// Opens a model.
fn open(path: &Path) -> Result<Model> {
    Model::open(path).with_context(|| format!("{}", path.display()))
}

/// A model rewritten for speed and compiled.
fn compile(model: Model, path: &Path, threads: usize, precision: Precision) -> Result<Session> {
    let mut passes = Options::level_of(Level::Full);
    if precision == Precision::Bf16 {
        if oxidane::ops::native::product::bf16_pays() {
            passes = passes.with("product_bf16")?.with("conv_bf16")?;
        } else {
            eprintln!("note: this processor is not quicker at products of bfloat16; computing in float32");
        }
    }
    let (model, _) = model.optimize_with(&passes).with_context(|| format!("{}", path.display()))?;
    let options = SessionOptions { threads, ..SessionOptions::default() };
    model.session_with(&options).with_context(|| format!("{}", path.display()))
}
