//! Tensors whose bytes lie in files of their own, beside the model.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use oxidane_tensor::{DType, map_open_file};

use crate::error::Error;
use crate::proto::tensor_proto::DataLocation;
use crate::proto::{ModelProto, StringStringEntryProto, TensorProto};
use crate::save::Beside;
use crate::storage::raw_bytes;
use crate::walk::for_each_tensor;

/// Where every external tensor starts, so that it can be mapped by itself and read by vectors.
const ALIGNMENT: u64 = 4096;

/// A tensor smaller than this stays inside of the model unless asked otherwise, in bytes.
pub const EXTERNAL_THRESHOLD: usize = 1024;

/// Reads external data of one model, each file mapped once.
///
/// A location is a path below the model's folder: not absolute, without `..`, through no link, to a regular
/// file that has no second name. A model can thus not make its reader read other files.
#[derive(Debug)]
pub struct ExternalData {
    folder: Option<PathBuf>,
    files: HashMap<String, Bytes>,
}

impl ExternalData {
    /// For the model at `path`, whose folder holds the data; None for a model that has no place, which
    /// then can have no external data.
    pub fn beside(path: Option<&Path>) -> ExternalData {
        let folder = path.map(|path| match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_path_buf(),
            _ => PathBuf::from("."),
        });
        ExternalData { folder, files: HashMap::new() }
    }

    /// The bytes of `tensor`, which says that they are external: a slice of the mapped file, in the layout
    /// of `raw_data`. The key `checksum` is not checked.
    ///
    /// # Errors
    /// [`Error::External`] if the location is not allowed, or the file cannot be read or is too short.
    pub fn bytes(&mut self, tensor: &TensorProto) -> Result<Bytes, Error> {
        let entry = |key: &str| {
            tensor.external_data.iter().find(|entry| entry.key() == key).map(StringStringEntryProto::value)
        };
        let location = entry("location").unwrap_or("");
        let refuse =
            |what: String| Error::External { tensor: tensor.name().into(), location: location.into(), what };
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => text
                .trim()
                .parse::<u64>()
                .map(Some)
                .map_err(|_| refuse(format!("its {key} {text:?} is no whole number from 0 on"))),
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        if !self.files.contains_key(location) {
            let bytes = self.map(location).map_err(refuse)?;
            self.files.insert(location.into(), bytes);
        }
        let file = self.files.get(location).cloned().unwrap_or_default();
        let size = file.len() as u64;
        let end = match length {
            Some(length) => offset.checked_add(length),
            None => Some(size),
        };
        match end {
            Some(end) if end <= size && offset <= end => Ok(file.slice(offset as usize..end as usize)),
            _ => Err(refuse(format!(
                "the tensor takes {} bytes from byte {offset} on, but the file has {size}; it is cut short or \
                 belongs to another model",
                length.map_or("all".into(), |length| length.to_string()),
            ))),
        }
    }

    /// Makes every external tensor of `model` an ordinary one whose `raw_data` is a slice of its mapped file.
    ///
    /// # Errors
    /// Those of [`ExternalData::bytes`], for the first tensor that has one.
    pub fn inline(&mut self, model: &mut ModelProto) -> Result<(), Error> {
        for_each_tensor(model, &mut |tensor| {
            if tensor.data_location() == DataLocation::External {
                tensor.raw_data = Some(self.bytes(tensor)?);
                tensor.data_location = None;
                tensor.external_data.clear();
            }
            Ok(())
        })
    }

    /// Maps the file at `location`; says why not.
    fn map(&self, location: &str) -> Result<Bytes, String> {
        let Some(folder) = &self.folder else {
            return Err(
                "a model that was not read from a file has no external data; open it by its path".into()
            );
        };
        if location.is_empty() {
            return Err("the tensor does not say in which file its bytes are".into());
        }
        // A model may come from a system where `\` separates folders; here it would be part of a name, and
        // there it could lead out.
        if location.contains('\\') || location.contains('\0') {
            return Err("the path has a character that is not allowed; use / between folders".into());
        }
        let mut path = folder.clone();
        for component in Path::new(location).components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::CurDir => continue,
                Component::ParentDir => {
                    return Err("the path leads up with `..`; data must lie in the model's folder".into());
                }
                Component::RootDir | Component::Prefix(_) => {
                    return Err("the path is absolute; data must lie in the model's folder".into());
                }
            }
            let found = fs::symlink_metadata(&path).map_err(|error| self.missing(&path, &error))?;
            if found.is_symlink() {
                return Err(format!(
                    "{} is a link, which could lead anywhere; put the file itself there",
                    path.display()
                ));
            }
        }
        let before = fs::symlink_metadata(&path).map_err(|error| self.missing(&path, &error))?;
        if !before.is_file() {
            return Err(format!("{} is no regular file", path.display()));
        }
        let file = File::open(&path).map_err(|error| self.missing(&path, &error))?;
        let opened = file.metadata().map_err(|error| self.missing(&path, &error))?;
        same_file(&before, &opened, &path)?;
        map_open_file(&file).map_err(|error| self.missing(&path, &error))
    }

    fn missing(&self, path: &Path, error: &io::Error) -> String {
        format!("cannot read {}: {error}; keep the data files in the model's folder", path.display())
    }
}

