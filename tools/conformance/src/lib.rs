//! The official ONNX cases, run on any of our ways of running a model, and reported.
//!
//! [`Suites::load`] reads the cases from the archive; [`run_all`] runs them in worker processes, so that a case
//! that crashes or hangs ends alone; [`Report`] prints tables and writes the page; [`Coverage`] says which schemas of
//! the standard the cases reach, [`Conversions`] which opsets can express them.

#![forbid(unsafe_code)]

mod compare;
mod coverage;
mod draws;
mod opsets;
mod page;
mod report;
mod run;
mod schemas;
mod suite;
mod worker;

pub use compare::{Tolerance, compare};
pub use coverage::{Coverage, Covered, Touching};
pub use opsets::Conversions;
pub use page::write_page;
pub use report::Report;
pub use run::{Plan, run_all};
pub use schemas::{Schema, live_schemas, touched};
pub use suite::{Case, DataSet, Suites};
pub use worker::{Outcome, Runtime, Verdict, run_case, serve};
