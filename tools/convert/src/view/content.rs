//! What the page shows, as data. Names are short: large models have them by the ten thousand.

use anyhow::Result;
use oxidane::graph::{Attribute, Graph, Id, Node, NodeId, ValueId};
use oxidane::ops::constant_of;
use oxidane::passes::{Level, Options, optimize};
use oxidane::{DType, Datum, Model, NodeEvent, Observer, RunOptions, SessionOptions, Tensor, Type};
use oxidane_inspect::made::{Random, Sizes, choices, given, symbols};
use oxidane_inspect::{counted, info::Info, module, several, size};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bars of the picture of how weights are spread.
const BARS: usize = 32;
/// A constant is looked for behind so many Identities.
const NAMES: usize = 8;
/// Constants of at most so many elements are written out.
const SHOWN: usize = 8;
/// Weights of other types than single precision are converted to be counted, up to so many bytes.
const CONVERTED: usize = 256 << 20;
/// The model runs for about so long for its heat map.
const RUNNING: Duration = Duration::from_millis(1500);

/// How the model is run for the heat map.
pub(super) struct Run<'a> {
    pub(super) inputs: Option<&'a Path>,
    pub(super) sizes: &'a [(String, i64)],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Content {
    title: String,
    about: String,
    ops: Vec<String>,
    graphs: Vec<GraphData>,
    constants: Vec<Constant>,
    passes: Vec<PassData>,
    pass_note: String,
    profile: Option<Profile>,
    no_profile: Option<String>,
}

#[derive(Serialize)]
struct GraphData {
    name: String,
    /// The graph whose node holds this one; -1 for the main graph.
    parent: i64,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    nodes: Vec<NodeData>,
    values: Vec<ValueData>,
    /// Nodes that only give out constants, which are not among the others.
    held: usize,
}

#[derive(Serialize)]
struct NodeData {
    /// Its name.
    n: String,
    /// Its short name: without its module, or that of its first output.
    s: String,
    /// Its module.
    m: String,
    /// Its operator.
    o: usize,
    /// The operator's domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    d: String,
    i: Vec<i64>,
    u: Vec<i64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    a: BTreeMap<String, String>,
    /// Its bodies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    b: Vec<usize>,
    /// Milliseconds of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<f64>,
    /// The passes that change it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    p: Vec<usize>,
}

#[derive(Serialize)]
struct ValueData {
    n: String,
    t: String,
    /// The constant that it is; -1 for none.
    c: i64,
}

#[derive(Serialize)]
struct Constant {
    /// Bytes, as text.
    b: String,
    /// Its elements, where they are few.
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<String>,
    /// Least, largest, mean, deviation, and the share of zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<[String; 5]>,
    /// How many elements lie in each part between the least and the largest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    h: Vec<usize>,
}

#[derive(Serialize)]
struct PassData {
    name: &'static str,
    doc: &'static str,
    count: usize,
}

#[derive(Serialize)]
struct Profile {
    /// Milliseconds of a run.
    total: f64,
    note: String,
}

/// All that the page shows of a model.
///
/// # Errors
/// When given inputs cannot be read.
pub(super) fn of(model: &Model, title: &str, run: Option<Run<'_>>) -> Result<Content> {
    let info = Info::of(model, &[]);
    let opsets: Vec<String> = (info.opsets.iter())
        .map(|(domain, v)| if domain.is_empty() { format!("opset {v}") } else { format!("{domain} {v}") })
        .collect();
    let mut about = vec![several(info.nodes, "node")];
    about.push(format!("{} parameters", counted(info.parameters)));
    about.push(size(info.weight_bytes));
    about.extend(opsets);
    if !info.producer.is_empty() {
        about.push(info.producer.clone());
    }
    let mut rewritten = model.graph().clone();
    let report = optimize(&mut rewritten, &Options::level_of(Level::Full));
    let passes: Vec<PassData> = (oxidane::passes::passes().into_iter())
        .map(|p| PassData { name: p.name, doc: p.doc, count: report.count(p.name) })
        .collect();
    let mut touched: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for fired in report.fired() {
        let Some(pass) = passes.iter().position(|p| p.name == fired.pass) else { continue };
        let all = touched.entry((&fired.path, &fired.node)).or_default();
        if !all.contains(&pass) {
            all.push(pass);
        }
    }
    let (profile, times, no_profile) = match run {
        None => (None, HashMap::new(), Some("The model was not run, as asked.".to_owned())),
        Some(run) => match profile(model.graph(), &run)? {
            Ok((profile, times)) => (Some(profile), times, None),
            Err(why) => (None, HashMap::new(), Some(format!("There is no heat map: {why}"))),
        },
    };
    let mut walk = Walk {
        ops: Vec::new(),
        op_index: HashMap::new(),
        graphs: Vec::new(),
        constants: Vec::new(),
        touched: &touched,
        times: &times,
    };
    walk.graph(model.graph(), "", -1, &mut Vec::new());
    Ok(Content {
        title: title.to_owned(),
        about: about.join(" · "),
        ops: walk.ops,
        graphs: walk.graphs.into_iter().flatten().collect(),
        constants: walk.constants,
        pass_note: format!(
            "At level full {} become {}, and the static cost goes from {} to {}.",
            several(report.nodes_before, "node"),
            report.nodes_after,
            report.cost_before,
            report.cost_after
        ),
        passes,
        profile,
        no_profile,
    })
}

