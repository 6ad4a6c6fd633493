//! Whether two models compute the same: both run, node by node, on the same made inputs.

use crate::difference::{Difference, difference};
use crate::made::{Random, Sizes, choices, symbols};
use crate::several;
use anyhow::{Result, bail};
use oxidane::graph::Graph;
use oxidane::ops::Interpreter;
use oxidane::ops::control::call;
use oxidane::tensor::CastRules;
use oxidane::{DType, Datum, Problem};
use oxidane_pool::Pool;
use serde::Serialize;
use std::fmt;

/// A trial may compute so many bytes, so that a model that grows with its inputs is given up early.
pub(crate) const WORK: usize = 64 << 30;
/// So many choices of sizes are compared.
const TRIALS: usize = 3;
/// So many choices of sizes are tried at most.
const ATTEMPTS: usize = 16;

/// How two models are compared.
#[derive(Debug, Clone)]
pub struct Options {
    /// The largest difference, relative to the largest element of an output, that is no fault.
    pub tolerance: f64,
    /// Sizes of symbolic dimensions that are not chosen.
    pub sizes: Sizes,
    /// Where the random inputs start from.
    pub seed: u64,
    /// Inputs by position to compare on, instead of made ones.
    pub inputs: Option<Vec<Option<Datum>>>,
}

impl Default for Options {
    fn default() -> Options {
        Options { tolerance: 1e-5, sizes: Sizes::new(), seed: 1, inputs: None }
    }
}

/// One comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Trial {
    /// The sizes of symbolic dimensions.
    pub sizes: Sizes,
    /// How far each output is off, by its name in the first model.
    pub outputs: Vec<Output>,
}

/// How far an output is off.
#[derive(Debug, Clone, Serialize)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// The distance; `None` where `fault` or `random` says more.
    pub difference: Option<Difference>,
    /// What else differs: kind, type or shape.
    pub fault: Option<String>,
    /// Whether two runs of the first model differ from each other as well.
    pub random: bool,
}

impl Output {
    /// Whether the output is within a tolerance.
    pub fn is_within(&self, tolerance: f64) -> bool {
        self.random || self.fault.is_none() && self.difference.is_none_or(|d| d.relative <= tolerance)
    }
}

/// What a comparison of two models came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The comparisons.
    pub trials: Vec<Trial>,
    /// What the second model said where the first one ran and it did not.
    pub failure: Option<String>,
    /// Why the first model did not run on other inputs.
    pub refused: Vec<String>,
    /// The tolerance.
    pub tolerance: f64,
    /// Whether the inputs were given, not made.
    pub given: bool,
}

impl Outcome {
    /// Whether nothing speaks against the second model.
    pub fn holds(&self) -> bool {
        let within = |o: &Output| o.is_within(self.tolerance);
        self.failure.is_none() && self.trials.iter().all(|t| t.outputs.iter().all(within))
    }

    /// Whether there was any comparison.
    pub fn compared(&self) -> bool {
        !self.trials.is_empty()
    }

    /// The largest relative difference of all outputs.
    pub fn worst(&self) -> f64 {
        let all = self.trials.iter().flat_map(|t| &t.outputs).filter_map(|o| o.difference);
        all.fold(0.0, |worst, d| worst.max(d.relative))
    }

    /// One line for each output: its largest difference over all trials.
    pub fn by_output(&self) -> Vec<String> {
        let Some(first) = self.trials.first() else { return Vec::new() };
        let mut lines = Vec::new();
        for (i, output) in first.outputs.iter().enumerate() {
            let all: Vec<&Output> = self.trials.iter().filter_map(|t| t.outputs.get(i)).collect();
            let told = match all.iter().find_map(|o| o.fault.as_ref()) {
                Some(fault) => fault.clone(),
                None if all.iter().any(|o| o.random) => "differs from run to run, not compared".to_owned(),
                None => {
                    let total =
                        all.iter().filter_map(|o| o.difference).fold(Difference::default(), Difference::and);
                    match total.unequal {
                        0 => "equal".to_owned(),
                        n => format!(
                            "{:.1e} of the largest, {:.1e} at most, {} ULP, in {n} of {} elements",
                            total.relative, total.absolute, total.ulp, total.elements
                        ),
                    }
                }
            };
            lines.push(format!("{}: {told}", output.name));
        }
        lines
    }
}

/// One line: what was compared and how far apart it is.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.failure {
            return write!(f, "the new model fails where the old one runs: {failure}");
        }
        let Some(first) = self.trials.first() else {
            let why = self.refused.first().map_or("there are no inputs to try", String::as_str);
            return write!(f, "not compared: the model does not run on made inputs: {why}");
        };
        let fault = self.trials.iter().flat_map(|t| &t.outputs).find(|o| o.fault.is_some());
        if let Some(Output { name, fault: Some(fault), .. }) = fault {
            return write!(f, "output `{name}` {fault}");
        }
        let outputs = several(first.outputs.len(), "output");
        write!(
            f,
            "{outputs} on {}: ",
            several(self.trials.len(), if self.given { "input" } else { "made input" })
        )?;
        match self.worst() {
            0.0 => write!(f, "equal"),
            worst => {
                write!(f, "at most {worst:.1e} of the largest element off (tolerance {:.0e})", self.tolerance)
            }
        }
    }
}

/// What a new model is held against.
pub struct Reference<'a> {
    /// A graph whose inputs are made; its output names are those of the report unless `names` has others.
    pub graph: &'a Graph,
    /// The names of the outputs that are compared, where they are not those of `graph`.
    pub names: Option<Vec<String>>,
    /// What the new model is to be given, and what it is to give, for inputs of `graph` by position.
    #[expect(clippy::type_complexity, reason = "a single function, spelled once")]
    pub run: Box<dyn Fn(Vec<Option<Datum>>) -> Result<(Vec<Option<Datum>>, Vec<Datum>), Problem> + 'a>,
}

