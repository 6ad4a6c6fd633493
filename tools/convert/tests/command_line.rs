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
    // What has a simpler form is written out; what has none is named, with the opset that has it.
    let told = object(&[&"opset", &gelu, &none, &"--to", &"9", &"--json"]);
    assert_eq!(told["lowered"]["Gelu"], 1, "{told}");
    std::fs::remove_file(&none).expect("it was written");
    let trilu = NET.replace("LeakyRelu <alpha = 0.5>", "Trilu");
    let trilu = written(folder.path(), "trilu.onnxtxt", &trilu);
    let said = refused(1, &[&"opset", &trilu, &none, &"--to", &"9"]);
    assert!(said.contains("Trilu") && said.contains("opset 14") && !none.exists(), "{said}");
    // So is a type that the operator does not take yet.
    let small =
        NET.replace("float", "int8").replace("-0.5,0.25", "1,2").replace("MatMul (x, w)", "Add (x, w)");
    let small = small
        .replace("LeakyRelu <alpha = 0.5> (s)", "Identity (s)")
        .replace("Softmax <axis = -1>", "Identity");
    let small = written(folder.path(), "small.onnxtxt", &small);
    let said = refused(1, &[&"opset", &small, &none, &"--to", &"13"]);
    assert!(said.contains("int8") && said.contains("opset 14"), "{said}");
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

#[test]
fn fp16_halves_what_it_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = NET.replace("w = {1,2,3,4}", "w = {1,2,3,100000}");
    let net = written(folder.path(), "net.onnxtxt", &net);
    let to = folder.path().join("half.onnx");
    let told = object(&[&"fp16", &net, &to, &"--json", &"--tolerance", &"0.02"]);
    let kept: Vec<&str> = (told["kept"].as_array().expect("a list").iter())
        .map(|k| k["node"].as_str().unwrap_or_default())
        .collect();
    assert!(kept.contains(&"product"), "{told}");
    assert_eq!(told["verification"]["holds"], true, "{told}");
    let info = object(&[&"info", &to, &"--json"]);
    assert_eq!(
        (&info["inputs"][0]["type"], &info["outputs"][0]["type"]),
        (&"float[n,2]".into(), &"float[n,2]".into())
    );
    let net = written(folder.path(), "plain.onnxtxt", NET);
    let told = object(&[
        &"fp16",
        &net,
        &to,
        &"--json",
        &"--io",
        &"--keep",
        &"a*",
        &"--keep-op",
        &"Softmax",
        &"--no-verify",
    ]);
    assert_eq!((&told["converted"], told["kept"].as_array().map(Vec::len)), (&2.into(), Some(2)), "{told}");
    assert_eq!(object(&[&"info", &to, &"--json"])["inputs"][0]["type"], "float16[n,2]");
    assert!(object(&[&"check", &to, &"--json"])["fine"].as_bool().unwrap_or_default());
    // Conv takes bfloat16 only from opset 22 on; what an opset does not allow stays.
    let told = object(&[&"bf16", &net, &to, &"--json", &"--opset", &"13"]);
    assert!(told["kept"].to_string().contains("LeakyRelu takes bfloat16 from opset 16 on"), "{told}");
}

#[test]
fn compose_joins_what_extract_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = written(folder.path(), "net.onnxtxt", NET);
    let [first, second, whole] = ["first.onnx", "second.onnx", "whole.onnx"].map(|n| folder.path().join(n));
    object(&[&"extract", &net, &first, &"--to", &"s", &"--json"]);
    object(&[&"extract", &net, &second, &"--from", &"s", &"--json"]);
    let told = object(&[&"compose", &first, &second, &whole, &"--json"]);
    assert_eq!(told["joined"], serde_json::json!([["s", "s"]]));
    assert_eq!(told["verification"]["worst"], 0.0);
    let diff = object(&[&"diff", &net, &whole, &"--json"]);
    assert_eq!(diff["equal"], true, "{diff}");
    let told = object(&[&"compose", &first, &second, &whole, &"--keep", &"s", &"--json"]);
    assert_eq!(told["outputs"], serde_json::json!(["s", "y"]));
    let said = refused(1, &[&"compose", &first, &second, &whole, &"--map", &"q=s"]);
    assert!(said.contains("`q`") && said.contains("`s`"), "{said}");
    let wide = NET.replace("float[n,2] x", "float[n,3] x").replace("(x, w)", "(w, w)");
    let wide = written(folder.path(), "wide.onnxtxt", &wide);
    let said = refused(1, &[&"compose", &first, &wide, &whole, &"--map", &"s=x"]);
    assert!(said.contains("float[n,3]"), "{said}");
}

