//! `onnx-conformance`: runs ONNX's official cases and reports.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use oxidane_conformance::{
    Case, Conversions, Coverage, Plan, Report, Runtime, Suites, run_all, serve, write_page,
};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Runs ONNX's official conformance cases, each isolated from the others, and prints what passes by suite and by
/// operator, with the first error of each operator that fails.
///
/// Example: onnx-conformance --suite node --filter softmax --report report.html
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Subcommand>,
    #[command(flatten)]
    running: Running,
    /// Only these suites: node, simple, pytorch-converted, pytorch-operator, light; or versions, the forms that
    /// operators had in older opsets, which is not official and runs only where it is asked for.
    #[arg(long = "suite", value_name = "NAME")]
    suites: Vec<String>,
    /// Only cases whose name contains this text; several take those that contain any.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
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

/// Which cases there are, and how they are run.
#[derive(clap::Args)]
struct Running {
    /// The cases: the archive (.tar.zst) or a folder SUITE/CASE/model.onnx. Default: the archive of the checkout
    /// around the current folder.
    #[arg(long, value_name = "PATH")]
    cases: Option<PathBuf>,
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
}

#[derive(clap::Subcommand)]
enum Subcommand {
    /// Runs the official cases and the suite `versions`, and prints which schemas of the standard, each operator in
    /// each of its versions, a passing case touches.
    Coverage(CoverageArgs),
    /// Writes every official case in other opsets, runs what came out, and prints for each opset how many were
    /// converted, cannot be expressed, or failed.
    Opsets(OpsetsArgs),
}

#[derive(clap::Args)]
struct CoverageArgs {
    #[command(flatten)]
    running: Running,
    /// Writes every schema, its cases and how they ended as JSON lines.
    #[arg(long, value_name = "FILE.jsonl")]
    json: Option<PathBuf>,
    /// Exits with 1 if fewer schemas are covered.
    #[arg(long, value_name = "N")]
    at_least: Option<usize>,
    /// Lists the operators that are covered in all versions too.
    #[arg(long)]
    all: bool,
    /// Writes testdata/conformance/coverage.tsv: each schema and the number of its passing cases.
    #[arg(long)]
    write: bool,
    /// Exits with 1 if a schema that is covered in testdata/conformance/coverage.tsv is not covered.
    #[arg(long, conflicts_with = "write")]
    check: bool,
}

#[derive(clap::Args)]
struct OpsetsArgs {
    #[command(flatten)]
    running: Running,
    /// The first opset.
    #[arg(long, default_value_t = 7, value_name = "N")]
    from: i64,
    /// The last one.
    #[arg(long, default_value_t = oxidane::onnx::OPSET, value_name = "N")]
    to: i64,
    /// Only cases whose name contains this text; several take those that contain any.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Lists what each opset cannot express.
    #[arg(long)]
    all: bool,
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
    let done = match &args.command {
        Some(Subcommand::Coverage(args)) => coverage(args),
        Some(Subcommand::Opsets(args)) => opsets(args),
        None => conformance(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load(args: &Running, versions: bool) -> Result<Suites> {
    let path = match &args.cases {
        Some(path) => path.clone(),
        None => Suites::find()?,
    };
    let mut suites = Suites::load(&path)?;
    if versions {
        suites.add_versions()?;
    }
    Ok(suites)
}

fn run(cases: &[&Case], args: &Running) -> Result<Report> {
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
    let outcomes = run_all(cases, &plan, &worker, &|_| bar.inc(1))?;
    bar.finish_and_clear();
    Ok(Report::new(cases, outcomes))
}

fn write_lines<T: serde::Serialize>(file: &Path, items: &[T]) -> Result<()> {
    let lines: Result<Vec<String>, _> = items.iter().map(serde_json::to_string).collect();
    std::fs::write(file, lines?.join("\n") + "\n").with_context(|| format!("cannot write {}", file.display()))
}

fn coverage(args: &CoverageArgs) -> Result<bool> {
    let suites = load(&args.running, true)?;
    let cases: Vec<&Case> = suites.cases.iter().collect();
    let report = run(&cases, &args.running)?;
    let coverage = Coverage::new(&cases, &report);
    print!("{}", coverage.to_text(args.all));
    if let Some(file) = &args.json {
        write_lines(file, &coverage.schemas)?;
    }
    if args.write {
        let file = Suites::find_coverage()?;
        std::fs::write(&file, coverage.to_table())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let mut lost = 0;
    if args.check {
        let file = Suites::find_coverage()?;
        let table =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        for schema in coverage.lost(&table) {
            lost += 1;
            println!("no longer covered: {}: {}", schema.schema, schema.why);
        }
    }
    let enough = args.at_least.is_none_or(|least| coverage.covered() >= least);
    Ok(report.total().broken == 0 && lost == 0 && enough)
}

fn opsets(args: &OpsetsArgs) -> Result<bool> {
    let suites = load(&args.running, false)?;
    let wanted = |case: &&Case| args.filter.is_empty() || args.filter.iter().any(|t| case.name.contains(t));
    let cases: Vec<&Case> = suites.cases.iter().filter(wanted).collect();
    if cases.is_empty() {
        bail!("no case has such a name");
    }
    let conversions = Conversions::new(&cases, args.from..=args.to);
    let converted: Vec<&Case> = conversions.cases.iter().collect();
    let report = run(&converted, &args.running)?;
    print!("{}", conversions.to_text(&report, args.all));
    Ok(conversions.faults(&report) == 0)
}

fn conformance(args: &Args) -> Result<bool> {
    let suites = load(&args.running, args.suites.iter().any(|s| s == Suites::VERSIONS))?;
    if let Some(unknown) = args.suites.iter().find(|s| !suites.cases.iter().any(|c| c.suite == **s)) {
        bail!("there is no suite `{unknown}` in the cases");
    }
    let wanted = |case: &&Case| {
        let official = case.suite != Suites::VERSIONS;
        (if args.suites.is_empty() { official } else { args.suites.contains(&case.suite) })
            && (args.filter.is_empty() || args.filter.iter().any(|text| case.name.contains(text)))
    };
    let cases: Vec<&Case> = suites.cases.iter().filter(wanted).collect();
    if cases.is_empty() {
        bail!("no case has such a name");
    }
    let report = run(&cases, &args.running)?;
    print!("{}", report.to_text(args.all));
    if args.all {
        for row in report.rows.iter().filter(|r| !r.outcome.message.is_empty()) {
            println!("{}/{}: {}", row.suite, row.name, row.outcome.message.replace('\n', " "));
        }
    }
    if let Some(page) = &args.report {
        let runtime = match args.running.runtime {
            Runtime::Full => "optimized",
            Runtime::Plain => "not optimized",
            Runtime::Interpreter => "interpreter",
            Runtime::Expanded => "interpreter, expanded",
        };
        write_page(&report, &format!("Oxidane on the official ONNX cases ({runtime})"), page)?;
    }
    if let Some(file) = &args.json {
        write_lines(file, &report.rows)?;
    }
    let total = report.total();
    Ok(total.broken == 0 && args.at_least.is_none_or(|least| total.passed >= least))
}
