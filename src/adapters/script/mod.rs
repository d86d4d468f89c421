//! Local commands: for what has no adapter of its own.
//!
//! A command is an argument vector that no shell ever sees (`script.run`); a shell runs only where the runbook says
//! `script.shell`, and then values reach it through the environment alone. Every child has its own process group, a
//! cleared environment, no terminal, a bounded output and a deadline, and does not outlive the step: at the deadline
//! its group gets SIGTERM and, after a grace, SIGKILL. After a SIGKILL of this program itself the next look finds the
//! child again by a mark in its environment (see [`process`]).
//!
//! - `script.run`: one file [`run`], carried out by [`action`]
//! - `script.shell`: the same policy around `/bin/sh -euc`, [`shell`]
//! - `script.expect`: a command as a question, [`expect`]

mod action;
mod capture;
mod child;
mod exit;
mod expect;
mod found;
mod process;
mod program;
mod run;
mod shell;
#[cfg(test)]
mod tests;

use crate::action::{System, Verb};

/// The system `script`.
pub(super) fn system() -> System {
    System {
        name: "script",
        summary: "Local commands, with a deadline and without a shell",
        connections: Vec::new(),
        verbs: vec![
            Verb::of::<run::RunArgs>(),
            Verb::of::<shell::ShellArgs>(),
            Verb::of::<expect::ExpectArgs>(),
        ],
    }
}
