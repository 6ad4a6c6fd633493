//! One HTML page that shows a graph: laid out by modules, with attributes, weights, the passes that change nodes, and the
//! heat map of a run.

use crate::modules::{Module, modules};
use crate::{several, size};
use anyhow::{Context, Result};
use oxidane::graph::{Attribute, Graph, Node, NodeId, ValueId};
use oxidane::ops::constant_of;
use oxidane::passes::Report;
use oxidane::{DType, Tensor, Type};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");

/// Bars of the picture of how weights are spread.
const BARS: usize = 32;
/// A constant is looked for behind so many Identities.
const NAMES: usize = 8;
/// Constants of at most so many elements are written out.
const SHOWN: usize = 8;
/// Weights of other types than single precision are converted to be counted, up to so many bytes.
const CONVERTED: usize = 256 << 20;

/// What a page shows.
pub struct Page<'a> {
    /// What stands above all, such as the model's name.
    pub title: &'a str,
    /// A line about the model.
    pub about: &'a str,
    /// The graph.
    pub graph: &'a Graph,
    /// What passes do to it, where that is of interest.
    pub passes: Option<&'a Report>,
    /// How long its nodes take; or why that is not known.
    pub heat: Result<Heat, String>,
}

/// How long the nodes of a graph take.
pub struct Heat {
    /// Milliseconds of a run.
    pub total: f64,
    /// How that was measured, in a sentence.
    pub note: String,
    /// Milliseconds of each node of the main graph in a run, its bodies included.
    pub times: HashMap<NodeId, f64>,
}

/// The title for a model's file: its name, or that of its folder where files are called like all others.
pub fn title(path: &Path) -> String {
    let name = |part: Option<&std::ffi::OsStr>| part.map(|n| n.to_string_lossy().into_owned());
    match name(path.file_stem()).unwrap_or_default() {
        stem if stem == "model" => name(path.parent().and_then(Path::file_name)).unwrap_or(stem),
        stem => stem,
    }
}

impl Page<'_> {
    /// The page; it needs no network.
    ///
    /// # Errors
    /// When it cannot be put together.
    pub fn html(&self) -> Result<String> {
        // A closing tag inside the data would end it.
        let data = serde_json::to_string(&self.content())?;
        let data = data.replace("</", "<\\/").replace("<!--", "<\\u0021--");
        let mut page = String::with_capacity(HTML.len() + CSS.len() + JS.len() + data.len());
        let mut rest = HTML;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").context("the page's frame is damaged")?;
            page.push_str(before);
            match name {
                "title" => page.push_str(&escaped(self.title)),
                "css" => page.push_str(CSS.trim_end()),
                "js" => page.push_str(JS.trim_end()),
                _ => page.push_str(&data),
            }
            rest = after;
        }
        page.push_str(rest);
        Ok(page)
    }

    fn content(&self) -> Content<'_> {
        let mut passes = Vec::new();
        let mut touched: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
        let mut pass_note = String::new();
        if let Some(report) = self.passes {
            passes.extend(oxidane::passes::passes().into_iter().map(|p| PassData {
                name: p.name,
                doc: p.doc,
                count: report.count(p.name),
            }));
            for fired in report.fired() {
                let Some(pass) = passes.iter().position(|p| p.name == fired.pass) else { continue };
                let all = touched.entry((&fired.path, &fired.node)).or_default();
                if !all.contains(&pass) {
                    all.push(pass);
                }
            }
            pass_note = format!(
                "At level full {} become {}, and the static cost goes from {} to {}.",
                several(report.nodes_before, "node"),
                report.nodes_after,
                report.cost_before,
                report.cost_after
            );
        }
        let mut walk = Walk {
            ops: Vec::new(),
            op_index: HashMap::new(),
            graphs: Vec::new(),
            constants: Vec::new(),
            touched: &touched,
            times: self.heat.as_ref().ok().map(|heat| &heat.times),
        };
        walk.graph(self.graph, "", -1, &mut Vec::new());
        Content {
            title: self.title,
            about: self.about,
            ops: walk.ops,
            graphs: walk.graphs.into_iter().flatten().collect(),
            constants: walk.constants,
            passes,
            pass_note,
            profile: self.heat.as_ref().ok().map(|heat| Profile { total: heat.total, note: &heat.note }),
            no_profile: self.heat.as_ref().err().map(String::as_str),
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    title: &'a str,
    about: &'a str,
    ops: Vec<String>,
    graphs: Vec<GraphData>,
    constants: Vec<Constant>,
    passes: Vec<PassData>,
    pass_note: String,
    profile: Option<Profile<'a>>,
    no_profile: Option<&'a str>,
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
struct Profile<'a> {
    /// Milliseconds of a run.
    total: f64,
    note: &'a str,
}

struct Walk<'a> {
    ops: Vec<String>,
    op_index: HashMap<String, usize>,
    graphs: Vec<Option<GraphData>>,
    constants: Vec<Constant>,
    touched: &'a HashMap<(&'a str, &'a str), Vec<usize>>,
    times: Option<&'a HashMap<NodeId, f64>>,
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
        let mut modules = modules(graph);
        let mut nodes = Vec::with_capacity(order.len());
        for id in order {
            let node = graph.node(id);
            let output = node.outputs().iter().flatten().next().map_or("", |&v| graph.value(v).name());
            let Module { path: m, rest: s } = modules.remove(&id).unwrap_or_default();
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
                t: self.times.filter(|_| parent < 0).and_then(|times| times.get(&id).copied()),
                p,
            });
        }
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
