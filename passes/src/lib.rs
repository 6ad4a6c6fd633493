//! Rewriting a graph: driver, patterns and passes.
//!
//! A [`Rule`] is rooted at some operators and rewrites one neighbourhood; [`drive`] offers it every node and
//! comes back only to what was touched. [`Pattern`]s describe a neighbourhood as an expression. A sweep
//! (dead code, common subexpressions) looks at a whole graph once. [`optimize`] runs them in the order
//! canonical, fold, absorb, fuse, in the bodies of control flow as well, and tells in its [`Report`] what each did and
//! why not.
//!
//! The graph keeps its interface: names, order and types of its inputs and outputs, and symbolic sizes.

#![forbid(unsafe_code)]

mod absorb;
mod canonical;
mod cost;
mod driver;
mod fold;
mod fuse;
mod layout;
mod lower;
mod options;
pub mod pattern;
pub mod precision;
mod report;
mod site;

pub use cost::{cost, graph_cost};
pub use driver::{Refused, Rule, drive};
pub use lower::lower;
pub use options::{Level, Options, UnknownPass};
pub use pattern::Pattern;
pub use report::{Fired, Refusal, Report};
pub use site::Site;

use oxidane_graph::{Graph, Id, Inference, MAX_DEPTH, infer};
use oxidane_ops::training::gradient;

/// When a pass runs; the order is that of the variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// One way to write each thing: nothing without effect, nothing twice.
    Canonical,
    /// What is constant is computed.
    Fold,
    /// Additions, factors and normalizations go into the node before them.
    Absorb,
    /// Several nodes become one that does the same in fewer passes over memory.
    Fuse,
    /// Operators of this engine alone, on tensors that lie as kernels like them best; only when a model is compiled
    /// ([`layout()`]).
    Layout,
}

/// A pass by name, for listing and switching off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// The name, as reports and [`Options::without`] use it.
    pub name: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    /// When it runs.
    pub stage: Stage,
    /// Whether it runs without being asked for by name, see [`Options::with`].
    pub by_default: bool,
}

/// All passes in the order in which they run.
pub fn passes() -> Vec<Pass> {
    let rules = |stage: Stage| {
        let pass = move |rule: Box<dyn Rule>| Pass {
            name: rule.name(),
            doc: rule.doc(),
            stage,
            by_default: rule.by_default(),
        };
        rules(stage).into_iter().map(pass)
    };
    let sweep = |name, doc| Pass { name, doc, stage: Stage::Canonical, by_default: true };
    rules(Stage::Canonical)
        .chain([
            sweep(canonical::cse::NAME, canonical::cse::DOC),
            sweep(canonical::dead::NAME, canonical::dead::DOC),
        ])
        .chain(rules(Stage::Fold))
        .chain(rules(Stage::Absorb))
        .chain(rules(Stage::Fuse))
        .chain(rules(Stage::Layout))
        .collect()
}

/// The rules of a stage.
pub fn rules(stage: Stage) -> Vec<Box<dyn Rule>> {
    match stage {
        Stage::Canonical => canonical::rules(),
        Stage::Fold => fold::rules(),
        Stage::Absorb => absorb::rules(),
        Stage::Fuse => fuse::rules(),
        Stage::Layout => layout::rules(),
    }
}

/// Rewrites a graph and its bodies as `options` say, and works out all types again.
///
/// A graph that does not hold together (see [`Graph::verify`]) is left as it is: the report then says so.
pub fn optimize(graph: &mut Graph, options: &Options) -> Report {
    let mut report = Report::new(graph);
    if let Err(problems) = graph.verify() {
        report.unfit = problems.0.first().map(ToString::to_string);
        return report;
    }
    if options.level() >= Level::Basic
        && let Err(error) = gradient::inline(graph)
    {
        report.unfit = Some(error.to_string());
        return report;
    }
    let mut run = Run { options, report: &mut report, walk: Inference::default() };
    run.walk.graph(graph);
    if options.level() >= Level::Basic {
        run.canonical(graph);
        if run.rules(Stage::Fold, graph) {
            run.canonical(graph);
        }
        if run.rules(Stage::Absorb, graph) {
            run.canonical(graph);
        }
    }
    if options.level() >= Level::Full && run.rules(Stage::Fuse, graph) {
        run.canonical(graph);
    }
    infer(graph);
    report.finish(graph);
    report
}

