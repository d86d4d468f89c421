//! `rollback` runs rollback runbooks against hard recovery targets, and survives being killed.
//!
//! The tree is the data flow. A file becomes a [`runbook`]; a runbook and an [`environment`] become a [`plan`]; a plan
//! becomes a run of the [`engine`]; a run is steps that call [`adapters`] through the port in [`action`]; everything that happens is
//! an [`event`], which the [`journal`] makes durable and the [`report`]s make visible. Whether to run at all is what the
//! decision tables of [`trigger`] say. The [`sandbox`] is a small world on
//! loopback that all of it can be tried against.

pub mod action;
pub mod adapters;
pub mod cli;
pub mod clock;
pub mod digest;
pub mod engine;
pub mod environment;
pub mod event;
pub mod failpoint;
pub mod journal;
pub mod plan;
pub mod report;
pub mod revert;
pub mod runbook;
pub mod sandbox;
pub mod secret;
pub mod signal;
pub mod trigger;
pub mod value;
