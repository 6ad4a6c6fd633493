use crate::Session;
use bytes::Bytes;
use oxidane_graph::{Findings, Graph, OpError, Problem, Problems, Source, Type, ValueId};
use oxidane_ops::Interpreter;
use oxidane_passes::{Options, Report};
use oxidane_pool::Pool;
use oxidane_runtime::SessionOptions;
use oxidane_tensor::Datum;
use std::path::Path;

pub use oxidane_passes::Level;

/// What can go wrong with a model before it runs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file, or the model in it.
    #[error(transparent)]
    File(#[from] oxidane_onnx::Error),
    /// The model cannot be compiled or run; every reason is listed.
    #[error("{0}")]
    Model(#[from] Problems),
}

/// An ONNX model.
#[derive(Debug, Clone)]
pub struct Model {
    inner: oxidane_onnx::Model,
    /// How tensors are laid out when the model is compiled; `None` where they lie as in ONNX.
    layout: Option<Options>,
}

impl From<oxidane_onnx::Model> for Model {
    fn from(inner: oxidane_onnx::Model) -> Model {
        Model { inner, layout: None }
    }
}

impl Model {
    /// Opens an ONNX file; its weights stay in the mapped file until something needs them.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged, or lists everything that is wrong with the model.
    pub fn open(path: impl AsRef<Path>) -> Result<Model, Error> {
        Ok(Model::from(oxidane_onnx::Model::open(path)?))
    }

    /// Opens an ONNX file whatever is wrong with the model in it, and says what was found: problems,
    /// declarations that contradict the graph, and values whose type stays unknown.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn open_leniently(path: impl AsRef<Path>) -> Result<(Model, Findings), Error> {
        let (inner, findings) = oxidane_onnx::Model::open_leniently(path)?;
        Ok((Model::from(inner), findings))
    }

    /// Reads a model from the bytes of an ONNX file; `folder` is where its external data lie, if it may have any.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_bytes(bytes: impl Into<Bytes>, folder: Option<&Path>) -> Result<Model, Error> {
        Ok(Model::from(oxidane_onnx::Model::from_bytes(bytes.into(), folder)?))
    }

    /// Makes a model of a file that was read, see [`oxidane_onnx::ModelFile`].
    ///
    /// # Errors
    /// Lists everything that is wrong with the model.
    pub fn from_file(file: oxidane_onnx::ModelFile) -> Result<Model, Error> {
        Ok(Model::from(oxidane_onnx::Model::from_file(file)?))
    }

    /// Makes a model of its message; `folder` is where its external data lie, if it may have any.
    ///
    /// # Errors
    /// Lists everything that is wrong with the model.
    pub fn from_proto(proto: oxidane_onnx::proto::ModelProto, folder: Option<&Path>) -> Result<Model, Error> {
        Ok(Model::from(oxidane_onnx::Model::from_proto(proto, folder)?))
    }

    /// The model rewritten to run faster: [`Level::Basic`] in standard operators of any opset and up
    /// to the rounding of weights that arithmetic goes into, [`Level::Full`] with fused operators, which may round
    /// differently.
    ///
    /// # Errors
    /// When the graph does not hold together.
    pub fn optimize(self, level: Level) -> Result<Model, Error> {
        Ok(self.optimize_with(&Options::level_of(level))?.0)
    }

    /// As [`Model::optimize`], with passes chosen by name and a report of what each did.
    ///
    /// # Errors
    /// When the graph does not hold together.
    pub fn optimize_with(mut self, options: &Options) -> Result<(Model, Report), Error> {
        self.inner.graph.verify()?;
        if options.level() > Level::None {
            oxidane_ops::control::call::inline(&mut self.inner.graph)
                .map_err(|e| Problems::from(Problem::at("model", e)))?;
        }
        let report = oxidane_passes::optimize(&mut self.inner.graph, options);
        self.layout = (options.level() >= Level::Full).then(|| options.clone());
        Ok((self, report))
    }

    /// Compiles the model for running, on all processors. What was optimized at [`Level::Full`] is laid out for this
    /// project's own kernels besides; the model itself stays as it is.
    ///
    /// # Errors
    /// Lists every node that cannot be run, with its place and the reason.
    pub fn session(&self) -> Result<Session, Error> {
        self.session_with(&SessionOptions::default())
    }

    /// Compiles the model for running.
    ///
    /// # Errors
    /// As [`Model::session`].
    pub fn session_with(&self, options: &SessionOptions) -> Result<Session, Error> {
        let Some(layout) = &self.layout else {
            return Ok(Session::new(oxidane_runtime::Session::new(&self.inner.graph, options)?)?);
        };
        let mut graph = self.inner.graph.clone();
        oxidane_passes::layout(&mut graph, layout);
        Ok(Session::new(oxidane_runtime::Session::new(&graph, options)?)?)
    }

    /// Runs the model once, node by node and without compiling it: slow, and independent of the runtime. Every value
    /// is held against its inferred type; a contradiction is an error.
    /// Inputs are in order; `None` takes the default of an input that has one.
    ///
    /// # Errors
    /// The first node that fails.
    pub fn interpret(&self, inputs: Vec<Option<Datum>>) -> Result<Vec<Datum>, Error> {
        let mut graph = self.inner.graph.clone();
        oxidane_ops::control::call::inline(&mut graph)
            .map_err(|e| Problems::from(Problem::at("model", e)))?;
        let interpreter = Interpreter::new(Pool::sequential(), isize::MAX as usize).checking();
        Ok(interpreter.run(&graph, inputs).map_err(Problems::from)?)
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.inner.graph
    }

    /// The model with what its file says beside the graph.
    pub fn onnx(&self) -> &oxidane_onnx::Model {
        &self.inner
    }

    /// The model, for changing it.
    pub fn onnx_mut(&mut self) -> &mut oxidane_onnx::Model {
        &mut self.inner
    }

    /// Inputs from serialized protobufs as ONNX's test data have them, by position. Where there are fewer than the
    /// model has inputs, inputs with a default are passed over.
    ///
    /// # Errors
    /// When there are too many or too few, or one cannot be read.
    pub fn inputs_from_bytes(&self, files: &[Bytes]) -> Result<Vec<Option<Datum>>, Error> {
        let graph = &self.inner.graph;
        let has_default =
            |id: &ValueId| matches!(graph.value(*id).source(), Source::Input { default: Some(_) });
        let all = graph.inputs();
        let chosen: Vec<bool> = match files.len() >= all.len() {
            true => vec![true; all.len()],
            false => all.iter().map(|id| !has_default(id)).collect(),
        };
        let wanted = chosen.iter().filter(|c| **c).count();
        if files.len() != wanted {
            let error = OpError::new(format!("takes {wanted} inputs, but {} are given", files.len()));
            return Err(Problems::from(Problem::at("model", error)).into());
        }
        let mut files = files.iter();
        let mut inputs = Vec::new();
        for (id, chosen) in all.iter().zip(chosen) {
            inputs.push(match files.as_slice().first().filter(|_| chosen) {
                Some(bytes) => {
                    files.next();
                    Some(self.datum("input", *id, bytes)?)
                }
                None => None,
            });
        }
        Ok(inputs)
    }

    /// Outputs from serialized protobufs, by position; there may be fewer than the model has outputs.
    ///
    /// # Errors
    /// When there are too many or one cannot be read.
    pub fn outputs_from_bytes(&self, files: &[Bytes]) -> Result<Vec<Datum>, Error> {
        let all = self.inner.graph.outputs();
        if files.len() > all.len() {
            let error = OpError::new(format!("has {} outputs, but {} are given", all.len(), files.len()));
            return Err(Problems::from(Problem::at("model", error)).into());
        }
        files.iter().zip(all).map(|(bytes, &id)| self.datum("output", id, bytes)).collect()
    }

    fn datum(&self, what: &str, id: ValueId, bytes: &Bytes) -> Result<Datum, Error> {
        let value = self.inner.graph.value(id);
        let ty: Option<&Type> = value.declared().or(value.ty());
        oxidane_onnx::datum_from_bytes(bytes.clone(), ty)
            .map_err(|e| Problems::from(Problem::at(format!("{what} `{}`", value.name()), e)).into())
    }
}
