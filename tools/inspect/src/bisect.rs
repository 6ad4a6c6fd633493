//! Where two models, or a model and its rewritten self, first compute something else.

use crate::difference::{Difference, difference};
use crate::made::{Random, Sizes, choices, symbols};
use crate::verify::{self, Outcome, WORK, callable, verify};
use anyhow::{Result, bail};
use oxidane::graph::{Graph, NodeId};
use oxidane::ops::Interpreter;
use oxidane::passes::{Fired, Report};
use oxidane::{Datum, Problem};
use oxidane_pool::Pool;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A node whose result is another one in the other model, though all that it reads is the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Culprit {
    /// The value that differs.
    pub value: String,
    /// The node that makes it in the first model: its name, or its operator.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The operator that makes the value in the second model.
    pub other_op: String,
    /// How far the value is off.
    pub difference: Option<Difference>,
    /// What else differs: kind, type or shape.
    pub fault: Option<String>,
}

/// What a search between two models came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Search {
    /// The sizes of symbolic dimensions it was run with.
    pub sizes: Sizes,
    /// How many values have the same name in both models, and were compared.
    pub compared: usize,
    /// How many of them differ.
    pub differ: usize,
    /// The nodes at which differences begin, in the order of the first model.
    pub culprits: Vec<Culprit>,
    /// Where the second model stopped, where it did.
    pub failure: Option<String>,
}

/// Runs both models on the same inputs and finds the nodes whose values differ by more than the tolerance, though
/// none of the values before them does. Values are matched by name; bodies are part of their node.
///
/// # Errors
/// When the models take different numbers of inputs, or the first does not run on any made input.
pub fn nodes(first: &Graph, second: &Graph, options: &verify::Options) -> Result<Search> {
    if first.inputs().len() != second.inputs().len() {
        bail!("one model has {} inputs and the other {}", first.inputs().len(), second.inputs().len());
    }
    let (first, second) = (callable(first)?, callable(second)?);
    let (sizes, inputs, ours) = first_run(&first, options)?;
    let theirs = Mutex::new(HashMap::new());
    let failure = traced(&second, inputs, &theirs).err().map(|p| p.to_string());
    let theirs = theirs.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut search = Search { sizes, compared: 0, differ: 0, culprits: Vec::new(), failure };
    // Values that differ, or come from one that does without being compared.
    let mut tainted: Vec<bool> = vec![false; first.value_bound()];
    let order = first.order().unwrap_or_default();
    for id in order {
        let node = first.node(id);
        let before = node.inputs().iter().flatten().any(|&v| tainted[index(v)]);
        for &value in node.outputs().iter().flatten() {
            let name = first.value(value).name();
            let pair = ours.get(name).zip(theirs.get(name)).filter(|_| !name.is_empty());
            let Some(((a, _), (b, other))) = pair else {
                tainted[index(value)] = before;
                continue;
            };
            search.compared += 1;
            let (found, fault) = match difference(a, b) {
                Ok(found) => (Some(found), None),
                Err(fault) => (None, Some(fault)),
            };
            if found.is_some_and(|d| d.relative <= options.tolerance) {
                continue;
            }
            tainted[index(value)] = true;
            search.differ += 1;
            if !before {
                search.culprits.push(Culprit {
                    value: name.to_owned(),
                    node: called(&first, id),
                    op: node.op().name().to_owned(),
                    other_op: second.node(*other).op().name().to_owned(),
                    difference: found,
                    fault,
                });
            }
        }
    }
    Ok(search)
}

fn index(value: oxidane::graph::ValueId) -> usize {
    oxidane::graph::Id::index(value)
}

fn called(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    match node.name() {
        "" => node.op().name().to_owned(),
        name => name.to_owned(),
    }
}

type Values = HashMap<String, (Datum, NodeId)>;
type Inputs = Vec<Option<Datum>>;