/// Refuses a file that was exchanged after it was looked at, or that has a second name, by which it
/// could be a file of somewhere else.
#[cfg(unix)]
fn same_file(before: &fs::Metadata, opened: &fs::Metadata, path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    if before.dev() != opened.dev() || before.ino() != opened.ino() || !opened.is_file() {
        return Err(format!("{} changed while it was opened", path.display()));
    }
    if opened.nlink() != 1 {
        return Err(format!(
            "{} has {} names (hard links), so it may be a file from outside of the model's folder; copy it",
            path.display(),
            opened.nlink()
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn same_file(_: &fs::Metadata, opened: &fs::Metadata, path: &Path) -> Result<(), String> {
    if opened.is_file() { Ok(()) } else { Err(format!("{} is no regular file", path.display())) }
}

/// Writes the side file `NAME.onnx.data` of a model that is saved to `NAME.onnx`.
///
/// The file comes into being beside its place and is renamed by [`ExternalWriter::finish`]; dropped before
/// that, it is removed. Each tensor starts at a multiple of 4096.
pub struct ExternalWriter {
    file: Option<Beside>,
    path: PathBuf,
    location: String,
    at: u64,
    threshold: usize,
}

impl ExternalWriter {
    /// For the model that will be at `model`. Tensors of fewer than `threshold` bytes stay inside;
    /// [`EXTERNAL_THRESHOLD`] is a good one. Nothing is written before the first tensor.
    ///
    /// # Errors
    /// [`Error::Write`] if `model` has no file name that a model can hold.
    pub fn create(model: &Path, threshold: usize) -> Result<ExternalWriter, Error> {
        let failed = |what: &str| Error::Write {
            path: model.into(),
            source: io::Error::new(io::ErrorKind::InvalidInput, what.to_owned()),
        };
        let mut name = OsString::from(model.file_name().ok_or_else(|| failed("the path names no file"))?);
        name.push(".data");
        let location = name.to_str().ok_or_else(|| failed("the name must be UTF-8"))?.to_owned();
        // Such a name could not be read back.
        if location.contains('\\') {
            return Err(failed("a model with external data must not have a `\\` in its name"));
        }
        Ok(ExternalWriter { file: None, path: model.with_file_name(name), location, at: 0, threshold })
    }

    /// Where the data go.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `bytes` and returns the entries that make a tensor refer to them: `location`, `offset`,
    /// `length`.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<Vec<StringStringEntryProto>, Error> {
        self.append_now(bytes).map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    fn append_now(&mut self, bytes: &[u8]) -> io::Result<Vec<StringStringEntryProto>> {
        let offset = self.at.next_multiple_of(ALIGNMENT);
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(Beside::create(&self.path)?),
        };
        // Less than one alignment.
        file.write_all(&[0; ALIGNMENT as usize][..(offset - self.at) as usize])?;
        file.write_all(bytes)?;
        self.at = offset + bytes.len() as u64;
        let entry =
            |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
        Ok(vec![
            entry("location", self.location.clone()),
            entry("offset", offset.to_string()),
            entry("length", bytes.len().to_string()),
        ])
    }

    /// Moves the values of `tensor` out if they are many enough and of a type that can be outside (all but
    /// strings). Returns whether it did.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn store(&mut self, tensor: &mut TensorProto) -> Result<bool, Error> {
        if tensor.data_location() == DataLocation::External
            || DType::from_onnx(tensor.data_type()).is_none_or(|dtype| dtype == DType::String)
        {
            return Ok(false);
        }
        let Some(bytes) = raw_bytes(tensor) else { return Ok(false) };
        if bytes.len() < self.threshold || bytes.is_empty() {
            return Ok(false);
        }
        tensor.external_data = self.append(&bytes)?;
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.raw_data = None;
        tensor.float_data = Vec::new();
        tensor.int32_data = Vec::new();
        tensor.int64_data = Vec::new();
        tensor.double_data = Vec::new();
        tensor.uint64_data = Vec::new();
        Ok(true)
    }

    /// As [`ExternalWriter::store`] for every tensor of `model`: initializers and attributes, in subgraphs
    /// and functions too.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn store_all(&mut self, model: &mut ModelProto) -> Result<(), Error> {
        for_each_tensor(model, &mut |tensor| self.store(tensor).map(drop))
    }

    /// Puts the side file in its place. Without a tensor in it there is none.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(self) -> Result<(), Error> {
        let path = self.path;
        match self.file {
            Some(file) => file.finish().map_err(|source| Error::Write { path, source }),
            None => Ok(()),
        }
    }
}
