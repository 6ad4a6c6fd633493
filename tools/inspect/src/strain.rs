//! What 16-bit floats would do to each node of a model: how large its numbers are, and how far rounding takes its
//! results away.

use crate::made::{Random, Sizes, choices, symbols};
use crate::verify::WORK;
use oxidane::graph::{Graph, NodeId, Source, ValueId};
use oxidane::ops::Interpreter;
use oxidane::tensor::CastRules;
use oxidane::{DType, Datum, Tensor};
use oxidane_pool::Pool;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Numbers as low as this stand for minus infinity in masks, whatever the type.
const ABSENT: f32 = -1e30;

/// A model is run so often, each time on other inputs,
const RUNS: usize = 3;
/// and at most so many times where it refuses some.
const ATTEMPTS: usize = 16;

/// What runs in single precision show of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Strain {
    /// The largest magnitude among the finite numbers that the node reads and makes; those that stand for minus
    /// infinity in masks do not count.
    pub largest: f64,
    /// How far the node's results are off where it alone computes in the type, relative to the largest of each
    /// result; infinite where numbers are lost.
    pub error: f64,
}

/// The strain on every node of the main graph that reads or makes single precision, from runs on made inputs; `None`
/// where the model does not run on any. `graph` must have no calls of functions, and its types must be inferred.
/// `given` are inputs by position to take instead of made ones.
pub fn strain(
    graph: &Graph,
    dtype: DType,
    given: Option<Vec<Option<Datum>>>,
    sizes: &Sizes,
    seed: u64,
) -> Option<HashMap<NodeId, Strain>> {
    if let Some(given) = given {
        return run(graph, dtype, given);
    }
    let ways = choices(&symbols(graph), sizes);
    let runs = ways.into_iter().cycle().take(ATTEMPTS).enumerate().filter_map(|(i, sizes)| {
        let inputs = Random::new(seed.wrapping_add(i as u64)).inputs(graph, &sizes).ok()?;
        run(graph, dtype, inputs)
    });
    runs.take(RUNS).reduce(|mut all, more| {
        for (id, strain) in more {
            let known: &mut Strain = all.entry(id).or_default();
            known.largest = known.largest.max(strain.largest);
            known.error = known.error.max(strain.error);
        }
        all
    })
}

/// What is known while the model runs.
struct Trace {
    values: HashMap<ValueId, Datum>,
    /// How many nodes still read a value.
    open: HashMap<ValueId, usize>,
    found: HashMap<NodeId, Strain>,
}

fn run(graph: &Graph, dtype: DType, inputs: Vec<Option<Datum>>) -> Option<HashMap<NodeId, Strain>> {
    let mut trace = Trace { values: HashMap::new(), open: HashMap::new(), found: HashMap::new() };
    for (id, value) in graph.values() {
        trace.open.insert(id, value.uses().len());
        let tensor = match value.source() {
            Source::Input { default } => default.as_deref(),
            _ => value.constant(),
        };
        trace.values.extend(tensor.map(|t| (id, Datum::Tensor(t.clone()))));
    }
    trace.values.extend(graph.inputs().iter().zip(&inputs).filter_map(|(&id, d)| Some((id, d.clone()?))));
    let trace = Mutex::new(trace);
    let alone = Interpreter::new(Pool::new(0), WORK);
    let watch = |at: &Graph, id: NodeId, outputs: &[Option<Datum>]| {
        // Bodies have values of their own.
        if std::ptr::eq(at, graph) {
            lock(&trace).see(at, id, outputs, dtype, &alone);
        }
    };
    Interpreter::new(Pool::new(0), WORK).watched(&watch).run(graph, inputs).ok()?;
    Some(trace.into_inner().unwrap_or_else(PoisonError::into_inner).found)
}

fn lock(trace: &Mutex<Trace>) -> MutexGuard<'_, Trace> {
    trace.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trace {
    fn see(
        &mut self,
        graph: &Graph,
        id: NodeId,
        outputs: &[Option<Datum>],
        dtype: DType,
        alone: &Interpreter<'_>,
    ) {
        let node = graph.node(id);
        let slots = node.inputs();
        let inputs: Vec<Option<Datum>> = slots.iter().map(|v| self.values.get(&(*v)?).cloned()).collect();
        let all = inputs.iter().chain(outputs).flatten().filter_map(Datum::as_tensor);
        if let Some(largest) = all.filter_map(magnitude).reduce(f64::max) {
            let error = match node.bodies().is_empty() {
                true => rounded(graph, id, inputs, outputs, dtype, alone),
                false => 0.0,
            };
            self.found.insert(id, Strain { largest, error });
        }
        for (value, datum) in node.outputs().iter().zip(outputs) {
            if let (Some(value), Some(datum)) = (value, datum) {
                self.values.insert(*value, datum.clone());
            }
        }
        for value in slots.iter().flatten() {
            if let Some(open) = self.open.get_mut(value) {
                *open = open.saturating_sub(1);
                if *open == 0 {
                    self.values.remove(value);
                }
            }
        }
    }
}

/// How far a node's results are off where it alone computes in a 16-bit type.
fn rounded(
    graph: &Graph,
    id: NodeId,
    inputs: Vec<Option<Datum>>,
    outputs: &[Option<Datum>],
    dtype: DType,
    alone: &Interpreter<'_>,
) -> f64 {
    let Some(signature) = graph.node(id).op().signature() else { return 0.0 };
    let takes = |slot: usize| signature.input(slot).is_some_and(|p| p.types.has_tensor(dtype));
    let mut any = false;
    let low = inputs.into_iter().enumerate().map(|(slot, datum)| match datum {
        Some(Datum::Tensor(t)) if t.dtype() == DType::F32 && takes(slot) => {
            any = true;
            t.cast(dtype, CastRules::default()).ok().map(Datum::Tensor)
        }
        other => other,
    });
    let low: Vec<_> = low.collect();
    if !any {
        return 0.0;
    }
    // What does not run in the type is another matter than rounding.
    let Ok(results) = alone.node(graph, id, low) else { return 0.0 };
    let pairs = outputs.iter().zip(&results);
    pairs
        .filter_map(|(a, b)| Some((a.as_ref()?.as_tensor()?, b.as_ref()?.as_tensor()?)))
        .map(|(a, b)| off(a, b))
        .fold(0.0, f64::max)
}

fn off(a: &Tensor, b: &Tensor) -> f64 {
    let Ok(b) = b.cast(DType::F32, CastRules::default()) else { return 0.0 };
    if a.dtype() != DType::F32 || a.shape() != b.shape() {
        return 0.0;
    }
    let (Ok(a), Ok(b)) = (a.values::<f32>(), b.values::<f32>()) else { return 0.0 };
    let (mut most, mut worst) = (0.0f64, 0.0f64);
    for (&x, &y) in a.iter().zip(b.iter()) {
        if !x.is_finite() || x <= ABSENT {
            continue;
        }
        most = most.max(f64::from(x.abs()));
        worst = worst.max(if y.is_finite() { f64::from((x - y).abs()) } else { f64::INFINITY });
    }
    if worst == 0.0 { 0.0 } else { worst / most.max(f64::MIN_POSITIVE) }
}

/// The largest magnitude of the finite numbers of a tensor in single precision.
fn magnitude(tensor: &Tensor) -> Option<f64> {
    if tensor.dtype() != DType::F32 {
        return None;
    }
    let values = tensor.values::<f32>().ok()?;
    let counts = values.iter().filter(|v| v.is_finite() && **v > ABSENT);
    Some(counts.fold(0.0f32, |most, v| most.max(v.abs())).into())
}