/// Writes an optimized graph in the operators of this engine's own kernels (domain `oxidane`), for a session: no file takes
/// it. Does nothing below [`Level::Full`], and leaves a graph that does not hold together as it is.
pub fn layout(graph: &mut Graph, options: &Options) -> Report {
    let mut report = Report::new(graph);
    if let Err(problems) = graph.verify() {
        report.unfit = problems.0.first().map(ToString::to_string);
        return report;
    }
    if options.level() >= Level::Full {
        let mut run = Run { options, report: &mut report, walk: Inference::default() };
        run.walk.graph(graph);
        if run.rules(Stage::Layout, graph) {
            run.canonical(graph);
        }
        infer(graph);
    }
    report.finish(graph);
    report
}

/// Removes what no output and no effect needs, from a graph and its bodies; says how many nodes went.
pub fn remove_dead(graph: &mut Graph) -> usize {
    let mut report = Report::new(graph);
    everywhere(graph, &mut report, &mut Vec::new(), &mut canonical::dead::sweep);
    report.fired().len()
}

struct Run<'a> {
    options: &'a Options,
    report: &'a mut Report,
    walk: Inference,
}

impl Run<'_> {
    fn canonical(&mut self, graph: &mut Graph) {
        self.rules(Stage::Canonical, graph);
        let open = |report: &Report| report.fired().len() < self.options.limit;
        if self.options.has(canonical::cse::NAME) && open(self.report) {
            everywhere(graph, self.report, &mut Vec::new(), &mut canonical::cse::sweep);
            check(graph, canonical::cse::NAME);
        }
        if self.options.has(canonical::dead::NAME) && open(self.report) {
            everywhere(graph, self.report, &mut Vec::new(), &mut canonical::dead::sweep);
            check(graph, canonical::dead::NAME);
        }
    }

    /// Applies the rules of a stage; whether any fired.
    fn rules(&mut self, stage: Stage, graph: &mut Graph) -> bool {
        let before = self.report.fired().len();
        let rules: Vec<_> = rules(stage).into_iter().filter(|r| self.options.has(r.name())).collect();
        if !rules.is_empty() {
            let rules: Vec<&dyn Rule> = rules.iter().map(|r| &**r).collect();
            driver::resume(graph, &mut self.walk, &rules, self.options, self.report);
            check(graph, "a rule");
        }
        self.report.fired().len() > before
    }
}

/// Runs a sweep on the bodies first, then on the graph that holds them.
fn everywhere(
    graph: &mut Graph,
    report: &mut Report,
    path: &mut Vec<String>,
    sweep: &mut dyn FnMut(&mut Graph, &[String], &mut Report),
) {
    if path.len() >= MAX_DEPTH {
        return;
    }
    let holders: Vec<_> = graph.holders().collect();
    for id in holders {
        for k in 0..graph.node(id).bodies().len() {
            path.push(graph.body_path(id, k));
            let mut body = std::mem::take(&mut graph.bodies_mut(id)[k]);
            everywhere(&mut body, report, path, sweep);
            graph.bodies_mut(id)[k] = body;
            path.pop();
        }
    }
    sweep(graph, path, report);
}

/// In debug builds, checks all invariants after a pass.
fn check(graph: &Graph, pass: &str) {
    if cfg!(debug_assertions)
        && let Err(problems) = graph.verify()
    {
        panic!("{pass} broke the graph: {problems}");
    }
}

/// How a node is called in reports: its name, or its operator and position.
fn label(graph: &Graph, id: oxidane_graph::NodeId) -> String {
    match graph.get_node(id) {
        Some(node) if !node.name().is_empty() => node.name().to_owned(),
        Some(node) => {
            let named =
                node.outputs().iter().flatten().map(|&v| graph.value(v).name()).find(|n| !n.is_empty());
            match named {
                Some(name) => format!("{}->{name}", node.op().name()),
                None => format!("{}#{}", node.op().name(), id.index()),
            }
        }
        None => format!("#{}", id.index()),
    }
}
