//! What two threads are worth: branches of equal work, chains of small operators, several callers of one session.
//! Measured alternately, so that a machine whose speed drifts treats both alike; least times, and most runs a second.
//!
//! `cargo bench -p oxidane --bench threads [-- SECONDS] [PART OF A NAME]`

#[path = "../tests/structures/mod.rs"]
mod structures;

use oxidane::{Level, RunOptions, Session, SessionOptions};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use structures::Structure;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let seconds = arguments.iter().filter_map(|a| a.parse().ok()).next().unwrap_or(2.0);
    let only = arguments.iter().find(|a| a.parse::<f64>().is_err());
    let wanted = |name: &str| only.is_none_or(|part| name.contains(part.as_str()));
    println!("{:<28} {:>10} {:>10} {:>7} {:>7}", "", "1 thread", "2 threads", "ratio", "goal");
    for (what, structure, goal) in [
        ("inception, 2 branches", structures::inception(28, 64, 2), 0.65),
        ("inception, 4 branches", structures::inception(14, 64, 4), 0.65),
        ("two towers, 64 rows", structures::towers(64, 512, 6), 0.65),
        ("two towers, 1 row", structures::towers(1, 512, 6), 0.65),
        ("chain of small operators", structures::chain(200), 1.0),
        ("loop with a condition", structures::control(), 1.0),
    ] {
        if wanted(what) {
            compare(what, &structure, seconds, goal);
        }
    }
    for name in ["silero-vad", "magika"].into_iter().filter(|name| wanted(name)) {
        compare(name, &structures::bundled(name), seconds, 1.0);
    }
    println!(
        "\n{:<28} {:>10} {:>10} {:>7} {:>7}",
        "runs a second on 2 threads", "1 caller", "4 callers", "ratio", "goal"
    );
    for (what, structure) in [
        ("resnet", structures::resnet_of(112, 32)),
        ("mobilenet", structures::mobilenet()),
        ("bert", structures::bert()),
        ("inception", structures::inception(28, 64, 2)),
        ("lstm", structures::lstm()),
    ] {
        if wanted(what) {
            callers(what, &structure, seconds);
        }
    }
}

fn session(structure: &Structure, threads: usize) -> Session {
    let model = structure.model.clone().optimize(Level::Full).expect("it optimizes");
    model.session_with(&SessionOptions { threads, ..SessionOptions::default() }).expect("it compiles")
}

/// Runs in a row, so that a helper's waking counts as it does in use.
fn time(structure: &Structure, session: &Session, runs: usize) -> f64 {
    let mut outputs = Vec::new();
    let mut inputs = structure.inputs.clone();
    let mut least = f64::INFINITY;
    for _ in 0..runs {
        inputs.clone_from_slice(&structure.inputs);
        let start = Instant::now();
        session.runtime().run_into(&mut inputs, RunOptions::default(), &mut outputs).expect("it runs");
        least = least.min(start.elapsed().as_secs_f64());
    }
    least
}

fn compare(what: &str, structure: &Structure, seconds: f64, goal: f64) {
    let sessions = [1, 2].map(|threads| session(structure, threads));
    let mut least = [f64::INFINITY; 2];
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < seconds {
        for (session, least) in sessions.iter().zip(&mut least) {
            *least = least.min(time(structure, session, 20));
        }
    }
    let [one, two] = least.map(|t| t * 1e3);
    println!("{what:<28} {one:>7.3} ms {two:>7.3} ms {:>7.2} {goal:>7.2}", two / one);
}

fn callers(what: &str, structure: &Structure, seconds: f64) {
    let session = session(structure, 2);
    let window = Duration::from_secs_f64(seconds / 10.0);
    let rate = |callers: usize| {
        let runs = AtomicUsize::new(0);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..callers {
                scope.spawn(|| {
                    while start.elapsed() < window {
                        time(structure, &session, 1);
                        runs.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        runs.into_inner() as f64 / start.elapsed().as_secs_f64()
    };
    let mut most = [0.0f64; 2];
    for _ in 0..5 {
        for (most, callers) in most.iter_mut().zip([1, 4]) {
            *most = most.max(rate(callers));
        }
    }
    println!("{what:<28} {:>10.0} {:>10.0} {:>7.2} {:>7.2}", most[0], most[1], most[1] / most[0], 0.95);
}