struct Walk<'a> {
    ops: Vec<String>,
    op_index: HashMap<String, usize>,
    graphs: Vec<Option<GraphData>>,
    constants: Vec<Constant>,
    touched: &'a HashMap<(&'a str, &'a str), Vec<usize>>,
    times: &'a HashMap<NodeId, f64>,
}

impl Walk<'_> {
    /// Takes a graph and its bodies, whose nesting is bounded when a model is read; gives its place in the list.
    fn graph(&mut self, graph: &Graph, name: &str, parent: i64, path: &mut Vec<String>) -> usize {
        let at = self.graphs.len();
        self.graphs.push(None);
        let mut places: HashMap<ValueId, usize> = HashMap::new();
        let mut values = Vec::with_capacity(graph.value_count());
        for (id, value) in graph.values() {
            places.insert(id, values.len());
            let c = still(graph, id).map_or(-1, |tensor| {
                self.constants.push(constant(&tensor));
                self.constants.len() as i64 - 1
            });
            let ty = value.ty().or(value.declared()).map_or(String::new(), Type::to_string);
            values.push(ValueData { n: value.name().to_owned(), t: ty, c });
        }
        let place = |v: &Option<ValueId>| v.map_or(-1, |v| places[&v] as i64);
        let mut order = graph.order().unwrap_or_default();
        // What only gives out a constant is shown where that is read.
        let shown = |graph: &Graph, id: NodeId| {
            let outputs = graph.node(id).outputs();
            let mut given = outputs.iter().flatten();
            given.any(|&v| graph.is_output(v) || still(graph, v).is_none()) || outputs.is_empty()
        };
        let all = order.len();
        order.retain(|&id| shown(graph, id));
        let held = all - order.len();
        let slashes = module::by_slashes(graph.nodes().map(|(_, n)| n.name()));
        let mut nodes = Vec::with_capacity(order.len());
        for id in order {
            let node = graph.node(id);
            let output = node.outputs().iter().flatten().next().map_or("", |&v| graph.value(v).name());
            let (m, s) = module::of(node.name(), output, slashes);
            let op = node.op().name().to_owned();
            let o = *self.op_index.entry(op.clone()).or_insert_with(|| {
                self.ops.push(op);
                self.ops.len() - 1
            });
            let label = match node.name() {
                "" if !output.is_empty() => format!("{}->{output}", node.op().name()),
                name => name.to_owned(),
            };
            let p = self.touched.get(&(path.join("/").as_str(), label.as_str())).cloned().unwrap_or_default();
            let mut b = Vec::new();
            for (k, body) in node.bodies().iter().enumerate() {
                path.push(graph.body_path(id, k));
                let called = graph.body_path(id, k);
                b.push(self.graph(body, &called, at as i64, path));
                path.pop();
            }
            let attributes = node.op().attributes();
            let a = attributes.iter().map(|(k, v)| (k.to_owned(), attribute(v))).collect();
            nodes.push(NodeData {
                n: node.name().to_owned(),
                s,
                m,
                o,
                d: domain(node),
                i: node.inputs().iter().map(place).collect(),
                u: node.outputs().iter().map(place).collect(),
                a,
                b,
                t: (parent < 0).then(|| self.times.get(&id).copied()).flatten(),
                p,
            });
        }
        adopt(&mut nodes);
        self.graphs[at] = Some(GraphData {
            name: name.to_owned(),
            parent,
            inputs: graph.inputs().iter().map(|v| places[v]).collect(),
            outputs: graph.outputs().iter().map(|v| places[v]).collect(),
            nodes,
            values,
            held,
        });
        at
    }
}

/// The tensor of a value that is constant, comes from a Constant, or is another name for such a value.
fn still(graph: &Graph, mut value: ValueId) -> Option<Tensor> {
    for _ in 0..NAMES {
        if let Some(tensor) = constant_of(graph, value) {
            return Some(tensor);
        }
        let node = graph.node(graph.value(value).producer()?);
        value = node.input(0).filter(|_| node.op().name() == "Identity")?;
    }
    None
}