/// The values of a run of the first model on inputs that it takes.
fn first_run(graph: &Graph, options: &verify::Options) -> Result<(Sizes, Inputs, Values)> {
    let mut why = String::from("there are no inputs to try");
    let ways = match options.inputs {
        Some(_) => vec![Sizes::new()],
        None => choices(&symbols(graph), &options.sizes),
    };
    for (i, sizes) in ways.into_iter().enumerate() {
        let made = match &options.inputs {
            Some(given) => Ok(given.clone()),
            None => Random::new(options.seed.wrapping_add(i as u64)).inputs(graph, &sizes),
        };
        let inputs = match made {
            Ok(inputs) => inputs,
            Err(error) => {
                why = format!("{error:#}");
                continue;
            }
        };
        let values = Mutex::new(HashMap::new());
        match traced(graph, inputs.clone(), &values) {
            Ok(()) => {
                return Ok((sizes, inputs, values.into_inner().unwrap_or_else(PoisonError::into_inner)));
            }
            Err(problem) => why = problem.to_string(),
        }
    }
    bail!("the first model does not run: {why}")
}

fn traced(graph: &Graph, inputs: Inputs, values: &Mutex<Values>) -> Result<(), Problem> {
    let watch = |at: &Graph, id: NodeId, outputs: &[Option<Datum>]| {
        if !std::ptr::eq(at, graph) {
            return;
        }
        let mut values = values.lock().unwrap_or_else(PoisonError::into_inner);
        for (value, datum) in at.node(id).outputs().iter().zip(outputs) {
            if let (Some(value), Some(datum)) = (value, datum) {
                values.insert(at.value(*value).name().to_owned(), (datum.clone(), id));
            }
        }
    };
    Interpreter::new(Pool::new(0), WORK).watched(&watch).run(graph, inputs).map(drop)
}

/// A rewrite after which a model computes something else.
#[derive(Debug, Clone)]
pub struct Turn {
    /// How many rewrites there are in all.
    pub rewrites: usize,
    /// How many come before this one.
    pub before: usize,
    /// The rewrite; a sweep over the whole graph makes several at once.
    pub fired: Vec<Fired>,
    /// How far the outputs are off after it.
    pub outcome: Outcome,
}

