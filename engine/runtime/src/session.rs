use crate::plan::Plan;
use crate::schedule::{self, Cancel, Context, Limits, Observer};
use crate::{MemoryPlan, RunError};
use oxidane_graph::{Graph, OpError, Problem, Problems, Stop, Type};
use oxidane_pool::Pool;
use oxidane_tensor::Datum;
use std::sync::Arc;

/// How a session runs.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// Threads to use; 0 takes one for each processor that the process may use.
    pub threads: usize,
    /// What each run may use.
    pub limits: Limits,
}

/// What one run asks for beyond its inputs.
#[derive(Clone, Copy, Default)]
pub struct RunOptions<'a> {
    /// Stops the run from outside.
    pub cancel: Option<&'a Cancel>,
    /// Is told of every node.
    pub observer: Option<&'a dyn Observer>,
}

/// An input or output of a session.
#[derive(Debug, Clone)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its type, as far as it is known.
    pub ty: Option<Type>,
    /// Whether a run may leave it out.
    pub optional: bool,
}

/// A compiled model and what it runs on. Runs of one session may overlap in time.
pub struct Session {
    plan: Plan,
    pool: Pool,
    limits: Limits,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl Session {
    /// Compiles a graph.
    ///
    /// # Errors
    /// Lists everything that keeps it from running, with places.
    pub fn new(graph: &Graph, options: &SessionOptions) -> Result<Session, Problems> {
        let plan = Plan::compile(graph)?;
        let port = |g: &Graph, id, optional| {
            let value = g.value(id);
            Port { name: value.name().to_owned(), ty: value.declared().or(value.ty()).cloned(), optional }
        };
        let compiled = plan.graph();
        let inputs = plan.inputs.iter().map(|i| port(compiled, i.value, i.default.is_some())).collect();
        let outputs = compiled.outputs().iter().map(|&id| port(compiled, id, false)).collect();
        Ok(Session { inputs, outputs, pool: Pool::new(options.threads), limits: options.limits, plan })
    }

    /// The inputs in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The outputs in order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The compiled model.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Threads that a run uses at most.
    pub fn threads(&self) -> usize {
        self.pool.width()
    }

    /// Runs the model on named inputs and gives its outputs in order.
    ///
    /// # Errors
    /// When inputs are missing, unknown or do not fit, a node fails, or a limit is exceeded.
    pub fn run<N: AsRef<str>>(
        &self,
        inputs: impl IntoIterator<Item = (N, Datum)>,
    ) -> Result<Vec<Datum>, RunError> {
        let mut slots: Vec<Option<Datum>> = vec![None; self.inputs.len()];
        let mut problems = Vec::new();
        for (name, datum) in inputs {
            let name = name.as_ref();
            match self.inputs.iter().position(|p| p.name == name) {
                Some(at) => slots[at] = Some(datum),
                None => {
                    let known: Vec<&str> = self.inputs.iter().map(|p| p.name.as_str()).collect();
                    let error = OpError::new("is not an input of the model");
                    let help = if known.is_empty() {
                        "it takes none".to_owned()
                    } else {
                        format!("it takes {}", known.join(", "))
                    };
                    problems.push(Problem::at(format!("input `{name}`"), error.help(help)));
                }
            }
        }
        if !problems.is_empty() {
            return Err(RunError::Inputs(Problems(problems)));
        }
        self.run_with(slots, RunOptions::default())
    }

    /// Runs the model on inputs in order (`None` takes the default of an input that has one).
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_with(
        &self,
        mut inputs: Vec<Option<Datum>>,
        options: RunOptions<'_>,
    ) -> Result<Vec<Datum>, RunError> {
        let mut outputs = Vec::new();
        if inputs.len() < self.inputs.len() {
            inputs.resize(self.inputs.len(), None);
        }
        self.run_into(&mut inputs, options, &mut outputs)?;
        Ok(outputs)
    }

    /// As [`Session::run_with`], into a list that is used again: a run whose inputs have the sizes of an earlier one,
    /// and whose earlier outputs were dropped, allocates nothing. The inputs are taken out of their list, even where
    /// the run fails; the outputs are then none.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_into(
        &self,
        inputs: &mut [Option<Datum>],
        options: RunOptions<'_>,
        outputs: &mut Vec<Datum>,
    ) -> Result<(), RunError> {
        outputs.clear();
        if inputs.len() != self.inputs.len() {
            let error =
                OpError::new(format!("takes {} inputs, but {} are given", self.inputs.len(), inputs.len()));
            return Err(RunError::Inputs(Problem::at("model", error).into()));
        }
        let bound = self.plan.bind_symbols(inputs).map_err(RunError::Inputs)?;
        let memory = self.plan.memory_plan(&bound);
        self.check_memory(&memory)?;
        let context = Context::new(&self.pool, self.limits, options.cancel, options.observer);
        let state = schedule::begin(&self.plan, inputs.iter_mut().map(Option::take));
        let result = schedule::run(&self.plan, state, outputs, &memory, &context);
        if result.is_err() {
            outputs.clear();
        }
        Ok(result?)
    }

    /// What a run on inputs like these takes for what its nodes compute, before it starts.
    ///
    /// # Errors
    /// When the inputs do not fit.
    pub fn memory_for(&self, inputs: &[Option<Datum>]) -> Result<Arc<MemoryPlan>, RunError> {
        let bound = self.plan.bind_symbols(inputs).map_err(RunError::Inputs)?;
        Ok(self.plan.memory_plan(&bound))
    }

    fn check_memory(&self, memory: &MemoryPlan) -> Result<(), RunError> {
        let (needed, limit) = (memory.bytes(), self.limits.memory);
        if needed <= limit {
            return Ok(());
        }
        let error = OpError::stopped(
            Stop::Budget,
            format!("a run on these inputs needs {needed} bytes, but the memory limit is {limit}"),
        );
        Err(Problem::at("model", error.help("raise the limit, or use smaller inputs")).into())
    }

    /// Gives memory that is kept for the next run back to the system.
    pub fn trim(&self) {
        self.plan.trim();
    }
}
