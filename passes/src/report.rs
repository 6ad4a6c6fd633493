use crate::{graph_cost, label};
use oxidane_graph::{Graph, NodeId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// What [`crate::optimize`] did, and why not.
#[derive(Debug, Clone, Default)]
pub struct Report {
    fired: Vec<Fired>,
    refused: HashMap<(&'static str, String, NodeId), (String, Cow<'static, str>)>,
    /// Nodes before, those of bodies included.
    pub nodes_before: usize,
    /// Nodes after, those of bodies included.
    pub nodes_after: usize,
    /// The static cost before.
    pub cost_before: u64,
    /// The static cost after.
    pub cost_after: u64,
    /// Bytes by which computed constants made the model larger, where they did.
    pub growth: usize,
    /// Whether a driver stopped before all rules were at rest.
    pub out_of_fuel: bool,
    /// What is wrong with the graph, where it was not fit to be rewritten.
    pub unfit: Option<String>,
}

/// A rewrite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// The pass.
    pub pass: &'static str,
    /// The way through bodies to the graph of the node; empty for the main graph.
    pub path: String,
    /// The node: its name, or operator and output.
    pub node: String,
}

/// A rewrite that was possible at first sight but was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The pass.
    pub pass: &'static str,
    /// The way through bodies to the graph of the node; empty for the main graph.
    pub path: String,
    /// The node: its name, or operator and output.
    pub node: String,
    /// Why.
    pub reason: String,
}

impl Report {
    /// A report about a graph as it is before any pass.
    pub fn new(graph: &Graph) -> Report {
        let (nodes, cost) = (count(graph), graph_cost(graph));
        Report {
            nodes_before: nodes,
            nodes_after: nodes,
            cost_before: cost,
            cost_after: cost,
            ..Report::default()
        }
    }

    pub(crate) fn finish(&mut self, graph: &Graph) {
        self.nodes_after = count(graph);
        self.cost_after = graph_cost(graph);
    }

    pub(crate) fn fire(&mut self, pass: &'static str, path: &[String], id: NodeId, node: String) {
        self.refused.remove(&(pass, path.join("/"), id));
        self.fired.push(Fired { pass, path: path.join("/"), node });
    }

    pub(crate) fn refuse(
        &mut self,
        pass: &'static str,
        path: &[String],
        graph: &Graph,
        id: NodeId,
        reason: Cow<'static, str>,
    ) {
        self.refused.insert((pass, path.join("/"), id), (label(graph, id), reason));
    }

    /// All rewrites in order.
    pub fn fired(&self) -> &[Fired] {
        &self.fired
    }

    /// All refusals, sorted by pass, path and node.
    pub fn refused(&self) -> Vec<Refusal> {
        let mut all: Vec<_> = self.refused.iter().collect();
        all.sort_by(|a, b| a.0.cmp(b.0));
        all.into_iter()
            .map(|((pass, path, _), (node, reason))| Refusal {
                pass,
                path: path.clone(),
                node: node.clone(),
                reason: reason.to_string(),
            })
            .collect()
    }

    /// How often a pass fired.
    pub fn count(&self, pass: &str) -> usize {
        self.fired.iter().filter(|f| f.pass == pass).count()
    }

    /// What was done with a node of this name and what was not, one line each.
    pub fn of(&self, node: &str) -> Vec<String> {
        let fired = self.fired.iter().filter(|f| f.node == node).map(|f| format!("{}: fired", f.pass));
        let refused = self.refused();
        let refused = refused.iter().filter(|r| r.node == node).map(|r| format!("{}: {}", r.pass, r.reason));
        fired.chain(refused).collect()
    }
}

fn count(graph: &Graph) -> usize {
    let bodies = graph.holders().flat_map(|id| graph.node(id).bodies());
    graph.node_count() + bodies.map(count).sum::<usize>()
}

/// A table of the passes that fired, and how often; then the sums.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.unfit {
            return write!(f, "not rewritten: {why}");
        }
        for pass in crate::passes() {
            match self.count(pass.name) {
                0 => {}
                n => writeln!(f, "{:>7}  {:<26} {}", n, pass.name, pass.doc)?,
            }
        }
        write!(f, "nodes {} -> {}", self.nodes_before, self.nodes_after)?;
        write!(f, ", cost {} -> {}", self.cost_before, self.cost_after)?;
        if self.growth > 0 {
            write!(f, ", constants +{} bytes", self.growth)?;
        }
        if self.out_of_fuel {
            write!(f, " (stopped before all rules were at rest)")?;
        }
        Ok(())
    }
}
