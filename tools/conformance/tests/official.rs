//! The official cases, all of them: none may pass no longer, and none may bring the program down.

use std::process::Command;

/// How many pass; raise it with what is built.
const PASSING: usize = 2027;

/// How many are a draw of random numbers that nobody can repeat, and right in type, shape and statistics.
const DRAWN: usize = 6;

#[test]
fn official_cases_pass() {
    pass("full");
}

/// Which also holds every value against its inferred type.
#[test]
fn official_cases_pass_interpreted() {
    pass("interpreter");
}

/// Operators that are defined by others are what these make of them.
#[test]
fn official_cases_pass_expanded() {
    pass("expanded");
}

fn pass(runtime: &str) {
    let done = Command::new(env!("CARGO_BIN_EXE_onnx-conformance"))
        .args(["--at-least", &PASSING.to_string(), "--runtime", runtime])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the program starts");
    let shown = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{shown}{}", String::from_utf8_lossy(&done.stderr));
    let total = shown.lines().find(|l| l.trim_start().starts_with("all ")).expect("a line of totals");
    let counts: Vec<usize> = total.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [cases, _, drawn, .., crashed] = counts[..] else { panic!("not a line of totals: {total}") };
    assert_eq!((cases, drawn, crashed), (2033, DRAWN, 0), "{total}");
}
