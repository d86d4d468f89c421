//! What the server or the wire said, as one of the port's kinds. The only place that decides it.
//!
//! Classes of SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>. An error's `DETAIL` is left out, since
//! it quotes rows, and so is what a message about data has in quotation marks.

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::action::{ActionError, ErrorKind};
use crate::secret::Secrets;
use crate::value::beginning;

/// The most of a remote message that an error carries, in bytes.
const LONGEST_MESSAGE: usize = 2048;

/// The class of errors about values; they quote the value: `invalid input syntax for type integer: "12 apples"`.
const DATA: &str = "22";

/// Turns the errors of one call into the port's.
#[derive(Clone, Copy)]
pub(super) struct Translate<'a> {
    /// What the call is for, as a fragment.
    pub(super) doing: &'a str,
    pub(super) secrets: &'a Secrets,
}

impl Translate<'_> {
    /// While connecting: nothing was sent.
    pub(super) fn connecting(self, error: &Error) -> ActionError {
        if let Some(answer) = error.as_db_error() {
            return match answered(self.doing, answer, self.secrets) {
                error if error.retryable => ActionError { kind: ErrorKind::Unreachable, ..error },
                error => error,
            };
        }
        let failure = self.causes(ActionError::new(ErrorKind::Unreachable, self.doing), error);
        let failure = failure.unless_refused_by_tls(Some("{postgres: {ca: …}}"));
        if !failure.retryable {
            return failure;
        }
        if failure.causes.iter().any(|cause| cause.contains("does not support TLS")) {
            return failure.retryable(false).hint(
                "Switch TLS on at the server, or say `sslmode: disable` where the network is trusted.",
            );
        }
        failure.hint("Is the server running? Try `pg_isready` with its host and port.")
    }

    /// Within a transaction: the server takes back what was done.
    pub(super) fn working(self, error: &Error) -> ActionError {
        match error.as_db_error() {
            Some(answer) => answered(self.doing, answer, self.secrets),
            None if lost(error) => {
                let text =
                    format!("{}: the connection was lost, and nothing was changed", self.doing);
                self.causes(ActionError::new(ErrorKind::Failed, text).retryable(true), error)
            }
            None => self.causes(ActionError::new(ErrorKind::Invalid, self.doing), error),
        }
    }

    /// While committing: without an answer, nobody knows.
    pub(super) fn committing(self, error: &Error) -> ActionError {
        match error.as_db_error() {
            // The server was stopped while it committed, before or after the commit was on disk.
            Some(answer) if answer.code().code().starts_with("57P") => {
                self.causes(unknown(self.doing), error)
            }
            Some(answer) => answered(self.doing, answer, self.secrets),
            None => self.causes(unknown(self.doing), error),
        }
    }

    fn causes(self, failure: ActionError, error: &Error) -> ActionError {
        let mut failure = failure.caused_by(error);
        for cause in &mut failure.causes {
            let clean = self.secrets.redact(cause);
            bounded(&clean).clone_into(cause);
        }
        failure
    }
}

/// The connection broke, which the library tells in two ways.
fn lost(error: &Error) -> bool {
    use std::error::Error as _;

    error.is_closed()
        || error.source().and_then(|source| source.downcast_ref::<std::io::Error>()).is_some()
}

/// The server answered with an error.
fn answered(doing: &str, answer: &DbError, secrets: &Secrets) -> ActionError {
    let code = answer.code();
    let mut message = secrets.redact(answer.message());
    if code.code().starts_with(DATA) {
        message = without_values(&message);
    }
    let text = format!("{doing}: {} ({})", bounded(&message), code.code());
    let (kind, retryable) = kind(code);
    let failure = ActionError::new(kind, text).retryable(retryable);
    match *code {
        SqlState::LOCK_NOT_AVAILABLE => failure.hint(
            "Another session holds a lock. See who: `SELECT pid, state, query FROM pg_stat_activity WHERE pid IN (SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity)`.",
        ),
        SqlState::QUERY_CANCELED => failure.hint(
            "Give the step a longer `timeout`, or the verb a longer `statement_timeout`.",
        ),
        SqlState::INSUFFICIENT_PRIVILEGE => failure.hint(
            "Grant it to the role of `connections: {postgres: …}`; the guide names what each verb needs.",
        ),
        SqlState::FOREIGN_KEY_VIOLATION => failure.hint(
            "Rows of another table refer to these. Bring that table back first, or change it in the same step.",
        ),
        _ => failure,
    }
}

