//! The small interpreter: node by node, kernels bound on the spot, nothing planned. Constant folding and the
//! suites use it, and the runtime is held against it.

use crate::expansion;
use oxidane_graph::{Call, Dim, Graph, Host, Id, NodeId, OpError, Problem, Run, Source, Stop, Type};
use oxidane_pool::Pool;
use oxidane_tensor::{Buffer, Datum};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Interprets graphs under a budget of memory.
pub struct Interpreter<'h> {
    pool: Pool,
    /// Bytes that outputs may still take.
    left: AtomicUsize,
    /// Who grants memory and time instead.
    outer: Option<&'h dyn Host>,
    /// Whether values are held against their inferred types.
    checks: bool,
    /// Who looks at what nodes make.
    watch: Option<&'h Watch<'h>>,
}

/// Is shown every node that has run, in bodies too, with the graph it stands in and its outputs.
pub type Watch<'w> = dyn Fn(&Graph, NodeId, &[Option<Datum>]) + Sync + 'w;

impl<'h> Interpreter<'h> {
    /// An interpreter whose kernels' loops run on `pool`, and whose outputs may take `bytes` in all.
    pub fn new(pool: Pool, bytes: usize) -> Interpreter<'h> {
        Interpreter { pool, left: AtomicUsize::new(bytes), outer: None, checks: false, watch: None }
    }

    /// An interpreter inside a kernel: threads, memory and time are those of the kernel's host.
    pub fn within(host: &'h dyn Host) -> Interpreter<'h> {
        let (pool, left) = (host.pool().clone(), AtomicUsize::new(0));
        Interpreter { pool, left, outer: Some(host), checks: false, watch: None }
    }

    /// Holds every value, in bodies too, against the type that the graph has for it: another type, rank or size, or
    /// two sizes for one symbol, is an error then.
    #[must_use]
    pub fn checking(self) -> Interpreter<'h> {
        Interpreter { checks: true, ..self }
    }

    /// Shows every node that has run to `watch`.
    #[must_use]
    pub fn watched(self, watch: &'h Watch<'h>) -> Interpreter<'h> {
        Interpreter { watch: Some(watch), ..self }
    }

    /// Runs a graph on its inputs (`None` takes an input's default).
    ///
    /// # Errors
    /// The first problem, with its place.
    pub fn run(&self, graph: &Graph, inputs: Vec<Option<Datum>>) -> Result<Vec<Datum>, Problem> {
        let mut values: Vec<Option<Datum>> = vec![None; graph.value_bound()];
        for (id, value) in graph.values() {
            if let Some(tensor) = value.constant() {
                values[id.index()] = Some(tensor.clone().into());
            }
        }
        let mut sizes = HashMap::new();
        let mut inputs = inputs.into_iter();
        for &id in graph.inputs() {
            let default = match graph.value(id).source() {
                Source::Input { default } => default.as_deref().cloned().map(Datum::Tensor),
                _ => None,
            };
            let value = inputs.next().flatten().or(default);
            if self.checks {
                let name = graph.value(id).name();
                check(&value, graph.value(id).ty(), &mut sizes)
                    .map_err(|e| Problem::at(format!("input `{name}`"), e))?;
            }
            values[id.index()] = value;
        }
        let order = graph.order().map_err(|n| Problem::new(graph.place(n), OpError::new("is on a cycle")))?;
        let mut uses: Vec<usize> = vec![0; graph.value_bound()];
        for (id, value) in graph.values() {
            uses[id.index()] = value.uses().len();
        }
        for &output in graph.outputs() {
            uses[output.index()] += 1;
        }
        for id in order {
            let node = graph.node(id);
            let mut given = Vec::with_capacity(node.inputs().len());
            for &slot in node.inputs() {
                let Some(value) = slot else {
                    given.push(None);
                    continue;
                };
                uses[value.index()] -= 1;
                let datum = match uses[value.index()] {
                    0 => values[value.index()].take(),
                    _ => values[value.index()].clone(),
                };
                let missing = || {
                    let name = graph.value(value).name();
                    Problem::new(graph.place(id), OpError::new(format!("input `{name}` has no value")))
                };
                given.push(Some(datum.ok_or_else(missing)?));
            }
            let outputs = self.node(graph, id, given).map_err(|e| Problem::new(graph.place(id), e))?;
            if let Some(watch) = self.watch {
                watch(graph, id, &outputs);
            }
            for (slot, datum) in node.outputs().iter().zip(outputs) {
                if let Some(value) = slot {
                    if self.checks {
                        check(&datum, graph.value(*value).ty(), &mut sizes)
                            .map_err(|e| Problem::new(graph.place(id), e))?;
                    }
                    values[value.index()] = datum;
                }
            }
        }
        let take = |&id: &oxidane_graph::ValueId| {
            values[id.index()].clone().ok_or_else(|| {
                let name = graph.value(id).name();
                Problem::at(format!("output `{name}`"), OpError::new("has no value"))
            })
        };
        graph.outputs().iter().map(take).collect()
    }

    /// Runs one node on its inputs, captures last.
    ///
    /// # Errors
    /// When there is no kernel, or the kernel fails.
    pub fn node(
        &self,
        graph: &Graph,
        id: NodeId,
        mut inputs: Vec<Option<Datum>>,
    ) -> Result<Vec<Option<Datum>>, OpError> {
        let node = graph.node(id);
        let captured = inputs.split_off(inputs.len() - node.captures());
        let types: Vec<Option<Type>> = inputs.iter().map(|i| i.as_ref().and_then(Type::of)).collect();
        let constants = vec![None; inputs.len()];
        let wanted: Vec<bool> = node.outputs().iter().map(Option::is_some).collect();
        if node.op().runs_expanded() && !node.bodies().is_empty() {
            // Its kernel does not see the bodies.
            let given: Vec<(bool, Option<Type>)> =
                inputs.iter().zip(&types).map(|(i, ty)| (i.is_some(), ty.clone())).collect();
            let taken: Vec<Option<Type>> = captured.iter().map(|c| c.as_ref().and_then(Type::of)).collect();
            let graph = expansion::alone(node.op(), &given, &wanted, node.bodies(), &taken)?;
            let all = inputs.into_iter().flatten().chain(captured.into_iter().flatten()).map(Some);
            let mut results = self.run(&graph, all.collect()).map_err(OpError::from)?.into_iter();
            return Ok(wanted.iter().map(|&wanted| if wanted { results.next() } else { None }).collect());
        }
        let call = Call { inputs: &types, constants: &constants, outputs: &wanted };
        let kernel = node.op().kernel(&call)?;
        let host = NodeHost { interpreter: self, bodies: node.bodies(), captured };
        let mut run = Run::new(inputs, &wanted, &host);
        kernel.run(&mut run)?;
        Ok(run.into_outputs())
    }
}

