//! Questions on a terminal. Without one nothing is asked.

use std::io::BufRead;

use super::error::{CliError, NO_TERMINAL};
use super::output::Output;
use crate::report::style::{STRONG, paint};

/// Asks for a line of text.
pub(super) fn ask(output: &Output, question: &str) -> Result<String, CliError> {
    if !output.interactive {
        return Err(CliError::new(NO_TERMINAL, "ask a question: there is no terminal"));
    }
    output.raw_progress(&paint(STRONG, question));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read {
        Ok(0) | Err(_) => Err(CliError::new(NO_TERMINAL, "read an answer: the terminal is gone")),
        Ok(_) => Ok(answer.trim().to_owned()),
    }
}

/// Asks until the answer is yes or no; an empty answer is no.
pub(super) fn confirm(output: &Output, question: &str) -> Result<bool, CliError> {
    loop {
        match ask(output, &format!("{question} [y/N] "))?.to_lowercase().as_str() {
            "y" | "yes" => return Ok(true),
            "" | "n" | "no" => return Ok(false),
            _ => output.progress("Please answer y or n."),
        }
    }
}
