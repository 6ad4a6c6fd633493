//! Where the time of a run goes, node by node, held against what the machine can do.

use crate::{Precision, inputs::InputArgs};
use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use oxidane::graph::{Graph, NodeId, ValueId, qualified};
use oxidane::ops::machine;
use oxidane::{DType, Datum, NodeEvent, Observer, RunOptions, Session};
use oxidane_inspect::info::{Work, multiply_adds};
use oxidane_inspect::{module, say};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shows where the time of a run goes: by operator, by layer and by node of the compiled model, with the rate of
/// multiply-adds as a part of what this machine can do, and the bytes that are read and written.
///
/// Times are medians of several runs. The nodes are those that are executed: fused, and in the layouts of this
/// engine's kernels. On several threads nodes may run at the same time. What bodies of loops compute is in the time
/// of the loop.
///
/// Examples:
///   onnx-run profile model.onnx --inputs in.npz --threads 1
///   onnx-run profile model.onnx --random 1 --trace run.json    (for ui.perfetto.dev)
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
    /// Runs that are measured, after two that are not.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Rows of each table.
    #[arg(long, default_value_t = 15, value_name = "N")]
    top: usize,
    /// Writes the last run as a trace for Perfetto or chrome://tracing, with a track for each thread.
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// The numbers that products with constant weights are computed in.
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Prints a JSON object with every node, operator and layer.
    #[arg(long)]
    json: bool,
}

/// A node that ran.
struct Event {
    main: bool,
    node: NodeId,
    name: String,
    thread: String,
    start: Instant,
    time: Duration,
    shape: Vec<usize>,
}

/// Writes down every node that runs.
struct Notes<'a> {
    main: &'a Graph,
    events: Mutex<Vec<Event>>,
    /// Sizes and types of what the nodes of the main graph made.
    made: Mutex<HashMap<ValueId, (DType, Vec<usize>)>>,
}

