//! The model that a command starts from.

use anyhow::{Context, Result};
use oxidane::Model;
use oxidane::onnx::ModelFile;
use oxidane::onnx::proto::tensor_proto::DataLocation;
use std::path::{Path, PathBuf};

/// A model and what its file tells beside it.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) model: Model,
    /// Whether weights lie beside the file.
    pub(crate) external: bool,
}

impl Source {
    /// Opens a model; its weights stay in the mapped file.
    ///
    /// # Errors
    /// When the file cannot be read, or lists everything that is wrong with the model.
    pub(crate) fn open(path: &Path) -> Result<Source> {
        let called = || path.display().to_string();
        let file = ModelFile::open(path).with_context(called)?;
        let graph = file.model.graph.as_ref();
        let external = graph.is_some_and(|graph| {
            graph.initializer.iter().any(|t| t.data_location() == DataLocation::External)
        });
        let model = Model::from_file(file).with_context(called)?;
        Ok(Source { path: path.to_owned(), model, external })
    }
}
