//! What the server or the client library said, as one of the port's kinds. The only place that decides it.
//!
//! The codes are those of Redis itself (<https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors>).
//! What was sent and not answered is unknown; since nothing here differs when it is sent twice, it may be sent again.

use redis::{ErrorKind as Code, RedisError, ServerErrorKind as Said};

use crate::action::{ActionError, ErrorKind};
use crate::secret::Secrets;
use crate::value::beginning;

/// The most of a remote message that an error carries, in bytes.
const LONGEST_MESSAGE: usize = 2048;

/// The error of a server at `at` that could not be connected to.
pub(super) fn connecting(at: &str, error: &RedisError, secrets: &Secrets) -> ActionError {
    let doing = format!("reach redis at {at}");
    match error.kind() {
        Code::AuthenticationFailed => refused(&doing),
        Code::InvalidClientConfig => explained(ErrorKind::Invalid, &doing, error, secrets),
        Code::Io => explained(ErrorKind::Unreachable, &doing, error, secrets)
            .unless_refused_by_tls(Some("{redis: {ca_file: …}}")),
        _ => answered(&doing, error, secrets),
    }
}

/// The error of a command. `changed` says that something was sent that changes keys.
pub(super) fn asking(
    doing: &str,
    changed: bool,
    error: &RedisError,
    secrets: &Secrets,
) -> ActionError {
    match error.kind() {
        Code::Io if changed => unknown(doing).caused_by(&Told(told(error, secrets))),
        Code::Io => explained(ErrorKind::Failed, doing, error, secrets).retryable(true),
        _ => answered(doing, error, secrets),
    }
}

/// Something was sent, and nobody knows what became of it.
pub(super) fn unknown(doing: &str) -> ActionError {
    ActionError::new(ErrorKind::Unknown, format!("{doing}: the answer never came")).retryable(true)
}

/// The server answered, and refuses.
fn answered(doing: &str, error: &RedisError, secrets: &Secrets) -> ActionError {
    if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) {
        return refused(doing);
    }
    let Code::Server(said) = error.kind() else {
        return explained(ErrorKind::Failed, doing, error, secrets);
    };
    match said {
        Said::NoPerm => explained(ErrorKind::Denied, doing, error, secrets)
            .hint("The user needs the commands `+info +scan +unlink +get +exists +cluster|slots +asking` on these keys."),
        Said::ReadOnly => explained(ErrorKind::Conflict, doing, error, secrets)
            .hint("This server is a replica: name its master in `connections: {redis: …}`."),
        Said::BusyLoading
        | Said::TryAgain
        | Said::ClusterDown
        | Said::MasterDown
        | Said::Moved
        | Said::Ask => explained(ErrorKind::Failed, doing, error, secrets).retryable(true),
        _ => explained(ErrorKind::Failed, doing, error, secrets),
    }
}

fn refused(doing: &str) -> ActionError {
    ActionError::new(ErrorKind::Denied, format!("{doing}: the server refuses these credentials"))
        .hint("Check `username` and `password` of the connection `redis`.")
}

fn explained(kind: ErrorKind, doing: &str, error: &RedisError, secrets: &Secrets) -> ActionError {
    ActionError::new(kind, doing).caused_by(&Told(told(error, secrets)))
}

/// What was said, without secrets (a server repeats what it does not understand), and not too much of it.
fn told(error: &RedisError, secrets: &Secrets) -> String {
    beginning(&secrets.redact(&error.to_string()), LONGEST_MESSAGE).to_owned()
}

/// A cause that was looked through.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn said(kind: Said, detail: &str) -> RedisError {
        (Code::Server(kind), "it said", detail.to_owned()).into()
    }

    #[test]
    fn a_lost_answer_is_unknown_only_when_something_was_to_change() {
        let lost: RedisError = io::Error::from(io::ErrorKind::ConnectionReset).into();
        let secrets = Secrets::default();
        let change = asking("unlink keys", true, &lost, &secrets);
        assert!(change.outcome_unknown() && change.retryable, "{change:?}");
        let look = asking("count keys", false, &lost, &secrets);
        assert_eq!((look.kind, look.retryable), (ErrorKind::Failed, true));
        let none = connecting("a:1", &lost, &secrets);
        assert_eq!((none.kind, none.retryable), (ErrorKind::Unreachable, true));
    }

    #[test]
    fn every_refusal_has_its_kind() {
        for (kind, wanted, again) in [
            (Said::NoPerm, ErrorKind::Denied, false),
            (Said::ReadOnly, ErrorKind::Conflict, false),
            (Said::BusyLoading, ErrorKind::Failed, true),
            (Said::ClusterDown, ErrorKind::Failed, true),
            (Said::ResponseError, ErrorKind::Failed, false),
        ] {
            let error = asking("unlink keys", true, &said(kind, "no"), &Secrets::default());
            assert_eq!((error.kind, error.retryable), (wanted, again), "{kind:?}");
        }
    }

    #[test]
    fn what_a_server_repeats_is_redacted_and_cut() {
        let mut secrets = Secrets::default();
        let _marker = secrets.insert("password", "hunter2-hunter2".into());
        let text = format!("unknown command 'AUTH' 'hunter2-hunter2' {}", "é".repeat(4000));
        let error = asking("ask", false, &said(Said::ResponseError, &text), &secrets);
        let cause = &error.causes[0];
        assert!(!cause.contains("hunter2") && cause.contains("[secret]"), "{cause}");
        assert!(cause.len() <= LONGEST_MESSAGE);
    }
}