/// The first rewrite after which the outputs of a graph are off by more than the tolerance; `None` where there is none.
///
/// `rewrite` does at most so many rewrites to a graph, the same ones in the same order each time.
///
/// # Errors
/// When the graph cannot be run on made inputs.
pub fn rewrites(
    graph: &Graph,
    rewrite: &dyn Fn(&mut Graph, usize) -> Report,
    options: &verify::Options,
) -> Result<Option<Turn>> {
    let after = |limit: usize| -> Result<(Report, Outcome)> {
        let mut rewritten = graph.clone();
        let report = rewrite(&mut rewritten, limit);
        let outcome = verify(graph, &rewritten, options)?;
        if !outcome.compared() && outcome.failure.is_none() {
            bail!("{outcome}");
        }
        Ok((report, outcome))
    };
    let (whole, outcome) = after(usize::MAX)?;
    let total = whole.fired().len();
    if outcome.holds() {
        return Ok(None);
    }
    // `low` rewrites are fine, `high` are not.
    let (mut low, mut high, mut worst) = (0, total, outcome);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let (_, outcome) = after(middle)?;
        match outcome.holds() {
            true => low = middle,
            false => (high, worst) = (middle, outcome),
        }
    }
    let (fine, faulty) = (after(low)?.0.fired().len(), after(high)?.0.fired().len());
    let fired = whole.fired().get(fine.min(low)..faulty).unwrap_or_default().to_vec();
    Ok(Some(Turn { rewrites: total, before: low, fired, outcome: worst }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxidane::passes::{Options, Refused, Rule, Site, drive};
    use oxidane::tensor::Tensor;

    const MODEL: &str = r#"<ir_version: 10, opset_import: ["" : 21]>
g (float[n,2] x) => (float[n,2] y) <float[2,2] w = {1,2,3,4}, float half = {0.5}>
{
   [first] a = Relu (x)
   [second] b = MatMul (a, w)
   [third] c = Mul (b, half)
   [last] y = Tanh (c)
}"#;

    fn graph(text: &str) -> Graph {
        let proto = oxidane::onnx::text::parse_model(text).expect("text");
        oxidane::onnx::Model::from_proto(proto, None).expect("a model").graph
    }

    #[test]
    fn a_fault_planted_in_a_node_is_found() {
        let search = nodes(&graph(MODEL), &graph(MODEL), &Default::default()).expect("a search");
        assert_eq!((search.compared, search.differ, search.culprits.len()), (4, 0, 0));
        let other = MODEL.replace("c = Mul (b, half)", "c = Sub (b, half)");
        let search = nodes(&graph(MODEL), &graph(&other), &Default::default()).expect("a search");
        let [culprit] = &search.culprits[..] else { panic!("{search:?}") };
        assert_eq!((culprit.node.as_str(), culprit.value.as_str()), ("third", "c"));
        assert_eq!((culprit.op.as_str(), culprit.other_op.as_str()), ("Mul", "Sub"));
        assert!(culprit.difference.is_some_and(|d| d.ulp > 0 && d.relative > 1e-3), "{culprit:?}");
        assert_eq!((search.compared, search.differ), (4, 2));
    }

    /// Doubles the constants of multiplications: a rule with a fault.
    struct Faulty;

    impl Rule for Faulty {
        fn name(&self) -> &'static str {
            "faulty"
        }

        fn doc(&self) -> &'static str {
            "multiplies twice"
        }

        fn roots(&self) -> &[&'static str] {
            &["Mul"]
        }

        fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
            let (x, factor) = (site.input(0)?, site.input(1)?);
            let number = site.scalar(factor).filter(|n| *n < 1.0).ok_or(Refused::NoMatch)?;
            let doubled = Tensor::new(&[], &[2.0 * number as f32]).expect("a scalar");
            let doubled = site.tensor(doubled);
            site.set_inputs(&[Some(x), Some(doubled)]);
            Ok(())
        }
    }

    /// Lets a product pass through an Identity: a rule that changes nothing of the results.
    struct Harmless;

    impl Rule for Harmless {
        fn name(&self) -> &'static str {
            "harmless"
        }

        fn doc(&self) -> &'static str {
            "Relu of Relu"
        }

        fn roots(&self) -> &[&'static str] {
            &["Relu", "Tanh"]
        }

        fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
            if !site.node().name().is_empty() {
                let op = site.node().op().clone();
                let x = site.input(0)?;
                let made = site.add(op, &[x]);
                return site.replace(site.output(0)?, made);
            }
            Err(Refused::NoMatch)
        }
    }

    #[test]
    fn a_fault_planted_in_a_pass_is_found() {
        let rewrite = |graph: &mut Graph, limit: usize| {
            let mut report = Report::new(graph);
            drive(graph, &[&Harmless, &Faulty], &Options::default().limit(limit), &mut report);
            report
        };
        let turn =
            rewrites(&graph(MODEL), &rewrite, &Default::default()).expect("a search").expect("a fault");
        let [fired] = &turn.fired[..] else { panic!("{turn:?}") };
        assert_eq!((fired.pass, fired.node.as_str()), ("faulty", "third"));
        assert!(turn.before >= 1 && turn.rewrites >= 2, "{turn:?}");
        assert!(!turn.outcome.holds());
    }

    #[test]
    fn passes_without_fault_have_no_turn() {
        let rewrite = |graph: &mut Graph, limit: usize| {
            oxidane::passes::optimize(graph, &Options::default().limit(limit))
        };
        assert!(rewrites(&graph(MODEL), &rewrite, &Default::default()).expect("a search").is_none());
    }
}
