//! Oxidane: open an ONNX model, optimize it, run it, write it back.
//!
//! ```no_run
//! use oxidane::{Level, Model, Tensor};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let session = Model::open("model.onnx")?.optimize(Level::Full)?.session()?;
//! let image = Tensor::new(&[1, 3, 224, 224], &vec![0.5f32; 3 * 224 * 224])?;
//! let outputs = session.run([("input", image)])?;
//! println!("{}", outputs["output"].as_tensor().expect("a tensor"));
//! # Ok(())
//! # }
//! ```
//!
//! Everything here is a thin layer; the parts are re-exported as [`tensor`], [`graph`], [`ops`], [`onnx`],
//! [`passes`] and [`runtime`] for whoever needs more.

#![forbid(unsafe_code)]

mod model;
pub mod npz;
mod session;

pub use model::{Error, Level, Model};
pub use session::{Outputs, Session};

pub use oxidane_graph::{Dim, Problem, Problems, Type};
pub use oxidane_runtime::{Cancel, Limits, NodeEvent, Observer, Port, RunError, RunOptions, SessionOptions};
pub use oxidane_tensor::{DType, Datum, Tensor, TensorError, complex};

pub use oxidane_graph as graph;
pub use oxidane_onnx as onnx;
pub use oxidane_ops as ops;
pub use oxidane_passes as passes;
pub use oxidane_runtime as runtime;
pub use oxidane_tensor as tensor;
