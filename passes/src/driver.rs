use crate::canonical::dead::removable;
use crate::site::{Log, Site, standard};
use crate::{Options, Report, cost, label};
use oxidane_graph::{
    Graph, GraphError, Id, Inference, MAX_DEPTH, Node, NodeId, OpError, Type, ValueId, qualified,
};
use oxidane_tensor::TensorError;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};

/// A rewrite of one neighbourhood.
pub trait Rule: Send + Sync {
    /// The name, unique among all passes.
    fn name(&self) -> &'static str;

    /// What it does, in one line.
    fn doc(&self) -> &'static str;

    /// The operators that it is rooted at: names, with the domain in front unless it is ONNX's own. An empty
    /// list stands for every operator.
    fn roots(&self) -> &[&'static str];

    /// Whether it runs without being asked for by name.
    fn by_default(&self) -> bool {
        true
    }

    /// Rewrites the neighbourhood of the site's node. It may not raise the static cost ([`cost`]) of what it
    /// touches, and may refuse only before it changes existing nodes.
    ///
    /// # Errors
    /// Why nothing was done.
    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused>;
}

/// Why a rule did nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The neighbourhood is another one than the rule is for.
    NoMatch,
    /// It is the right one, but something forbids the rewrite.
    Because(Cow<'static, str>),
}

impl Refused {
    /// A refusal with a reason.
    pub fn because(reason: impl Into<Cow<'static, str>>) -> Refused {
        Refused::Because(reason.into())
    }
}

/// What a tensor, an operator or the graph refuses is a reason.
macro_rules! reasons {
    ($($error:ty)*) => {$(
        impl From<$error> for Refused {
            fn from(error: $error) -> Refused {
                Refused::because(error.to_string())
            }
        }
    )*};
}

reasons! { TensorError GraphError OpError }

/// Applies rules to a graph and its bodies until none fires, each node first in topological order, then again
/// only when its neighbourhood was touched. Types are worked out before, and of every node that is added.
///
/// The number of rewrites is bounded by the number of nodes; a set of rules that goes round in circles ends
/// there, and the report says so.
pub fn drive(graph: &mut Graph, rules: &[&dyn Rule], options: &Options, report: &mut Report) {
    let mut walk = Inference::default();
    walk.graph(graph);
    resume(graph, &mut walk, rules, options, report);
}

/// As [`drive`], with what an earlier walk over the graph found. The walk stays right: it takes in every node
/// that is added.
pub(crate) fn resume(
    graph: &mut Graph,
    walk: &mut Inference,
    rules: &[&dyn Rule],
    options: &Options,
    report: &mut Report,
) {
    let mut by_root: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut anywhere = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        match rule.roots() {
            [] => anywhere.push(i),
            roots => roots.iter().for_each(|root| by_root.entry(root).or_default().push(i)),
        }
    }
    let mut grown = report.growth;
    let mut driver = Driver { rules, by_root, anywhere, options, report, grown: &mut grown };
    driver.graph(graph, walk, &mut Vec::new());
    report.growth = grown;
}

struct Driver<'a> {
    rules: &'a [&'a dyn Rule],
    by_root: HashMap<&'a str, Vec<usize>>,
    anywhere: Vec<usize>,
    options: &'a Options,
    report: &'a mut Report,
    grown: &'a mut usize,
}

/// Nodes to look at, each at most once at a time.
#[derive(Default)]
struct Worklist {
    queue: VecDeque<NodeId>,
    queued: Vec<bool>,
    /// Nodes whose types are to be worked out again first.
    stale: HashSet<NodeId>,
}

impl Worklist {
    fn push(&mut self, id: NodeId) {
        if self.queued.len() <= id.index() {
            self.queued.resize(id.index() + 1, false);
        }
        if !std::mem::replace(&mut self.queued[id.index()], true) {
            self.queue.push_back(id);
        }
    }

    fn pop(&mut self) -> Option<NodeId> {
        let id = self.queue.pop_front()?;
        self.queued[id.index()] = false;
        Some(id)
    }
}

