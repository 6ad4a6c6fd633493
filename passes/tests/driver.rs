//! The driver: order, requeueing, refusals, bodies, cost and time.

use oxidane_graph::{Attributes, Dim, Graph, NodeSpec, Op, Type, ValueId, shared};
use oxidane_ops::tensor::identity::Identity;
use oxidane_passes::pattern::{any, constant, op, sigmoid};
use oxidane_passes::{Level, Options, Refused, Report, Rule, Site, drive, optimize, passes};
use oxidane_tensor::{DType, Tensor};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// An operator of which only the name is known.
#[derive(Debug, Clone)]
struct Plain(&'static str);

impl Op for Plain {
    fn domain(&self) -> &str {
        ""
    }

    fn name(&self) -> &str {
        self.0
    }

    fn attributes(&self) -> Attributes {
        Attributes::new()
    }
}

fn relu() -> Arc<dyn Op> {
    (oxidane_ops::room("", "Relu").unwrap().read)(&Attributes::new()).unwrap()
}

fn floats(sizes: &[usize]) -> Option<Type> {
    Some(Type::fixed(DType::F32, sizes))
}

/// Adds a node with one named output.
fn add(graph: &mut Graph, op: Arc<dyn Op>, inputs: &[ValueId], name: &str) -> ValueId {
    let out = graph.add_undefined(name).unwrap();
    let inputs: Vec<_> = inputs.iter().map(|&v| Some(v)).collect();
    graph.add_node(NodeSpec::new(op, &inputs, &[Some(out)])).unwrap();
    out
}

/// `count` nodes one after the other, every second an Identity.
fn chain(count: usize) -> Graph {
    let mut graph = Graph::new("chain");
    let mut at = graph.add_input("x", floats(&[4]), None).unwrap();
    for i in 0..count {
        let op = if i % 2 == 0 { relu() } else { shared(Identity {}) };
        at = add(&mut graph, op, &[at], &format!("v{i}"));
    }
    graph.set_outputs(vec![at]);
    graph
}

/// As many outputs as nodes, each an Identity of its own node.
fn comb(count: usize) -> Graph {
    let mut graph = Graph::new("comb");
    let mut at = graph.add_input("x", floats(&[4]), None).unwrap();
    let mut outputs = Vec::new();
    for i in 0..count / 2 {
        at = add(&mut graph, relu(), &[at], &format!("v{i}"));
        outputs.push(add(&mut graph, shared(Identity {}), &[at], &format!("y{i}")));
    }
    graph.set_outputs(outputs);
    graph
}

/// One value that all nodes read.
fn fan(count: usize) -> Graph {
    let mut graph = Graph::new("fan");
    let x = graph.add_input("x", floats(&[4]), None).unwrap();
    let hub = add(&mut graph, relu(), &[x], "hub");
    let outputs = (0..count)
        .map(|i| {
            let copy = add(&mut graph, shared(Identity {}), &[hub], &format!("c{i}"));
            add(&mut graph, shared(Plain("Add")), &[copy, hub], &format!("y{i}"))
        })
        .collect();
    graph.set_outputs(outputs);
    graph
}

/// The time that this thread spent computing, where the system tells; else the time of day.
fn spent() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let computed = told.and_then(|t| t.split_whitespace().next()?.parse().ok());
    computed.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

fn quickest(make: fn(usize) -> Graph, count: usize, runs: usize) -> Duration {
    let one = |_| {
        let mut graph = make(count);
        let start = spent();
        let report = optimize(&mut graph, &Options::level_of(Level::Full));
        assert!(!report.out_of_fuel && report.unfit.is_none());
        spent() - start
    };
    (0..runs).map(one).min().unwrap()
}

#[test]
fn time_is_linear_in_the_number_of_nodes() {
    for (name, make) in [("chain", chain as fn(usize) -> Graph), ("comb", comb), ("fan", fan)] {
        // Ten times the nodes leave the caches and cost up to twice as much each; quadratic time would be a
        // hundredfold. A busy machine may disturb a run, but not every one.
        let ratio = (0..3).map(|_| {
            let (small, large) = (quickest(make, 10_000, 2), quickest(make, 100_000, 1));
            eprintln!("{name}: {small:?} for 10,000 nodes, {large:?} for 100,000");
            large.as_secs_f64() / small.as_secs_f64()
        });
        assert!({ ratio }.any(|r| r <= 20.0), "{name}: time grows faster than the graph");
    }
}

#[test]
fn identities_go_and_names_of_outputs_stay() {
    let mut graph = chain(6);
    let report = optimize(&mut graph, &Options::default());
    assert_eq!(report.count("identity"), 3, "{report}");
    assert_eq!(graph.node_count(), 3);
    assert_eq!(graph.value(graph.outputs()[0]).name(), "v5");
    assert_eq!((report.nodes_before, report.nodes_after), (6, 3));
    assert!(report.cost_after < report.cost_before);
    assert!(report.to_string().contains("identity"), "{report}");
}

#[test]
fn an_input_is_given_out_through_an_identity() {
    let mut graph = Graph::new("");
    let x = graph.add_input("x", floats(&[2]), None).unwrap();
    let a = add(&mut graph, shared(Identity {}), &[x], "a");
    let y = add(&mut graph, shared(Identity {}), &[a], "y");
    let z = add(&mut graph, shared(Identity {}), &[a], "z");
    graph.set_outputs(vec![y, z, y]);
    optimize(&mut graph, &Options::default());
    graph.verify().unwrap();
    let names: Vec<_> = graph.outputs().iter().map(|&v| graph.value(v).name()).collect();
    assert_eq!(names, ["y", "z", "y"]);
    assert_eq!(graph.node_count(), 2);
}

#[test]
fn level_none_and_switched_off_passes_do_nothing() {
    let mut graph = chain(4);
    assert_eq!(optimize(&mut graph, &Options::level_of(Level::None)).nodes_after, 4);
    let options = Options::default().without("identity").unwrap().without("fold").unwrap();
    assert_eq!(optimize(&mut graph, &options).nodes_after, 4);
    let options = Options::default().only(&["identity"]).unwrap();
    assert_eq!(optimize(&mut graph, &options).nodes_after, 2);
    let error = Options::default().without("identities").unwrap_err();
    assert!(error.to_string().contains("identity"), "{error}");
}

#[test]
fn passes_have_names_of_their_own_and_documentation() {
    let all = passes();
    for (i, pass) in all.iter().enumerate() {
        assert!(!pass.doc.is_empty() && !pass.doc.contains('\n'));
        assert!(all[..i].iter().all(|p| p.name != pass.name), "{} twice", pass.name);
    }
    assert!(all.is_sorted_by_key(|p| p.stage));
}

#[test]
fn a_broken_graph_is_left_alone() {
    let mut graph = Graph::new("");
    let v = graph.add_undefined("nowhere").unwrap();
    let y = add(&mut graph, shared(Identity {}), &[v], "y");
    graph.set_outputs(vec![y]);
    let report = optimize(&mut graph, &Options::default());
    assert!(report.unfit.as_deref().is_some_and(|why| why.contains("nowhere")), "{report}");
    assert_eq!(graph.node_count(), 1);
}

/// `Relu(Relu(x))` is `Relu(x)`; refuses everything that it meets else.
struct Once;

impl Rule for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn doc(&self) -> &'static str {
        "Relu of Relu"
    }

    fn roots(&self) -> &[&'static str] {
        &["Relu"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let junk = site.tensor(Tensor::scalar(1.0f32));
        let stray = site.add(shared(Identity {}), &[junk]);
        let found = op("Relu", [op("Relu", [any("x")]).named("inner").shared()])
            .find(site)
            .map_err(|_| Refused::because("nothing but a Relu before it will do"))?;
        assert!(site.graph().value(stray).producer().is_some());
        site.replace(found.root(), found.value("inner")?)
    }
}

