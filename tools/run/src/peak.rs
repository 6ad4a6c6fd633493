//! What the machine can do at most.

use crate::table::{table, text};
use anyhow::Result;
use clap::Args;
use oxidane::ops::isa::isa;
use oxidane::ops::machine::{Arithmetic, Memory};
use oxidane_inspect::{say, several};
use oxidane_pool::Pool;

/// Measures what this machine does at most: multiply-adds in registers, and bytes read and copied in memory. `onnx-run
/// profile` holds nodes against the first.
///
/// The instructions are those that the kernels use, so that OXIDANE_ISA lowers the limits, too. Half a GiB of memory is
/// taken for about two seconds.
///
/// Example:
///   onnx-run peak --threads 1
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct PeakArgs {
    /// Threads; 0 takes one for each processor.
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// Prints a JSON object: threads, isa, gflops, bf16_gflops, byte_gops, read_gb, copy_gb.
    #[arg(long)]
    json: bool,
}

/// Measures and prints the limits.
///
/// # Errors
/// When there is no memory for it.
pub(crate) fn peak(args: &PeakArgs) -> Result<()> {
    let pool = Pool::new(args.threads);
    let first = Arithmetic::measure(&pool);
    let memory = Memory::measure(&pool)?;
    let arithmetic = first.or(Arithmetic::measure(&pool));
    let (isa, threads) = (isa().name(), pool.width());
    let giga = |v: f64| v / 1e9;
    if args.json {
        let line = serde_json::json!({
            "threads": threads, "isa": isa, "gflops": giga(arithmetic.floats),
            "bf16_gflops": arithmetic.halves.map(giga), "byte_gops": arithmetic.bytes.map(giga),
            "read_gb": giga(memory.read), "copy_gb": giga(memory.copy),
        });
        say!("{line}");
        return Ok(());
    }
    let none = || "none".to_owned();
    let number = |v: f64| format!("{:.1}", giga(v));
    let mut rows = table(&["limit", "unit", "of what"]);
    rows.add_row([&number(arithmetic.floats), "GFLOP/s", "multiply-adds of float32, each two operations"]);
    let halves = arithmetic.halves.map_or_else(none, number);
    rows.add_row([&halves, "GFLOP/s", "sums of products of bfloat16, in float32"]);
    let bytes = arithmetic.bytes.map_or_else(none, number);
    rows.add_row([&bytes, "GOP/s", "sums of products of int8, in int32"]);
    rows.add_row([&number(memory.read), "GB/s", "read from memory"]);
    rows.add_row([&number(memory.copy), "GB/s", "copied in memory, each byte read and written"]);
    say!("{} with the instructions of {isa}", several(threads, "thread"));
    say!("{}", text(&rows));
    Ok(())
}
