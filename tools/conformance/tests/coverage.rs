//! The schemas of the standard: what a case has covered once stays covered.

use std::process::Command;

#[test]
fn covered_schemas_stay_covered() {
    let done = Command::new(env!("CARGO_BIN_EXE_onnx-conformance"))
        .args(["coverage", "--check"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the program starts");
    let shown = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{shown}{}", String::from_utf8_lossy(&done.stderr));
    assert!(shown.lines().any(|line| line.starts_with("covered ") && line.ends_with(" of 654")), "{shown}");
}
