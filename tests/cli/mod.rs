//! The program as people meet it: what every command says, where it says it, and how it ends.
//!
//! [`stage`] is a project in a world of its own with a small, fast sandbox. Snapshots hold what is printed; what a
//! snapshot cannot prove (that a hint works when typed, that a plan changes nothing) has a test of its own.

mod check;
mod clean_up;
mod confirm;
mod database;
mod decide;
mod degraded;
mod drill;
mod evidence;
mod generated;
mod hints;
mod hold;
mod hostile;
mod knowledge;
mod log;
mod orchestrator;
mod plan;
mod questions;
mod revert;
mod run;
mod setup;
mod stage;
