//! The domain `ai.onnx.preview.training`: derivatives of a part of the graph, and steps of optimizers, each of which
//! takes tensors, their gradients and what it remembers of them, and gives both anew.

pub mod adagrad;
pub mod adam;
pub mod gradient;
pub mod momentum;
mod step;