impl Observer for Notes<'_> {
    fn node(&self, event: NodeEvent<'_>) {
        let main = std::ptr::eq(event.graph, self.main);
        let node = event.graph.node(event.node);
        let tensor = |datum: &Option<Datum>| Some(datum.as_ref()?.as_tensor()?.clone());
        if main {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            for (value, datum) in node.outputs().iter().zip(event.outputs) {
                if let (Some(value), Some(tensor)) = (value, tensor(datum)) {
                    made.insert(*value, (tensor.dtype(), tensor.shape().to_vec()));
                }
            }
        }
        let shape = event.outputs.first().and_then(tensor).map_or(Vec::new(), |t| t.shape().to_vec());
        let name = qualified(node.op().domain(), node.op().name());
        let thread = std::thread::current().name().unwrap_or("caller").to_owned();
        let (node, start, time) = (event.node, event.start, event.time);
        let event = Event { main, node, name, thread, start, time, shape };
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// What a node, or all of some, took.
#[derive(Serialize, Clone, Default)]
struct Cost {
    /// Milliseconds.
    ms: f64,
    /// Part of all nodes' time, in percent.
    share: f64,
    /// Multiply-adds; 0 where there are none or they are not known.
    multiply_adds: u64,
    /// Multiplications and additions a second, in units of 10^9.
    gflops: f64,
    /// These as percent of what the machine was measured to do with such numbers; none where that is not known.
    peak: Option<f64>,
    /// Bytes of inputs and outputs.
    bytes: u64,
    /// Bytes a second, in units of 10^9.
    gb_per_second: f64,
    /// Nodes.
    nodes: usize,
}

#[derive(Serialize)]
struct Row {
    name: String,
    op: String,
    layer: String,
    shape: Vec<usize>,
    #[serde(flatten)]
    cost: Cost,
}

#[derive(Serialize)]
struct Sum {
    name: String,
    #[serde(flatten)]
    cost: Cost,
}

/// What the machine does at most, in multiplications and additions a second.
#[derive(Clone, Copy)]
struct Peaks {
    floats: f64,
    bytes: Option<f64>,
}

/// Runs a model several times and shows what its nodes take.
///
/// # Errors
/// When the model or its inputs cannot be read or run, or the trace cannot be written.
pub(crate) fn profile(args: &ProfileArgs) -> Result<()> {
    let model = crate::open(&args.model)?;
    let inputs = args.inputs.read(&model)?;
    let session = crate::compile(model, &args.model, args.threads, args.precision)?;
    let threads = session.runtime().threads();
    let peaks = Peaks { floats: machine::floats(threads), bytes: machine::bytes(threads) };

    let graph = session.runtime().plan().graph();
    let slots: Vec<Option<Datum>> = (session.inputs().iter())
        .map(|port| inputs.iter().find(|(name, _)| *name == port.name).map(|(_, datum)| datum.clone()))
        .collect();
    let mut made = HashMap::new();
    for (&value, datum) in graph.inputs().iter().zip(&slots) {
        if let Some(tensor) = datum.as_ref().and_then(Datum::as_tensor) {
            made.insert(value, (tensor.dtype(), tensor.shape().to_vec()));
        }
    }
    let notes = Notes { main: graph, events: Mutex::default(), made: Mutex::new(made) };
    let mut times: HashMap<NodeId, Vec<f64>> = HashMap::new();
    let mut walls = Vec::new();
    let mut last = (Vec::new(), Instant::now());
    for run in 0..args.runs + 2 {
        notes.events.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let start = Instant::now();
        let options = RunOptions { observer: Some(&notes), ..RunOptions::default() };
        session.run_with(slots.clone(), options).with_context(|| format!("{}", args.model.display()))?;
        let wall = start.elapsed();
        if run < 2 {
            continue;
        }
        walls.push(wall.as_secs_f64() * 1e3);
        let events = std::mem::take(&mut *notes.events.lock().unwrap_or_else(PoisonError::into_inner));
        for event in events.iter().filter(|e| e.main) {
            times.entry(event.node).or_default().push(event.time.as_secs_f64() * 1e3);
        }
        last = (events, start);
    }
    if let Some(path) = &args.trace {
        let text = serde_json::to_vec(&trace(&session, &last.0, last.1))?;
        oxidane::onnx::write_beside(path, &text).with_context(|| path.display().to_string())?;
    }
    let made = notes.made.into_inner().unwrap_or_else(PoisonError::into_inner);
    let rows = rows(graph, &mut times, &last.0, &made, peaks);
    let by_op = sums(&rows, peaks, |row| row.op.clone());
    let by_layer = sums(&rows, peaks, |row| row.layer.clone());
    let wall = crate::bench::median_and_least(&mut walls).0;
    if args.json {
        let line = serde_json::json!({
            "threads": threads, "runs": args.runs, "run_ms": wall, "peak_gflops": peaks.floats / 1e9,
            "peak_byte_gops": peaks.bytes.map(|n| n / 1e9), "ops": by_op, "layers": by_layer, "nodes": rows,
        });
        say!("{line}");
        return Ok(());
    }
    let bytes = peaks.bytes.map_or(String::new(), |n| format!(", {:.0} G/s of bytes", n / 1e9));
    say!(
        "a run takes {wall:.3} ms on {threads} threads, its {} nodes {:.3} ms together (medians of {} runs); the \
         machine does {:.0} GFLOP/s{bytes}",
        rows.len(),
        rows.iter().map(|r| r.cost.ms).sum::<f64>(),
        args.runs,
        peaks.floats / 1e9,
    );
    say!("\n{}", table("operator", &by_op, args.top));
    if by_layer.len() > 1 {
        say!("\n{}", table("layer", &by_layer, args.top));
    }
    let nodes: Vec<Sum> = rows
        .iter()
        .map(|row| Sum { name: format!("{} {:?} {}", row.op, row.shape, row.name), cost: row.cost.clone() })
        .collect();
    say!("\n{}", table("node", &nodes, args.top));
    Ok(())
}

/// What each node of the main graph took, the longest first.
fn rows(
    graph: &Graph,
    times: &mut HashMap<NodeId, Vec<f64>>,
    events: &[Event],
    made: &HashMap<ValueId, (DType, Vec<usize>)>,
    peaks: Peaks,
) -> Vec<Row> {
    let of = |value: ValueId| match graph.value(value).constant() {
        Some(tensor) => Some((tensor.dtype(), tensor.shape().to_vec())),
        None => made.get(&value).cloned(),
    };
    let sizes = |value: ValueId| Some(of(value)?.1.into_iter().map(|n| n as u128).collect());
    let slashes = module::by_slashes(graph.nodes().map(|(_, node)| node.name()));
    let mut rows = Vec::new();
    for event in events.iter().filter(|event| event.main) {
        let Some(times) = times.get_mut(&event.node) else { continue };
        let node = graph.node(event.node);
        let output = node.outputs().iter().flatten().next().map_or("", |&v| graph.value(v).name());
        let bytes = |v: &ValueId| {
            let (dtype, shape) = of(*v)?;
            dtype.byte_len(shape.iter().product())
        };
        let values = node.inputs().iter().chain(node.outputs()).flatten();
        let multiplied = match multiply_adds(node, &sizes) {
            Work::Known(n) => u64::try_from(n).unwrap_or(u64::MAX),
            Work::Unknown | Work::None => 0,
        };
        let mut cost = Cost {
            ms: crate::bench::median_and_least(times).0,
            multiply_adds: multiplied,
            bytes: values.filter_map(bytes).map(|n| n as u64).sum(),
            nodes: 1,
            ..Cost::default()
        };
        cost.rates(most(&event.name, peaks));
        // What has no name is told by its weights.
        let weights = || node.inputs().iter().flatten().filter(|&&v| graph.value(v).constant().is_some());
        let named = |v: &&ValueId| !graph.value(**v).name().is_empty();
        let weights = || weights().find(named).map_or("", |&v| graph.value(v).name());
        let names = [node.name(), output, weights()];
        let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default().to_owned();
        let layer = module::of(node.name(), output, slashes).0;
        rows.push(Row { name, op: event.name.clone(), layer, shape: event.shape.clone(), cost });
    }
    let all: f64 = rows.iter().map(|row| row.cost.ms).sum();
    rows.iter_mut().for_each(|row| row.cost.share = 100.0 * row.cost.ms / all.max(f64::MIN_POSITIVE));
    rows.sort_by(|a, b| b.cost.ms.total_cmp(&a.cost.ms));
    rows
}

/// What an operator can reach: those of bytes more than others.
fn most(op: &str, peaks: Peaks) -> Option<f64> {
    let of_bytes = ["Integer", "QLinear", "Quantized", "QGemm", "QuantizeMatMul"];
    if of_bytes.iter().any(|part| op.contains(part)) { peaks.bytes } else { Some(peaks.floats) }
}

impl Cost {
    fn rates(&mut self, most: Option<f64>) {
        let seconds = (self.ms / 1e3).max(f64::MIN_POSITIVE);
        let rate = 2.0 * self.multiply_adds as f64 / seconds;
        self.gflops = rate / 1e9;
        self.peak = most.filter(|_| self.multiply_adds > 0).map(|most| 100.0 * rate / most);
        self.gb_per_second = self.bytes as f64 / seconds / 1e9;
    }
}

/// The rows of a name together, the longest first.
fn sums(rows: &[Row], peaks: Peaks, name: impl Fn(&Row) -> String) -> Vec<Sum> {
    let mut all: BTreeMap<String, (Cost, Option<f64>)> = BTreeMap::new();
    for row in rows {
        let (cost, reached) = all.entry(name(row)).or_insert_with(|| (Cost::default(), Some(0.0)));
        cost.ms += row.cost.ms;
        cost.share += row.cost.share;
        cost.multiply_adds = cost.multiply_adds.saturating_add(row.cost.multiply_adds);
        cost.bytes += row.cost.bytes;
        cost.nodes += 1;
        // The time that all of it takes at the machine's limit.
        let least = most(&row.op, peaks).map(|most| 2e3 * row.cost.multiply_adds as f64 / most);
        *reached = reached.zip(least).map(|(all, one)| all + one);
    }
    let mut sums: Vec<Sum> = all
        .into_iter()
        .map(|(name, (mut cost, least))| {
            cost.rates(None);
            let counts = cost.multiply_adds > 0 && cost.ms > 0.0;
            cost.peak = least.filter(|_| counts).map(|least| 100.0 * least / cost.ms);
            Sum { name, cost }
        })
        .collect();
    sums.sort_by(|a, b| b.cost.ms.total_cmp(&a.cost.ms));
    sums
}

/// The longest of some sums, and the rest in a line.
fn table(what: &str, sums: &[Sum], top: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ms", "%", "nodes", "GFLOP/s", "% of peak", "MB", "GB/s", what]);
    let number = |n: f64, digits: usize| if n > 0.0 { format!("{n:.digits$}") } else { String::new() };
    let mut add = |cost: &Cost, name: &str| {
        table.add_row([
            format!("{:.3}", cost.ms),
            format!("{:.1}", cost.share),
            cost.nodes.to_string(),
            number(cost.gflops, 1),
            number(cost.peak.unwrap_or(0.0), 0),
            number(cost.bytes as f64 / 1e6, 2),
            number(cost.gb_per_second, 1),
            if name.is_empty() { "(none)".to_owned() } else { name.to_owned() },
        ]);
    };
    for sum in sums.iter().take(top) {
        add(&sum.cost, &sum.name);
    }
    let rest = sums.get(top..).unwrap_or_default();
    if !rest.is_empty() {
        let mut cost = Cost::default();
        for sum in rest {
            cost.ms += sum.cost.ms;
            cost.share += sum.cost.share;
            cost.nodes += sum.cost.nodes;
            cost.bytes += sum.cost.bytes;
            cost.multiply_adds = cost.multiply_adds.saturating_add(sum.cost.multiply_adds);
        }
        cost.rates(None);
        add(&cost, &format!("{} more", rest.len()));
    }
    for column in 0..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A run in the format of Chrome's trace viewer.
fn trace(session: &Session, events: &[Event], start: Instant) -> serde_json::Value {
    let graph = session.runtime().plan().graph();
    let mut threads: Vec<&str> = events.iter().map(|event| event.thread.as_str()).collect();
    threads.sort_unstable();
    threads.dedup();
    let number = |thread: &str| threads.iter().position(|t| *t == thread).unwrap_or(0);
    let mut all: Vec<serde_json::Value> = threads
        .iter()
        .map(|thread| {
            serde_json::json!({
                "name": "thread_name", "ph": "M", "pid": 1, "tid": number(thread), "args": { "name": thread },
            })
        })
        .collect();
    for event in events {
        let node = if event.main { graph.node(event.node).name() } else { "" };
        all.push(serde_json::json!({
            "name": event.name, "cat": if event.main { "node" } else { "body" }, "ph": "X", "pid": 1,
            "tid": number(&event.thread),
            "ts": event.start.duration_since(start).as_secs_f64() * 1e6,
            "dur": event.time.as_secs_f64() * 1e6,
            "args": { "node": node, "shape": event.shape },
        }));
    }
    serde_json::json!({ "traceEvents": all, "displayTimeUnit": "ms" })
}
