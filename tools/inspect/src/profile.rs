//! How long each node of a compiled model takes, and what it computes and moves.

use crate::modules::{Module, modules};
use crate::page::Heat;
use crate::several;
use crate::work::{Numbers, Work, bytes, known};
use oxidane::graph::{Graph, NodeId, ValueId, qualified};
use oxidane::ops::machine::Arithmetic;
use oxidane::runtime::Plan;
use oxidane::{Datum, NodeEvent, Observer, RunError, RunOptions, Session, Type};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Runs before it is measured for about so long, once at least.
const WARM_UP: Duration = Duration::from_millis(500);

/// A profile of several runs.
#[derive(Debug)]
pub struct Profile {
    /// Threads of the session.
    pub threads: usize,
    /// Runs that were measured.
    pub runs: usize,
    /// Seconds of a run: the median.
    pub run: f64,
    /// Seconds of the shortest run.
    pub least: f64,
    /// The nodes in order, each one's bodies after it.
    pub nodes: Vec<NodeProfile>,
    /// The spans of the shortest run, as they ended.
    pub spans: Vec<Span>,
    /// When that run began.
    pub began: Instant,
    /// The names of the threads that spans speak of.
    pub tracks: Vec<String>,
    /// The graph that ran.
    pub graph: Graph,
}

/// A node that ran.
#[derive(Debug, Clone)]
pub struct NodeProfile {
    /// Its name, after the path of bodies that it stands in; where it has none, that of its first output.
    pub name: String,
    /// Its operator, with the domain unless that is ONNX's own.
    pub op: String,
    /// The modules that it stands in, with slashes between; may be empty.
    pub layer: String,
    /// The type and sizes of its first output.
    pub output: String,
    /// Seconds of a run, without those of the nodes of its bodies: the median.
    pub time: f64,
    /// Calls of its kernel in a run.
    pub calls: usize,
    /// What it multiplies, all calls of a run together.
    pub work: Option<Work>,
    /// Bytes of its inputs and outputs, all calls of a run together.
    pub bytes: u128,
    /// Where it stands, in the main graph.
    id: Option<NodeId>,
    /// The node whose body it stands in.
    holder: Option<usize>,
}

/// A call of a node's kernel.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Which of [`Profile::nodes`].
    pub node: usize,
    /// Which of [`Profile::tracks`].
    pub track: usize,
    /// When it began.
    pub start: Instant,
    /// How long it took.
    pub time: Duration,
}

impl NodeProfile {
    /// Whether it stands in the body of another node.
    pub fn in_body(&self) -> bool {
        self.holder.is_some()
    }

    /// Multiplications and additions of a run.
    fn operations(&self) -> Option<f64> {
        Some(2.0 * self.work?.multiply_adds? as f64)
    }

    /// The seconds that they take at the machine's limit.
    fn least(&self, limits: &Arithmetic) -> Option<f64> {
        let limit = match self.work?.numbers {
            Numbers::Floats => limits.floats,
            Numbers::Halves => limits.halves?,
            Numbers::Bytes => limits.bytes?,
        };
        Some(self.operations()? / limit)
    }
}

/// What one or several nodes come to in a run.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    /// The node, operator or layer.
    pub name: String,
    /// How many nodes.
    pub nodes: usize,
    /// Seconds.
    pub time: f64,
    /// Multiplications and additions, where any are known.
    pub operations: Option<f64>,
    /// Seconds that they take at the machine's limit, where it has one for all of them.
    pub least: Option<f64>,
    /// Bytes of inputs and outputs.
    pub bytes: u128,
}

impl Sum {
    /// A node.
    pub fn of(node: &NodeProfile, limits: &Arithmetic) -> Sum {
        Sum {
            name: node.name.clone(),
            nodes: 1,
            time: node.time,
            operations: node.operations(),
            least: node.least(limits),
            bytes: node.bytes,
        }
    }

    /// Both together, under the name of the first.
    pub fn and(mut self, other: &Sum) -> Sum {
        self.least = match (self.least, other.least) {
            (Some(a), Some(b)) => Some(a + b),
            // What is multiplied has no limit to be held against.
            (None, _) if self.operations.is_some() => None,
            (_, None) if other.operations.is_some() => None,
            (a, b) => a.or(b),
        };
        self.operations = match (self.operations, other.operations) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        self.nodes += other.nodes;
        self.time += other.time;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self
    }

