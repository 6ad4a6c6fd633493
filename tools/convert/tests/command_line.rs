//! `onnx-convert` as its users call it: what it writes, what it says, and how it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/models").join(name).join("model.onnx")
}

fn convert(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onnx-convert"));
    command.args(arguments.iter().map(|a| a.as_ref())).output().expect("the program starts")
}

/// The JSON object that a successful call prints.
fn object(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> serde_json::Value {
    let done = convert(arguments);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).expect("a JSON object")
}

/// The message of a call that must fail with a code.
fn refused(code: i32, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> String {
    let done = convert(arguments);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

const NET: &str = r#"<ir_version: 8, opset_import: ["" : 17]>
g (float[n,2] x) => (float[n,2] y)
   <float[2,2] w = {1,2,3,4}, float[2] b = {-0.5,0.25}>
{
   [product] p = MatMul (x, w)
   [sum] s = Add (p, b)
   [act] a = LeakyRelu <alpha = 0.5> (s)
   [out] y = Softmax <axis = -1> (a)
}
"#;

#[test]
fn optimize_shrinks_and_verifies() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("small.onnx");
    let told = object(&[&"optimize", &model("magika"), &to, &"--level", &"basic", &"--json"]);
    assert!(told["nodes_after"].as_u64() < told["nodes_before"].as_u64(), "{told}");
    assert_eq!(told["verification"]["holds"], true);
    assert!(told["verification"]["trials"].as_array().is_some_and(|t| t.len() == 3), "{told}");
    assert!(object(&[&"check", &to, &"--json"])["fine"].as_bool().unwrap_or_default());
}

#[test]
fn opset_goes_down_or_says_what_it_cannot_express() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = written(folder.path(), "net.onnxtxt", NET);
    let to = folder.path().join("old.onnx");
    let told = object(&[&"opset", &net, &to, &"--to", &"9", &"--json"]);
    assert_eq!((&told["from"], &told["to"]), (&17.into(), &9.into()));
    assert_eq!(told["verification"]["worst"], 0.0);
    let gelu = NET.replace("17", "20").replace("LeakyRelu <alpha = 0.5>", "Gelu");
    let gelu = written(folder.path(), "gelu.onnxtxt", &gelu);
    let none = folder.path().join("none.onnx");
    let said = refused(1, &[&"opset", &gelu, &none, &"--to", &"9"]);
    assert!(said.contains("Gelu") && said.contains("opset 20") && !none.exists(), "{said}");
    refused(2, &[&"opset", &net, &to, &"--to", &"99"]);
    refused(2, &[&"opset", &net, &to]);
}

#[test]
fn extract_cuts_between_values() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = written(folder.path(), "net.onnxtxt", NET);
    let to = folder.path().join("part.onnx");
    let told = object(&[&"extract", &net, &to, &"--from", &"p", &"--to", &"a", &"--json"]);
    assert_eq!((told["inputs"][0].as_str(), told["outputs"][0].as_str()), (Some("p"), Some("a")));
    assert_eq!(told["nodes_after"], 2);
    let info = object(&[&"info", &to, &"--json"]);
    assert_eq!(info["inputs"][0]["type"], "float[n,2]");
    let said = refused(1, &[&"extract", &net, &to, &"--from", &"q", &"--to", &"a"]);
    assert!(said.contains("`q`"), "{said}");
}