impl<'a> Reference<'a> {
    /// A graph that takes the same inputs and gives the same outputs.
    ///
    /// # Errors
    /// When a function cannot be called.
    pub fn graph(graph: &'a Graph) -> Result<Reference<'a>> {
        let runnable = callable(graph)?;
        let run = move |inputs: Vec<Option<Datum>>| Ok((inputs.clone(), self::run(&runnable, inputs)?));
        Ok(Reference { graph, names: None, run: Box::new(run) })
    }
}

/// Runs both graphs on the same made inputs, matched by position, with sizes chosen in several ways.
///
/// # Errors
/// When the graphs have different numbers of inputs or outputs, or a function cannot be called.
pub fn verify(old: &Graph, new: &Graph, options: &Options) -> Result<Outcome> {
    let inputs = ("input", old.inputs().len(), new.inputs().len());
    for (what, a, b) in [inputs, ("output", old.outputs().len(), new.outputs().len())] {
        if a != b {
            bail!("one model has {} and the other {b}", several(a, what));
        }
    }
    verify_by(&Reference::graph(old)?, new, options)
}

/// Holds a graph against a reference, on made inputs, with sizes chosen in several ways.
///
/// # Errors
/// When the graph calls a function that cannot be called.
pub fn verify_by(reference: &Reference<'_>, new: &Graph, options: &Options) -> Result<Outcome> {
    let old = reference.graph;
    let new = callable(new)?;
    // A model whose sizes were set takes only those.
    let narrows =
        old.inputs().len() == new.inputs().len() && self::symbols(&new).len() < self::symbols(old).len();
    let narrow = if narrows { &new } else { old };
    let symbols = symbols(narrow);
    let mut outcome = Outcome {
        trials: Vec::new(),
        failure: None,
        refused: Vec::new(),
        tolerance: options.tolerance,
        given: options.inputs.is_some(),
    };
    let mut ways = choices(&symbols, &options.sizes);
    if ways.len() == 1 {
        ways = vec![ways[0].clone(); TRIALS - 1];
    }
    if options.inputs.is_some() {
        ways.truncate(1);
    }
    let random = !is_pure(old) || !is_pure(&new);
    let own = |k: usize| old.outputs().get(k).map_or(String::new(), |&v| old.value(v).name().to_owned());
    let name = |k: usize| match &reference.names {
        Some(names) => names.get(k).cloned().unwrap_or_default(),
        None => own(k),
    };
    for (i, sizes) in ways.into_iter().take(ATTEMPTS).enumerate() {
        if outcome.trials.len() == TRIALS {
            break;
        }
        let made = match &options.inputs {
            Some(given) => Ok(given.clone()),
            None => Random::new(options.seed.wrapping_add(i as u64)).inputs(narrow, &sizes),
        };
        let inputs = match made {
            Ok(inputs) => inputs,
            Err(error) => {
                outcome.refused.push(format!("{error:#}"));
                continue;
            }
        };
        let (given, before) = match (reference.run)(inputs.clone()) {
            Ok(before) => before,
            Err(problem) => {
                outcome.refused.push(problem.to_string());
                continue;
            }
        };
        let again = if random { (reference.run)(inputs).ok() } else { None };
        let after = match run(&new, suited(&new, given)) {
            Ok(after) => after,
            Err(problem) => {
                outcome.failure = Some(problem.to_string());
                return Ok(outcome);
            }
        };
        let outputs = (before.iter().zip(&after).enumerate())
            .map(|(k, (a, b))| {
                let differs = |c: &Vec<Datum>| difference(a, &c[k]).is_ok_and(|d| d.unequal > 0);
                let random = again.as_ref().is_some_and(|(_, again)| differs(again));
                let (difference, fault) = match difference(a, b) {
                    Ok(found) => (Some(found), None),
                    Err(fault) => (None, Some(fault)),
                };
                Output { name: name(k), difference, fault, random }
            })
            .collect();
        outcome.trials.push(Trial { sizes, outputs });
    }
    Ok(outcome)
}

/// Inputs in the types that a graph takes, where it takes floats of another width.
fn suited(graph: &Graph, inputs: Vec<Option<Datum>>) -> Vec<Option<Datum>> {
    let wanted = graph.inputs().iter().map(|&id| graph.value(id).ty().and_then(oxidane::Type::dtype));
    let suit = |(datum, wanted): (Option<Datum>, Option<DType>)| match (datum, wanted) {
        (Some(Datum::Tensor(t)), Some(to)) if t.dtype() != to && t.dtype().is_float() && to.is_float() => {
            Some(t.cast(to, CastRules::default()).map_or(Datum::Tensor(t), Datum::Tensor))
        }
        (datum, _) => datum,
    };
    inputs.into_iter().zip(wanted.chain(std::iter::repeat(None))).map(suit).collect()
}

/// A copy of a graph with the functions it calls put in their places.
///
/// # Errors
/// When a call does not fit its function.
pub fn callable(graph: &Graph) -> Result<Graph, Problem> {
    let mut graph = graph.clone();
    call::inline(&mut graph).map_err(|e| Problem::at("model", e))?;
    oxidane::graph::infer(&mut graph);
    Ok(graph)
}

/// Runs a graph node by node.
///
/// # Errors
/// The first node that fails.
pub fn run(graph: &Graph, inputs: Vec<Option<Datum>>) -> Result<Vec<Datum>, Problem> {
    Interpreter::new(Pool::new(0), WORK).run(graph, inputs)
}

fn is_pure(graph: &Graph) -> bool {
    graph.nodes().all(|(_, n)| n.op().is_pure() && n.bodies().iter().all(is_pure))
}
