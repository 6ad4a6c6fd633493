//! One room an operator: its attributes, its versions, inference, kernels, gradient, expansion and samples.
//!
//! The rooms stand by family (such as [`math`], [`nn`], [`tensor`], [`control`]), the registry ([`room()`]) finds them by
//! name, and the
//! [`Interpreter`] runs graphs of them. To add an operator, write its room and add one line to `registry.rs`.

#![forbid(unsafe_code)]

pub mod attention;
mod case;
pub mod constraints;
pub mod control;
pub mod differentiate;
mod draft;
#[doc(hidden)]
pub mod expansion;
mod formula;
mod interpret;
pub mod math;
pub mod microsoft;
pub mod ml;
pub mod native;
pub mod nn;
pub mod quantization;
pub mod random;
mod registry;
#[doc(hidden)]
pub mod room;
pub mod signal;
pub mod tensor;
pub mod text;
pub mod training;
pub mod types;
pub mod vision;

pub use case::{Case, bools, floats, ints, ints_of, noise, noise_of, strings};
pub use draft::{Draft, constant_of};
pub use interpret::{Interpreter, Watch};
pub use oxidane_kernels::{isa, machine};
pub use registry::{room, rooms};
pub(crate) use room::with_cases;
pub use room::{Form, Room, Step};
