use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use prost::Message;

use crate::encode::write_model;
use crate::error::Error;
use crate::external::ExternalWriter;
use crate::proto::ModelProto;

/// Writes `model` to `path`: beside it first, then renamed, so that a reader sees the old file or the new
/// one, and a mapping of the old one stays good. Weights go from where they are to the file.
///
/// # Errors
/// [`Error::Over2Gb`] if the model with the weights inside does not fit a protobuf file;
/// [`Error::Write`] if writing fails, in which case `path` is as it was.
pub fn save(model: &ModelProto, path: impl AsRef<Path>) -> Result<(), Error> {
    let bytes = model.encoded_len() as u64;
    if bytes > i32::MAX as u64 {
        return Err(Error::Over2Gb { bytes });
    }
    let path = path.as_ref();
    let failed = |source| Error::Write { path: path.into(), source };
    let mut file = Beside::create(path).map_err(failed)?;
    write_model(model, &mut file).map_err(failed)?;
    file.finish().map_err(failed)
}

/// Writes `model` to `path` and every tensor of at least `threshold` bytes to the side file `NAME.onnx.data`.
/// Both are written beside first; the renames come last, the side file's before the model's.
///
/// # Errors
/// Those of [`save`].
pub fn save_with_external_data(
    mut model: ModelProto,
    path: impl AsRef<Path>,
    threshold: usize,
) -> Result<(), Error> {
    let path = path.as_ref();
    let mut side = ExternalWriter::create(path, threshold)?;
    side.store_all(&mut model)?;
    let bytes = model.encoded_len() as u64;
    if bytes > i32::MAX as u64 {
        return Err(Error::Over2Gb { bytes });
    }
    let failed = |source| Error::Write { path: path.into(), source };
    let mut file = Beside::create(path).map_err(failed)?;
    write_model(&model, &mut file).map_err(failed)?;
    let file = file.seal().map_err(failed)?;
    side.finish()?;
    file.publish().map_err(failed)
}

/// Writes any bytes to `path` the way models are written: beside it first, then renamed.
///
/// # Errors
/// [`Error::Write`] if writing fails, in which case `path` is as it was.
pub fn write_beside(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), Error> {
    let path = path.as_ref();
    let failed = |source| Error::Write { path: path.into(), source };
    let mut file = Beside::create(path).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.finish().map_err(failed)
}

/// A file in the making, beside the one it will replace. Dropped unfinished, it is removed.
pub(crate) struct Beside {
    // None after sealing; a `Beside` that is being written has it.
    file: Option<BufWriter<File>>,
    sealed: Sealed,
}

/// A file that is written and on the disk, and not yet in its place.
pub(crate) struct Sealed {
    beside: Option<PathBuf>,
    path: PathBuf,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Beside {
    /// Starts a file that will be at `path`. A device or a pipe at `path` is written directly; a link is
    /// followed, so that its target is replaced and not the link.
    pub(crate) fn create(path: &Path) -> io::Result<Beside> {
        let path = match fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => fs::canonicalize(path)?,
            _ => path.to_path_buf(),
        };
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            let file = OpenOptions::new().write(true).open(&path)?;
            let sealed = Sealed { beside: None, path };
            return Ok(Beside { file: Some(BufWriter::new(file)), sealed });
        }
        let Some(name) = path.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
        };
        loop {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
            let beside = path.with_file_name(hidden);
            match OpenOptions::new().write(true).create_new(true).open(&beside) {
                Ok(file) => {
                    let sealed = Sealed { beside: Some(beside), path };
                    return Ok(Beside { file: Some(BufWriter::with_capacity(1 << 16, file)), sealed });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what is buffered and waits until it is on the disk.
    pub(crate) fn seal(mut self) -> io::Result<Sealed> {
        if let Some(file) = self.file.take() {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            if self.sealed.beside.is_some() {
                file.sync_all()?;
            }
        }
        Ok(self.sealed)
    }

    /// Puts the finished file in its place.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.seal()?.publish()
    }
}

impl Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

impl Sealed {
    /// Puts the file in its place.
    pub(crate) fn publish(mut self) -> io::Result<()> {
        if let Some(beside) = &self.beside {
            fs::rename(beside, &self.path)?;
            self.beside = None;
        }
        Ok(())
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // Nothing more can be done about a leftover.
            let _ = fs::remove_file(beside);
        }
    }
}
