//! The one error that crosses the port.

use serde::{Deserialize, Serialize};

/// What went wrong, in the terms the engine decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The arguments or the configuration cannot work.
    Invalid,
    /// The thing to act on does not exist.
    NotFound,
    /// The system refuses these credentials.
    Denied,
    /// The present state is not the one this change may start from.
    Conflict,
    /// No connection: nothing was sent.
    Unreachable,
    /// Time was up before anything was changed, or while something was only read.
    TimedOut,
    /// The system answered that it failed.
    Failed,
    /// The request was sent and the answer never came: the change may have happened.
    Unknown,
    /// The run was told to stop before anything was changed.
    Cancelled,
}

/// Why an action or a probe could not do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ActionError {
    /// The class.
    pub kind: ErrorKind,
    /// Whether the same call may succeed a little later.
    pub retryable: bool,
    /// A lower-case fragment that fits after "failed to": `reach docker at unix:///run/docker.sock`.
    pub message: String,
    /// The chain of causes, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What a person can do, one sentence each, with the command to type where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// An error and its sources, outermost first; one that only repeats the text before it is left out.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let mut texts: Vec<String> = std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect();
    texts.dedup();
    texts
}

impl ActionError {
    /// An error of a class; [`Unreachable`](ErrorKind::Unreachable) and [`TimedOut`](ErrorKind::TimedOut) are retryable.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            retryable: matches!(kind, ErrorKind::Unreachable | ErrorKind::TimedOut),
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Adds the error's source chain as causes.
    #[must_use]
    pub fn caused_by(mut self, source: &(dyn std::error::Error + 'static)) -> Self {
        self.causes.extend(chain(source));
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says whether the same call may succeed a little later.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Not retryable, and with a hint, when the causes say that TLS refused the peer (in the words of `rustls::Error`): no waiting
    /// mends that. `setting` is where this connection's authorities are named, if it has such a place.
    #[must_use]
    pub fn unless_refused_by_tls(self, setting: Option<&str>) -> Self {
        let says = |words: &str| self.causes.iter().any(|cause| cause.contains(words));
        let hint = if says("invalid peer certificate") {
            match setting {
                Some(setting) => format!(
                    "Name the issuer's certificate in `connections: {setting}`, or mend the server's certificate."
                ),
                None => "Mend the server's certificate.".to_owned(),
            }
        } else if says("peer is incompatible") || says("fatal alert: ProtocolVersion") {
            "The server does not speak TLS 1.2 or newer, and nothing older is spoken here."
                .to_owned()
        } else {
            return self;
        };
        self.retryable(false).hint(hint)
    }

    /// Whether the change may have happened.
    pub fn outcome_unknown(&self) -> bool {
        self.kind == ErrorKind::Unknown
    }
}