#[test]
fn refusals_are_taken_back_and_reported() {
    let mut graph = Graph::new("");
    let x = graph.add_input("x", floats(&[2]), None).unwrap();
    let a = add(&mut graph, shared(Plain("Relu")), &[x], "a");
    let b = add(&mut graph, shared(Plain("Relu")), &[a], "b");
    let c = add(&mut graph, shared(Plain("Relu")), &[b], "c");
    graph.set_outputs(vec![c]);
    let mut report = Report::new(&graph);
    drive(&mut graph, &[&Once], &Options::default(), &mut report);
    graph.verify().unwrap();
    assert_eq!(graph.node_count(), 1);
    assert_eq!(graph.value_count(), 2, "constants and nodes of refused attempts stayed");
    assert_eq!(report.count("once"), 2);
    let refused = report.refused();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].reason.contains("nothing but a Relu"));
    assert_eq!(report.of(&refused[0].node).len(), 1 + usize::from(refused[0].node == "Relu->c"));
}

/// Swaps the inputs of every Add, for ever.
struct Restless;

impl Rule for Restless {
    fn name(&self) -> &'static str {
        "restless"
    }

    fn doc(&self) -> &'static str {
        "swaps"
    }

    fn roots(&self) -> &[&'static str] {
        &["Add"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let swapped = [Some(site.input(1)?), Some(site.input(0)?)];
        site.set_inputs(&swapped);
        Ok(())
    }
}

