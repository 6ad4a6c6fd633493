//! Steps of optimizers, of the domain `ai.onnx.preview.training`: each takes tensors, their gradients and what it
//! remembers of them, and gives both anew.

pub mod adagrad;
pub mod adam;
pub mod momentum;
mod step;
