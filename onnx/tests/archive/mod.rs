//! The models of ONNX's official cases, from the archive in `testdata/`.

use std::io::Read;
use std::path::Path;

/// Name and bytes of every `model.onnx` in the archive.
pub(crate) fn models() -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/conformance/onnx-1.23.2.tar.zst");
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut tar = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(file)
        .expect("a zstd archive")
        .read_to_end(&mut tar)
        .expect("a whole archive");
    let (mut models, mut at) = (Vec::new(), 0);
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let mut long = None;
    while at + 512 <= tar.len() && tar[at] != 0 {
        let header = &tar[at..at + 512];
        let size = usize::from_str_radix(text(&header[124..136]).trim(), 8).expect("an octal size");
        let data = &tar[at + 512..at + 512 + size];
        match header[156] {
            b'L' => long = Some(text(data)),
            _ => {
                let name = long.take().unwrap_or_else(|| text(&header[..100]));
                if let Some(case) = name.strip_suffix("/model.onnx") {
                    models.push((case.to_owned(), data.to_vec()));
                }
            }
        }
        at += 512 + size.next_multiple_of(512);
    }
    assert_eq!(models.len(), 2033, "the archive holds all official cases");
    models
}
