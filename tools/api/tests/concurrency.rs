//! Runs beside each other, on any number of threads, and runs that are stopped: the same bits, no deadlock, no memory
//! that grows, an end in time.
//!
//! `STRESS_SECONDS=600` lets the stress test take ten minutes.

mod structures;

use oxidane::onnx::SaveOptions;
use oxidane::{
    Cancel, Level, Limits, Model, NodeEvent, Observer, RunError, RunOptions, Session, SessionOptions,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use structures::bits;

/// Lets one test after the other run: they measure time and memory.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every number of threads gives the same bits, each run as the one before, and as after writing and reading the model.
#[test]
fn threads_and_runs_change_no_bit() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    for structure in structures::all() {
        let expected = structure.bits(&structure.session(1));
        let path = folder.path().join(structure.name).with_extension("onnx");
        structure.model.onnx().save(&path, &SaveOptions::default()).expect("it is written");
        let again = Model::open(&path).expect("it is read").optimize(Level::Full).expect("it optimizes");
        for threads in [1, 2, 3, 4, 8] {
            let options = SessionOptions { threads, ..SessionOptions::default() };
            let again = again.session_with(&options).expect("it compiles");
            let session = structure.session(threads);
            for run in 0..3 {
                let name = structure.name;
                assert!(structure.bits(&session) == expected, "{name} on {threads}, run {run}");
                assert!(structure.bits(&again) == expected, "{name} on {threads}, read again, run {run}");
            }
        }
    }
}

/// The last to read a value takes it along; those before it must have had it by then.
#[test]
fn many_steps_read_one_value() {
    let _alone = alone();
    let structure = structures::readers(24);
    let options = SessionOptions { threads: 4, ..SessionOptions::default() };
    // Not optimized, which would leave nothing to do.
    let session = structure.model.session_with(&options).expect("it compiles");
    let expected = structure.bits(&session);
    for _ in 0..if cfg!(debug_assertions) { 500 } else { 5000 } {
        assert!(structure.bits(&session) == expected);
    }
}

