//! The command line: one file per command, each with its arguments and what it does.
//!
//! [`error`] renders every error, [`output`] does all writing. Nobody sees this module but `main`.

mod abort;
mod acknowledge;
mod actor;
mod approval;
mod approve;
mod archive;
mod args;
mod check;
mod completions;
mod confirm;
mod context;
mod custody;
mod decide;
mod doctor;
mod drill;
pub mod error;
mod evidence;
mod farewell;
mod history;
mod init;
mod ledger;
mod live_check;
mod lock;
mod log;
mod logbook;
mod man;
mod open;
mod output;
mod panic;
mod person;
mod plan;
mod prompt;
mod report;
mod resume;
mod revert;
mod run;
mod sandbox;
mod schema;
mod session;
mod since;
mod status;
mod takeover;
mod watch;
mod window;

pub use args::{Cli, main};
