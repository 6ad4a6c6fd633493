//! `onnx-run` as its users call it: bundled models against ONNX Runtime's outputs, and what it says to bad input.

use oxidane::npz::read_npz;
use oxidane::{DType, Tensor};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata")
}

fn onnx_run(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onnx-run"));
    command.args(arguments.iter().map(|a| a.as_ref()));
    command.output().expect("the program starts")
}

/// The message of a call that must fail with a code.
fn refused(code: i32, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> String {
    let done = onnx_run(arguments);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// The largest difference relative to the largest expected value.
fn difference(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!((actual.dtype(), actual.shape()), (expected.dtype(), expected.shape()));
    let (a, b) = (actual.to_f64s().expect("numbers"), expected.to_f64s().expect("numbers"));
    let largest = b.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    a.iter().zip(&b).fold(0.0, |worst: f64, (a, b)| worst.max((a - b).abs())) / largest
}

#[test]
fn bundled_models_agree_with_onnx_runtime() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut count = 0;
    for model in std::fs::read_dir(testdata().join("models")).expect("the models") {
        let model = model.expect("the models").path();
        let to = folder.path().join("outputs.npz");
        let (file, inputs) = (model.join("model.onnx"), model.join("input.npz"));
        let done = onnx_run(&[&"run", &file, &"--inputs", &inputs, &"--outputs", &to]);
        assert!(done.status.success(), "{}: {}", model.display(), String::from_utf8_lossy(&done.stderr));
        let (ours, theirs) =
            (read_npz(&to).expect("outputs"), read_npz(model.join("expected.npz")).expect("outputs"));
        assert_eq!(ours.len(), theirs.len(), "{}", model.display());
        for ((name, ours), (expected, theirs)) in ours.iter().zip(&theirs) {
            assert_eq!(name, expected, "{}", model.display());
            let worst = difference(ours, theirs);
            assert!(worst <= 1e-4, "{}: output `{name}` differs by {worst:e}", model.display());
        }
        count += 1;
    }
    assert!(count >= 10, "only {count} models");
}

#[test]
fn a_recipe_finds_text_and_draws_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = testdata().join("models/ppocr-det/recipe.yaml");
    let done = onnx_run(&[&"run", &"--recipe", &recipe, &"--out", &folder.path()]);
    let shown = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(shown.contains("17 boxes"), "{shown}");
    for name in ["ppocr-det.boxes.png", "ppocr-det.heatmap.png"] {
        let bytes = std::fs::read(folder.path().join(name)).expect("a picture");
        assert!(bytes.starts_with(b"\x89PNG"), "{name}");
    }
}

#[test]
fn a_recipe_writes_the_outputs_of_every_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = testdata().join("models/silero-vad-half");
    let (recipe, to) = (model.join("recipe.yaml"), folder.path().join("out.npz"));
    let done = onnx_run(&[&"run", &"--recipe", &recipe, &"--out", &folder.path(), &"--outputs", &to]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let arrays = read_npz(&to).expect("outputs");
    let of = |name: &str| &arrays.iter().find(|(n, _)| n == name).expect("an output").1;
    // The run in the middle is the one of the bundled expectation.
    let runs = of("output").shape()[0];
    assert_eq!(of("stateN").shape(), [runs, 2, 1, 128]);
    for (name, theirs) in read_npz(model.join("expected.npz")).expect("expected outputs") {
        let ours = of(&name).slice_axis(0, runs / 2, 1, 1).expect("a run");
        let ours = ours.to_dense().and_then(|t| t.reshape(theirs.shape())).expect("the same size");
        let worst = difference(&ours, &theirs);
        assert!(worst <= 1e-4, "output `{name}` differs by {worst:e}");
    }
    let done = onnx_run(&[&"run", &"--recipe", &recipe, &"--outputs", &folder.path()]);
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains(".npz"));
}

