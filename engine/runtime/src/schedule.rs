use crate::memory::{MemoryPlan, over_budget};
use crate::plan::{Operand, Plan, Step};
use oxidane_graph::{Host, OpError, Place, Problem, Run, Stop, Type};
use oxidane_pool::{Pool, Scope};
use oxidane_tensor::{Buffer, Datum};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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
    /// A node of the main graph ran.
    fn node(&self, event: NodeEvent<'_>);
}

/// A node that ran.
pub struct NodeEvent<'a> {
    /// Where it stands.
    pub place: &'a Place,
    /// How long its kernel took.
    pub time: Duration,
    /// Its outputs; `None` for those nobody asked for.
    pub outputs: &'a [Option<Datum>],
}

/// What all parts of one run share.
pub(crate) struct Context<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) limits: Limits,
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: Option<&'a Cancel>,
    pub(crate) iterations: AtomicU64,
    pub(crate) observer: Option<&'a dyn Observer>,
}

impl Context<'_> {
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

/// The values of one run, by slot.
struct Values {
    cells: Vec<Mutex<Option<Datum>>>,
    left: Vec<AtomicUsize>,
}

impl Values {
    /// The datum of an operand; moved out where this is its last use.
    fn fetch(&self, operand: &Operand) -> Option<Datum> {
        match operand {
            Operand::Constant(tensor) => Some(tensor.clone().into()),
            Operand::Slot(slot) => {
                let last = self.left[*slot].fetch_sub(1, Ordering::AcqRel) == 1;
                let mut cell = self.cells[*slot].lock().unwrap_or_else(PoisonError::into_inner);
                if last { cell.take() } else { cell.clone() }
            }
        }
    }

    fn set(&self, slot: usize, datum: Option<Datum>) {
        *self.cells[slot].lock().unwrap_or_else(PoisonError::into_inner) = datum;
    }
}

/// Runs a plan on inputs in its order of inputs; `None` takes a default.
pub(crate) fn run(
    plan: &Plan,
    inputs: Vec<Option<Datum>>,
    memory: &MemoryPlan,
    context: &Context<'_>,
    parallel: bool,
) -> Result<Vec<Datum>, Problem> {
    let values = Values {
        cells: (0..plan.uses.len()).map(|_| Mutex::new(None)).collect(),
        left: plan.uses.iter().map(|&n| AtomicUsize::new(n)).collect(),
    };
    for (input, given) in plan.inputs.iter().zip(inputs) {
        values.set(input.slot, given.or_else(|| input.default.clone().map(Datum::Tensor)));
    }
    let task = Task { plan, values: &values, memory, context };
    if parallel && context.pool.width() > 1 {
        task.dataflow()?;
    } else {
        for step in &plan.steps {
            task.step(step)?;
        }
    }
    let missing = || Problem::at("output", OpError::new("a graph output has no value"));
    plan.outputs.iter().map(|o| values.fetch(o).ok_or_else(missing)).collect()
}

struct Task<'a> {
    plan: &'a Plan,
    values: &'a Values,
    memory: &'a MemoryPlan,
    context: &'a Context<'a>,
}

