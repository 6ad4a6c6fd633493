use crate::memory::{MemoryPlan, over_budget};
use crate::plan::{Plan, Step};
use crate::state::{Hands, State, Values};
use oxidane_graph::{Graph, Host, NodeId, OpError, Place, Problem, Run, Stop, Type};
use oxidane_pool::{Pool, Stop as StopLoops, Tasks};
use oxidane_tensor::{Buffer, Datum};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a run may use at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of memory for what nodes compute, weights and inputs not counted.
    pub memory: usize,
    /// Time from start to end.
    pub time: Option<Duration>,
    /// Runs of loop bodies, all loops together.
    pub iterations: u64,
}

impl Default for Limits {
    /// No limit of time; as many iterations as a long sequence needs; memory that a large machine has.
    fn default() -> Limits {
        Limits { memory: isize::MAX as usize, time: None, iterations: u64::MAX }
    }
}

/// A switch that stops runs from another thread; clones are the same switch.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops every run that has this switch, as soon as it looks.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was thrown.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Something that is told of every node that ran.
pub trait Observer: Sync {
    /// A node of the main graph or of a body ran; it is told on the thread that the node ran on.
    fn node(&self, event: NodeEvent<'_>);
}

/// A node that ran.
pub struct NodeEvent<'a> {
    /// The graph that was compiled, or the body.
    pub graph: &'a Graph,
    /// The node in it.
    pub node: NodeId,
    /// When its kernel began.
    pub start: Instant,
    /// How long its kernel took.
    pub time: Duration,
    /// Its outputs; `None` for those nobody asked for.
    pub outputs: &'a [Option<Datum>],
}

impl NodeEvent<'_> {
    /// Where it stands.
    pub fn place(&self) -> Place {
        self.graph.place(self.node)
    }
}

/// What all parts of one run share.
pub(crate) struct Context<'a> {
    /// Its loops stop where the run stops.
    pub(crate) pool: Pool,
    /// Whether anything could stop the run.
    pub(crate) stops: bool,
    pub(crate) limits: Limits,
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: Option<&'a Cancel>,
    pub(crate) iterations: AtomicU64,
    pub(crate) observer: Option<&'a dyn Observer>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        pool: &Pool,
        limits: Limits,
        cancel: Option<&'a Cancel>,
        observer: Option<&'a dyn Observer>,
    ) -> Context<'a> {
        let deadline = limits.time.and_then(|t| Instant::now().checked_add(t));
        let stop = StopLoops::new(cancel.map(|c| c.0.clone()), deadline);
        Context {
            pool: pool.with_stop(stop),
            stops: cancel.is_some() || deadline.is_some(),
            limits,
            deadline,
            cancel,
            iterations: AtomicU64::new(limits.iterations),
            observer,
        }
    }

    fn checkpoint(&self) -> Result<(), OpError> {
        if self.cancel.is_some_and(Cancel::is_cancelled) {
            return Err(OpError::stopped(Stop::Cancelled, "the run was cancelled"));
        }
        if self.deadline.is_some_and(|d| Instant::now() >= d) {
            let limit = self.limits.time.unwrap_or_default();
            return Err(OpError::stopped(Stop::Budget, format!("the run took more than {limit:?}"))
                .help("raise the time limit"));
        }
        Ok(())
    }
}

/// The state of a run of `plan` that begins, on inputs in its order of inputs; `None` takes a default.
pub(crate) fn begin(plan: &Plan, inputs: impl Iterator<Item = Option<Datum>>) -> State {
    let mut state = plan.states.take();
    for (input, given) in plan.inputs.iter().zip(inputs) {
        state.set(input.slot, given.or_else(|| input.default.clone().map(Datum::Tensor)));
    }
    state
}

