//! What this machine can do.

use anyhow::Result;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use oxidane::ops::{isa, machine};
use oxidane_inspect::say;

/// Measures what this machine can do: multiplications and additions of floats and bytes in registers, and memory read and
/// copied. `onnx-run profile` holds nodes against the first two.
///
/// Example:
///   onnx-run peak --threads 1
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct PeakArgs {
    /// Threads; 0 takes one for each processor.
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// Prints a JSON object: threads, isa, gflops, byte_gops, read_gb, copy_gb.
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
///
/// # Errors
/// When there is no memory for it.
pub(crate) fn peak(args: &PeakArgs) -> Result<()> {
    let limits = machine::limits(args.threads)?;
    let isa = format!("{:?}", isa::isa()).to_lowercase();
    let giga = |n: f64| n / 1e9;
    if args.json {
        let line = serde_json::json!({
            "threads": limits.threads, "isa": isa, "gflops": giga(limits.floats), "byte_gops": limits.bytes.map(giga),
            "read_gb": giga(limits.read), "copy_gb": giga(limits.copy),
        });
        say!("{line}");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut row = |what: &str, value: String, unit: &str| {
        table.add_row([what.to_owned(), value, unit.to_owned()]);
    };
    row("float32 multiply-adds", format!("{:.1}", giga(limits.floats)), "GFLOP/s");
    if let Some(bytes) = limits.bytes {
        row("int8 multiply-adds", format!("{:.1}", giga(bytes)), "GOP/s");
    }
    row("memory read", format!("{:.1}", giga(limits.read)), "GB/s");
    row("memory copied", format!("{:.1}", giga(limits.copy)), "GB/s");
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    say!("{} threads, instruction set {isa}\n{table}", limits.threads);
    Ok(())
}
