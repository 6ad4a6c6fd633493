use std::fmt;

/// What an operator says of an error: what is wrong and what to do. Whoever calls the operator knows where it
/// stands and adds that (see [`Problem`]). Any error becomes one by `?`.
#[derive(Debug, Clone)]
pub struct OpError {
    what: String,
    help: Option<String>,
    unsupported: bool,
    stop: Option<Stop>,
    /// The problem inside a body, which knows its place better than the node that holds the body.
    inner: Option<Box<Place>>,
}

/// Why a run was stopped from outside the operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody cancelled it.
    Cancelled,
    /// It ran out of a budget: time, memory, iterations.
    Budget,
}

impl OpError {
    /// An error in the model or its input.
    pub fn new(what: impl Into<String>) -> OpError {
        OpError { what: what.into(), help: None, unsupported: false, stop: None, inner: None }
    }

    /// Something that is allowed by the standard but cannot be done here; the text names it.
    pub fn unsupported(what: impl Into<String>) -> OpError {
        OpError { unsupported: true, ..OpError::new(what) }
    }

    /// A run that was stopped.
    pub fn stopped(stop: Stop, what: impl Into<String>) -> OpError {
        OpError { stop: Some(stop), ..OpError::new(what) }
    }

    /// A problem inside a body of the node, on its way out through the node's kernel.
    pub fn inside(problem: Problem) -> OpError {
        OpError { inner: Some(problem.place), ..problem.error }
    }

    /// The problem with the place it happened at, where it happened inside a body.
    ///
    /// # Errors
    /// Gives the error back where it is the node's own.
    pub fn into_inner(mut self) -> Result<Problem, OpError> {
        match self.inner.take() {
            Some(place) => Ok(Problem { place, error: self }),
            None => Err(self),
        }
    }

    /// Adds advice.
    pub fn help(mut self, advice: impl Into<String>) -> OpError {
        self.help = Some(advice.into());
        self
    }

    /// What is wrong.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Whether the engine, not the model, is at fault.
    pub fn is_unsupported(&self) -> bool {
        self.unsupported
    }

    /// Whether and why the run was stopped from outside.
    pub fn stop(&self) -> Option<Stop> {
        self.stop
    }
}

/// `OpError` is not a `std::error::Error` itself, so that every error can turn into one with `?`.
impl<E: std::error::Error> From<E> for OpError {
    fn from(error: E) -> OpError {
        OpError::new(error.to_string())
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

/// Where in a model something is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The way from the main graph through nodes' bodies: `loop1.body`, outermost first.
    pub path: Vec<String>,
    /// The node's position in its graph.
    pub index: Option<usize>,
    /// The node's name, where it has one.
    pub node: String,
    /// The operator, with its domain unless that is the default one.
    pub op: String,
    /// Names and types of the node's inputs.
    pub inputs: Vec<String>,
    /// The pass that made the node, where it is not from the file.
    pub origin: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.path {
            write!(f, "{step}/")?;
        }
        match self.index {
            Some(index) => {
                write!(f, "node {index}")?;
                if !self.node.is_empty() {
                    write!(f, " `{}`", self.node)?;
                }
                write!(f, " ({})", self.op)?;
            }
            None if self.node.is_empty() => f.write_str("model")?,
            None => f.write_str(&self.node)?,
        }
        if !self.origin.is_empty() {
            write!(f, " made by {}", self.origin)?;
        }
        Ok(())
    }
}

/// Something wrong with a model, and where.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Where.
    pub place: Box<Place>,
    /// What, and what to do.
    pub error: OpError,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: Place, error: impl Into<OpError>) -> Problem {
        Problem { place: Box::new(place), error: error.into() }
    }

    /// A problem of the whole model, or of what `place` names in words.
    pub fn at(place: impl Into<String>, error: impl Into<OpError>) -> Problem {
        Problem::new(Place { node: place.into(), ..Place::default() }, error)
    }

    /// The same problem, seen from outside the body `step`.
    pub fn inside(mut self, step: &str) -> Problem {
        self.place.path.insert(0, step.to_owned());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.error.what())?;
        if !self.place.inputs.is_empty() {
            write!(f, "\n  inputs: {}", self.place.inputs.join(", "))?;
        }
        if let Some(help) = self.error.advice() {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// Everything wrong with a model, at least one problem.
#[derive(Debug, Clone)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems(vec![problem])
    }
}
