//! What a program said and how it ended, as one text that a snapshot can hold.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output};

/// Standard output, standard error and exit status of a finished program.
#[derive(Debug, Clone)]
pub(crate) struct CommandOutput {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    status: ExitStatus,
}

impl CommandOutput {
    /// The exit code; `None` when a signal ended the program.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended the program, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Itself, if the exit code is `expected`; otherwise the test ends with everything that was said.
    #[track_caller]
    pub(crate) fn expect_code(self, expected: i32) -> Self {
        assert!(self.code() == Some(expected), "expected exit code {expected}, got:\n{self}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("standard output is not JSON ({error}):\n{self}"))
    }
}

impl From<Output> for CommandOutput {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
        Self { stdout: text(output.stdout), stderr: text(output.stderr), status: output.status }
    }
}

impl fmt::Display for CommandOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                let end = if text.ends_with('\n') { "" } else { "[no newline at the end]\n" };
                write!(f, "----- {name} -----\n{text}{end}")?;
            }
        }
        match (self.code(), self.signal()) {
            (Some(code), _) => write!(f, "----- exit {code} -----"),
            (None, Some(signal)) => write!(f, "----- signal {signal} -----"),
            (None, None) => write!(f, "----- no exit status -----"),
        }
    }
}