#[test]
fn diff_says_exactly_what_differs() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = written(folder.path(), "net.onnxtxt", NET);
    let same = object(&[&"diff", &net, &net, &"--json"]);
    assert_eq!((&same["equal"], &same["outputs"]["equal"]), (&true.into(), &true.into()));
    for (old, new, kind, place) in [
        ("{1,2,3,4}", "{1,2,3,5}", "weight", "w"),
        ("alpha = 0.5", "alpha = 0.25", "attribute", "act.alpha"),
        ("LeakyRelu <alpha = 0.5> (s)", "LeakyRelu <alpha = 0.5> (p)", "edge", "act[0]"),
        ("Softmax <axis = -1> (a)", "LogSoftmax <axis = -1> (a)", "operator", "out"),
    ] {
        let other = written(folder.path(), "other.onnxtxt", &NET.replace(old, new));
        let told = object(&[&"diff", &net, &other, &"--json"]);
        let found = told["differences"].as_array().expect("a list");
        let of_kind: Vec<_> = found.iter().filter(|d| d["kind"] == kind).collect();
        assert_eq!(of_kind.len(), 1, "{told}");
        assert_eq!(of_kind[0]["where"], place, "{told}");
        assert_eq!(told["outputs"]["equal"], false, "{told}");
    }
    let renamed = NET.replace("[sum] s =", "[sum] total =").replace("(s)", "(total)");
    let renamed = written(folder.path(), "renamed.onnxtxt", &renamed);
    let told = object(&[&"diff", &net, &renamed, &"--json"]);
    let found = told["differences"].as_array().expect("a list");
    assert_eq!(found.len(), 1, "{told}");
    assert_eq!((&found[0]["kind"], &found[0]["where"]), (&"name".into(), &"s".into()));
    assert_eq!(told["outputs"]["equal"], true);
}

#[test]
fn edit_changes_what_the_model_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = written(folder.path(), "net.onnxtxt", NET);
    let to = folder.path().join("edited.onnx");
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 13] = [
        &"edit",
        &net,
        &to,
        &"--rename",
        &"x=image",
        &"--set-dim",
        &"n=4",
        &"--add-output",
        &"s",
        &"--metadata",
        &"author=me",
        &"--strip-names",
        &"--json",
    ];
    object(&arguments);
    let info = object(&[&"info", &to, &"--json"]);
    assert_eq!(
        (&info["inputs"][0]["name"], &info["inputs"][0]["type"]),
        (&"image".into(), &"float[4,2]".into())
    );
    assert_eq!(info["outputs"][1]["type"], "float[4,2]");
    assert_eq!(info["metadata"][0], "author");
    let said = refused(1, &[&"edit", &net, &to, &"--set-dim", &"m=4"]);
    assert!(said.contains("`m`"), "{said}");
}

#[test]
fn a_difference_is_not_written_unless_forced() {
    let folder = tempfile::tempdir().expect("a folder");
    // Weights that a scale goes into round differently.
    let net = r#"<ir_version: 8, opset_import: ["" : 17]>
g (float[n,1,8] x) => (float[n,1,6] y)
   <float[1,1,3] w = {0.1,0.7,0.3}, float[1] f = {0.3}>
{
   c = Conv (x, w)
   y = Mul (c, f)
}
"#;
    let net = written(folder.path(), "net.onnxtxt", net);
    let to = folder.path().join("full.onnx");
    let said = refused(3, &[&"optimize", &net, &to, &"--level", &"full", &"--tolerance", &"0"]);
    assert!(said.contains("--force") && !to.exists(), "{said}");
    let done = convert(&[&"optimize", &net, &to, &"--level", &"full", &"--tolerance", &"0", &"--force"]);
    assert!(done.status.success() && to.exists());
}

#[test]
fn bad_usage_and_bad_models_end_with_their_codes() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("out.onnx");
    refused(2, &[]);
    refused(2, &[&"optimize"]);
    refused(1, &[&"optimize", &folder.path().join("none.onnx"), &to]);
    let broken = written(folder.path(), "broken.onnxtxt", &NET.replace("MatMul (x, w)", "MatMul (x, q)"));
    let said = refused(1, &[&"optimize", &broken, &to]);
    assert!(said.contains("`q`") || said.contains(" q"), "{said}");
    assert!(!to.exists());
    let done = convert(&[&"check", &broken, &"--json"]);
    assert_eq!(done.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).expect("a JSON object");
    assert_eq!(told["fine"], false);
}
