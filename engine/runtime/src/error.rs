use oxidane_graph::{Problem, Problems, Stop};

/// Why a run gave no outputs.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    /// The inputs do not fit the model; all of them that do not are listed.
    #[error("{0}")]
    Inputs(Problems),
    /// A node failed.
    #[error("{0}")]
    Node(Problem),
    /// The run was cancelled or exceeded a limit.
    #[error("{problem}")]
    Stopped {
        /// Which of the two.
        stop: Stop,
        /// Where the run was, and what it exceeded.
        problem: Problem,
    },
}

impl From<Problem> for RunError {
    fn from(problem: Problem) -> RunError {
        match problem.error.stop() {
            Some(stop) => RunError::Stopped { stop, problem },
            None => RunError::Node(problem),
        }
    }
}
