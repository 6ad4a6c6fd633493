//! How optimizing grows with the number of nodes: `cargo bench -p oxidane-passes --bench scale`.
//!
//! A chain as exporters write it (activations, identities, arithmetic with constants, pairs of transposes) of 10,000 and of
//! 100,000 nodes, at level full. The two take turns, as long each, so that both meet what else the machine does. Prints the
//! medians of both times and of the ratios of the turns; ends with 1 where the ratio is above 12.

use oxidane_graph::{Attributes, Dim, Graph, NodeSpec, Type, ValueId};
use oxidane_ops::room;
use oxidane_passes::{Level, Options, optimize};
use oxidane_tensor::{DType, Tensor};
use std::time::Instant;

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

fn time(count: usize) -> f64 {
    let mut graph = chain(count);
    let start = Instant::now();
    let report = optimize(&mut graph, &Options::level_of(Level::Full));
    let took = start.elapsed();
    assert!(!report.out_of_fuel && report.nodes_after < report.nodes_before / 2, "{report}");
    took.as_secs_f64() * 1e3
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn main() {
    let turn = |_| (median((0..10).map(|_| time(10_000)).collect()), time(100_000));
    let turns: Vec<(f64, f64)> = (0..11).map(turn).collect();
    let small = median(turns.iter().map(|turn| turn.0).collect());
    let large = median(turns.iter().map(|turn| turn.1).collect());
    let ratio = median(turns.iter().map(|turn| turn.1 / turn.0).collect());
    println!("10,000 nodes {small:.1} ms, 100,000 nodes {large:.1} ms: {ratio:.1} times");
    if ratio > 12.0 {
        std::process::exit(1);
    }
}