impl Driver<'_> {
    fn graph(&mut self, graph: &mut Graph, walk: &mut Inference, path: &mut Vec<String>) {
        let Ok(order) = graph.order() else { return };
        let mut fuel = graph.node_count().saturating_mul(8).saturating_add(64);
        let mut work = Worklist::default();
        order.into_iter().for_each(|id| work.push(id));
        while let Some(id) = work.pop() {
            if self.report.fired().len() >= self.options.limit {
                return;
            }
            let Some(node) = graph.get_node(id) else { continue };
            let candidates = self.candidates(node);
            if candidates.is_empty() && !work.stale.contains(&id) {
                continue;
            }
            let read = |v: &ValueId| graph.is_output(*v) || !graph.value(*v).uses().is_empty();
            if !node.outputs().iter().flatten().any(read) {
                continue;
            }
            if work.stale.remove(&id) {
                refresh(graph, walk, id, &mut work);
            }
            for rule in candidates {
                let rule = self.rules[rule];
                let known = std::mem::take(walk);
                let mut site = Site::new(graph, known, id, rule.name(), self.options.bounds, self.grown);
                let result = rule.apply(&mut site);
                let (known, log) = site.finish();
                *walk = known;
                match result {
                    Ok(()) => {
                        let called = log.called.clone().unwrap_or_else(|| label(graph, id));
                        self.report.fire(rule.name(), path, id, called);
                        commit(graph, rule.name(), log, &mut work);
                        if graph.get_node(id).is_some() {
                            work.push(id);
                        }
                        fuel -= 1;
                        break;
                    }
                    Err(refused) => {
                        take_back(graph, rule.name(), log);
                        if let Refused::Because(reason) = refused {
                            self.report.refuse(rule.name(), path, graph, id, reason);
                        }
                    }
                }
            }
            if fuel == 0 {
                self.report.out_of_fuel = true;
                break;
            }
        }
        self.bodies(graph, walk, path);
    }

    /// The rules that are rooted at a node, in their order.
    fn candidates(&self, node: &Node) -> SmallVec<[usize; 16]> {
        let named = match standard(node) {
            Some(name) => self.by_root.get(name),
            None => self.by_root.get(qualified(node.op().domain(), node.op().name()).as_str()),
        };
        let mut all: SmallVec<[usize; 16]> =
            named.into_iter().flatten().chain(&self.anywhere).copied().collect();
        all.sort_unstable();
        all
    }

    fn bodies(&mut self, graph: &mut Graph, walk: &Inference, path: &mut Vec<String>) {
        if path.len() >= MAX_DEPTH {
            return;
        }
        let holders: Vec<NodeId> = graph.holders().collect();
        for id in holders {
            for k in 0..graph.node(id).bodies().len() {
                path.push(graph.body_path(id, k));
                let mut body = std::mem::take(&mut graph.bodies_mut(id)[k]);
                let mut inner = walk.enter(graph, id, &body);
                inner.graph(&mut body);
                self.graph(&mut body, &mut inner, path);
                graph.bodies_mut(id)[k] = body;
                path.pop();
            }
        }
    }
}

/// Works out the types of a node's outputs again; where more is known now, its readers follow.
fn refresh(graph: &mut Graph, walk: &mut Inference, id: NodeId, work: &mut Worklist) {
    let known = |graph: &Graph, walk: &Inference| -> Vec<(Option<Type>, bool)> {
        let outputs = graph.node(id).outputs().iter().flatten();
        outputs.map(|&v| (graph.value(v).ty().cloned(), walk.ints(graph, v).is_some())).collect()
    };
    let before = known(graph, walk);
    walk.node(graph, id);
    if before != known(graph, walk) {
        for &value in graph.node(id).outputs().iter().flatten() {
            for u in graph.value(value).uses() {
                work.stale.insert(u.node);
                work.push(u.node);
            }
        }
    }
}

/// Takes back what a rule added before it refused.
fn take_back(graph: &mut Graph, rule: &str, log: Log) {
    assert!(log.called.is_none(), "rule {rule} changed the graph and refused afterwards");
    for id in log.added.into_iter().rev() {
        graph.remove_node(id);
    }
    for value in log.constants.into_iter().chain(log.loose) {
        let _ = graph.remove_value(value);
    }
}

/// Removes what a rewrite made superfluous and puts what it touched on the worklist.
fn commit(graph: &mut Graph, rule: &str, log: Log, work: &mut Worklist) {
    let mut saved = log.saved;
    let mut loose = log.loose;
    loose.extend(log.constants);
    // What the rule made and did not use costs nothing.
    for &id in log.added.iter().rev() {
        if removable(graph, id) {
            loose.extend(graph.node(id).inputs().iter().flatten());
            graph.remove_node(id);
        }
    }
    while let Some(value) = loose.pop() {
        let Some(v) = graph.get_value(value) else { continue };
        if graph.is_output(value) {
            continue;
        }
        if let Some(first) = v.uses().first() {
            // A value with one reader left may now go into it.
            if v.uses().len() == 1 {
                work.push(first.node);
            }
            continue;
        }
        let Some(maker) = v.producer() else {
            // Refused for inputs, which stay.
            let _ = graph.remove_value(value);
            continue;
        };
        let node = graph.node(maker);
        if removable(graph, maker) {
            saved = saved.saturating_add(cost(node));
            loose.extend(node.inputs().iter().flatten());
            graph.remove_node(maker);
        }
    }
    let mut spent = 0u64;
    for id in log.added {
        let Some(node) = graph.get_node(id) else { continue };
        spent = spent.saturating_add(cost(node));
        work.push(id);
        for &value in node.outputs().iter().flatten() {
            graph.value(value).uses().iter().for_each(|u| work.push(u.node));
        }
    }
    debug_assert!(spent <= saved, "rule {rule} raised the cost from {saved} to {spent}");
    for id in log.stale {
        work.stale.insert(id);
        work.push(id);
    }
    log.touched.into_iter().for_each(|id| work.push(id));
}
