//! What the API server or the wire said, as one of the port's kinds. The only place that decides it.

use kube::Error;
use kube::core::Status;

use crate::action::{ActionError, ErrorKind, chain};
use crate::secret::Secrets;

/// The most of a server's message that an error carries, in characters.
const LONGEST_MESSAGE: usize = 1000;

/// What a call is for: a change whose answer never came may have happened, a look may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Only looks.
    Read,
    /// Changes something.
    Change,
}

/// The server answered with an error status.
pub(super) fn answered(
    intent: Intent,
    doing: &str,
    code: u16,
    status: &Status,
    secrets: &Secrets,
) -> ActionError {
    let kind = match code {
        400 | 405 | 415 | 422 => ErrorKind::Invalid,
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        // The server was too busy, or not yet ready: it has not begun.
        429 | 503 => ErrorKind::Failed,
        // Its store may have answered too late, or a proxy lost the answer.
        500.. if intent == Intent::Change => ErrorKind::Unknown,
        _ => ErrorKind::Failed,
    };
    let message: String = secrets.redact(&status.message).chars().take(LONGEST_MESSAGE).collect();
    let text = if message.is_empty() {
        format!("{doing}: the API server answered {code}")
    } else {
        format!("{doing}: {message}")
    };
    let passing = matches!(code, 409 | 429 | 500..);
    let error = ActionError::new(kind, text).retryable(passing && kind != ErrorKind::Unknown);
    match code {
        401 => error.hint("The token is not accepted: renew it, or name another one in `connections: {kubernetes: …}`."),
        _ => error,
    }
}

/// No whole answer came back, or none that can be read.
pub(super) fn unanswered(
    intent: Intent,
    doing: &str,
    sent: bool,
    error: &(dyn std::error::Error + 'static),
    secrets: &Secrets,
) -> ActionError {
    let mut told = match intent {
        _ if !sent => {
            ActionError::new(ErrorKind::Unreachable, format!("{doing}: reach the API server"))
        }
        Intent::Change => unknown(doing),
        Intent::Read => {
            let too_long = chain(error).iter().any(|cause| cause.contains("length limit"));
            let text = format!("{doing}: the answer cannot be read");
            ActionError::new(ErrorKind::Failed, text).retryable(!too_long)
        }
    };
    told.causes = chain(error).iter().map(|cause| secrets.redact(cause)).collect();
    told.unless_refused_by_tls(Some("{kubernetes: {ca_file: …}}"))
}

/// The credentials or the TLS settings cannot be used.
pub(super) fn unusable(error: &Error) -> ActionError {
    let told = ActionError::new(ErrorKind::Invalid, "use the connection `kubernetes`");
    match error {
        // Its output may hold a token.
        Error::Auth(kube::client::AuthError::AuthExecRun { out, .. }) => {
            let why = format!("the program that gives the credentials ended with {}", out.status);
            ActionError::new(ErrorKind::Denied, format!("{}: {why}", told.message))
                .hint("Log in as this cluster needs it, then type the same again.")
        }
        error => told.caused_by(error),
    }
}

/// A change was sent and its answer never came.
pub(super) fn unknown(doing: &str) -> ActionError {
    ActionError::new(ErrorKind::Unknown, format!("{doing}: the API server's answer never came"))
}

/// Time was up while looking, or before a change was sent.
pub(super) fn late(doing: &str) -> ActionError {
    ActionError::new(ErrorKind::TimedOut, format!("{doing} in time"))
}

/// The run was told to stop while looking, or before a change was sent.
pub(super) fn cancelled(doing: &str) -> ActionError {
    ActionError::new(ErrorKind::Cancelled, format!("{doing}: the run was told to stop"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(intent: Intent, code: u16) -> ActionError {
        let status = Status::failure("said", "Reason").with_code(code);
        answered(intent, "do it", code, &status, &Secrets::default())
    }

    #[test]
    fn an_answer_is_final_or_may_pass_or_leaves_a_doubt() {
        let kinds =
            [(400, ErrorKind::Invalid), (403, ErrorKind::Denied), (404, ErrorKind::NotFound)];
        for (code, kind) in kinds {
            let error = told(Intent::Change, code);
            assert_eq!((error.kind, error.retryable), (kind, false), "{code}");
        }
        for (code, kind) in
            [(409, ErrorKind::Conflict), (429, ErrorKind::Failed), (503, ErrorKind::Failed)]
        {
            let error = told(Intent::Change, code);
            assert_eq!((error.kind, error.retryable), (kind, true), "{code}");
        }
        assert_eq!(told(Intent::Change, 500).kind, ErrorKind::Unknown);
        assert_eq!(told(Intent::Read, 500).kind, ErrorKind::Failed);
        assert!(told(Intent::Read, 500).retryable);
    }
}