#[test]
fn a_rule_that_never_rests_is_stopped() {
    let mut graph = Graph::new("");
    let x = graph.add_input("x", floats(&[2]), None).unwrap();
    let y = graph.add_input("y", floats(&[2]), None).unwrap();
    let z = add(&mut graph, shared(Plain("Add")), &[x, y], "z");
    graph.set_outputs(vec![z]);
    let mut report = Report::new(&graph);
    drive(&mut graph, &[&Restless], &Options::default(), &mut report);
    assert!(report.out_of_fuel);
    graph.verify().unwrap();
}

/// Looks for a pattern at every node and counts where it is.
struct Look(oxidane_passes::Pattern);

impl Rule for Look {
    fn name(&self) -> &'static str {
        "look"
    }

    fn doc(&self) -> &'static str {
        "looks"
    }

    fn roots(&self) -> &[&'static str] {
        &[]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let found = self.0.find(site)?;
        let bound = found.value("x").map(|v| site.graph().value(v).name().to_owned());
        Err(Refused::because(format!("found {}", bound.unwrap_or_default())))
    }
}

fn found(graph: &mut Graph, pattern: oxidane_passes::Pattern) -> Vec<String> {
    let mut report = Report::new(graph);
    drive(graph, &[&Look(pattern)], &Options::default(), &mut report);
    report.refused().into_iter().map(|r| format!("{} {}", r.node, r.reason)).collect()
}

#[test]
fn patterns_bind_names_turn_and_count_readers() {
    let mut graph = Graph::new("");
    let x = graph.add_input("x", floats(&[2]), None).unwrap();
    let w = graph.add_input("w", floats(&[2]), None).unwrap();
    let s = add(&mut graph, shared(Plain("Sigmoid")), &[x], "s");
    let y = add(&mut graph, shared(Plain("Mul")), &[s, x], "y");
    let half = graph.add_constant("half", Tensor::scalar(0.5f32)).unwrap();
    let h = add(&mut graph, shared(Plain("Mul")), &[half, y], "h");
    graph.set_outputs(vec![h]);
    let silu = || any("x") * sigmoid(any("x"));
    assert_eq!(found(&mut graph, silu()), ["Mul->y found x"]);
    assert_eq!(found(&mut graph, silu() * 0.5), ["Mul->h found x"]);
    assert_eq!(found(&mut graph, constant("c") * silu()), ["Mul->h found x"]);
    assert!(found(&mut graph, silu() * 0.25).is_empty());
    // Another factor than the sigmoid's argument.
    let mut other = graph.clone();
    let node = other.value(y).producer().unwrap();
    other.set_input(node, 1, Some(w));
    assert!(found(&mut other, silu()).is_empty());
    // The sigmoid is read elsewhere.
    graph.set_outputs(vec![h, s]);
    let told = found(&mut graph, silu());
    assert_eq!(told, ["Mul->y the result of Sigmoid->s is read elsewhere as well"]);
    assert_eq!(found(&mut graph, any("x") * sigmoid(any("x")).shared()), ["Mul->y found x"]);
}

#[test]
fn symbolic_sizes_stay() {
    let mut graph = Graph::new("");
    let ty = Type::tensor(DType::F32, [Dim::symbol("n"), Dim::known(3)]);
    let x = graph.add_input("x", Some(ty.clone()), None).unwrap();
    graph.set_declared(x, Some(ty.clone()));
    let a = add(&mut graph, shared(Identity {}), &[x], "a");
    let y = add(&mut graph, shared(Plain("Relu")), &[a], "y");
    graph.set_declared(y, Some(ty.clone()));
    graph.set_outputs(vec![y]);
    optimize(&mut graph, &Options::default());
    assert_eq!(graph.node_count(), 1);
    assert_eq!(graph.value(graph.outputs()[0]).declared(), Some(&ty));
    assert_eq!(graph.value(graph.inputs()[0]).ty(), Some(&ty));
}
