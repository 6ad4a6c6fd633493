use crate::worker::send;
use crate::{Case, Outcome, Runtime, Verdict};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, BufWriter};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How the cases are run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What runs them.
    pub runtime: Runtime,
    /// Threads of each session.
    pub threads: usize,
    /// Worker processes at the same time.
    pub jobs: usize,
    /// What a case may take.
    pub timeout: Duration,
}

/// Runs the cases in worker processes, `worker` started once for each, and gives their outcomes in order.
/// A worker that dies or hangs is replaced; the case it was at gets the blame. `done` is told after each case.
///
/// # Errors
/// When no worker can be started.
pub fn run_all(
    cases: &[&Case],
    plan: &Plan,
    worker: &(dyn Fn() -> Command + Sync),
    done: &(dyn Fn(&Outcome) + Sync),
) -> Result<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new(vec![None; cases.len()]);
    std::thread::scope(|scope| -> Result<()> {
        let mut hands = Vec::new();
        for _ in 0..plan.jobs.clamp(1, cases.len().max(1)) {
            hands.push(scope.spawn(|| -> Result<()> {
                let mut process = None;
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { return Ok(()) };
                    let outcome = one(case, plan, worker, &mut process)?;
                    done(&outcome);
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(outcome);
                }
            }));
        }
        for hand in hands {
            hand.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })?;
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(outcomes.into_iter().flatten().collect())
}

fn one(
    case: &Case,
    plan: &Plan,
    worker: &(dyn Fn() -> Command + Sync),
    process: &mut Option<Worker>,
) -> Result<Outcome> {
    let mut hand = match process.take() {
        Some(hand) => hand,
        None => Worker::start(worker())?,
    };
    // A worker that dies while it is written to shows as an answer that does not come.
    let sent = send(&mut hand.input, case, plan.runtime, plan.threads);
    let died = |verdict, message: String| Outcome { verdict, message, imported: false, ops: Vec::new() };
    Ok(match hand.answers.recv_timeout(plan.timeout) {
        Ok(line) => {
            let outcome =
                serde_json::from_str(&line).with_context(|| format!("a worker answered {line:?}"))?;
            sent?;
            *process = Some(hand);
            outcome
        }
        Err(RecvTimeoutError::Timeout) => died(Verdict::Timeout, format!("no answer in {:?}", plan.timeout)),
        Err(RecvTimeoutError::Disconnected) => {
            let status = hand.child.wait().map_or("died".to_owned(), |s| s.to_string());
            died(Verdict::Crash, format!("the worker ended: {status}"))
        }
    })
}

struct Worker {
    child: Child,
    input: BufWriter<ChildStdin>,
    answers: Receiver<String>,
}

impl Worker {
    fn start(mut command: Command) -> Result<Worker> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start a worker process")?;
        let input = BufWriter::new(child.stdin.take().context("a worker has no input")?);
        let output = BufReader::new(child.stdout.take().context("a worker has no output")?);
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                let Ok(line) = line else { return };
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Worker { child, input, answers })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be in the middle of a case that hangs; it may also have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
