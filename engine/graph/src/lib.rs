//! The dataflow graph and the contract of an operator.
//!
//! A [`Graph`] is ONNX in its newest opset, typed: nodes and values in arenas with typed ids, an
//! [`Op`] of typed fields on every node, sizes as interned expressions ([`Dim`]), subgraphs closed. What an
//! operator can do stands in the trait [`Op`]: infer types ([`InferCtx`]), choose a kernel ([`Kernel`]), give
//! its gradient and its expansion ([`Build`]). Which operators there are is not known here.

#![forbid(unsafe_code)]

mod attribute;
mod build;
mod dim;
mod dot;
mod entity;
mod error;
mod graft;
mod graph;
mod infer;
mod kernel;
mod op;
mod parts;
mod signature;
mod types;
mod uses;
mod verify;
mod visit;

pub use attribute::{Attribute, AttributeValue, Attributes, SparseTensor, same_tensor};
pub use build::Build;
pub use dim::Dim;
pub use entity::{Id, NodeId, ValueId};
pub use error::{OpError, Place, Problem, Problems, Stop};
pub use graph::{Graph, GraphError};
pub use infer::{Findings, InferCtx, Inference, Ints, Unknown, axis_index, broadcast_dims, infer, shared};
pub use kernel::{Call, Host, IntList, Kernel, Run, kernel};
pub use op::{Op, Opaque, qualified};
pub use parts::{Node, NodeSpec, Notes, Source, Use, Value};
pub use signature::{Arity, Param, Signature, Types};
pub use types::{Dims, ShownDims, TensorType, Type};
pub use verify::MAX_DEPTH;