#[test]
fn bisect_names_the_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = written(folder.path(), "net.onnxtxt", NET);
    let other = written(folder.path(), "other.onnxtxt", &NET.replace("LeakyRelu <alpha = 0.5>", "Tanh"));
    let done = convert(&[&"bisect", &net, &other, &"--json"]);
    assert_eq!(done.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).expect("a JSON object");
    assert_eq!((&told["culprits"][0]["node"], &told["differ"]), (&"act".into(), &2.into()), "{told}");
    assert!(told["culprits"][0]["difference"]["ulp"].as_u64() > Some(0), "{told}");
    assert!(convert(&[&"bisect", &net, &net]).status.success());
    assert!(convert(&[&"bisect", &net, &"--level", &"full"]).status.success());
}

#[test]
fn weights_go_out_and_come_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = written(folder.path(), "net.onnxtxt", NET);
    let other = written(folder.path(), "other.onnxtxt", &NET.replace("{1,2,3,4}", "{4,3,2,1}"));
    for name in ["weights.safetensors", "weights.npz"] {
        let (file, new) = (folder.path().join(name), folder.path().join("new.onnx"));
        assert_eq!(object(&[&"weights", &other, &file, &"--json"])["weights"], 2);
        assert_eq!(object(&[&"weights", &net, &new, &"--from", &file, &"--json"])["replaced"], 2);
        assert_eq!(object(&[&"diff", &other, &new, &"--json"])["equal"], true);
        let wide = written(
            folder.path(),
            "wide.onnxtxt",
            &NET.replace("float[2] b = {-0.5,0.25}", "float[1] b = {1}"),
        );
        let said = refused(1, &[&"weights", &wide, &new, &"--from", &file]);
        assert!(said.contains("`b` has the shape [2], but the model [1]"), "{said}");
    }
    let said = refused(1, &[&"weights", &net, &folder.path().join("weights.bin")]);
    assert!(said.contains(".safetensors"), "{said}");
}

#[test]
fn json_goes_both_ways() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = written(folder.path(), "net.onnxtxt", NET);
    let [json, back] = ["net.json", "back.onnx"].map(|n| folder.path().join(n));
    assert!(convert(&[&net, &json]).status.success());
    assert!(convert(&[&json, &back]).status.success());
    assert_eq!(object(&[&"diff", &net, &back, &"--json"])["equal"], true);
    let printed = convert(&[&"json", &net]);
    let value: serde_json::Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert_eq!(value["graph"]["node"][0]["op_type"], "MatMul");
    let bad = written(folder.path(), "bad.json", "{\"graph\": {\"nodes\": []}}");
    let said = refused(1, &[&"check", &bad]);
    assert!(said.contains("nodes") && said.contains("line 1"), "{said}");
}

#[test]
fn a_recipe_runs_its_steps() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), "net.onnxtxt", NET);
    let steps = "model: net.onnxtxt\noutput: out.onnx\nsteps:\n  - optimize: {level: basic}\n  - opset: {to: 13}\n  \
                 - fp16: {keep-op: [Softmax], io: true}\n  - check\n";
    let recipe = written(folder.path(), "steps.yaml", steps);
    assert!(convert(&[&"recipe", &recipe]).status.success());
    let info = object(&[&"info", &folder.path().join("out.onnx"), &"--json"]);
    assert_eq!((&info["inputs"][0]["type"], &info["opsets"][0][1]), (&"float16[n,2]".into(), &13.into()));
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    let wrong = written(folder.path(), "wrong.yaml", &steps.replace("to: 13", "too: 13"));
    let said = refused(1, &[&"recipe", &wrong]);
    assert!(said.contains("step 2") && said.contains("--too"), "{said}");
    let wrong = written(folder.path(), "wrong.yaml", &steps.replace("- check", "- chek"));
    assert!(refused(1, &[&"recipe", &wrong]).contains("`chek`"));
}
