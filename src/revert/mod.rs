//! The reverse of a run: from its journal to a plan of its own.
//!
//! [`Past`] folds the journal into the changes that may be in force, each with its place in time; [`plan()`] puts their
//! reverses into the reverse order; [`look()`] holds that against the live systems, before anything starts. From there on it is
//! a run like any other, whose steps are made by [`engine::take_back`](crate::engine::take_back).

mod look;
mod past;
mod plan;
mod scope;
#[cfg(test)]
mod tests;

pub use look::{LookContext, Looked, look};
pub use past::{Change, Past};
pub use plan::plan;