/// Runs a plan whose inputs are in `state`, and puts the outputs into `outputs`.
pub(crate) fn run(
    plan: &Plan,
    mut state: State,
    outputs: &mut Vec<Datum>,
    memory: &MemoryPlan,
    context: &Context<'_>,
) -> Result<(), Problem> {
    let _entered = plan.memory.enter();
    let task = Task { plan, memory, context };
    let result = if plan.branches && context.pool.width() > 1 {
        task.dataflow(&state)
    } else {
        let mut hands = plan.states.hands();
        let result = plan.steps.iter().try_for_each(|step| task.step(step, &mut state, &mut hands));
        hands.keep();
        result
    };
    let result = result.and_then(|()| {
        let missing = || Problem::at("output", OpError::new("a graph output has no value"));
        outputs.clear();
        for output in &plan.outputs {
            outputs.push(state.operand(output).ok_or_else(missing)?);
        }
        Ok(())
    });
    plan.states.put_back(state);
    result
}

struct Task<'a> {
    plan: &'a Plan,
    memory: &'a MemoryPlan,
    context: &'a Context<'a>,
}

impl Task<'_> {
    fn step(&self, step: &Step, values: &mut impl Values, hands: &mut Hands) -> Result<(), Problem> {
        let fail = |error: OpError| {
            error.into_inner().unwrap_or_else(|error| Problem::new(self.plan.place(step), error))
        };
        if self.context.stops {
            self.context.checkpoint().map_err(fail)?;
        }
        let mut captures = std::mem::take(&mut hands.captures);
        captures.extend(step.captures.iter().map(|o| values.operand(o.as_ref()?)));
        let host = StepHost { task: self, step, captures };
        let start = self.context.observer.map(|_| Instant::now());
        let mut inputs = std::mem::take(&mut hands.inputs);
        inputs.extend(step.inputs.iter().map(|slot| values.fetch((*slot)?)));
        let outputs = std::mem::take(&mut hands.outputs);
        let mut call = Run::over(inputs, &step.constants, outputs, &step.wanted, &host);
        let result = step.kernel.run(&mut call);
        (hands.inputs, hands.outputs) = call.into_parts();
        hands.inputs.clear();
        hands.captures = host.captures;
        hands.captures.clear();
        // A kernel whose loops were stopped has left part of its outputs unwritten.
        if self.context.stops {
            self.context.checkpoint().map_err(fail)?;
        }
        result.map_err(fail)?;
        if let (Some(observer), Some(start)) = (self.context.observer, start) {
            let (time, graph) = (start.elapsed(), self.plan.graph());
            observer.node(NodeEvent { graph, node: step.node, start, time, outputs: &hands.outputs });
        }
        for ((slot, datum), wanted) in step.outputs.iter().zip(&mut hands.outputs).zip(&step.wanted) {
            let (Some(slot), true) = (slot, wanted) else { continue };
            if datum.is_none() {
                return Err(fail(OpError::new("the kernel left an output unset")));
            }
            values.set(*slot, datum.take());
        }
        hands.outputs.clear();
        Ok(())
    }

    /// Runs steps as their inputs become ready. A strand goes on with light steps itself and leaves heavy ones
    /// beyond the first to other threads, longest way to an output first.
    fn dataflow(&self, state: &State) -> Result<(), Problem> {
        let failure = Mutex::new(None);
        let flow = Flow { task: self, state, failure: &failure, failed: &AtomicBool::new(false) };
        {
            let mut ready = state.ready.lock().unwrap_or_else(PoisonError::into_inner);
            ready.extend((0..self.plan.waits.len()).filter(|&s| self.plan.waits[s] == 0));
        }
        self.context.pool.tasks(&|tasks| flow.strand(tasks));
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, problem)) => Err(problem),
            None => Ok(()),
        }
    }
}

struct Flow<'a> {
    task: &'a Task<'a>,
    state: &'a State,
    /// The failure of the step that stands first.
    failure: &'a Mutex<Option<(usize, Problem)>>,
    failed: &'a AtomicBool,
}

