//! Measuring.

use crate::BenchArgs;
use anyhow::{Context, Result};
use oxidane_inspect::{profile::median, say};
use std::time::{Duration, Instant};

/// Runs at least so often, however long it takes.
const LEAST_RUNS: usize = 5;

/// Loads a model, runs it for a while and prints how long that takes.
///
/// # Errors
/// When the model or its inputs cannot be read or run.
pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    let start = Instant::now();
    let model = crate::open(&args.model)?;
    let opened = start.elapsed();
    let inputs = args.inputs.read(&model)?;
    let start = Instant::now();
    let session = crate::compile(model, &args.model, args.threads, args.precision)?;
    let load = opened + start.elapsed();

    let once = || -> Result<Duration> {
        let inputs = inputs.clone();
        let start = Instant::now();
        let outputs = session.run(inputs).with_context(|| format!("{}", args.model.display()))?;
        let took = start.elapsed();
        drop(outputs);
        Ok(took)
    };
    let first = once()?;
    let warm = Instant::now();
    while warm.elapsed().as_secs_f64() < args.seconds / 4.0 {
        once()?;
    }
    let start = Instant::now();
    let call = || -> Result<Vec<f64>> {
        let mut times = Vec::new();
        while times.len() < LEAST_RUNS || start.elapsed().as_secs_f64() < args.seconds {
            times.push(milliseconds(once()?));
        }
        Ok(times)
    };
    let mut times = if args.callers == 1 {
        call()?
    } else {
        let all: Result<Vec<Vec<f64>>> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..args.callers).map(|_| scope.spawn(call)).collect();
            let joined =
                callers.into_iter().map(|c| c.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
            joined.collect()
        });
        all?.concat()
    };
    let per_second = times.len() as f64 / start.elapsed().as_secs_f64();
    let runs = times.len();
    let median = median(&mut times);
    let least = times[0];
    let peak = peak_rss_mb();
    let (load, first) = (milliseconds(load), milliseconds(first));
    if args.json {
        let line = serde_json::json!({
            "load_ms": load, "first_ms": first, "median_ms": median, "min_ms": least, "runs": runs,
            "per_second": per_second, "peak_rss_mb": peak,
        });
        say!("{line}");
    } else {
        let memory = peak.map_or(String::new(), |mb| format!(", {mb:.0} MB at most"));
        say!(
            "median {median:.3} ms, least {least:.3} ms of {runs} runs on {} threads, {per_second:.1} a second; \
             load {load:.1} ms, first run {first:.1} ms{memory}",
            session.runtime().threads()
        );
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The most memory that this process has had resident, in MiB; `None` where the system does not tell.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}
