use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What makes loops end early: a switch that another thread may throw, and a deadline.
///
/// A loop that was stopped leaves tasks undone; whoever gave the handle asks [`Stop::asked`] afterwards and throws
/// the results away.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    switch: Option<Arc<AtomicBool>>,
    deadline: Option<Instant>,
}

impl Stop {
    /// Stops when `switch` is thrown or at `deadline`, whichever is first.
    pub fn new(switch: Option<Arc<AtomicBool>>, deadline: Option<Instant>) -> Stop {
        Stop { switch, deadline }
    }

    /// Whether there is anything that could stop a loop.
    pub(crate) fn can(&self) -> bool {
        self.switch.is_some() || self.deadline.is_some()
    }

    /// Whether loops are to end.
    pub fn asked(&self) -> bool {
        self.switch.as_ref().is_some_and(|s| s.load(Ordering::Relaxed))
            || self.deadline.is_some_and(|d| Instant::now() >= d)
    }
}
