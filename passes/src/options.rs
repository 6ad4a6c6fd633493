use std::collections::BTreeSet;

/// How much is rewritten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing.
    None,
    /// What every runtime gains from, in standard operators of any opset: dead code, no-ops, chains, common
    /// subexpressions, constants, and arithmetic that goes into weights, which may change their last bits.
    Basic,
    /// Everything; fused operators may round differently.
    #[default]
    Full,
}

/// What [`crate::optimize`] does, and within which bounds.
#[derive(Debug, Clone)]
pub struct Options {
    level: Level,
    off: BTreeSet<&'static str>,
    pub(crate) bounds: Bounds,
    /// No rewrite begins after so many.
    pub(crate) limit: usize,
}

/// The byte budgets of constant folding and of fusions that compute new constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// A folded tensor that makes the model larger takes at most so many bytes.
    pub(crate) tensor: usize,
    /// The model's constants grow by at most so many bytes in all.
    pub(crate) growth: usize,
    /// Folding one node may allocate so many bytes.
    pub(crate) work: usize,
}

/// A name that no pass has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no pass `{name}`; the passes are {}", .known.join(", "))]
pub struct UnknownPass {
    /// The name.
    pub name: String,
    /// The names that there are.
    pub known: Vec<&'static str>,
}

impl Default for Options {
    fn default() -> Options {
        Options::level_of(Level::Full)
    }
}

impl Options {
    /// All passes of a level but those that must be asked for. Folding may add 8 MiB of constants in all, none of them larger than 4 MiB.
    pub fn level_of(level: Level) -> Options {
        let bounds = Bounds { tensor: 4 << 20, growth: 8 << 20, work: 1 << 30 };
        let off = crate::passes().iter().filter(|p| !p.by_default).map(|p| p.name).collect();
        Options { level, off, bounds, limit: usize::MAX }
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Switches a pass off.
    ///
    /// # Errors
    /// When no pass has that name; the error lists those that there are.
    pub fn without(mut self, name: &str) -> Result<Options, UnknownPass> {
        self.off.insert(known(name)?);
        Ok(self)
    }

    /// Switches a pass on that must be asked for. It still runs at its level only.
    ///
    /// # Errors
    /// When no pass has that name; the error lists those that there are.
    pub fn with(mut self, name: &str) -> Result<Options, UnknownPass> {
        self.off.remove(known(name)?);
        Ok(self)
    }

    /// Switches every pass off but those named.
    ///
    /// # Errors
    /// When no pass has one of the names.
    pub fn only(mut self, names: &[&str]) -> Result<Options, UnknownPass> {
        self.off = crate::passes().iter().map(|p| p.name).collect();
        names.iter().try_fold(self, |options, name| options.with(name))
    }

    /// Bounds by how many bytes folding may make the model's constants grow: `tensor` for a single result that
    /// is larger than the constants it makes superfluous, `total` for all together. Zero folds only what
    /// becomes smaller.
    pub fn fold_growth(mut self, tensor: usize, total: usize) -> Options {
        self.bounds.tensor = tensor;
        self.bounds.growth = total;
        self
    }

    /// Bounds how many bytes the evaluation of one node may allocate.
    pub fn fold_work(mut self, bytes: usize) -> Options {
        self.bounds.work = bytes;
        self
    }

    /// Stops after so many rewrites, counted as in [`Report::fired`](crate::Report::fired); a sweep over the whole graph
    /// ends what it began. Runs with a smaller limit do what a run with a larger one does first.
    pub fn limit(mut self, rewrites: usize) -> Options {
        self.limit = rewrites;
        self
    }

    /// Whether a pass is switched on.
    pub fn has(&self, name: &str) -> bool {
        !self.off.contains(name)
    }
}

/// The name as the passes spell it.
fn known(name: &str) -> Result<&'static str, UnknownPass> {
    let known: Vec<&'static str> = crate::passes().iter().map(|p| p.name).collect();
    match known.iter().find(|k| **k == name) {
        Some(name) => Ok(name),
        None => Err(UnknownPass { name: name.to_owned(), known }),
    }
}
