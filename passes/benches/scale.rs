//! How optimizing grows with the number of nodes: `cargo bench -p oxidane-passes --bench scale`.
//!
//! A chain as exporters write it (activations, identities, arithmetic with constants, pairs of transposes) of 10,000 and of
//! 100,000 nodes, at level full. Prints both times, the quickest of several runs each, and their ratio; ends with 1 where
//! the ratio is above 12.

use oxidane_graph::{Attributes, Dim, Graph, NodeSpec, Type, ValueId};
use oxidane_ops::room;
use oxidane_passes::{Level, Options, optimize};
use oxidane_tensor::{DType, Tensor};
use std::time::{Duration, Instant};

fn node(graph: &mut Graph, name: &str, attributes: Attributes, inputs: &[ValueId]) -> ValueId {
    let op = (room("", name).expect("a standard operator").read)(&attributes).expect("its attributes");
    let out = graph.add_undefined("").expect("no name");
    let inputs: Vec<_> = inputs.iter().map(|&v| Some(v)).collect();
    graph.add_node(NodeSpec::new(op, &inputs, &[Some(out)])).expect("a fresh output");
    out
}

fn chain(count: usize) -> Graph {
    let mut graph = Graph::new("chain");
    let ty = Type::tensor(DType::F32, [Dim::symbol("n"), Dim::known(8)]);
    let mut at = graph.add_input("x", Some(ty), None).expect("a name");
    let half = graph.add_constant("half", Tensor::new(&[], &[0.5f32]).expect("a scalar")).expect("a name");
    let turn = || Attributes::new().with("perm", vec![1i64, 0]);
    while graph.node_count() < count {
        at = node(&mut graph, "Relu", Attributes::new(), &[at]);
        at = node(&mut graph, "Identity", Attributes::new(), &[at]);
        at = node(&mut graph, "Mul", Attributes::new(), &[at, half]);
        at = node(&mut graph, "Transpose", turn(), &[at]);
        at = node(&mut graph, "Transpose", turn(), &[at]);
        let gate = node(&mut graph, "Sigmoid", Attributes::new(), &[at]);
        at = node(&mut graph, "Mul", Attributes::new(), &[at, gate]);
    }
    graph.set_outputs(vec![at]);
    graph
}

fn quickest(count: usize, runs: usize) -> Duration {
    let one = |_| {
        let mut graph = chain(count);
        let start = Instant::now();
        let report = optimize(&mut graph, &Options::level_of(Level::Full));
        let took = start.elapsed();
        assert!(!report.out_of_fuel && report.nodes_after < report.nodes_before / 2, "{report}");
        took
    };
    (0..runs).map(one).min().expect("a run")
}

fn main() {
    let (small, large) = (quickest(10_000, 9), quickest(100_000, 3));
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    println!("10,000 nodes {small:?}, 100,000 nodes {large:?}: {ratio:.1} times");
    if ratio > 12.0 {
        std::process::exit(1);
    }
}
