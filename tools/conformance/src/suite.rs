use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Tolerance;

/// One case, official or of the suite `versions`: a model, inputs and the outputs that it must give.
#[derive(Debug, Clone)]
pub struct Case {
    /// The suite: `node`, `simple`, `pytorch-converted`, `pytorch-operator`, `light`, or our `versions`.
    pub suite: String,
    /// The name, unique in its suite.
    pub name: String,
    /// The file `model.onnx`.
    pub model: Bytes,
    /// The sets of inputs and outputs, in order.
    pub data: Vec<DataSet>,
    /// How close the outputs must be.
    pub tolerance: Tolerance,
}

/// Serialized inputs and outputs by position.
#[derive(Debug, Clone, Default)]
pub struct DataSet {
    /// `input_0.pb`, `input_1.pb`, ...
    pub inputs: Vec<Bytes>,
    /// `output_0.pb`, `output_1.pb`, ...
    pub outputs: Vec<Bytes>,
}

/// Cases, by suite and name.
#[derive(Debug, Clone, Default)]
pub struct Suites {
    /// All cases, sorted by suite and name.
    pub cases: Vec<Case>,
}

/// `data.json` beside a model.
#[derive(Deserialize)]
struct CaseOptions {
    rtol: Option<f64>,
    atol: Option<f64>,
}

/// Where the archives lie in a checkout, and what the table beside them is called.
const ARCHIVE: &str = "testdata/conformance/onnx-1.23.2.tar.zst";
const VERSIONS: &str = "testdata/conformance/versions.tar.zst";
const COVERAGE: &str = "coverage.tsv";

impl Suites {
    /// The name of the suite of the operators' old versions, which is not official.
    pub const VERSIONS: &str = "versions";

    /// The archive in the current folder's checkout: the folder itself or one above.
    ///
    /// # Errors
    /// When there is none.
    pub fn find() -> Result<PathBuf> {
        find(ARCHIVE)?
            .with_context(|| format!("{ARCHIVE} is not here or above; name the archive with --cases"))
    }

    /// The table of coverage in the current folder's checkout.
    ///
    /// # Errors
    /// When there is no checkout around the current folder.
    pub fn find_coverage() -> Result<PathBuf> {
        let beside = find(VERSIONS)?.with_context(|| format!("{VERSIONS} is not here or above"))?;
        Ok(beside.with_file_name(COVERAGE))
    }

    /// Adds the suite `versions` of the current folder's checkout, if these are not in it already.
    ///
    /// # Errors
    /// When there is no checkout around the current folder, or its archive cannot be read.
    pub fn add_versions(&mut self) -> Result<()> {
        if !self.cases.iter().any(|case| case.suite == Suites::VERSIONS) {
            let path = find(VERSIONS)?.with_context(|| format!("{VERSIONS} is not here or above"))?;
            self.cases.extend(Suites::load(&path)?.cases);
        }
        Ok(())
    }

    /// Reads the cases from an archive (`.tar.zst`) or a folder with a folder a suite.
    ///
    /// # Errors
    /// When it cannot be read or holds no case.
    pub fn load(path: &Path) -> Result<Suites> {
        let mut files = BTreeMap::new();
        if path.is_dir() {
            read_folder(path, path, &mut files)?;
        } else {
            let file =
                std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            let plain = ruzstd::decoding::StreamingDecoder::new(std::io::BufReader::new(file))
                .with_context(|| format!("{} is no zstd archive", path.display()))?;
            for entry in tar::Archive::new(plain).entries()? {
                let mut entry = entry.with_context(|| format!("{} is damaged", path.display()))?;
                if entry.header().entry_type().is_file() {
                    let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    files.insert(name, Bytes::from(bytes));
                }
            }
        }
        let suites = Suites { cases: cases(files)? };
        if suites.cases.is_empty() {
            bail!("{} holds no case (SUITE/CASE/model.onnx)", path.display());
        }
        Ok(suites)
    }
}

/// A file of the checkout around the current folder.
fn find(name: &str) -> Result<Option<PathBuf>> {
    let here = std::env::current_dir()?;
    Ok(here.ancestors().map(|dir| dir.join(name)).find(|path| path.is_file()))
}

fn read_folder(root: &Path, folder: &Path, files: &mut BTreeMap<String, Bytes>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            read_folder(root, &path, files)?;
        } else if let Ok(name) = path.strip_prefix(root) {
            let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files.insert(name.to_string_lossy().replace('\\', "/"), bytes.into());
        }
    }
    Ok(())
}

/// The files of a data set: whether an output, and its number.
type Files = BTreeMap<(bool, usize), Bytes>;

/// Groups files by case: `SUITE/CASE/model.onnx`, `SUITE/CASE/test_data_set_N/input_M.pb`, ...
fn cases(files: BTreeMap<String, Bytes>) -> Result<Vec<Case>> {
    let mut cases: BTreeMap<(String, String), Case> = BTreeMap::new();
    let mut sets: BTreeMap<(String, String), BTreeMap<String, Files>> = BTreeMap::new();
    let mut options = BTreeMap::new();
    for (path, bytes) in files {
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            [suite, name, "model.onnx"] => {
                let key = (suite.to_string(), name.to_string());
                let case = Case {
                    suite: key.0.clone(),
                    name: key.1.clone(),
                    model: bytes,
                    data: Vec::new(),
                    tolerance: Tolerance::default(),
                };
                cases.insert(key, case);
            }
            [suite, name, "data.json"] => {
                let read: CaseOptions =
                    serde_json::from_slice(&bytes).with_context(|| format!("{path} is no JSON object"))?;
                options.insert((suite.to_string(), name.to_string()), read);
            }
            [suite, name, set, file] => {
                let Some((kind, number)) = file.strip_suffix(".pb").and_then(|f| f.split_once('_')) else {
                    continue;
                };
                let Ok(number) = number.parse() else { continue };
                let set = sets
                    .entry((suite.to_string(), name.to_string()))
                    .or_default()
                    .entry(set.to_string())
                    .or_default();
                set.insert((kind == "output", number), bytes);
            }
            _ => {}
        }
    }
    for (key, folders) in sets {
        let Some(case) = cases.get_mut(&key) else { continue };
        for files in folders.into_values() {
            let mut data = DataSet::default();
            for ((is_output, _), bytes) in files {
                if is_output { data.outputs.push(bytes) } else { data.inputs.push(bytes) }
            }
            case.data.push(data);
        }
    }
    for (key, read) in options {
        let Some(case) = cases.get_mut(&key) else { continue };
        case.tolerance.relative = read.rtol.unwrap_or(case.tolerance.relative);
        case.tolerance.absolute = read.atol.unwrap_or(case.tolerance.absolute);
    }
    Ok(cases.into_values().collect())
}
