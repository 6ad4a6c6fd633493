//! Damaged and altered models on the paths that fuzzing takes (`fuzz/`): nothing panics.
//!
//! The mutations are the same each time. `MUTATIONS=N` takes N of each path instead, `MUTATIONS_FROM=N` starts with
//! another seed, `MUTATIONS_TRACE=1` says each before it runs (for what aborts), and `MUTATIONS_SAVE=FOLDER` writes
//! the files that panic there.

#[path = "../../../onnx/tests/archive/mod.rs"]
mod archive;
#[path = "../../../fuzz/src/mutate.rs"]
#[allow(dead_code, unreachable_pub)]
mod mutate;
#[path = "../../../fuzz/src/paths.rs"]
#[allow(unreachable_pub)]
mod paths;

use bytes::Bytes;
use mutate::Random;
use oxidane::onnx::ModelFile;
use oxidane::onnx::text::print_model;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

/// The official cases' models and the bundled ones that are not large, with what they are called.
fn models() -> Vec<(String, Bytes)> {
    let mut models: Vec<(String, Bytes)> =
        archive::models().into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/models");
    for entry in fs::read_dir(bundled).expect("the bundled models") {
        let folder = entry.expect("a folder");
        let bytes = fs::read(folder.path().join("model.onnx")).expect("a model");
        models.push((folder.file_name().display().to_string(), bytes.into()));
    }
    models.retain(|(_, bytes)| bytes.len() < 1 << 20);
    models.sort();
    models
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn harmless(path: &str, count: u64, models: &[(String, Bytes)], of: fn(&[u8])) {
    let (count, from) = (number("MUTATIONS").unwrap_or(count), number("MUTATIONS_FROM").unwrap_or(0));
    let trace = number("MUTATIONS_TRACE").is_some();
    let mut bad = Vec::new();
    for seed in from..from + count {
        let mut random = Random::new(seed);
        let (name, bytes) = &models[random.below(models.len())];
        let bytes = match path {
            "text" => mutate::scrambled(bytes, &mut random),
            _ => mutate::mutated(bytes, &mut random),
        };
        if trace {
            eprintln!("{path}, seed {seed}, {name}");
        }
        let start = Instant::now();
        if catch_unwind(|| of(&bytes)).is_err() {
            bad.push(format!("seed {seed}, {name}"));
            if let Some(folder) = std::env::var_os("MUTATIONS_SAVE") {
                let file = Path::new(&folder).join(format!("{path}-{seed}"));
                fs::write(file, &bytes).expect("a writable folder");
            }
        }
        if start.elapsed() > Duration::from_secs(4) {
            eprintln!("slow: {path}, seed {seed}, {name}: {:?}", start.elapsed());
        }
    }
    assert!(bad.is_empty(), "{path} panics on {} mutations (see above):\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn mutated_models_load_or_are_refused() {
    harmless("load", 2000, &models(), paths::load);
}

#[test]
fn mutated_models_are_optimized_or_refused() {
    harmless("optimize", 2000, &models(), paths::optimize);
}

#[test]
fn mutated_models_run_or_are_refused() {
    harmless("run", 3000, &models(), paths::run);
}

#[test]
fn mutated_texts_parse_or_are_refused() {
    let mut texts = Vec::new();
    for (name, bytes) in models() {
        let file = ModelFile::decode(bytes, &name, &Default::default()).expect("a model");
        let text = print_model(&file.model).expect("a printed model");
        if text.len() < 16 << 10 {
            texts.push((name, text.into()));
        }
    }
    harmless("text", 4000, &texts, paths::text);
}
