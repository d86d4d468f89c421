//! The language: one YAML file becomes a [`Runbook`], or a list of all its problems, each with its place.
//!
//! [`parse`] is the only file that names the YAML crate: it turns text into [`node::Node`]s, a tree that knows where every
//! value stands. [`validate`] holds the tree against the [`schema`] that is made from the same Rust types that the adapters
//! deserialize, so that the editor, `rollback check` and the program agree. [`template`] evaluates `{{ }}`.

pub mod diagnostic;
pub mod model;
pub mod node;
pub mod parse;
pub mod schema;
pub mod template;
pub mod validate;

pub use model::{
    After, ForEach, Input, InputType, OnFailure, Phase, ProbeCall, Retry, Runbook, Scenario, Step,
    Target, Verify,
};