impl Flow<'_> {
    /// Runs one step after the other, as long as there is one that is ready.
    fn strand(&self, tasks: &Tasks<'_>) {
        let plan = self.task.plan;
        let mut next = None;
        let mut hands = plan.states.hands();
        while let Some(at) = next.take().or_else(|| self.take(tasks)) {
            if self.failed.load(Ordering::Relaxed) {
                return;
            }
            if let Err(problem) = self.task.step(&plan.steps[at], &mut &*self.state, &mut hands) {
                self.failed.store(true, Ordering::Relaxed);
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                if failure.as_ref().is_none_or(|(other, _)| at < *other) {
                    *failure = Some((at, problem));
                }
                return;
            }
            let mut others = None;
            for &ready in &plan.successors[at] {
                if self.state.waits[ready].fetch_sub(1, Ordering::AcqRel) != 1 {
                    continue;
                }
                // A chain of steps needs no list.
                let Some(first) = next.replace(ready) else { continue };
                let others = others
                    .get_or_insert_with(|| self.state.ready.lock().unwrap_or_else(PoisonError::into_inner));
                others.push(first);
            }
            if let Some(mut others) = others {
                others.extend(next);
                next = self.choose(&mut others, tasks);
            }
        }
        hands.keep();
    }

    fn take(&self, tasks: &Tasks<'_>) -> Option<usize> {
        let mut ready = self.state.ready.lock().unwrap_or_else(PoisonError::into_inner);
        self.choose(&mut ready, tasks)
    }

    /// A light step if there is one, else the heavy step with the longest way. Where steps are left that are heavy or
    /// lead to such, another thread is asked in.
    fn choose(&self, ready: &mut Vec<usize>, tasks: &Tasks<'_>) -> Option<usize> {
        let steps = &self.task.plan.steps;
        let best = (0..ready.len()).max_by_key(|&i| {
            let step = &steps[ready[i]];
            (!step.heavy, step.depth, std::cmp::Reverse(ready[i]))
        })?;
        let own = ready.swap_remove(best);
        if ready.iter().any(|&s| steps[s].leads) {
            tasks.add();
        }
        Some(own)
    }
}

struct StepHost<'a> {
    task: &'a Task<'a>,
    step: &'a Step,
    captures: Vec<Option<Datum>>,
}

impl Host for StepHost<'_> {
    fn allocate(&self, output: usize, bytes: usize) -> Result<Buffer, OpError> {
        self.afford(bytes)?;
        let limit = self.task.context.limits.memory;
        match self.step.colors.get(output).copied().flatten() {
            Some(color) => {
                let planned = self.task.memory.blocks.get(color).copied().unwrap_or(0);
                self.task.plan.memory.take(color, bytes, planned, limit)
            }
            // An output of an interpreter inside of a kernel, or of unknown type.
            None => self.task.plan.memory.scratch(bytes),
        }
    }

    fn scratch(&self, bytes: usize) -> Result<Buffer, OpError> {
        self.afford(bytes)?;
        self.task.plan.memory.scratch(bytes)
    }

    fn afford(&self, bytes: usize) -> Result<(), OpError> {
        let limit = self.task.context.limits.memory;
        if bytes > limit { Err(over_budget(bytes, limit)) } else { Ok(()) }
    }

    fn pool(&self) -> &Pool {
        &self.task.context.pool
    }

    fn checkpoint(&self) -> Result<(), OpError> {
        self.task.context.checkpoint()
    }

    fn body_output(&self, body: usize, output: usize) -> Option<Type> {
        let graph = self.step.bodies.get(body)?.graph();
        graph.value(*graph.outputs().get(output)?).ty().cloned()
    }

    fn run_body(&self, body: usize, mut inputs: Vec<Datum>) -> Result<Vec<Datum>, OpError> {
        let plan =
            self.step.bodies.get(body).ok_or_else(|| OpError::new(format!("body {body} is missing")))?;
        let context = self.task.context;
        context
            .iterations
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .map_err(|_| {
                let limit = context.limits.iterations;
                OpError::stopped(Stop::Budget, format!("loops ran more than {limit} iterations"))
                    .help("raise the limit of iterations")
            })?;
        let all = inputs.drain(..).map(Some).chain(self.captures.iter().cloned());
        let state = begin(plan, all);
        // The list, now empty, is that of the outputs.
        let mut outputs = inputs;
        let memory = plan.memory_plan(plan.unbound());
        let step = || self.task.plan.graph().body_path(self.step.node, body);
        run(plan, state, &mut outputs, &memory, context).map_err(|p| OpError::inside(p.inside(&step())))?;
        Ok(outputs)
    }
}
