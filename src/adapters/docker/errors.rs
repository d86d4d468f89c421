//! What the engine or the wire said, as one of the port's kinds. The only place that decides it.

use bollard::errors::Error;

use super::transport::TooLong;
use crate::action::{ActionError, ErrorKind};
use crate::value::beginning;

/// The most of a remote message that an error carries, in bytes.
const LONGEST_MESSAGE: usize = 2048;

/// What a call is for: a change whose answer never came may have happened, a look may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Only looks.
    Read,
    /// Changes something.
    Change,
}

/// The error of a call that failed to do `doing` at the engine `at`.
pub(super) fn translate(intent: Intent, doing: &str, at: &str, error: &Error) -> ActionError {
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            let error = answered(*status_code, message, doing, at);
            match (intent, status_code) {
                // A proxy before the engine says so; the engine goes on with what it was asked for.
                (Intent::Change, 502 | 504) => unknown(doing).caused_by(&error).retryable(true),
                _ => error,
            }
        }
        Error::SocketNotFoundError(path) => unreachable(doing, at)
            .caused_by(&std::io::Error::new(std::io::ErrorKind::NotFound, format!("no socket at {path}"))),
        _ if permission_denied(error) => {
            ActionError::new(ErrorKind::Denied, format!("{doing}: no permission to use {at}")).hint(
                "Run as a member of the group `docker` (`sudo usermod -aG docker $USER`, then log in again), or as a user who may use the engine.",
            )
        }
        Error::HyperLegacyError { err } if err.is_connect() => {
            unreachable(doing, at).caused_by(err).unless_refused_by_tls(Some("{docker: {tls: {ca: …}}}"))
        }
        _ if intent == Intent::Change => unknown(doing).caused_by(error),
        Error::RequestTimeoutError => late(doing),
        // It would not be shorter the next time.
        _ if find::<TooLong>(error).is_some() => {
            ActionError::new(ErrorKind::Failed, doing).caused_by(error)
        }
        _ => ActionError::new(ErrorKind::Failed, doing).caused_by(error).retryable(true),
    }
}

/// The engine answered with an error status.
fn answered(status: u16, message: &str, doing: &str, at: &str) -> ActionError {
    let kind = match status {
        400 => ErrorKind::Invalid,
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        _ => ErrorKind::Failed,
    };
    let text = match beginning(message.trim(), LONGEST_MESSAGE) {
        "" => format!("{doing}: the engine at {at} answered {status}"),
        message => format!("{doing}: {message}"),
    };
    ActionError::new(kind, text).retryable(status >= 500 || status == 429)
}

/// Nothing was sent: there is no connection.
fn unreachable(doing: &str, at: &str) -> ActionError {
    ActionError::new(ErrorKind::Unreachable, format!("{doing}: reach docker at {at}"))
        .hint(format!("Is the Docker Engine running? Try `docker -H {at} ps`."))
}

/// A change was sent and its answer never came.
pub(super) fn unknown(doing: &str) -> ActionError {
    ActionError::new(ErrorKind::Unknown, format!("{doing}: the engine's answer never came"))
}

/// Time was up while looking, or before a change was sent.
pub(super) fn late(doing: &str) -> ActionError {
    ActionError::new(ErrorKind::TimedOut, format!("{doing} in time"))
}

/// The run was told to stop while looking, or before a change was sent.
pub(super) fn cancelled(doing: &str) -> ActionError {
    ActionError::new(ErrorKind::Cancelled, format!("{doing}: the run was told to stop"))
}

/// Whether an I/O error in the chain says that the socket may not be used.
fn permission_denied(error: &Error) -> bool {
    // A transparent error hides its inner one from the chain.
    if let Error::IOError { err } = error {
        return err.kind() == std::io::ErrorKind::PermissionDenied;
    }
    find::<std::io::Error>(error)
        .is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied)
}

/// The first error of this type in the chain.
fn find<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        // What an I/O error wraps is not among its sources.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let found = error.downcast_ref().or_else(|| inner.and_then(|inner| inner.downcast_ref()));
        if found.is_some() {
            return found;
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "unix:///run/docker.sock";

    fn status(code: u16, message: &str) -> ActionError {
        let error =
            Error::DockerResponseServerError { status_code: code, message: message.to_owned() };
        translate(Intent::Change, "stop container a", AT, &error)
    }

    #[test]
    fn every_status_has_its_kind() {
        let kinds = [
            (400, ErrorKind::Invalid, false),
            (403, ErrorKind::Denied, false),
            (404, ErrorKind::NotFound, false),
            (409, ErrorKind::Conflict, false),
            (418, ErrorKind::Failed, false),
            (500, ErrorKind::Failed, true),
            (503, ErrorKind::Failed, true),
        ];
        for (code, kind, retryable) in kinds {
            let error = status(code, "No such container: a");
            assert_eq!((error.kind, error.retryable), (kind, retryable), "{code}");
            assert_eq!(error.message, "stop container a: No such container: a");
        }
    }

    #[test]
    fn a_lost_answer_is_unknown_for_a_change_and_late_for_a_look() {
        let lost = Error::RequestTimeoutError;
        let change = translate(Intent::Change, "stop container a", AT, &lost);
        assert!(change.outcome_unknown());
        assert!(!change.retryable);
        let look = translate(Intent::Read, "inspect container a", AT, &lost);
        assert_eq!((look.kind, look.retryable), (ErrorKind::TimedOut, true));
    }

    #[test]
    fn a_missing_socket_and_a_forbidden_one_are_told_apart() {
        let missing = Error::SocketNotFoundError("/run/docker.sock".into());
        let error = translate(Intent::Change, "stop container a", AT, &missing);
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(error.hints[0].contains("docker -H unix:///run/docker.sock ps"));
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let forbidden = Error::IOError { err: denied };
        let error = translate(Intent::Change, "stop container a", AT, &forbidden);
        assert_eq!(error.kind, ErrorKind::Denied);
        assert!(error.hints[0].contains("group `docker`"));
    }

    #[test]
    fn a_remote_message_is_cut() {
        let error = status(500, &"é".repeat(5000));
        assert!(error.message.len() < LONGEST_MESSAGE + 50, "{}", error.message.len());
    }
}
