use crate::memory::{Color, Coloring, Memory, MemoryPlan};
use crate::sink::sink_constants;
use crate::state::States;
use oxidane_graph::{
    Call, Dim, Graph, Id, Inference, Kernel, NodeId, OpError, Place, Problem, Problems, Source, Type, ValueId,
};
use oxidane_tensor::{DType, Datum, Tensor};
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// A graph ready to run: kernels bound, order fixed, memory shared out, bodies compiled as plans of their own.
pub struct Plan {
    graph: Graph,
    pub(crate) steps: Vec<Step>,
    /// Whether there are steps that are worth running at the same time.
    pub(crate) branches: bool,
    /// The steps that depend on each step, by position; and how many each waits for.
    pub(crate) successors: Vec<Vec<usize>>,
    pub(crate) waits: Vec<usize>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<Operand>,
    pub(crate) memory: Arc<Memory>,
    /// For each color, the sizes of the outputs that have it.
    sizes: Vec<Vec<Dim>>,
    /// The symbols that sizes depend on, sorted.
    symbols: Vec<Arc<str>>,
    /// Sizes of which nothing is known.
    unbound: Bound,
    memory_plans: Mutex<Vec<(Bound, Arc<MemoryPlan>)>>,
    /// What runs leave for later ones.
    pub(crate) states: States,
}

/// The sizes of a plan's symbols, in their order; `None` where only a run will tell.
pub(crate) type Bound = SmallVec<[Option<i64>; 8]>;

/// A node, bound.
pub(crate) struct Step {
    pub(crate) node: NodeId,
    pub(crate) kernel: Box<dyn Kernel>,
    /// The slots of the inputs of the op itself, and those that are constant.
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) constants: Vec<Option<Datum>>,
    /// What its bodies capture.
    pub(crate) captures: Vec<Option<Operand>>,
    pub(crate) outputs: Vec<Option<usize>>,
    pub(crate) wanted: Vec<bool>,
    /// The color of each output.
    pub(crate) colors: Vec<Option<Color>>,
    pub(crate) bodies: Vec<Plan>,
    /// Worth a thread of its own.
    pub(crate) heavy: bool,
    /// Heavy, or on the way to a heavy step that waits for nothing else.
    pub(crate) leads: bool,
    /// Steps on the longest way to an output.
    pub(crate) depth: usize,
}

/// Where an input of a step comes from.
#[derive(Clone)]
pub(crate) enum Operand {
    Constant(Tensor),
    Slot(usize),
}

/// An input of the plan.
pub(crate) struct Input {
    pub(crate) slot: usize,
    pub(crate) default: Option<Tensor>,
    pub(crate) value: ValueId,
    /// What a tensor must be, where it is a tensor of known rank.
    asked: Option<Asked>,
}

/// What an input tensor must be, ready to be compared.
struct Asked {
    dtype: DType,
    axes: SmallVec<[Axis; 4]>,
}

enum Axis {
    Known(usize),
    /// The symbol at this place of the plan's own.
    Symbol(usize),
    Any,
}

/// Steps whose weights and outputs are smaller than this are not worth waking a thread for.
const HEAVY_BYTES: i64 = 64 * 1024;

/// Memory plans kept for bindings of the symbols.
const KEPT_PLANS: usize = 32;

impl Plan {
    /// Compiles a graph. Calls of model-local functions are inlined, types inferred, kernels bound.
    ///
    /// # Errors
    /// Lists every node that has no kernel or whose types are wrong.
    pub fn compile(graph: &Graph) -> Result<Plan, Problems> {
        let mut graph = graph.clone();
        oxidane_ops::control::call::inline(&mut graph)
            .map_err(|error| Problems::from(Problem::at("model", error)))?;
        graph.verify()?;
        sink_constants(&mut graph);
        let mut walk = Inference::default();
        walk.graph(&mut graph);
        if !walk.findings.problems.is_empty() {
            return Err(Problems(walk.findings.problems));
        }
        let walk = oxidane_ops::expansion::expand(&mut graph, walk)
            .map_err(|error| Problems::from(Problem::at("model", error)))?;
        if !walk.findings.problems.is_empty() {
            return Err(Problems(walk.findings.problems));
        }
        Plan::bind(graph, &walk)
    }

