//! One HTML page that shows a model.

use crate::source::Source;
use crate::writing::dim;
use anyhow::{Context, Result};
use clap::Args;
use oxidane::graph::{Graph, Id, NodeId};
use oxidane::passes::{Level, Options, optimize};
use oxidane::{Datum, NodeEvent, Observer, RunOptions, SessionOptions};
use oxidane_inspect::info::Info;
use oxidane_inspect::made::{Random, Sizes, choices, given, symbols};
use oxidane_inspect::page::{Heat, Page, title};
use oxidane_inspect::{counted, say, several, size};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The model runs for about so long for its heat map.
const RUNNING: Duration = Duration::from_millis(1500);

/// Writes one self-contained HTML page that shows a model; it needs no network.
///
/// The graph is laid out by the modules in its nodes' names, which open and close; nodes show their attributes, types, and
/// how their weights are spread. A run on made inputs colors nodes by their time, and each node tells which passes
/// of --level full change it.
///
/// Example:
///   onnx-convert view model.onnx model.html
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct View {
    /// The model.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The page to write.
    #[arg(value_name = "OUT.html")]
    output: PathBuf,
    /// Does not run the model, so that there is no heat map.
    #[arg(long)]
    no_run: bool,
    /// An .npz file with inputs by name for the run; by default inputs are made.
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// The size of a symbolic dimension in the run; by default small ones are tried. May be repeated.
    #[arg(long, value_name = "NAME=N", value_parser = dim)]
    dim: Vec<(String, i64)>,
}

impl View {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let source = Source::open(&self.input)?;
        let model = &source.model;
        let heat = match self.no_run {
            true => Err("The model was not run, as asked.".to_owned()),
            false => profile(model.graph(), self.inputs.as_deref(), &self.dim)?
                .map_err(|why| format!("There is no heat map: {why}")),
        };
        let report = optimize(&mut model.graph().clone(), &Options::level_of(Level::Full));
        let (title, about) = (title(&self.input), about(&Info::of(model, &[])));
        let page = Page { title: &title, about: &about, graph: model.graph(), passes: Some(&report), heat }
            .html()?;
        oxidane::onnx::write_beside(&self.output, page.as_bytes())
            .with_context(|| self.output.display().to_string())?;
        say!("{}: {}", self.output.display(), size(page.len() as u128));
        Ok(ExitCode::SUCCESS)
    }
}

/// A line about a model.
fn about(info: &Info) -> String {
    let opsets = (info.opsets.iter())
        .map(|(domain, v)| if domain.is_empty() { format!("opset {v}") } else { format!("{domain} {v}") });
    let mut about = vec![several(info.nodes, "node")];
    about.push(format!("{} parameters", counted(info.parameters)));
    about.push(size(info.weight_bytes));
    about.extend(opsets);
    if !info.producer.is_empty() {
        about.push(info.producer.clone());
    }
    about.join(" · ")
}

/// Adds up the time of nodes, which are called by their numbers.
struct Clock(Mutex<HashMap<usize, Duration>>);

impl Observer for Clock {
    fn node(&self, event: NodeEvent<'_>) {
        if let Ok(number) = event.graph.node(event.node).name().parse()
            && let Ok(mut times) = self.0.lock()
        {
            *times.entry(number).or_default() += event.time;
        }
    }
}

/// How long the nodes take; or why that is not known.
///
/// # Errors
/// When given inputs cannot be read.
fn profile(graph: &Graph, inputs: Option<&Path>, dims: &[(String, i64)]) -> Result<Result<Heat, String>> {
    let given = inputs.map(|path| given(graph, path)).transpose()?;
    let mut numbered = graph.clone();
    let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    for &id in &ids {
        numbered.set_node_name(id, &id.index().to_string());
    }
    let options = SessionOptions::default();
    let session = match oxidane::runtime::Session::new(&numbered, &options) {
        Ok(session) => session,
        Err(problems) => return Ok(Err(problems.to_string())),
    };
    let mut why = "there are no inputs to try".to_owned();
    let ways = if given.is_some() { vec![Sizes::new()] } else { choices(&symbols(graph), dims) };
    for (i, sizes) in ways.into_iter().enumerate() {
        let made = match &given {
            Some(given) => Ok(given.clone()),
            None => Random::new(1 + i as u64).inputs(graph, &sizes),
        };
        let inputs: Vec<Option<Datum>> = match made {
            Ok(inputs) => inputs,
            Err(error) => {
                why = format!("{error:#}");
                continue;
            }
        };
        if let Err(error) = session.run_with(inputs.clone(), RunOptions::default()) {
            why = error.to_string();
            continue;
        }
        let clock = Clock(Mutex::new(HashMap::new()));
        let start = Instant::now();
        let mut runs = 0u32;
        while runs == 0 || runs < 50 && start.elapsed() < RUNNING {
            let options = RunOptions { observer: Some(&clock), ..RunOptions::default() };
            if let Err(error) = session.run_with(inputs.clone(), options) {
                return Ok(Err(error.to_string()));
            }
            runs += 1;
        }
        let milliseconds = |d: Duration| d.as_secs_f64() * 1e3 / f64::from(runs);
        let total = milliseconds(start.elapsed());
        let times = clock.0.into_inner().unwrap_or_default();
        let times: HashMap<NodeId, f64> =
            ids.iter().filter_map(|&id| Some((id, milliseconds(*times.get(&id.index())?)))).collect();
        let sizes: Vec<String> = sizes.iter().map(|(name, n)| format!("{name} = {n}")).collect();
        let with = if sizes.is_empty() { String::new() } else { format!(" with {}", sizes.join(", ")) };
        let note = format!(
            "{total:.2} ms on {}{with}, the mean of {}, node by node without fusions.",
            several(session.threads(), "thread"),
            several(runs as usize, "run")
        );
        return Ok(Ok(Heat { total, note, times }));
    }
    Ok(Err(why))
}
