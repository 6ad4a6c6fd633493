//! The tile registers of x86 (AMX): their shapes, and giving them back.

use std::arch::asm;

/// Rows of a tile at most.
pub(crate) const ROWS: usize = 16;

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start: u8,
    zero: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// Gives each of the eight tiles of this thread so many rows of 64 bytes.
///
/// # Safety
/// The machine has tiles.
pub(crate) unsafe fn configure(rows: [usize; 8]) {
    debug_assert!(rows.iter().all(|rows| (1..=ROWS).contains(rows)));
    let mut config = Config { palette: 1, start: 0, zero: [0; 14], bytes: [0; 16], rows: [0; 16] };
    for (i, rows) in rows.into_iter().enumerate() {
        config.bytes[i] = 64;
        config.rows[i] = rows as u8;
    }
    // SAFETY: the instruction reads 64 bytes, which form a valid configuration.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly)) };
}

/// Gives the tile registers back.
///
/// # Safety
/// The machine has tiles.
pub(crate) unsafe fn release() {
    // SAFETY: the caller's promise.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}
