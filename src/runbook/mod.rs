//! The language: one YAML file becomes a [`Runbook`], or a list of all its problems, each with its place.
//!
//! [`parse`] is the only file that names the YAML crate: it turns text into [`node::Node`]s, a tree that knows where every
//! value stands. [`validate`] holds the tree against the [`schema`] that is made from the same Rust types that the adapters
//! deserialize, so that the editor, `rollback check` and the program agree. [`template`] evaluates `{{ }}`, and [`mod@load`]
//! is the door through all of it.

pub mod diagnostic;
pub(crate) mod forms;
pub mod load;
pub mod model;
pub mod node;
pub mod parse;
pub(crate) mod read;
pub mod schema;
mod severity;
pub(crate) mod suggest;
pub mod template;
#[cfg(test)]
pub(crate) mod testing;
pub mod validate;

pub use load::{Loaded, load, load_text};
pub use model::{
    After, Approval, ForEach, Input, InputType, OnFailure, Phase, Retry, Runbook, Rung, Scenario,
    Step, Target, VerbCall, Verify,
};
pub use severity::Severity;