/// KiB of memory that the process has resident; 0 where the system does not tell.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// Many callers on sessions of several widths, some of whose runs are stopped: everyone gets on, and gets the bits that
/// a caller alone gets.
#[test]
fn mixed_models_from_many_callers() {
    let _alone = alone();
    let seconds: f64 = std::env::var("STRESS_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3.0);
    let all: Vec<_> = structures::all()
        .into_iter()
        .map(|structure| {
            let expected = structure.bits(&structure.session(1));
            let sessions: Vec<Session> = [1, 2, 3].map(|threads| structure.session(threads)).into();
            (structure, expected, sessions)
        })
        .collect();
    let (all, runs) = (&all, AtomicUsize::new(0));
    let start = Instant::now();
    let till = |part: f64| move || start.elapsed().as_secs_f64() < seconds * part;
    let callers = |goes_on: &(dyn Fn() -> bool + Sync)| {
        std::thread::scope(|scope| {
            for caller in 0..6 {
                let runs = &runs;
                scope.spawn(move || {
                    let mut turn = caller;
                    while goes_on() {
                        let (structure, expected, sessions) = &all[turn * 7 % all.len()];
                        let session = &sessions[turn % sessions.len()];
                        let cancel = Cancel::default();
                        if turn % 5 == 0 {
                            cancel.cancel();
                        }
                        let options = RunOptions { cancel: Some(&cancel), ..RunOptions::default() };
                        match session.run_with(structure.inputs.clone(), options) {
                            Ok(outputs) => assert!(bits(&outputs) == *expected, "{}", structure.name),
                            Err(RunError::Stopped { .. }) if cancel.is_cancelled() => {}
                            Err(error) => panic!("{}: {error}", structure.name),
                        }
                        turn += 1;
                        runs.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
    };
    callers(&till(0.4));
    let early = resident();
    callers(&till(1.0));
    let late = resident();
    eprintln!("{} runs, {early} KiB, then {late} KiB", runs.load(Ordering::Relaxed));
    assert!(late <= early + early / 10 + 24 * 1024, "memory grew from {early} to {late} KiB");
}

/// How long a large run goes on once it is to stop, at the best of several attempts: the machine may have other things
/// to do.
fn time_to_stop(attempt: impl Fn() -> Duration) -> Duration {
    (0..8).map(|_| attempt()).min().expect("there are attempts")
}

/// Milliseconds in which a run must have ended. Kernels that are not optimized look less often.
const IN_TIME: u128 = if cfg!(debug_assertions) { 500 } else { 5 };

fn check_stopped(result: Result<Vec<oxidane::Datum>, RunError>) {
    assert!(matches!(result, Err(RunError::Stopped { .. })), "the run is long enough to be stopped");
}

#[test]
fn cancelled_runs_end_at_once() {
    let _alone = alone();
    let structure = structures::resnet_of(448, 64);
    for threads in [1, 2] {
        let session = structure.session(threads);
        let time = time_to_stop(|| {
            let cancel = Cancel::default();
            std::thread::scope(|scope| {
                let run = scope.spawn(|| {
                    let options = RunOptions { cancel: Some(&cancel), ..RunOptions::default() };
                    let result = session.run_with(structure.inputs.clone(), options);
                    (result, Instant::now())
                });
                std::thread::sleep(Duration::from_millis(10));
                let asked = Instant::now();
                cancel.cancel();
                let (result, ended) = run.join().expect("no panic");
                check_stopped(result);
                ended - asked
            })
        });
        eprintln!("cancelled on {threads}: {time:?}");
        assert!(time.as_millis() <= IN_TIME, "a cancelled run on {threads} went on for {time:?}");
    }
}

#[test]
fn runs_end_at_their_deadline() {
    let _alone = alone();
    let structure = structures::resnet_of(448, 64);
    let limit = Duration::from_millis(10);
    for threads in [1, 2] {
        let limits = Limits { time: Some(limit), ..Limits::default() };
        let session = structure.session_with(&SessionOptions { threads, limits });
        let time = time_to_stop(|| {
            let start = Instant::now();
            check_stopped(session.run_with(structure.inputs.clone(), RunOptions::default()));
            start.elapsed().saturating_sub(limit)
        });
        eprintln!("late on {threads}: {time:?}");
        assert!(time.as_millis() <= IN_TIME, "a run on {threads} went on for {time:?} beyond its time");
    }
}

/// Kernels pack their weights in the first run. One that is stopped meanwhile leaves nothing behind that a later run
/// would take for packed.
#[test]
fn stopped_first_runs_spoil_no_later_ones() {
    let _alone = alone();
    for structure in [structures::towers(48, 384, 2), structures::resnet_of(64, 32), structures::bert()] {
        for threads in [1, 2] {
            let first = structure.session(threads);
            let start = Instant::now();
            let expected = structure.bits(&first);
            let took = start.elapsed();
            for i in 0..24u32 {
                let (session, cancel) = (structure.session(threads), Cancel::default());
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        let start = Instant::now();
                        while start.elapsed() < took * i / 24 {
                            std::thread::yield_now();
                        }
                        cancel.cancel();
                    });
                    let options = RunOptions { cancel: Some(&cancel), ..RunOptions::default() };
                    let _ = session.run_with(structure.inputs.clone(), options);
                });
                assert!(structure.bits(&session) == expected, "{} on {threads}, {i}", structure.name);
            }
        }
    }
}

/// Notes the bits of the nodes' outputs.
#[derive(Default)]
struct Notes(Mutex<HashMap<String, Vec<Vec<u8>>>>);

impl Observer for Notes {
    fn node(&self, event: NodeEvent<'_>) {
        let outputs: Vec<_> = event.outputs.iter().flatten().cloned().collect();
        let place = format!("{:?}", event.place());
        self.0.lock().expect("no panic").insert(place, bits(&outputs));
    }
}

/// Whenever a run is stopped, the nodes that were told of have whole outputs, and there are no outputs of the model.
#[test]
fn stopped_kernels_show_no_outputs() {
    let _alone = alone();
    let structure = structures::resnet_of(96, 32);
    for threads in [1, 2, 4] {
        let session = structure.session(threads);
        let observed = |notes: &Notes, cancel: Option<&Cancel>| {
            let options = RunOptions { cancel, observer: Some(notes) };
            let start = Instant::now();
            let mut outputs = vec![oxidane::Tensor::scalar(1.0f32).into()];
            let mut inputs = structure.inputs.clone();
            let result = session.runtime().run_into(&mut inputs, options, &mut outputs);
            assert_eq!(result.is_ok(), !outputs.is_empty());
            start.elapsed()
        };
        let whole = Notes::default();
        observed(&whole, None);
        let took = observed(&Notes::default(), None);
        let whole = whole.0.into_inner().expect("no panic");
        for i in 0..40u32 {
            let (notes, cancel) = (Notes::default(), Cancel::default());
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let wait = took * i / 40;
                    let start = Instant::now();
                    while start.elapsed() < wait {
                        std::thread::yield_now();
                    }
                    cancel.cancel();
                });
                observed(&notes, Some(&cancel));
            });
            for (place, outputs) in notes.0.into_inner().expect("no panic") {
                assert!(whole[&place] == outputs, "{place} shows what a stopped kernel left");
            }
        }
    }
}