fn kind(code: &SqlState) -> (ErrorKind, bool) {
    match code.code() {
        // Lock not available, serialization failure, deadlock, silent for too long in a transaction.
        "55P03" | "40001" | "40P01" | "25P03" => (ErrorKind::Failed, true),
        "57014" => (ErrorKind::TimedOut, false),
        "42501" => (ErrorKind::Denied, false),
        "3D000" | "42P01" | "3F000" => (ErrorKind::NotFound, false),
        // Wrong password, no entry in pg_hba.conf.
        code if code.starts_with("28") => (ErrorKind::Denied, false),
        // Shutting down, starting up; too many connections, out of memory, disk full; connection exceptions.
        code if ["57P", "53", "08"].iter().any(|class| code.starts_with(class)) => {
            (ErrorKind::Failed, true)
        }
        code if code.starts_with("23") => (ErrorKind::Conflict, false),
        code if ["42", "22", "0A"].iter().any(|class| code.starts_with(class)) => {
            (ErrorKind::Invalid, false)
        }
        _ => (ErrorKind::Failed, false),
    }
}

/// Whether another row has the value: a unique or an exclusion constraint says so.
pub(super) fn is_taken(error: &ActionError) -> bool {
    ["(23505)", "(23P01)"].iter().any(|code| error.message.ends_with(code))
}

/// A commit was sent and its answer never came.
pub(super) fn unknown(doing: &str) -> ActionError {
    ActionError::new(ErrorKind::Unknown, format!("{doing}: the answer to the commit never came"))
}

/// Time was up before a commit was sent.
pub(super) fn late(doing: &str) -> ActionError {
    ActionError::new(ErrorKind::TimedOut, format!("{doing} in time"))
}

/// The run was told to stop before a commit was sent.
pub(super) fn cancelled(doing: &str) -> ActionError {
    ActionError::new(ErrorKind::Cancelled, format!("{doing}: the run was told to stop"))
}

/// The present state is not the one that a change may start from.
pub(super) fn conflict(text: impl Into<String>) -> ActionError {
    ActionError::new(ErrorKind::Conflict, text)
}

/// The quotation marks of the languages that a server speaks (`lc_messages`).
const QUOTES: [char; 10] = ['"', '«', '»', '„', '“', '”', '‘', '’', '「', '」'];

/// A message with nothing between its first quotation mark and its last one, since a value may have some in it.
fn without_values(message: &str) -> String {
    match (message.find(QUOTES), message.rfind(QUOTES)) {
        (Some(first), Some(last)) if first < last => {
            let after = message[last..].trim_start_matches(QUOTES);
            format!("{}\"…\"{after}", &message[..first])
        }
        _ => message.to_owned(),
    }
}

fn bounded(message: &str) -> &str {
    beginning(message.trim(), LONGEST_MESSAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_kind() {
        let kinds = [
            ("55P03", ErrorKind::Failed, true),
            ("40001", ErrorKind::Failed, true),
            ("40P01", ErrorKind::Failed, true),
            ("57014", ErrorKind::TimedOut, false),
            ("28P01", ErrorKind::Denied, false),
            ("42501", ErrorKind::Denied, false),
            ("42P01", ErrorKind::NotFound, false),
            ("23503", ErrorKind::Conflict, false),
            ("42601", ErrorKind::Invalid, false),
            ("22P02", ErrorKind::Invalid, false),
            ("53300", ErrorKind::Failed, true),
            ("57P01", ErrorKind::Failed, true),
            ("XX000", ErrorKind::Failed, false),
        ];
        for (code, wanted, retryable) in kinds {
            assert_eq!(kind(&SqlState::from_code(code)), (wanted, retryable), "{code}");
        }
    }

    #[test]
    fn a_message_about_data_shows_no_value() {
        let told = "invalid input syntax for type integer: \"it's \"Ann\"\"";
        assert_eq!(without_values(told), "invalid input syntax for type integer: \"…\"");
        assert_eq!(without_values("division by zero"), "division by zero");
        let told = "ungültige Eingabesyntax für Typ integer: »12 apples«";
        assert_eq!(without_values(told), "ungültige Eingabesyntax für Typ integer: \"…\"");
        let told = "syntaxe en entrée invalide pour le type integer : « 12 apples »";
        assert_eq!(without_values(told), "syntaxe en entrée invalide pour le type integer : \"…\"");
    }

    #[test]
    fn a_remote_message_is_cut_between_letters() {
        let text = "é".repeat(5000);
        assert_eq!(bounded(&text).len(), LONGEST_MESSAGE);
        assert_eq!(bounded("  short "), "short");
    }
}
