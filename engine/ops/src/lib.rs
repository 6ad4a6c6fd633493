//! One room an operator: its attributes, its versions, inference, kernels, gradient, expansion and samples.
//!
//! The rooms stand by family ([`math`], [`nn`], [`tensor`], [`control`], [`text`], [`ml`]), the registry ([`room()`]) finds them by name, and the
//! [`Interpreter`] runs graphs of them. To add an operator, write its room and add one line to `registry.rs`.

#![forbid(unsafe_code)]

mod case;
pub mod control;
mod draft;
mod interpret;
pub mod math;
pub mod ml;
pub mod nn;
mod registry;
#[doc(hidden)]
pub mod room;
pub mod tensor;
pub mod text;
pub mod types;

pub use case::{Case, bools, floats, ints, noise, noise_of, strings};
pub use draft::{Draft, constant_of};
pub use interpret::Interpreter;
pub use registry::{room, rooms};
pub use room::{Form, Room, Step};