    /// Multiplications and additions a second, where there are any.
    pub fn speed(&self) -> Option<f64> {
        self.operations.filter(|&n| n > 0.0 && self.time > 0.0).map(|n| n / self.time)
    }

    /// The share of the machine's limit that the multiply-adds reach, from 0 to 1.
    pub fn share(&self) -> Option<f64> {
        self.least.filter(|&n| n > 0.0 && self.time > 0.0).map(|n| n / self.time)
    }

    /// Bytes a second, where any move.
    pub fn throughput(&self) -> Option<f64> {
        (self.bytes > 0 && self.time > 0.0).then(|| self.bytes as f64 / self.time)
    }
}

impl Profile {
    /// Runs a session on inputs in order, some times to warm up, and `runs` times to measure.
    ///
    /// # Errors
    /// As a run.
    pub fn measure(session: &Session, inputs: &[Option<Datum>], runs: usize) -> Result<Profile, RunError> {
        let plan = session.runtime().plan();
        let mut sites = Sites::default();
        sites.walk(plan, None, "", "");
        let sizes = Sizes(Mutex::default());
        for (&id, given) in plan.graph().inputs().iter().zip(inputs) {
            if let Some(datum) = given {
                sizes.note(plan.graph(), id, datum);
            }
        }
        let run = |observer: Option<&dyn Observer>| -> Result<Duration, RunError> {
            let (inputs, start) = (inputs.to_vec(), Instant::now());
            session.run_with(inputs, RunOptions { observer, ..RunOptions::default() })?;
            Ok(start.elapsed())
        };
        run(Some(&sizes))?;
        let warm = Instant::now();
        while warm.elapsed() < WARM_UP {
            run(None)?;
        }
        let runs = runs.max(1);
        let (mut times, mut own) = (Vec::new(), vec![Vec::with_capacity(runs); sites.nodes.len()]);
        let mut tracks = Vec::new();
        let mut best: Option<(Duration, Instant, Vec<Span>)> = None;
        for _ in 0..runs {
            let spans = Spans { places: &sites.places, seen: Mutex::new((tracks, Vec::new())) };
            let began = Instant::now();
            let took = run(Some(&spans))?;
            times.push(took.as_secs_f64());
            let seen = spans.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
            tracks = seen.0;
            let mut sums = vec![0.0; sites.nodes.len()];
            for span in &seen.1 {
                sums[span.node] += span.time.as_secs_f64();
                if let Some(holder) = sites.nodes[span.node].holder {
                    sums[holder] -= span.time.as_secs_f64();
                }
            }
            own.iter_mut().zip(sums).for_each(|(all, sum)| all.push(sum.max(0.0)));
            if best.as_ref().is_none_or(|(least, ..)| took < *least) {
                best = Some((took, began, seen.1));
            }
        }
        let (least, began, spans) = best.unwrap_or_else(|| (Duration::ZERO, Instant::now(), Vec::new()));
        for span in &spans {
            sites.nodes[span.node].calls += 1;
        }
        let sizes = sizes.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        sites.weigh(plan, &sizes, &mut 0);
        for (node, mut all) in sites.nodes.iter_mut().zip(own) {
            node.time = median(&mut all);
        }
        Ok(Profile {
            threads: session.runtime().threads(),
            runs,
            run: median(&mut times),
            least: least.as_secs_f64(),
            nodes: sites.nodes,
            spans,
            began,
            tracks: tracks.into_iter().map(|(_, name)| name).collect(),
            graph: whole(plan),
        })
    }

    /// Limits as measured, or what nodes reached where that is more: the machine was busy while they were measured.
    pub fn raised(&self, measured: Arithmetic) -> Arithmetic {
        let mut limits = measured;
        for node in &self.nodes {
            let Some((work, speed)) = node.work.zip(node.operations().map(|n| n / node.time)) else {
                continue;
            };
            if !speed.is_finite() {
                continue;
            }
            match work.numbers {
                Numbers::Floats => limits.floats = limits.floats.max(speed),
                Numbers::Halves => limits.halves = limits.halves.map(|limit| limit.max(speed)),
                Numbers::Bytes => limits.bytes = limits.bytes.map(|limit| limit.max(speed)),
            }
        }
        limits
    }

