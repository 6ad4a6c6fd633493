//! Random numbers. With a seed an operator gives the same numbers in every run, those of NumPy's `RandomState` of that
//! seed; without one it gives others each time.

pub mod bernoulli;
mod draw;
pub(crate) mod generator;
pub mod multinomial;
pub mod random_normal;
pub mod random_normal_like;
pub mod random_uniform;
pub mod random_uniform_like;
