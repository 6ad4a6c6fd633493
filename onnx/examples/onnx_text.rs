//! Models to text and back, at the level of messages.
//!
//! `onnx_text MODEL.onnx` prints to the standard output. `onnx_text IN OUT` converts between `.onnx` and
//! `.txt`, whichever the names say. `onnx_text FOLDER OUT` writes `OUT/PATH.txt` for every model below the
//! folder and, as `OUT/PATH.onnx`, the model read back from it, and compares the texts of both.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use oxidane_onnx::{ModelFile, is_text, save, text};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match &arguments[..] {
        [model] => {
            let file = ModelFile::open(model)?;
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            text::write_model(&file.model, &mut out, &text::TextOptions::default())?;
        }
        [input, output] if input.is_file() => {
            let file = ModelFile::open(input)?;
            if is_text(output) {
                text::save_text(&file.model, output, &text::TextOptions::default())?;
            } else {
                save(&file.model, output)?;
            }
        }
        [folder, out] => {
            let mut folders = vec![folder.clone()];
            let (mut good, mut bad) = (0, 0);
            while let Some(at) = folders.pop() {
                for entry in fs::read_dir(&at)? {
                    let path = entry?.path();
                    if path.is_dir() {
                        folders.push(path);
                    } else if path.extension().is_some_and(|extension| extension == "onnx") {
                        let name = path.strip_prefix(folder)?.to_string_lossy().replace('/', "+");
                        match check(&path, &out.join(name).with_extension("txt")) {
                            Ok(()) => good += 1,
                            Err(error) => {
                                bad += 1;
                                println!("{}: {error}", path.display());
                            }
                        }
                    }
                }
            }
            println!("{good} models print, parse and print the same; {bad} do not");
        }
        _ => return Err("usage: onnx_text MODEL.onnx | onnx_text IN OUT | onnx_text FOLDER OUT".into()),
    }
    Ok(())
}

fn check(path: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let first = text::print_model(&ModelFile::open(path)?.model)?;
    fs::write(out, &first)?;
    let read = text::parse_model(&first)?;
    save(&read, out.with_extension("onnx"))?;
    let second = text::print_model(&read)?;
    if first == second { Ok(()) } else { Err("the second text differs from the first".into()) }
}
