#![no_main]

use libfuzzer_sys::fuzz_target;
use oxidane_fuzz::paths;

fuzz_target!(|bytes: &[u8]| paths::text(bytes));
