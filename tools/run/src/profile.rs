//! Where the time of a run goes.

use crate::table::{table, text};
use crate::{Precision, inputs::InputArgs};
use anyhow::{Context, Result, ensure};
use clap::Args;
use oxidane::Datum;
use oxidane::ops::machine::Arithmetic;
use oxidane_inspect::page::{Page, title};
use oxidane_inspect::profile::{NodeProfile, Profile, Sum};
use oxidane_inspect::{say, several, size};
use oxidane_pool::Pool;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Shows where the time of a run goes: by operator, by layer and by node, with the rate of multiply-adds as a part of what
/// this machine does at most (`onnx-run peak`), and the bytes of inputs and outputs.
///
/// The nodes are those that are executed: fused, and in the layouts of this engine's kernels. Times are medians of
/// several runs. On several threads nodes may run at the same time. A node with bodies has its own time, without that of
/// the nodes in them.
///
/// Examples:
///   onnx-run profile model.onnx --inputs in.npz --threads 1
///   onnx-run profile model.onnx --random 1 --trace run.json --html heat.html
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ProfileArgs {
    /// The model.
    model: PathBuf,
    #[command(flatten)]
    inputs: InputArgs,
    /// Threads; 0 takes one for each processor.
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// Runs that are measured, after half a second of others.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Rows of each table; the rest is summed in a line.
    #[arg(long, default_value_t = 15, value_name = "N")]
    top: usize,
    /// Sums layers by so many of their outer modules; by default all of them tell a layer.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    depth: Option<u16>,
    /// Writes the shortest run as a trace for ui.perfetto.dev or chrome://tracing, with a track for each thread.
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Writes a page that shows the graph as it is executed, its nodes colored by their time.
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// The numbers that products with constant weights are computed in.
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Prints a JSON object with every node, operator and layer.
    #[arg(long)]
    json: bool,
}

impl ProfileArgs {
    /// The layer of a node, as deep as was asked for.
    fn layer<'a>(&self, node: &'a NodeProfile) -> &'a str {
        let end = self.depth.and_then(|depth| node.layer.match_indices('/').nth(usize::from(depth) - 1));
        end.map_or(&node.layer, |(at, _)| &node.layer[..at])
    }
}

/// Characters of a name that are shown.
const NAME: usize = 64;

