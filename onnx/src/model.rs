//! A model: its graph, and what its file says beside it.

use std::path::Path;

use bytes::Bytes;
use oxidane_graph::{Findings, Graph, OpError, Problem, Problems};

use crate::error::Error;
use crate::external::ExternalData;
use crate::file::{DecodeLimits, ModelFile};
use crate::import::import;
use crate::proto::{FunctionProto, ModelProto, OperatorSetIdProto};

/// The newest opset of ONNX's own domain that is known here; the graph's operators are of this form.
pub const OPSET: i64 = 28;

/// The newest IR version that is known here.
pub const IR_VERSION: i64 = 14;

/// An ONNX model.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The graph.
    pub graph: Graph,
    /// Everything of the file but the graph: IR version, opset imports, producer, metadata, functions and
    /// training graphs as they came. Its `graph` stays empty.
    pub header: ModelProto,
}

impl Model {
    /// Opens the model at `path`. The weights stay in the mapped file.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged; [`Error::Model`] lists everything that is wrong with the
    /// model itself, each problem with its place.
    pub fn open(path: impl AsRef<Path>) -> Result<Model, Error> {
        strict(Self::open_leniently(path)?)
    }

    /// Opens the model at `path` whatever is wrong with it, as long as the file can be read, and says what
    /// was found.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn open_leniently(path: impl AsRef<Path>) -> Result<(Model, Findings), Error> {
        let file = ModelFile::open(path)?;
        Ok(import(file.model, ExternalData::beside(file.path.as_deref())))
    }

    /// Makes a model of a file that was read.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn from_file(file: ModelFile) -> Result<Model, Error> {
        strict(import(file.model, ExternalData::beside(file.path.as_deref())))
    }

    /// Reads a model from the bytes of its file; `folder` is where its external data lie, if it may have any.
    ///
    /// # Errors
    /// Those of [`Model::open`].
    pub fn from_bytes(bytes: Bytes, folder: Option<&Path>) -> Result<Model, Error> {
        let file = ModelFile::decode(bytes, "the model", &DecodeLimits::default())?;
        Self::from_proto(file.model, folder)
    }

    /// Makes a model of its message; `folder` is where its external data lie, if it may have any.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn from_proto(model: ModelProto, folder: Option<&Path>) -> Result<Model, Error> {
        strict(Self::from_proto_leniently(model, folder))
    }

    /// As [`Model::from_proto`], whatever is wrong with the model, and says what was found.
    pub fn from_proto_leniently(model: ModelProto, folder: Option<&Path>) -> (Model, Findings) {
        // The external data lie beside the model; which name the model has there plays no part.
        import(model, ExternalData::beside(folder.map(|f| f.join("model.onnx")).as_deref()))
    }

    /// A model of a graph, of the newest IR version and opset.
    pub fn new(graph: Graph) -> Model {
        let own = OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) };
        let header = ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("oxidane".into()),
            producer_version: Some(env!("CARGO_PKG_VERSION").into()),
            opset_import: vec![own],
            ..ModelProto::default()
        };
        Model { graph, header }
    }

    /// The version of the file format.
    pub fn ir_version(&self) -> i64 {
        self.header.ir_version()
    }

    /// The domains that the file imports and their opsets, in order; ONNX's own domain is the empty one.
    pub fn opsets(&self) -> impl Iterator<Item = (&str, i64)> {
        self.header.opset_import.iter().map(|o| (crate::function::domain(o.domain()), o.version()))
    }

    /// The opset of a domain; `None` where the file does not import it.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        let domain = crate::function::domain(domain);
        self.opsets().find(|(d, _)| *d == domain).map(|(_, version)| version)
    }

    /// The model-local functions, as they came.
    pub fn functions(&self) -> &[FunctionProto] {
        &self.header.functions
    }

    /// Named metadata of the model, in order.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.header.metadata_props.iter().map(|p| (p.key(), p.value()))
    }
}

fn strict((model, findings): (Model, Findings)) -> Result<Model, Error> {
    if findings.problems.is_empty() { Ok(model) } else { Err(Error::Model(Problems(findings.problems))) }
}

/// A problem of the model as a whole.
pub(crate) fn of_model(what: impl Into<String>, help: &str) -> Problem {
    Problem::at("model", OpError::new(what).help(help))
}
