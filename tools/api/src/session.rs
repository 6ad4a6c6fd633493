use oxidane_graph::Problems;
use oxidane_runtime::{Port, RunError, RunOptions};
use oxidane_tensor::Datum;
use std::ops::Index;

/// A model ready to run; made by [`crate::Model::session`]. It may be shared between threads, and its runs may
/// overlap.
pub struct Session {
    inner: oxidane_runtime::Session,
}

impl Session {
    pub(crate) fn new(inner: oxidane_runtime::Session) -> Result<Session, Problems> {
        Ok(Session { inner })
    }

    /// The inputs in order: names and types.
    pub fn inputs(&self) -> &[Port] {
        self.inner.inputs()
    }

    /// The outputs in order: names and types.
    pub fn outputs(&self) -> &[Port] {
        self.inner.outputs()
    }

    /// Runs the model on inputs by name.
    ///
    /// # Errors
    /// Lists every input that is missing, unknown, or of a type or shape that does not fit; or names the node that
    /// failed, or the limit that was exceeded.
    pub fn run<N: AsRef<str>, D: Into<Datum>>(
        &self,
        inputs: impl IntoIterator<Item = (N, D)>,
    ) -> Result<Outputs, RunError> {
        let data = self.inner.run(inputs.into_iter().map(|(name, datum)| (name, datum.into())))?;
        let names = self.outputs().iter().map(|port| port.name.clone());
        Ok(Outputs { items: names.zip(data).collect() })
    }

    /// Runs the model on inputs in order; `None`, or a shorter list, takes the defaults of inputs that have one.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_in_order(&self, inputs: Vec<Option<Datum>>) -> Result<Vec<Datum>, RunError> {
        self.inner.run_with(inputs, RunOptions::default())
    }

    /// As [`Session::run_in_order`], with a switch to cancel the run or an observer of its nodes.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_with(
        &self,
        inputs: Vec<Option<Datum>>,
        options: RunOptions<'_>,
    ) -> Result<Vec<Datum>, RunError> {
        self.inner.run_with(inputs, options)
    }

    /// The session of the runtime, for what is not offered here.
    pub fn runtime(&self) -> &oxidane_runtime::Session {
        &self.inner
    }
}

/// The outputs of a run, in order and by name.
#[derive(Debug, Clone)]
pub struct Outputs {
    items: Vec<(String, Datum)>,
}

impl Outputs {
    /// The output of a name.
    pub fn get(&self, name: &str) -> Option<&Datum> {
        self.items.iter().find(|(n, _)| n == name).map(|(_, datum)| datum)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Datum)> {
        self.items.iter().map(|(name, datum)| (name.as_str(), datum))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the model has no outputs.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl IntoIterator for Outputs {
    type Item = (String, Datum);
    type IntoIter = std::vec::IntoIter<(String, Datum)>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl Index<&str> for Outputs {
    type Output = Datum;

    /// # Panics
    /// When there is no output of that name; [`Outputs::get`] does not panic.
    fn index(&self, name: &str) -> &Datum {
        self.get(name).unwrap_or_else(|| panic!("no output is called `{name}`"))
    }
}