    fn bind(mut graph: Graph, walk: &Inference) -> Result<Plan, Problems> {
        let order = graph
            .order()
            .map_err(|n| Problem::new(graph.place(n), OpError::new("is on a cycle of the graph")))?;
        let mut problems = Vec::new();
        let mut steps: Vec<Step> = Vec::with_capacity(order.len());
        let mut uses = vec![0; graph.value_bound()];
        let mut dense: HashMap<ValueId, Tensor> = HashMap::new();
        let mut coloring = Coloring::default();
        let mut color_of: Vec<Option<Color>> = vec![None; graph.value_bound()];
        let mut left: Vec<usize> = vec![0; graph.value_bound()];
        for (id, value) in graph.values() {
            left[id.index()] = value.uses().len();
        }
        for &output in graph.outputs() {
            uses[output.index()] += 1;
            left[output.index()] += 1;
        }
        let result_values: BTreeSet<ValueId> = graph.outputs().iter().copied().collect();
        for &id in &order {
            let bodies = graph.take_bodies(id);
            let node = graph.node(id);
            let mut operands = Vec::with_capacity(node.inputs().len());
            for (slot, &input) in node.inputs().iter().enumerate() {
                operands.push(match input {
                    None => None,
                    Some(v) => match graph.value(v).source() {
                        Source::Constant(_) if node.op().packs().contains(&slot) => None,
                        Source::Constant(tensor) => Some(Operand::Constant(match dense.get(&v) {
                            Some(t) => t.clone(),
                            None => {
                                let t = tensor.to_dense().map_err(|e| Problem::new(graph.place(id), e))?;
                                if !tensor.is_dense() {
                                    // The copy takes its place.
                                    tensor.release_pages();
                                }
                                dense.insert(v, t.clone());
                                t
                            }
                        })),
                        _ => {
                            uses[v.index()] += 1;
                            Some(Operand::Slot(v.index()))
                        }
                    },
                });
            }
            let captures = operands.split_off(operands.len() - node.captures());
            let types: Vec<Option<Type>> =
                node.formal_inputs().iter().map(|i| graph.value((*i)?).ty().cloned()).collect();
            let constants: Vec<Option<Tensor>> = node
                .formal_inputs()
                .iter()
                .zip(&operands)
                .map(|(value, operand)| match operand {
                    Some(Operand::Constant(tensor)) => Some(tensor.clone()),
                    _ => walk.constant(&graph, (*value)?).cloned(),
                })
                .collect();
            let wanted: Vec<bool> = node
                .outputs()
                .iter()
                .map(|o| o.is_some_and(|v| !graph.value(v).uses().is_empty() || result_values.contains(&v)))
                .collect();
            let call = Call { inputs: &types, constants: &constants, outputs: &wanted };
            let kernel = match node.op().kernel(&call) {
                Ok(kernel) => Some(kernel),
                Err(error) => {
                    problems.push(Problem::new(graph.place(id), error));
                    None
                }
            };
            let mut plans = Vec::new();
            for (k, body) in bodies.into_iter().enumerate() {
                let mut inner = Inference::default();
                // Types were set when the outer walk went through the body; this walk finds constants again.
                let mut body = body;
                inner.graph(&mut body);
                let expanded = oxidane_ops::expansion::expand(&mut body, inner)
                    .map_err(|error| Problems::from(Problem::at("model", error)));
                match expanded.and_then(|inner| Plan::bind(body, &inner)) {
                    Ok(plan) => plans.push(plan),
                    Err(inner) => {
                        let step = graph.body_path(id, k);
                        problems.extend(inner.0.into_iter().map(|p| p.inside(&step)));
                    }
                }
            }
            let colors = share_memory(&graph, id, &result_values, &mut coloring, &mut color_of, &mut left);
            let node = graph.node(id);
            let bytes = |v: &ValueId| output_bytes(graph.value(*v).ty()).and_then(Dim::as_known);
            // Those that the kernel has packed and that are no operands any more as well.
            let weights = constants.iter().flatten().map(Tensor::byte_len);
            let heavy = !plans.is_empty()
                || weights.max().is_some_and(|b| b >= HEAVY_BYTES as usize)
                || node.outputs().iter().flatten().any(|v| bytes(v).is_none_or(|b| b >= HEAVY_BYTES));
            if let Some(kernel) = kernel {
                let slot = |o: &Option<Operand>| match o {
                    Some(Operand::Slot(slot)) => Some(*slot),
                    _ => None,
                };
                let constant = |o: Option<Operand>| match o {
                    Some(Operand::Constant(tensor)) => Some(tensor.into()),
                    _ => None,
                };
                steps.push(Step {
                    node: id,
                    kernel,
                    inputs: operands.iter().map(slot).collect(),
                    constants: operands.into_iter().map(constant).collect(),
                    captures,
                    outputs: node.outputs().iter().map(|o| o.map(|v| v.index())).collect(),
                    wanted,
                    colors,
                    bodies: plans,
                    heavy,
                    leads: heavy,
                    depth: 0,
                });
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let mut outputs = Vec::new();
        for &v in graph.outputs() {
            outputs.push(match graph.value(v).constant() {
                Some(tensor) => Operand::Constant(tensor.clone()),
                None => Operand::Slot(v.index()),
            });
        }
        let (successors, waits) = dependencies(&steps, graph.value_bound());
        for at in (0..steps.len()).rev() {
            steps[at].depth = successors[at].iter().map(|&s| steps[s].depth + 1).max().unwrap_or(0);
            steps[at].leads |= successors[at].iter().any(|&s| waits[s] == 1 && steps[s].leads);
        }
        let branches = has_branches(&steps, &successors);
        let (sizes, memory) = coloring.finish();
        // Those of the inputs as well: they are compared even where no size depends on them.
        let asked = |&v: &ValueId| graph.value(v).declared().or(graph.value(v).ty());
        let declared = graph.inputs().iter().filter_map(asked).filter_map(|t| t.shape()).flatten();
        let symbols: BTreeSet<Arc<str>> =
            sizes.iter().flatten().chain(declared).flat_map(|d| d.symbols()).collect();
        let symbols: Vec<Arc<str>> = symbols.into_iter().collect();
        let inputs = graph.inputs().iter().map(|&value| Input {
            slot: value.index(),
            default: match graph.value(value).source() {
                Source::Input { default } => default.as_deref().cloned(),
                _ => None,
            },
            value,
            asked: asked(&value).and_then(|ty| Asked::new(ty, &symbols)),
        });
        let inputs: Vec<Input> = inputs.collect();
        Ok(Plan {
            memory: Arc::new(memory),
            states: States::new(&steps, &waits, &uses),
            graph,
            steps,
            branches,
            successors,
            waits,
            inputs,
            outputs,
            sizes,
            unbound: Bound::from_elem(None, symbols.len()),
            symbols,
            memory_plans: Mutex::default(),
        })
    }

    /// The graph that was compiled, without its bodies.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The nodes in the order in which one thread runs them, and the plans of each one's bodies.
    pub fn steps(&self) -> impl Iterator<Item = (NodeId, &[Plan])> {
        self.steps.iter().map(|step| (step.node, &step.bodies[..]))
    }

    /// How many kernels a run calls, those of bodies not counted.
    pub fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// Where a step stands in the model.
    pub(crate) fn place(&self, step: &Step) -> Place {
        self.graph.place(step.node)
    }

    /// The sizes that the inputs give to the symbols of their declared types.
    ///
    /// # Errors
    /// Lists every input that is missing, of another type, or of a shape that does not fit.
    pub(crate) fn bind_symbols(&self, inputs: &[Option<Datum>]) -> Result<Bound, Problems> {
        if let Some(bound) = self.bind_quickly(inputs) {
            return Ok(bound);
        }
        let named = self.bind_by_name(inputs)?;
        Ok(self.symbols.iter().map(|s| named.get(s).copied()).collect())
    }

    /// As [`Plan::bind_symbols`] for tensors that fit, without an allocation; `None` where a closer look is due.
    fn bind_quickly(&self, inputs: &[Option<Datum>]) -> Option<Bound> {
        let mut bound = Bound::from_elem(None, self.symbols.len());
        for (input, given) in self.inputs.iter().zip(inputs) {
            let tensor = match given {
                Some(datum) => datum.as_tensor()?,
                None if input.default.is_some() => continue,
                None => return None,
            };
            let asked = input.asked.as_ref()?;
            if tensor.dtype() != asked.dtype || tensor.rank() != asked.axes.len() {
                return None;
            }
            for (axis, &size) in asked.axes.iter().zip(tensor.shape()) {
                match *axis {
                    Axis::Known(known) if known != size => return None,
                    Axis::Symbol(at) => {
                        let size = i64::try_from(size).ok()?;
                        if *bound[at].get_or_insert(size) != size {
                            return None;
                        }
                    }
                    Axis::Known(_) | Axis::Any => {}
                }
            }
        }
        Some(bound)
    }

    fn bind_by_name(&self, inputs: &[Option<Datum>]) -> Result<HashMap<Arc<str>, i64>, Problems> {
        let mut bound: HashMap<Arc<str>, (i64, String)> = HashMap::new();
        let mut problems = Vec::new();
        for (input, given) in self.inputs.iter().zip(inputs) {
            let value = self.graph.value(input.value);
            let name = value.name();
            let mut say = |what: String, help: String| {
                problems.push(Problem::at(format!("input `{name}`"), OpError::new(what).help(help)));
            };
            let asked = value.declared().or(value.ty());
            let shown = asked.map_or("a value".to_owned(), Type::to_string);
            let Some(datum) = given else {
                if input.default.is_none() {
                    say(format!("is missing; the model needs {shown}"), "give it by this name".into());
                }
                continue;
            };
            let (Some(asked), Some(actual)) = (asked, Type::of(datum)) else { continue };
            if let Err(why) = Type::meet(asked, &actual) {
                say(
                    format!("is {actual}, but the model takes {shown}: {why}"),
                    "convert or reshape it".into(),
                );
                continue;
            }
            let (Some(asked), Some(actual)) = (asked.shape(), actual.shape()) else { continue };
            for (axis, (asked, actual)) in asked.iter().zip(actual).enumerate() {
                let (Some(symbol), Some(size)) = (asked.as_symbol(), actual.as_known()) else { continue };
                if asked.is_unknown() {
                    bound.entry(symbol).or_insert((size, name.to_owned()));
                    continue;
                }
                match bound.get(&symbol) {
                    Some((other, from)) if *other != size => say(
                        format!(
                            "has size {size} on axis {axis}, but `{symbol}` is {other} as input `{from}` has it"
                        ),
                        "sizes of the same name must be equal".into(),
                    ),
                    Some(_) => {}
                    None => drop(bound.insert(symbol, (size, name.to_owned()))),
                }
            }
        }
        if problems.is_empty() {
            Ok(bound.into_iter().map(|(name, (size, _))| (name, size)).collect())
        } else {
            Err(Problems(problems))
        }
    }

    /// Sizes of which nothing is known.
    pub(crate) fn unbound(&self) -> &Bound {
        &self.unbound
    }

    /// What a run takes when the symbols have these sizes; kept for the next run of the same sizes.
    pub(crate) fn memory_plan(&self, bound: &Bound) -> Arc<MemoryPlan> {
        let mut plans = self.memory_plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = plans.iter().find(|(key, _)| key == bound) {
            return plan.clone();
        }
        let value = |name: &str| {
            let at = self.symbols.binary_search_by(|s| (**s).cmp(name)).ok()?;
            bound[at].map(Dim::known)
        };
        let block = |sizes: &Vec<Dim>| {
            let known = sizes.iter().map(|d| d.substitute(&value).as_size());
            known.flatten().max().unwrap_or(0)
        };
        let plan = Arc::new(MemoryPlan { blocks: self.sizes.iter().map(block).collect() });
        if plans.len() >= KEPT_PLANS {
            plans.clear();
        }
        plans.push((bound.clone(), plan.clone()));
        plan
    }

    /// Gives the memory that no run uses back to the system.
    pub(crate) fn trim(&self) {
        self.memory.trim();
        self.states.trim();
        for body in self.steps.iter().flat_map(|s| &s.bodies) {
            body.trim();
        }
    }
}

impl Asked {
    fn new(ty: &Type, symbols: &[Arc<str>]) -> Option<Asked> {
        let tensor = ty.as_tensor()?;
        let axis = |dim: &Dim| {
            if let Some(size) = dim.as_size() {
                return Axis::Known(size);
            }
            let symbol = dim.as_symbol().filter(|_| !dim.is_unknown());
            match symbol.and_then(|s| symbols.binary_search(&s).ok()) {
                Some(at) => Axis::Symbol(at),
                None => Axis::Any,
            }
        };
        Some(Asked { dtype: tensor.dtype, axes: tensor.shape.as_ref()?.iter().map(axis).collect() })
    }
}

/// Colors the outputs of a node and releases the colors of inputs that it is the last to read.
fn share_memory(
    graph: &Graph,
    id: NodeId,
    results: &BTreeSet<ValueId>,
    coloring: &mut Coloring,
    color_of: &mut [Option<Color>],
    left: &mut [usize],
) -> Vec<Option<Color>> {
    let node = graph.node(id);
    for input in node.inputs().iter().flatten() {
        left[input.index()] -= 1;
    }
    let taken_over = node.output(0).filter(|v| !results.contains(v)).and_then(|output| {
        let bytes = output_bytes(graph.value(output).ty())?;
        node.op().in_place().iter().find_map(|&slot| {
            let input = node.formal_inputs().get(slot).copied().flatten()?;
            let same = output_bytes(graph.value(input).ty()) == Some(bytes);
            (same && left[input.index()] == 0).then_some(())?;
            color_of[input.index()].take()
        })
    });
    let mut colors = Vec::with_capacity(node.outputs().len());
    for (slot, output) in node.outputs().iter().enumerate() {
        let Some(v) = *output else {
            colors.push(None);
            continue;
        };
        let bytes = output_bytes(graph.value(v).ty());
        if results.contains(&v) {
            // Not to be released: the caller may keep it.
            colors.push(Some(coloring.result(bytes)));
            continue;
        }
        let color = match taken_over {
            Some(color) if slot == 0 => color,
            _ => coloring.take(bytes),
        };
        color_of[v.index()] = Some(color);
        colors.push(Some(color));
    }
    let spent = node.inputs().iter().chain(node.outputs()).flatten().filter(|v| left[v.index()] == 0);
    for v in spent {
        if let Some(color) = color_of[v.index()].take() {
            coloring.release(color);
        }
    }
    colors
}

/// Bytes of a tensor of this type, where its rank is known and elements are whole bytes.
fn output_bytes(ty: Option<&Type>) -> Option<Dim> {
    let tensor = ty?.as_tensor()?;
    let unit = tensor.dtype.bits() / 8;
    if unit == 0 {
        return None;
    }
    let count = tensor.shape.as_ref()?.iter().fold(Dim::known(1), |n, &d| n * d);
    Some(count * Dim::from(unit))
}

/// Whether two heavy steps do not wait for each other: then not all of them stand on one way.
fn has_branches(steps: &[Step], successors: &[Vec<usize>]) -> bool {
    let mut heavy_from = vec![0usize; steps.len()];
    for at in (0..steps.len()).rev() {
        let behind = successors[at].iter().map(|&s| heavy_from[s]).max().unwrap_or(0);
        heavy_from[at] = behind + usize::from(steps[at].heavy);
    }
    heavy_from.iter().max().copied().unwrap_or(0) < steps.iter().filter(|s| s.heavy).count()
}

fn dependencies(steps: &[Step], slots: usize) -> (Vec<Vec<usize>>, Vec<usize>) {
    let mut maker = vec![usize::MAX; slots];
    for (at, step) in steps.iter().enumerate() {
        for &slot in step.outputs.iter().flatten() {
            maker[slot] = at;
        }
    }
    let mut successors = vec![Vec::new(); steps.len()];
    let mut waits = vec![0; steps.len()];
    for (at, step) in steps.iter().enumerate() {
        let captured = step.captures.iter().flatten().filter_map(|o| match o {
            Operand::Slot(slot) => Some(*slot),
            Operand::Constant(_) => None,
        });
        let slots = step.inputs.iter().flatten().copied().chain(captured);
        let makers: BTreeSet<usize> = slots.map(|slot| maker[slot]).filter(|&m| m != usize::MAX).collect();
        waits[at] = makers.len();
        for maker in makers {
            successors[maker].push(at);
        }
    }
    (successors, waits)
}