#[test]
fn bench_prints_one_object() {
    let model = testdata().join("models/silero-vad-ifless");
    let (file, inputs) = (model.join("model.onnx"), model.join("input.npz"));
    let flags: [&dyn AsRef<std::ffi::OsStr>; 6] =
        [&"--threads", &"1", &"--seconds", &"0", &"--json", &"--inputs"];
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"bench", &file];
    arguments.extend(flags);
    arguments.push(&inputs);
    let done = onnx_run(&arguments);
    let object: serde_json::Value = serde_json::from_slice(&done.stdout).expect("a JSON object");
    for key in ["load_ms", "first_ms", "median_ms", "min_ms", "runs", "peak_rss_mb"] {
        assert!(object[key].as_f64().is_some_and(|v| v > 0.0), "{key}: {object}");
    }
}

#[test]
fn bad_inputs_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = testdata().join("models/silero-vad-ifless/model.onnx");
    let write = |name: &str, arrays: &[(&str, Tensor)]| {
        let path = folder.path().join(name);
        oxidane::npz::write_npz(&path, arrays.iter().map(|(n, t)| (*n, t))).expect("a file");
        path
    };
    let given = read_npz(testdata().join("models/silero-vad-ifless/input.npz")).expect("inputs");
    let (first, tensor) = &given[0];
    let to = folder.path().join("out.npz");
    // One missing.
    let path = write("missing.npz", &[(first, tensor.clone())]);
    let said = refused(1, &[&"run", &model, &"--inputs", &path, &"--outputs", &to]);
    assert!(said.contains("missing"), "{said}");
    // One of another type, one of another shape, one that the model does not have.
    let mut wrong: Vec<(&str, Tensor)> = given.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    wrong[0].1 = Tensor::zeros(DType::Bool, tensor.shape()).expect("a tensor");
    let said = refused(1, &[&"run", &model, &"--inputs", &write("type.npz", &wrong)]);
    assert!(said.contains(first.as_str()) && said.contains("bool"), "{said}");
    wrong[0].1 = Tensor::zeros(tensor.dtype(), &[1; 7]).expect("a tensor");
    let said = refused(1, &[&"run", &model, &"--inputs", &write("shape.npz", &wrong)]);
    assert!(said.contains(first.as_str()) && said.contains("[1,1,1,1,1,1,1]"), "{said}");
    wrong[0] = ("stranger", tensor.clone());
    let said = refused(1, &[&"run", &model, &"--inputs", &write("name.npz", &wrong)]);
    assert!(said.contains("stranger"), "{said}");
    assert!(!to.exists(), "a failed run left an output file");
}

#[test]
fn bad_files_and_bad_usage_end_with_their_codes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, b"\x89PNG no model at all").expect("a file");
    let said = refused(1, &[&"check", &file]);
    assert!(said.contains("model.onnx"), "{said}");
    refused(1, &[&"run", &folder.path().join("none.onnx"), &"--random", &"1"]);
    refused(2, &[&"run"]);
    refused(2, &[&"bench", &file, &"--seconds", &"minus one"]);
}

/// A profile of a bundled model, as JSON, with a trace and a page in a folder.
fn profile(name: &str, threads: &str, folder: &Path) -> serde_json::Value {
    let model = testdata().join("models").join(name);
    let (file, inputs) = (model.join("model.onnx"), model.join("input.npz"));
    let (trace, page) = (folder.join("trace.json"), folder.join("page.html"));
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
        vec![&"profile", &file, &"--inputs", &inputs, &"--threads", &threads, &"--runs", &"3", &"--json"];
    let files: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"--trace", &trace, &"--html", &page];
    arguments.extend(files);
    let done = onnx_run(&arguments);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).expect("JSON")
}

fn sum(rows: &serde_json::Value, key: &str) -> f64 {
    let number = |row: &serde_json::Value| row[key].as_f64().unwrap_or(0.0);
    rows.as_array().expect("rows").iter().map(number).sum()
}

