//! Every error of the command line: its exit code, what failed, why, and what to type next. Rendered here and nowhere else.

use std::path::Path;

use super::open;
use crate::action::{ActionError, ErrorKind, chain};
use crate::journal::{Holder, JournalError, LockError};
use crate::report::style::{BAD, STRONG, paint};
use crate::report::text::sanitize;
use crate::runbook::diagnostic::Diagnostics;

/// An unexpected error.
pub const UNEXPECTED: u8 = 1;
/// Wrong usage, or a choice that a person must make.
pub const USAGE: u8 = 2;
/// Invalid runbook or configuration.
pub const INVALID: u8 = 3;
/// Pre-flight refused; nothing was touched.
pub const REFUSED: u8 = 4;
/// What was looked at is not as it should be: a person is needed.
pub const PERSON: u8 = 7;
/// Another run holds the subject.
pub const HELD: u8 = 8;
/// Stopped by the operator or the system, everything settled.
pub const ABORTED: u8 = 10;
/// A question could not be asked: no terminal.
pub const NO_TERMINAL: u8 = 11;
/// `decide`: roll back, at once or in an orderly way.
pub const ROLL_BACK: u8 = 30;
/// `decide`: pause deployments and evaluate.
pub const EVALUATE: u8 = 31;
/// `decide`: monitor, and prepare the rollback.
pub const PREPARE: u8 = 32;
/// `decide`: nothing fires, and of some triggers nobody knows.
pub const NO_DATA: u8 = 33;
/// `decide`: improve it; no rollback.
pub const OPTIMIZE: u8 = 34;
/// A bug in this program.
pub const INTERNAL: u8 = 20;

/// Why a command could not do its work.
#[derive(Debug)]
pub struct CliError {
    /// The program's exit code.
    pub code: u8,
    /// A fragment that fits after "failed to"; empty when `rendered` says it all.
    pub message: String,
    /// The chain of causes, outermost first.
    pub causes: Vec<String>,
    /// What to do, one sentence each.
    pub hints: Vec<String>,
    /// Diagnostics of files, rendered already.
    pub rendered: Option<String>,
}

impl CliError {
    /// An error with an exit code.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        let (causes, hints) = (Vec::new(), Vec::new());
        Self { code, message: message.into(), causes, hints, rendered: None }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds several hints.
    #[must_use]
    pub fn hints(mut self, hints: impl IntoIterator<Item = String>) -> Self {
        self.hints.extend(hints);
        self
    }

    /// Adds an error's source chain as causes.
    #[must_use]
    pub fn caused_by(mut self, source: &(dyn std::error::Error + 'static)) -> Self {
        self.causes.extend(chain(source));
        self
    }

    /// The error as lines for a person.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.rendered.iter().flat_map(|text| text.lines().map(str::to_owned)).collect();
        if !self.message.is_empty() {
            let what = sanitize(&self.message);
            lines.push(format!("{} failed to {what}", paint(BAD, "error:")));
        }
        lines.extend(self.causes.iter().map(|cause| format!("  because {}", sanitize(cause))));
        lines.extend(
            self.hints.iter().map(|hint| format!("{} {}", paint(STRONG, "hint:"), sanitize(hint))),
        );
        lines
    }
}

/// An error that no caller decides by: its context is the message, what is below are the causes.
impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        let mut texts = chain(error.as_ref()).into_iter();
        let message = texts.next().unwrap_or_default();
        Self { causes: texts.collect(), ..Self::new(UNEXPECTED, message) }
    }
}

impl From<ActionError> for CliError {
    fn from(error: ActionError) -> Self {
        let code = if error.kind == ErrorKind::Invalid { INVALID } else { UNEXPECTED };
        Self {
            code,
            message: error.message,
            causes: error.causes,
            hints: error.hints,
            rendered: None,
        }
    }
}

impl From<JournalError> for CliError {
    fn from(error: JournalError) -> Self {
        let hints = error.hints();
        let code = match error {
            JournalError::UnknownRun { .. } | JournalError::AmbiguousRun { .. } => USAGE,
            _ => UNEXPECTED,
        };
        let mut cli = Self::new(code, error.to_string()).hints(hints);
        if let Some(source) = std::error::Error::source(&error) {
            cli = cli.caused_by(source);
        }
        cli
    }
}

impl From<LockError> for CliError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Failed(error) => error.into(),
            LockError::Held { holder, .. } => held(holder.as_deref()),
            LockError::Elsewhere { path, holder } => left_elsewhere(&path, &holder),
        }
    }
}

/// A run of another machine has left the lock, dead or alive.
fn left_elsewhere(path: &Path, holder: &Holder) -> CliError {
    let Holder { run, runbook, by, since, state_dir } = holder;
    let text = format!(
        "start: run {run} of {runbook} was started by {}@{} (process {}) at {}, and nothing here tells whether it still runs there",
        by.user,
        by.host,
        by.pid,
        since.strftime("%Y-%m-%d %H:%M:%S UTC")
    );
    CliError::new(HELD, text)
        .hint(format!("Look on {}: `rollback status {run} --state-dir {state_dir}`.", by.host))
        .hint(format!(
            "If it runs there no more, type the same again with `--lock none`. (The lock is {}.)",
            path.display()
        ))
}

/// Who holds the subject, since when, and what can be done about it.
fn held(holder: Option<&Holder>) -> CliError {
    let Some(holder) = holder else {
        return CliError::new(HELD, "start: another run holds the subject")
            .hint("Find it with `rollback history`.");
    };
    let abort = format!("Stop it with `rollback abort {}`", holder.run);
    // An emergency is not taken over, not even by another.
    let or = if open::is_emergency(holder) { "" } else { ", or start with `--take-over`" };
    CliError::new(
        HELD,
        format!(
            "start: run {} of {} holds the subject, started by {}@{} (process {}) at {}",
            holder.run,
            holder.runbook,
            holder.by.user,
            holder.by.host,
            holder.by.pid,
            holder.since.strftime("%H:%M:%S UTC")
        ),
    )
    .hint(format!("Watch it with `rollback status {} --follow`.", holder.run))
    .hint(format!("{abort}{or}."))
}

/// The error for files with problems.
pub fn invalid(diagnostics: &Diagnostics, color: bool) -> CliError {
    let rendered = Some(diagnostics.render(color));
    CliError { rendered, ..CliError::new(INVALID, "") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Holder;
    use crate::runbook::Scenario;

    #[test]
    fn only_a_lesser_run_is_offered_to_be_taken_over() {
        for (scenario, offered) in [(Scenario::Graceful, true), (Scenario::Emergency, false)] {
            let holder = Holder {
                run: "20261121-2015-k7qd".into(),
                runbook: open::holder_name("ollama", scenario),
                by: crate::cli::actor::this_process(),
                since: crate::clock::now(),
                state_dir: "/state".into(),
            };
            let told = held(Some(&holder));
            assert_eq!(told.code, HELD);
            assert!(
                told.hints[1].contains("rollback abort 20261121-2015-k7qd"),
                "{:?}",
                told.hints
            );
            assert_eq!(told.hints[1].contains("--take-over"), offered, "{:?}", told.hints);
        }
    }
}
