//! Decision tables: when to roll back, with which runbook, how soon, and with whose approval.
//!
//! A table is a YAML file of triggers. [`form`](mod@form) is its shape, [`load`](mod@load) reads it with the diagnostics of runbooks into a [`Table`],
//! [`arguments`] lets the verbs of
//! conditions judge, and [`lint`] finds what no shape can say: two answers to the same values, values without an answer, a trigger that
//! never decides. [`evaluate`](mod@evaluate) asks the conditions, which are probes of any system, all at once; [`decision`] says what
//! their answers come to. Nothing here changes anything.

mod arguments;
pub mod decision;
pub mod evaluate;
mod form;
mod lint;
pub mod load;
pub mod model;
mod ranges;

#[cfg(test)]
mod tests;

pub use decision::{Decision, decide};
pub use evaluate::{Reading, State, evaluate};
pub use form::form;
pub use load::{LoadedTable, load, load_text};
pub use model::{Approval, Response, Table, Trigger};

pub use crate::runbook::Severity;