/// Runs a model and tells how long each node, operator and layer takes.
///
/// # Errors
/// When the model or its inputs cannot be read or run, or a file cannot be written.
pub(crate) fn profile(args: &ProfileArgs) -> Result<()> {
    for file in [&args.trace, &args.html].into_iter().flatten() {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        ensure!(folder.is_none_or(Path::is_dir), "{}: its folder does not exist", file.display());
        ensure!(!file.is_dir(), "{}: is a folder", file.display());
    }
    let model = crate::open(&args.model)?;
    let named = args.inputs.read(&model)?;
    let session = crate::compile(model, &args.model, args.threads, args.precision)?;
    // Tells what is wrong with inputs by their names.
    session.run(named.clone()).with_context(|| args.model.display().to_string())?;
    let given = |name: &str| named.iter().find(|(n, _)| n == name).map(|(_, datum)| datum.clone());
    let inputs: Vec<Option<Datum>> = session.inputs().iter().map(|port| given(&port.name)).collect();
    let pool = Pool::new(args.threads);
    let before = Arithmetic::measure(&pool);
    let profile = Profile::measure(&session, &inputs, args.runs as usize)
        .with_context(|| args.model.display().to_string())?;
    let measured = before.or(Arithmetic::measure(&pool));
    let limits = profile.raised(measured);
    if limits != measured {
        eprintln!(
            "note: nodes ran faster than the limits that were measured, since other programs run: percentages are of the \
             fastest node"
        );
    }
    if let Some(file) = &args.trace {
        write(file, &trace(&profile).to_string())?;
    }
    if let Some(file) = &args.html {
        let about = format!(
            "as it is executed · {} · {:.3} ms a run on {}",
            several(profile.nodes.len(), "node"),
            profile.run * 1e3,
            several(profile.threads, "thread")
        );
        let (title, heat) = (title(&args.model), Ok(profile.heat()));
        let page = Page { title: &title, about: &about, graph: &profile.graph, passes: None, heat };
        write(file, &page.html()?)?;
    }
    if args.json {
        say!("{}", object(args, &profile, &limits));
    } else {
        show(args, &profile, &limits);
        for file in [&args.trace, &args.html].into_iter().flatten() {
            let bytes = std::fs::metadata(file).map_or(0, |m| m.len());
            say!("{}: {}", file.display(), size(bytes.into()));
        }
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    oxidane::onnx::write_beside(file, text.as_bytes()).with_context(|| file.display().to_string())
}

/// The nodes in descending order of time, each with its operator and what it makes before its name.
fn nodes(profile: &Profile, limits: &Arithmetic) -> Vec<Sum> {
    let described = profile.nodes.iter().map(|node| Sum {
        name: format!("{} {} {}", node.op, node.output, shortened(&node.name)),
        ..Sum::of(node, limits)
    });
    let mut nodes: Vec<Sum> = described.collect();
    nodes.sort_by(|a, b| b.time.total_cmp(&a.time));
    nodes
}

fn show(args: &ProfileArgs, profile: &Profile, limits: &Arithmetic) {
    let total = profile.total(limits);
    say!(
        "{}: {:.3} ms a run on {}, the median of {}, {:.3} the shortest; {} take {:.3} ms together",
        args.model.display(),
        profile.run * 1e3,
        several(profile.threads, "thread"),
        several(profile.runs, "run"),
        profile.least * 1e3,
        several(total.nodes, "node"),
        total.time * 1e3
    );
    let halves = match args.precision {
        Precision::Bf16 => limits.halves.map_or(String::new(), |v| format!(", {:.0} of bfloat16", v / 1e9)),
        Precision::F32 => String::new(),
    };
    let bytes = limits.bytes.map_or(String::new(), |v| format!(", {:.0} GOP/s of int8", v / 1e9));
    say!(
        "peak: {:.1} GFLOP/s of float32{halves}{bytes}; multiply-adds are counted as kernels do them, fewer where convolutions \
         take Winograd's way",
        limits.floats / 1e9
    );
    let operators = profile.by(limits, |node| &node.op);
    let layers = profile.by(limits, |node| args.layer(node));
    list("operator", &operators, &total, args.top);
    if layers.len() > 1 {
        list("layer", &layers, &total, args.top);
    }
    list("node: operator, output, name", &nodes(profile, limits), &total, args.top);
}

/// A table of sums, what is beyond the first `top` in one line.
fn list(what: &str, sums: &[Sum], total: &Sum, top: usize) {
    let mut rows = table(&["ms", "%", "nodes", "GFLOP/s", "% of peak", "MB", "GB/s", what]);
    let mut add = |sum: &Sum, name: String| {
        let number =
            |value: Option<f64>, places: usize| value.map_or(String::new(), |v| format!("{v:.places$}"));
        rows.add_row([
            format!("{:.3}", sum.time * 1e3),
            format!("{:.1}", 100.0 * sum.time / total.time.max(f64::MIN_POSITIVE)),
            sum.nodes.to_string(),
            number(sum.speed().map(|v| v / 1e9), 1),
            number(sum.share().map(|v| 100.0 * v), 0),
            number((sum.bytes > 0).then_some(sum.bytes as f64 / 1e6), 2),
            number(sum.throughput().map(|v| v / 1e9), 1),
            if name.is_empty() { "(none)".to_owned() } else { name },
        ]);
    };
    // A single row is shown rather than called the rest.
    let top = if sums.len() == top + 1 { sums.len() } else { top.min(sums.len()) };
    for sum in &sums[..top] {
        add(sum, sum.name.clone());
    }
    if let Some(first) = sums.get(top) {
        let rest = sums[top + 1..].iter().fold(first.clone(), |rest, sum| rest.and(sum));
        add(&rest, format!("{} more", sums.len() - top));
    }
    if sums.len() > 1 {
        add(total, "all".to_owned());
    }
    say!("\n{}", text(&rows));
}

/// The end of a long name, which tells more than its beginning.
fn shortened(name: &str) -> String {
    let count = name.chars().count();
    match count > NAME {
        true => format!("...{}", name.chars().skip(count - NAME + 3).collect::<String>()),
        false => name.to_owned(),
    }
}

/// The profile for scripts.
fn object(args: &ProfileArgs, profile: &Profile, limits: &Arithmetic) -> Value {
    let total = profile.total(limits);
    let giga = |v: f64| v / 1e9;
    let sum = |sum: &Sum| {
        json!({
            "name": sum.name, "nodes": sum.nodes, "ms": sum.time * 1e3,
            "share": 100.0 * sum.time / total.time.max(f64::MIN_POSITIVE),
            "multiply_adds": sum.operations.map(|n| (n / 2.0) as u64), "gflops": sum.speed().map(giga),
            "peak": sum.share().map(|v| 100.0 * v), "bytes": sum.bytes as u64,
            "gb_per_second": sum.throughput().map(giga),
        })
    };
    let nodes = profile.nodes.iter().map(|node| {
        let mut row = sum(&Sum::of(node, limits));
        row["op"] = json!(node.op);
        row["layer"] = json!(node.layer);
        row["output"] = json!(node.output);
        row["calls"] = json!(node.calls);
        row
    });
    let nodes: Vec<Value> = nodes.collect();
    let all = |sums: Vec<Sum>| -> Vec<Value> { sums.iter().map(sum).collect() };
    json!({
        "threads": profile.threads, "runs": profile.runs, "run_ms": profile.run * 1e3, "least_ms": profile.least * 1e3,
        "nodes_ms": total.time * 1e3, "peak_gflops": giga(limits.floats),
        "peak_bf16_gflops": limits.halves.map(giga), "peak_byte_gops": limits.bytes.map(giga),
        "ops": all(profile.by(limits, |node| &node.op)), "layers": all(profile.by(limits, |node| args.layer(node))),
        "nodes": nodes,
    })
}

/// The shortest run in the format of Chrome's trace viewer, which Perfetto reads: a track for each thread, a complete
/// event for each call of a kernel.
/// <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>
fn trace(profile: &Profile) -> Value {
    let microseconds = |time: std::time::Duration| time.as_secs_f64() * 1e6;
    let names = profile.tracks.iter().enumerate().map(|(track, name)| {
        json!({ "ph": "M", "name": "thread_name", "pid": 1, "tid": track, "args": { "name": name } })
    });
    let calls = profile.spans.iter().map(|span| {
        let node = &profile.nodes[span.node];
        json!({
            "ph": "X", "pid": 1, "tid": span.track, "cat": if node.in_body() { "body" } else { "node" }, "name": node.name,
            "ts": microseconds(span.start.saturating_duration_since(profile.began)),
            "dur": microseconds(span.time), "args": { "op": node.op, "shape": node.output },
        })
    });
    let events: Vec<Value> = names.chain(calls).collect();
    json!({ "displayTimeUnit": "ms", "traceEvents": events })
}