/// A node without a module stands in the module that all its readers share.
fn adopt(nodes: &mut [NodeData]) {
    let mut readers: HashMap<i64, Vec<usize>> = HashMap::new();
    for (k, node) in nodes.iter().enumerate() {
        node.i.iter().for_each(|&v| readers.entry(v).or_default().push(k));
    }
    // Last first, so that chains of such nodes follow.
    for k in (0..nodes.len()).rev() {
        if !nodes[k].m.is_empty() {
            continue;
        }
        let own = nodes[k].u.iter().filter_map(|v| readers.get(v)).flatten();
        let mut shared: Option<Vec<&str>> = None;
        for &reader in own {
            let path: Vec<&str> = nodes[reader].m.split('/').filter(|p| !p.is_empty()).collect();
            shared = Some(match shared {
                None => path,
                Some(before) => {
                    let same = before.iter().zip(&path).take_while(|(a, b)| a == b).count();
                    before[..same].to_vec()
                }
            });
        }
        nodes[k].m = shared.unwrap_or_default().join("/");
    }
}

fn domain(node: &Node) -> String {
    match node.op().domain() {
        "ai.onnx" => String::new(),
        domain => domain.to_owned(),
    }
}

fn attribute(value: &Attribute) -> String {
    fn list<T: ToString>(all: &[T]) -> String {
        let shown: Vec<String> = all.iter().take(32).map(T::to_string).collect();
        let more = if all.len() > 32 { format!(", ... ({} in all)", all.len()) } else { String::new() };
        format!("[{}{more}]", shown.join(", "))
    }
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        match text.char_indices().nth(200) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text.into_owned(),
        }
    };
    match value {
        Attribute::Float(v) => v.to_string(),
        Attribute::Int(v) => v.to_string(),
        Attribute::String(v) => text(v),
        Attribute::Tensor(v) => match few(v) {
            Some(values) => format!("{} {values}", Type::fixed(v.dtype(), v.shape())),
            None => Type::fixed(v.dtype(), v.shape()).to_string(),
        },
        Attribute::Type(v) => v.to_string(),
        Attribute::Floats(v) => list(v),
        Attribute::Ints(v) => list(v),
        Attribute::Strings(v) => list(&v.iter().map(|s| text(s)).collect::<Vec<_>>()),
        Attribute::SparseTensor(_) => "a sparse tensor".to_owned(),
        Attribute::Tensors(v) => several(v.len(), "tensor"),
        Attribute::SparseTensors(v) => several(v.len(), "sparse tensor"),
        Attribute::Types(v) => list(v),
    }
}

/// The elements of a short tensor.
fn few(tensor: &Tensor) -> Option<String> {
    // The type stands before them.
    (tensor.len() <= SHOWN)
        .then(|| tensor.to_string().split_once(' ').map_or(String::new(), |(_, v)| v.to_owned()))
}

fn constant(tensor: &Tensor) -> Constant {
    let bytes = size(tensor.byte_len() as u128);
    let plain = Constant { b: bytes, v: few(tensor), s: None, h: Vec::new() };
    if tensor.len() <= SHOWN || tensor.dtype() == DType::String || tensor.dtype().is_complex() {
        return plain;
    }
    let spread = match tensor.dtype() {
        DType::F32 => tensor.values::<f32>().ok().map(|v| spread(v.iter().map(|&v| f64::from(v)))),
        _ if tensor.byte_len() <= CONVERTED => tensor.to_f64s().ok().map(|v| spread(v.into_iter())),
        _ => None,
    };
    match spread {
        Some((s, h)) => Constant { s: Some(s), h, ..plain },
        None => plain,
    }
}

fn spread(values: impl ExactSizeIterator<Item = f64> + Clone) -> ([String; 5], Vec<usize>) {
    let count = values.len().max(1) as f64;
    let (mut least, mut most, mut sum, mut squares, mut zeros) =
        (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0.0, 0usize);
    for v in values.clone() {
        least = least.min(v);
        most = most.max(v);
        sum += v;
        squares += v * v;
        zeros += usize::from(v == 0.0);
    }
    let mean = sum / count;
    let deviation = (squares / count - mean * mean).max(0.0).sqrt();
    let mut bars = vec![0; BARS];
    let wide = most - least;
    if wide.is_finite() && wide > 0.0 {
        for v in values {
            let at = ((v - least) / wide * BARS as f64) as usize;
            bars[at.min(BARS - 1)] += 1;
        }
    }
    let number = |v: f64| {
        if v == 0.0 || (1e-3..1e6).contains(&v.abs()) { format!("{v:.6}") } else { format!("{v:.3e}") }
    };
    let share = format!("{:.2} %", 100.0 * zeros as f64 / count);
    ([number(least), number(most), number(mean), number(deviation), share], bars)
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

/// The time of a run and of each node of the main graph, in milliseconds; or why there is none.
type Timed = Result<(Profile, HashMap<NodeId, f64>), String>;

fn profile(graph: &Graph, run: &Run<'_>) -> Result<Timed> {
    let given = run.inputs.map(|path| given(graph, path)).transpose()?;
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
    let ways = if given.is_some() { vec![Sizes::new()] } else { choices(&symbols(graph), run.sizes) };
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
        return Ok(Ok((Profile { total, note }, times)));
    }
    Ok(Err(why))
}
