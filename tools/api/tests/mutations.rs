//! Damaged and altered models on the paths that fuzzing takes (`fuzz/`): nothing panics.
//!
//! The mutations are the same each time. `MUTATIONS=N` takes N of each path instead, `MUTATIONS_FROM=N` starts with
//! another seed, `MUTATIONS_TRACE=1` says each before it runs.

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
use std::io::Read;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

/// The official cases' models and the bundled ones, with what they are called.
fn models() -> Vec<(String, Bytes)> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let archive = fs::File::open(testdata.join("conformance/onnx-1.23.2.tar.zst")).expect("the archive");
    let plain = ruzstd::decoding::StreamingDecoder::new(std::io::BufReader::new(archive)).expect("zstd");
    let mut models = Vec::new();
    for entry in tar::Archive::new(plain).entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").to_string_lossy().into_owned();
        if name.ends_with("/model.onnx") && entry.size() < 64 << 10 {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("a model");
            models.push((name, bytes.into()));
        }
    }
    for entry in fs::read_dir(testdata.join("models")).expect("the bundled models") {
        let path = entry.expect("a folder").path().join("model.onnx");
        let bytes = fs::read(&path).expect("a model");
        if bytes.len() < 1 << 20 {
            models.push((path.display().to_string(), bytes.into()));
        }
    }
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
    harmless("load", 1500, &models(), paths::load);
}

#[test]
fn mutated_models_are_optimized_or_refused() {
    harmless("optimize", 1000, &models(), paths::optimize);
}

#[test]
fn mutated_models_run_or_are_refused() {
    harmless("run", 1000, &models(), paths::run);
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