#[test]
fn profiles_add_up() {
    let folder = tempfile::tempdir().expect("a folder");
    // The last one holds nodes in the bodies of If.
    for name in ["magika", "silero-vad-half"] {
        let told = profile(name, "1", folder.path());
        let nodes = told["nodes"].as_array().expect("nodes");
        assert!(!nodes.is_empty(), "{name}");
        for key in ["ms", "nodes", "bytes", "multiply_adds"] {
            let all = sum(&told["nodes"], key);
            for by in ["ops", "layers"] {
                assert!((sum(&told[by], key) - all).abs() <= 1e-6 * all.max(1.0), "{name}: {key} by {by}");
            }
        }
        assert!((sum(&told["nodes"], "share") - 100.0).abs() < 1e-6, "{name}");
        let (nodes_ms, run_ms) = (sum(&told["nodes"], "ms"), told["run_ms"].as_f64().expect("a number"));
        // The median of sums is not the sum of medians, but near it.
        assert!(nodes_ms > 0.3 * run_ms && nodes_ms < 1.5 * run_ms, "{name}: {nodes_ms} of {run_ms} ms");
        assert!(sum(&told["nodes"], "multiply_adds") > 1e5, "{name}");
        for row in nodes {
            assert!(row["peak"].as_f64().is_none_or(|peak| peak <= 100.0001), "{name}: {row}");
            assert!(row["op"].as_str().is_some_and(|op| !op.is_empty()), "{name}: {row}");
        }
    }
}

#[test]
fn traces_hold_every_call_and_pages_the_executed_graph() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = profile("ppocr-cls", "2", folder.path());
    let text = std::fs::read(folder.path().join("trace.json")).expect("a trace");
    let trace: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let of = |kind: &str| events.iter().filter(|e| e["ph"] == kind).collect::<Vec<_>>();
    let (tracks, calls) = (of("M"), of("X"));
    assert_eq!(calls.len() as f64, sum(&told["nodes"], "calls"));
    assert!(tracks.iter().any(|t| t["name"] == "thread_name" && t["args"]["name"].is_string()));
    for call in calls {
        assert!(tracks.iter().any(|track| track["tid"] == call["tid"]), "{call}");
        assert!(call["ts"].as_f64() >= Some(0.0) && call["dur"].as_f64() > Some(0.0), "{call}");
        assert!(call["args"]["op"].is_string() && call["args"]["shape"].is_string(), "{call}");
    }
    let page = std::fs::read_to_string(folder.path().join("page.html")).expect("a page");
    assert!(
        page.contains("<title>ppocr-cls</title>") && page.contains("as it is executed"),
        "{}",
        page.len()
    );
}

#[test]
fn profiles_are_told_in_tables() {
    let magika = testdata().join("models/magika");
    let (file, inputs) = (magika.join("model.onnx"), magika.join("input.npz"));
    let done = onnx_run(&[&"profile", &file, &"--inputs", &inputs, &"--runs", &"1", &"--top", &"2"]);
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for part in
        ["ms a run on", "GFLOP/s of float32", "operator\n", "node: operator, output, name\n", " more\n"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn profiles_refuse_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let magika = testdata().join("models/magika");
    let (model, inputs) = (magika.join("model.onnx"), magika.join("input.npz"));
    let nowhere = folder.path().join("none/file.json");
    for flag in ["--trace", "--html"] {
        let said = refused(1, &[&"profile", &model, &"--inputs", &inputs, &"--runs", &"1", &flag, &nowhere]);
        assert!(said.contains("file.json") && said.contains("folder"), "{said}");
        refused(1, &[&"profile", &model, &"--inputs", &inputs, &"--runs", &"1", &flag, &folder.path()]);
    }
    // What is wrong with inputs is told as by `run`.
    let said = refused(1, &[&"profile", &model]);
    assert!(said.contains("missing"), "{said}");
    refused(1, &[&"profile", &nowhere, &"--random", &"1"]);
    refused(2, &[&"profile", &model, &"--runs", &"0"]);
    refused(2, &[&"profile", &model, &"--depth", &"0"]);
    refused(2, &[&"peak", &"--threads", &"many"]);
}

#[test]
fn the_machine_is_measured() {
    let done = onnx_run(&[&"peak", &"--threads", &"1", &"--json"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    for key in ["gflops", "read_gb", "copy_gb"] {
        assert!(told[key].as_f64().is_some_and(|n| n > 0.0), "{key}: {told}");
    }
    let done = onnx_run(&[&"peak", &"--threads", &"1"]);
    assert!(String::from_utf8_lossy(&done.stdout).contains("GFLOP/s"));
}
