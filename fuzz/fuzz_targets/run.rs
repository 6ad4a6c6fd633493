#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use oxidane_fuzz::{mutate, paths};

fuzz_target!(|bytes: &[u8]| paths::run(bytes));

// Bytes that libFuzzer changes are seldom a model; mostly the model is changed instead.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 4 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let mutated = mutate::mutated(&data[..size], &mut mutate::Random::new(seed.into()));
    if mutated.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..mutated.len()].copy_from_slice(&mutated);
    mutated.len()
});