impl Task<'_> {
    fn step(&self, step: &Step) -> Result<(), Problem> {
        let fail = |error: OpError| {
            error.into_inner().unwrap_or_else(|error| Problem::new(self.plan.place(step), error))
        };
        self.context.checkpoint().map_err(fail)?;
        let fetch = |o: &Option<Operand>| o.as_ref().and_then(|o| self.values.fetch(o));
        let inputs: Vec<Option<Datum>> = step.inputs.iter().map(fetch).collect();
        let captures: Vec<Option<Datum>> = step.captures.iter().map(fetch).collect();
        let host = StepHost { task: self, step, captures };
        let start = self.context.observer.map(|_| Instant::now());
        let mut call = Run::new(inputs, &step.wanted, &host);
        step.kernel.run(&mut call).map_err(fail)?;
        let outputs = call.into_outputs();
        if let (Some(observer), Some(start)) = (self.context.observer, start) {
            let (time, place) = (start.elapsed(), self.plan.place(step));
            observer.node(NodeEvent { place: &place, time, outputs: &outputs });
        }
        for ((slot, datum), wanted) in step.outputs.iter().zip(outputs).zip(&step.wanted) {
            let (Some(slot), true) = (slot, wanted) else { continue };
            if datum.is_none() {
                return Err(fail(OpError::new("the kernel left an output unset")));
            }
            self.values.set(*slot, datum);
        }
        Ok(())
    }

    /// Runs steps as their inputs become ready. A strand goes on with light steps itself and leaves heavy ones
    /// beyond the first to other threads, longest way to an output first.
    fn dataflow(&self) -> Result<(), Problem> {
        let waits: Vec<AtomicUsize> = self.plan.waits.iter().map(|&n| AtomicUsize::new(n)).collect();
        let failure: Mutex<Option<(usize, Problem)>> = Mutex::new(None);
        let failed = AtomicBool::new(false);
        let flow = Flow { task: self, waits: &waits, failure: &failure, failed: &failed };
        let ready: Vec<usize> = (0..waits.len()).filter(|&s| self.plan.waits[s] == 0).collect();
        self.context.pool.scope(|scope| flow.strand(ready, scope));
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, problem)) => Err(problem),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Copy)]
struct Flow<'a> {
    task: &'a Task<'a>,
    waits: &'a [AtomicUsize],
    failure: &'a Mutex<Option<(usize, Problem)>>,
    failed: &'a AtomicBool,
}

impl<'a> Flow<'a> {
    fn strand<'env>(self, mut ready: Vec<usize>, scope: &Scope<'_, 'env>)
    where
        'a: 'env,
    {
        let steps = &self.task.plan.steps;
        while let Some(at) = self.next(&mut ready, scope) {
            if self.failed.load(Ordering::Relaxed) {
                return;
            }
            if let Err(problem) = self.task.step(&steps[at]) {
                self.failed.store(true, Ordering::Relaxed);
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                // Of several failures the one that stands first is reported.
                if failure.as_ref().is_none_or(|(other, _)| at < *other) {
                    *failure = Some((at, problem));
                }
                return;
            }
            for &next in &self.task.plan.successors[at] {
                if self.waits[next].fetch_sub(1, Ordering::AcqRel) == 1 {
                    ready.push(next);
                }
            }
        }
    }

    /// Takes a light step if there is one, else the heavy step with the longest way; other heavy steps start
    /// strands of their own.
    fn next<'env>(self, ready: &mut Vec<usize>, scope: &Scope<'_, 'env>) -> Option<usize>
    where
        'a: 'env,
    {
        let steps = &self.task.plan.steps;
        if let Some(light) = ready.iter().position(|&s| !steps[s].heavy) {
            return Some(ready.swap_remove(light));
        }
        let longest =
            (0..ready.len()).max_by_key(|&i| (steps[ready[i]].depth, std::cmp::Reverse(ready[i])))?;
        let own = ready.swap_remove(longest);
        for other in ready.drain(..) {
            scope.spawn(move |scope| self.strand(vec![other], scope));
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
            None => Ok(Buffer::zeroed(bytes)?),
        }
    }

    fn afford(&self, bytes: usize) -> Result<(), OpError> {
        let limit = self.task.context.limits.memory;
        if bytes > limit { Err(over_budget(bytes, limit)) } else { Ok(()) }
    }

    fn pool(&self) -> &Pool {
        self.task.context.pool
    }

    fn checkpoint(&self) -> Result<(), OpError> {
        self.task.context.checkpoint()
    }

    fn body_output(&self, body: usize, output: usize) -> Option<Type> {
        let graph = self.step.bodies.get(body)?.graph();
        graph.value(*graph.outputs().get(output)?).ty().cloned()
    }

    fn run_body(&self, body: usize, inputs: Vec<Datum>) -> Result<Vec<Datum>, OpError> {
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
        let all = inputs.into_iter().map(Some).chain(self.captures.iter().cloned()).collect();
        let memory = plan.memory_plan(&Default::default());
        let step = || self.task.plan.graph().body_path(self.step.node, body);
        run(plan, all, &memory, context, false).map_err(|p| OpError::inside(p.inside(&step())))
    }
}
