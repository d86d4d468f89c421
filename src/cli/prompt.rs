//! Questions on a terminal. Without one nothing is asked.

use std::io::{self, BufRead};

use rustix::termios::{QueueSelector, tcflush, tcgetpgrp};

use super::error::{CliError, NO_TERMINAL};
use super::output::Output;
use crate::report::style::{STRONG, paint};

/// Asks for a line of text. A future that is dropped leaves the question unanswered.
pub(super) async fn ask(output: &Output, question: &str) -> Result<String, CliError> {
    if !output.interactive || !in_foreground() {
        return Err(CliError::new(NO_TERMINAL, "ask a question: there is no terminal"));
    }
    forget_typed();
    output.raw_progress(&paint(STRONG, question));
    // In a thread, since a terminal can be silent for ever and Ctrl-C has to be heard meanwhile.
    if let Ok(Some(answer)) = tokio::task::spawn_blocking(read_line).await {
        return Ok(answer);
    }
    output.raw_progress("\n");
    Err(CliError::new(NO_TERMINAL, "read an answer: the terminal is gone"))
}

/// Asks until the answer is yes or no; an empty answer is no.
pub(super) async fn confirm(output: &Output, question: &str) -> Result<bool, CliError> {
    loop {
        let answer = ask(output, &format!("{question} [y/N] ")).await?;
        match yes_or_no(&answer) {
            Some(yes) => return Ok(yes),
            None if answer.is_empty() => return Ok(false),
            None => output.progress(AGAIN),
        }
    }
}

/// What is said to an answer that is neither yes nor no.
pub(super) const AGAIN: &str = "Please answer y or n.";

/// What an answer means.
pub(super) fn yes_or_no(answer: &str) -> Option<bool> {
    match answer.to_lowercase().as_str() {
        "y" | "yes" => Some(true),
        "n" | "no" => Some(false),
        _ => None,
    }
}

/// Discards what was typed so far: before a question is shown, since it is no answer to it. Not after, when somebody quick may have
/// answered already. In the background it would stop this process, as a read would. That there is nothing to discard is fine.
pub(super) fn forget_typed() {
    if in_foreground() {
        tcflush(io::stdin(), QueueSelector::IFlush).ok();
    }
}

/// Reads one line from the terminal; `None` when the terminal is gone. Blocks until somebody types.
pub(super) fn read_line() -> Option<String> {
    let mut answer = Vec::new();
    match io::stdin().lock().read_until(b'\n', &mut answer) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(String::from_utf8_lossy(&answer).trim().to_owned()),
    }
}

/// Whether this process may read from its terminal: in the background (`rollback … &`) a read would stop it.
/// A terminal that controls no processes stops none.
pub(super) fn in_foreground() -> bool {
    tcgetpgrp(io::stdin()).map_or(true, |group| group == rustix::process::getpgrp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_answer_counts() {
        assert_eq!(yes_or_no("Yes"), Some(true));
        assert_eq!(yes_or_no("n"), Some(false));
        for unclear in ["", "yeah", "\u{1b}[A", "0"] {
            assert_eq!(yes_or_no(unclear), None, "{unclear:?}");
        }
    }
}