    /// All nodes together.
    pub fn total(&self, limits: &Arithmetic) -> Sum {
        self.nodes.iter().fold(Sum::default(), |sum, node| sum.and(&Sum::of(node, limits)))
    }

    /// The nodes by what `name` says, in descending order of time.
    pub fn by(&self, limits: &Arithmetic, name: impl Fn(&NodeProfile) -> &str) -> Vec<Sum> {
        let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
        for node in &self.nodes {
            let sum = sums
                .entry(name(node))
                .or_insert_with(|| Sum { name: name(node).to_owned(), ..Sum::default() });
            *sum = std::mem::take(sum).and(&Sum::of(node, limits));
        }
        let mut sums: Vec<Sum> = sums.into_values().collect();
        sums.sort_by(|a, b| b.time.total_cmp(&a.time));
        sums
    }

    /// The heat map of the main graph's nodes, each with its bodies.
    pub fn heat(&self) -> Heat {
        let mut times: Vec<f64> = self.nodes.iter().map(|node| node.time).collect();
        for at in (0..times.len()).rev() {
            if let Some(holder) = self.nodes[at].holder {
                times[holder] += times[at];
            }
        }
        let of_main = self.nodes.iter().zip(&times).filter_map(|(node, time)| Some((node.id?, time * 1e3)));
        let note = format!(
            "{:.3} ms on {}, the median of {}, after all passes.",
            self.run * 1e3,
            several(self.threads, "thread"),
            several(self.runs, "run")
        );
        Heat { total: self.run * 1e3, note, times: of_main.collect() }
    }
}

/// The middle one, or the mean of both in the middle; 0 for none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

/// The graph of a plan with its bodies.
fn whole(plan: &Plan) -> Graph {
    let mut graph = plan.graph().clone();
    for (id, bodies) in plan.steps() {
        if !bodies.is_empty() {
            graph.set_bodies(id, bodies.iter().map(whole).collect());
        }
    }
    graph
}

/// Which graph it is, while its plan lives.
fn place(graph: &Graph) -> usize {
    std::ptr::from_ref(graph).addr()
}

/// All nodes of a plan.
#[derive(Default)]
struct Sites {
    nodes: Vec<NodeProfile>,
    places: HashMap<(usize, NodeId), usize>,
}

impl Sites {
    /// Takes the nodes of a plan and of its bodies, which `holder` holds.
    fn walk(&mut self, plan: &Plan, holder: Option<usize>, path: &str, layer: &str) {
        let graph = plan.graph();
        let mut modules = modules(graph);
        for (id, bodies) in plan.steps() {
            let node = graph.node(id);
            let at = self.nodes.len();
            let module: Module = modules.remove(&id).unwrap_or_default();
            let name = if node.name().is_empty() { &module.rest } else { node.name() };
            let layer = match (layer, module.path) {
                ("", path) => path,
                (layer, path) if path.is_empty() => layer.to_owned(),
                (layer, path) => format!("{layer}/{path}"),
            };
            self.nodes.push(NodeProfile {
                name: format!("{path}{name}"),
                op: qualified(node.op().domain(), node.op().name()),
                layer: layer.clone(),
                output: String::new(),
                time: 0.0,
                calls: 0,
                work: None,
                bytes: 0,
                id: holder.is_none().then_some(id),
                holder,
            });
            self.places.insert((place(graph), id), at);
            for (k, body) in bodies.iter().enumerate() {
                let path = format!("{path}{}: ", graph.body_path(id, k));
                self.walk(body, Some(at), &path, &layer);
            }
        }
    }

