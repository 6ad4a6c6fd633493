//! Passes on models in ONNX's text syntax: `testdata/filetests/PASS/NAME.onnxtxt`.
//!
//! A file begins with `# passes: NAME, ...` (the only ones that run; `all` for all) and the model before; after the
//! line `# becomes` stands the model as those passes leave it. `BLESS=1 cargo test -p oxidane --test filetests`
//! writes what they leave now; read the difference before you commit it.

use oxidane::onnx::text::{parse_model, print_model};
use oxidane::passes::{Level, Options, layout, optimize, passes};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const BECOMES: &str = "# becomes\n";

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of file tests") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "onnxtxt") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn names(text: &str) -> Result<Vec<&str>, String> {
    let line = text.lines().next().unwrap_or("");
    let list = line.strip_prefix("# passes:").ok_or("the first line must be `# passes: NAME, ...`")?;
    Ok(list.split(',').map(str::trim).collect())
}

/// The file as it should be.
fn after(text: &str) -> Result<String, String> {
    let before = text.split(BECOMES).next().unwrap_or(text).trim_end();
    let names = names(text)?;
    let options = Options::level_of(Level::Full);
    let options = match names[..] {
        ["all"] => options,
        _ => options.only(&names).map_err(|e| e.to_string())?,
    };
    let proto = parse_model(before).map_err(|e| e.to_string())?;
    let mut model = oxidane::onnx::Model::from_proto(proto, None).map_err(|e| e.to_string())?;
    let report = optimize(&mut model.graph, &options);
    // What only a compiled graph has is asked for by name.
    if names[..] != ["all"] {
        layout(&mut model.graph, &options);
    }
    let left = model.to_proto(None).map_err(|e| e.to_string())?;
    let printed = print_model(&left).map_err(|e| e.to_string())?;
    let why: BTreeSet<String> = report
        .refused()
        .iter()
        .map(|r| format!("# refused: {} at {}: {}\n", r.pass, r.node, r.reason))
        .collect();
    let why: String = why.into_iter().collect();
    Ok(format!("{before}\n\n{BECOMES}{why}{}\n", printed.trim_end()))
}

#[test]
fn passes_leave_what_the_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/filetests");
    let bless = std::env::var_os("BLESS").is_some();
    let (mut bad, mut covered) = (Vec::new(), BTreeSet::new());
    for path in files(&folder) {
        let text = fs::read_to_string(&path).expect("a readable file");
        let name = path.strip_prefix(&folder).unwrap_or(&path).display().to_string();
        if let Ok(names) = names(&text) {
            covered.extend(names.into_iter().map(str::to_owned));
        }
        match after(&text) {
            Ok(now) if now == text => {}
            Ok(now) if bless => fs::write(&path, now).expect("a writable file"),
            Ok(now) => bad.push(format!("{name} becomes\n{now}")),
            Err(why) => bad.push(format!("{name}: {why}")),
        }
    }
    assert!(bad.is_empty(), "{} of the files differ:\n\n{}", bad.len(), bad.join("\n"));
    let bare: Vec<_> = passes().iter().map(|p| p.name).filter(|p| !covered.contains(*p)).collect();
    assert!(bare.is_empty(), "these passes have no file test: {}", bare.join(", "));
}
