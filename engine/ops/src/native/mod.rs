//! Operators of the domain `oxidane`: what a graph that is about to run is written in. Each states standard operators
//! that compute the same; no file has them.

pub mod product;
