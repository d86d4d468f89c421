//! What the answer of a service means that did not take a message.

use std::time::Duration;

use reqwest::StatusCode;

use super::delivery::{Manner, doubt};
use crate::action::{ActionError, ErrorKind, Repeat};
use crate::adapters::http;
use crate::secret::Secrets;

/// Why a message was not taken, or perhaps not.
pub(super) enum Refusal {
    Transport(reqwest::Error),
    Answered { status: StatusCode, retry_after: Option<Duration>, body: String },
}

impl From<reqwest::Error> for Refusal {
    fn from(error: reqwest::Error) -> Self {
        // The error would show the URL, which may be the secret.
        Self::Transport(error.without_url())
    }
}

impl Refusal {
    /// The error that the engine decides by, with this much time left for another attempt.
    pub(super) fn told(self, manner: Manner, left: Duration, secrets: &Secrets) -> ActionError {
        let Manner { name, deed, repeat, hint } = manner;
        let (status, retry_after, body) = match self {
            Self::Answered { status, retry_after, body } => (status, retry_after, body),
            Self::Transport(error) if error.is_connect() => {
                return ActionError::new(ErrorKind::Unreachable, format!("reach {name}"))
                    .caused_by(&error)
                    .unless_refused_by_tls(None);
            }
            Self::Transport(error) => {
                return doubt(name, deed, "the connection broke").caused_by(&error);
            }
        };
        let kind = match status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => ErrorKind::Denied,
            StatusCode::NOT_FOUND | StatusCode::GONE => ErrorKind::NotFound,
            // It may have been taken before the server failed.
            status if status.is_server_error() && repeat == Repeat::Never => ErrorKind::Unknown,
            _ => ErrorKind::Failed,
        };
        let body = http::quoted(body.as_bytes(), secrets);
        let word = if body.is_empty() { String::new() } else { format!(" ({body})") };
        let wait = retry_after.map(|wait| format!(", try again in {}s", wait.as_secs()));
        let message = format!(
            "{deed}: {name} answered {}{word}{}",
            status.as_u16(),
            wait.unwrap_or_default()
        );
        let passing = status == StatusCode::TOO_MANY_REQUESTS
            || (status.is_server_error() && kind == ErrorKind::Failed);
        let soon = retry_after.is_none_or(|wait| wait < left);
        let error = ActionError::new(kind, message).retryable(passing && soon);
        match hint(&body) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}