    /// Works out what the nodes compute and move, in the order of [`Sites::walk`].
    fn weigh(&mut self, plan: &Plan, sizes: &HashMap<(usize, ValueId), (Type, usize)>, at: &mut usize) {
        let graph = plan.graph();
        let constant = |v| graph.value(v).constant();
        let shape = |v: ValueId| match (constant(v), sizes.get(&(place(graph), v))) {
            (Some(tensor), _) => Some(tensor.shape().to_vec()),
            (None, Some((ty, _))) => known(ty),
            (None, None) => known(graph.value(v).ty()?),
        };
        let size = |v: ValueId| match (constant(v), sizes.get(&(place(graph), v))) {
            (Some(tensor), _) => tensor.byte_len(),
            (None, Some((_, bytes))) => *bytes,
            (None, None) => {
                let ty = graph.value(v).ty().and_then(Type::as_tensor);
                let count = shape(v).and_then(|s| s.iter().try_fold(1usize, |n, &d| n.checked_mul(d)));
                ty.zip(count).and_then(|(ty, n)| ty.dtype.byte_len(n)).unwrap_or(0)
            }
        };
        for (id, bodies) in plan.steps() {
            let node = graph.node(id);
            let row = &mut self.nodes[*at];
            let calls = row.calls as u128;
            row.work = Work::of(node, &shape).map(|work| Work {
                multiply_adds: work.multiply_adds.and_then(|n| n.checked_mul(calls)),
                ..work
            });
            row.bytes = (bytes(node, &size) as u128).saturating_mul(calls);
            let first = node.outputs().iter().flatten().next();
            row.output = first.map_or(String::new(), |&v| match sizes.get(&(place(graph), v)) {
                Some((ty, _)) => ty.to_string(),
                None => graph.value(v).ty().map_or(String::new(), Type::to_string),
            });
            *at += 1;
            bodies.iter().for_each(|body| self.weigh(body, sizes, at));
        }
    }
}

/// Notes types and bytes of all values.
struct Sizes(Mutex<HashMap<(usize, ValueId), (Type, usize)>>);

impl Sizes {
    fn note(&self, graph: &Graph, value: ValueId, datum: &Datum) {
        let Some(ty) = datum.as_tensor().map(|t| Type::fixed(t.dtype(), t.shape())) else { return };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((place(graph), value), (ty, datum.byte_len()));
    }
}

impl Observer for Sizes {
    fn node(&self, event: NodeEvent<'_>) {
        let values = event.graph.node(event.node).outputs();
        for (value, datum) in values.iter().zip(event.outputs) {
            if let (Some(value), Some(datum)) = (value, datum) {
                self.note(event.graph, *value, datum);
            }
        }
    }
}

/// The threads seen, with their names, and what they ran.
type Seen = (Vec<(ThreadId, String)>, Vec<Span>);

/// Notes when nodes run and on which thread.
struct Spans<'a> {
    places: &'a HashMap<(usize, NodeId), usize>,
    seen: Mutex<Seen>,
}

impl Observer for Spans<'_> {
    fn node(&self, event: NodeEvent<'_>) {
        let Some(&node) = self.places.get(&(place(event.graph), event.node)) else { return };
        let thread = std::thread::current();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (tracks, spans) = &mut *seen;
        let track = tracks.iter().position(|(id, _)| *id == thread.id()).unwrap_or_else(|| {
            tracks.push((thread.id(), thread.name().unwrap_or("unnamed").to_owned()));
            tracks.len() - 1
        });
        spans.push(Span { node, track, start: event.start, time: event.time });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 3.0, 1.0, 2.0]), 2.5);
        assert_eq!(median(&mut [7.0]), 7.0);
        assert_eq!(median(&mut []), 0.0);
    }

    #[test]
    fn limits_do_not_lie_below_what_nodes_reach() {
        let node = |multiply_adds, time, numbers| NodeProfile {
            name: String::new(),
            op: String::new(),
            layer: String::new(),
            output: String::new(),
            time,
            calls: 1,
            work: Some(Work { multiply_adds, numbers }),
            bytes: 0,
            id: None,
            holder: None,
        };
        let nodes = vec![
            node(Some(30), 2.0, Numbers::Floats),
            node(Some(1), 0.0, Numbers::Floats),
            node(None, 1.0, Numbers::Floats),
            node(Some(30), 2.0, Numbers::Halves),
            node(Some(30), 2.0, Numbers::Bytes),
        ];
        let profile = Profile {
            threads: 1,
            runs: 1,
            run: 7.0,
            least: 7.0,
            nodes,
            spans: Vec::new(),
            began: Instant::now(),
            tracks: Vec::new(),
            graph: Graph::default(),
        };
        let measured = Arithmetic { floats: 20.0, halves: None, bytes: Some(40.0) };
        assert_eq!(profile.raised(measured), Arithmetic { floats: 30.0, ..measured });
    }
}