/// Whether a value has its inferred type, and symbols stand for the same sizes everywhere in a graph.
fn check(
    datum: &Option<Datum>,
    inferred: Option<&Type>,
    sizes: &mut HashMap<Arc<str>, Dim>,
) -> Result<(), OpError> {
    let (Some(actual), Some(inferred)) = (datum.as_ref().and_then(Type::of), inferred) else { return Ok(()) };
    if matches!((&actual, inferred), (Type::Sequence(_) | Type::Tensor(_), Type::Optional(_))) {
        // What an optional holds may stand for it, whatever the model declared that to be.
        return Ok(());
    }
    let contradiction = || OpError::new(format!("a value was inferred to be {inferred}, but is {actual}"));
    Type::meet(&actual, inferred).map_err(|_| contradiction())?;
    let (Some(have), Some(dims)) = (actual.shape(), inferred.shape()) else { return Ok(()) };
    for (&size, dim) in have.iter().zip(dims) {
        match dim.as_symbol() {
            Some(symbol) if *sizes.entry(symbol.clone()).or_insert(size) != size => {
                return Err(contradiction().help(format!("elsewhere {symbol} is {}", sizes[&symbol])));
            }
            Some(_) => {}
            None => {
                let known = dim.substitute(&|symbol| sizes.get(symbol).copied());
                if known.as_known().is_some() && known != size {
                    return Err(contradiction().help(format!("{dim} is {known}")));
                }
            }
        }
    }
    Ok(())
}

/// The output number under which an inner interpreter asks its host for memory: none that the host has plans for.
const NO_OUTPUT: usize = usize::MAX;

fn over(bytes: usize, left: usize) -> OpError {
    let what = format!("an output needs {bytes} bytes, but only {left} are left of the budget");
    OpError::stopped(Stop::Budget, what)
}

struct NodeHost<'a> {
    interpreter: &'a Interpreter<'a>,
    bodies: &'a [Graph],
    captured: Vec<Option<Datum>>,
}

impl Host for NodeHost<'_> {
    fn allocate(&self, _: usize, bytes: usize) -> Result<Buffer, OpError> {
        if let Some(outer) = self.interpreter.outer {
            return outer.allocate(NO_OUTPUT, bytes);
        }
        let left = &self.interpreter.left;
        let spend = |had: usize| had.checked_sub(bytes);
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).map_err(|had| over(bytes, had))?;
        Ok(Buffer::zeroed(bytes)?)
    }

    fn scratch(&self, bytes: usize) -> Result<Buffer, OpError> {
        if let Some(outer) = self.interpreter.outer {
            return outer.scratch(bytes);
        }
        self.afford(bytes)?;
        Ok(Buffer::zeroed(bytes)?)
    }

    fn afford(&self, bytes: usize) -> Result<(), OpError> {
        if let Some(outer) = self.interpreter.outer {
            return outer.afford(bytes);
        }
        let left = self.interpreter.left.load(Ordering::Relaxed);
        if bytes > left { Err(over(bytes, left)) } else { Ok(()) }
    }

    fn pool(&self) -> &Pool {
        &self.interpreter.pool
    }

    fn checkpoint(&self) -> Result<(), OpError> {
        self.interpreter.outer.map_or(Ok(()), |outer| outer.checkpoint())
    }

    fn body_output(&self, body: usize, output: usize) -> Option<Type> {
        let graph = self.bodies.get(body)?;
        graph.value(*graph.outputs().get(output)?).ty().cloned()
    }

    fn run_body(&self, body: usize, inputs: Vec<Datum>) -> Result<Vec<Datum>, OpError> {
        let graph = self.bodies.get(body).ok_or_else(|| OpError::new(format!("body {body} is missing")))?;
        let all = inputs.into_iter().map(Some).chain(self.captured.iter().cloned()).collect();
        self.interpreter.run(graph, all).map_err(OpError::from)
    }
}
