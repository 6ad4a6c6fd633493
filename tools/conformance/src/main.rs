//! `onnx-conformance`: runs ONNX's official cases and reports.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use oxidane_conformance::{Case, Plan, Report, Runtime, Suites, run_all, serve, write_page};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Runs ONNX's official conformance cases, each isolated from the others, and prints what passes by suite and by
/// operator, with the first error of each operator that fails.
///
/// Example: onnx-conformance --suite node --filter softmax --report report.html
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The cases: the archive (.tar.zst) or a folder SUITE/CASE/model.onnx. Default: the archive of the checkout
    /// around the current folder.
    #[arg(long, value_name = "PATH")]
    cases: Option<PathBuf>,
    /// Only these suites: node, simple, pytorch-converted, pytorch-operator, light.
    #[arg(long = "suite", value_name = "NAME")]
    suites: Vec<String>,
    /// Only cases whose name contains this text; several take those that contain any.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// What runs the models.
    #[arg(long, value_enum, default_value = "full")]
    runtime: Runtime,
    /// Threads of each session.
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// Cases at the same time; 0 takes one for each processor.
    #[arg(long, default_value_t = 0, value_name = "N")]
    jobs: usize,
    /// Seconds that a case may take.
    #[arg(long, default_value_t = 60, value_name = "S")]
    timeout: u64,
    /// Writes the report as a page.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Writes every case's outcome as JSON lines.
    #[arg(long, value_name = "FILE.jsonl")]
    json: Option<PathBuf>,
    /// Exits with 1 if fewer cases pass.
    #[arg(long, value_name = "N")]
    at_least: Option<usize>,
    /// Lists the failing cases one by one, and the operators that pass everywhere too.
    #[arg(long)]
    all: bool,
    /// Runs cases that come on the standard input; used by the tool itself.
    #[arg(long, hide = true)]
    worker: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.worker {
        // Panics become outcomes; their text on stderr would only be noise.
        std::panic::set_hook(Box::new(|_| {}));
        return match serve(std::io::stdin().lock(), std::io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    match conformance(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn conformance(args: &Args) -> Result<bool> {
    let path = match &args.cases {
        Some(path) => path.clone(),
        None => Suites::find()?,
    };
    let suites = Suites::load(&path)?;
    if let Some(unknown) = args.suites.iter().find(|s| !suites.cases.iter().any(|c| c.suite == **s)) {
        bail!("{} has no suite `{unknown}`", path.display());
    }
    let wanted = |case: &&Case| {
        (args.suites.is_empty() || args.suites.contains(&case.suite))
            && (args.filter.is_empty() || args.filter.iter().any(|text| case.name.contains(text)))
    };
    let cases: Vec<&Case> = suites.cases.iter().filter(wanted).collect();
    if cases.is_empty() {
        bail!("no case has such a name");
    }
    let jobs = match args.jobs {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        jobs => jobs,
    };
    let plan = Plan {
        runtime: args.runtime,
        threads: args.threads,
        jobs,
        timeout: Duration::from_secs(args.timeout.max(1)),
    };
    let exe = std::env::current_exe().context("cannot find this program's own file")?;
    let worker = || {
        let mut command = Command::new(&exe);
        command.arg("--worker");
        command
    };
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(cases.len() as u64),
        false => ProgressBar::hidden(),
    };
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} cases, {elapsed}")?);
    let outcomes = run_all(&cases, &plan, &worker, &|_| bar.inc(1))?;
    bar.finish_and_clear();
    let report = Report::new(&cases, outcomes);
    print!("{}", report.to_text(args.all));
    if args.all {
        for row in report.rows.iter().filter(|r| !r.outcome.message.is_empty()) {
            println!("{}/{}: {}", row.suite, row.name, row.outcome.message.replace('\n', " "));
        }
    }
    if let Some(page) = &args.report {
        let runtime = match args.runtime {
            Runtime::Full => "optimized",
            Runtime::Plain => "not optimized",
            Runtime::Interpreter => "interpreter",
        };
        write_page(&report, &format!("Oxidane on the official ONNX cases ({runtime})"), page)?;
    }
    if let Some(file) = &args.json {
        let lines: Result<Vec<String>, _> = report.rows.iter().map(serde_json::to_string).collect();
        std::fs::write(file, lines?.join("\n") + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let total = report.total();
    Ok(total.broken == 0 && args.at_least.is_none_or(|least| total.passed >= least))
}
