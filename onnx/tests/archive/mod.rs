//! The models of ONNX's official cases, from the archive in `testdata/`.

use std::io::Read;
use std::path::Path;

/// Name and bytes of every `model.onnx` in the archive.
pub(crate) fn models() -> Vec<(String, Vec<u8>)> {
    let archive = "testdata/conformance/onnx-1.23.2.tar.zst";
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = here.ancestors().map(|dir| dir.join(archive)).find(|path| path.is_file()).expect(archive);
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut archive =
        tar::Archive::new(ruzstd::decoding::StreamingDecoder::new(file).expect("a zstd archive"));
    let mut models = Vec::new();
    for entry in archive.entries().expect("a tar archive") {
        let mut entry = entry.expect("a whole archive");
        let name = entry.path().expect("a name").display().to_string();
        if let Some(case) = name.strip_suffix("/model.onnx") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("a whole archive");
            models.push((case.to_owned(), bytes));
        }
    }
    assert_eq!(models.len(), 2033, "the archive holds all official cases");
    models
}
