//! The one action of all verbs here: a message on its way, and what is known of it when the way ends early.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Readiness, Repeat,
    Reversal, Saved, StepContext, SystemConnection, Verdict,
};
use crate::adapters::http::Progress;

/// Nobody waits longer than this for a message during a rollback.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How a service is spoken of, and how it takes a message that comes twice.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// Its name.
    pub(super) name: &'static str,
    /// What it is asked to do, as it fits after "failed to" and after "whether it could".
    pub(super) deed: &'static str,
    /// Whether a message may be sent again when nobody knows what became of it.
    pub(super) repeat: Repeat,
    /// What a person can do about a refusal with this text.
    pub(super) hint: fn(&str) -> Option<&'static str>,
}

/// A message that is ready to be sent.
#[async_trait]
pub(super) trait Letter: Send + Sync {
    /// The service.
    fn manner(&self) -> Manner;

    /// What sending it does, in one line.
    fn describe(&self) -> String;

    /// Whether the connection has what it takes. Contacts nothing.
    fn ready(&self) -> Result<(), ActionError>;

    /// Sends it, and tells `progress` how far it has come. May be dropped at any moment.
    async fn send(&self, cx: &StepContext, progress: &Progress) -> Result<Evidence, ActionError>;
}

/// Sends a letter.
pub(super) struct Delivery<L>(pub(super) L);

#[async_trait]
impl<L: Letter> Action for Delivery<L> {
    fn describe(&self) -> Description {
        Description::new(self.0.describe(), "a message cannot be unsent")
    }

    fn repeat(&self) -> Repeat {
        self.0.manner().repeat
    }

    fn reversal(&self) -> Reversal {
        Reversal::Irreversible { reason: "a message cannot be unsent".into() }
    }

    async fn inspect(&self, _: &StepContext) -> Result<Readiness, ActionError> {
        self.0.ready()?;
        Ok(Readiness::needed(Saved::default()))
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let Manner { name, deed, .. } = self.0.manner();
        if cx.cancelled().is_cancelled() {
            return Err(ActionError::new(ErrorKind::Cancelled, deed));
        }
        let progress = Progress::default();
        let cut_off = |kind: ErrorKind, why: &str| {
            if progress.may_be_sent() {
                doubt(name, deed, why)
            } else {
                ActionError::new(kind, format!("connect to {name}: {why}"))
            }
        };
        tokio::select! {
            sent = self.0.send(cx, &progress) => sent,
            () = tokio::time::sleep_until(cx.deadline().min(Instant::now() + PATIENCE)) => {
                Err(cut_off(ErrorKind::TimedOut, "it did not answer in time"))
            }
            () = cx.cancelled().cancelled() => {
                Err(cut_off(ErrorKind::Cancelled, "the run was told to stop"))
            }
        }
    }

    async fn verify(&self, _: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        // That it was taken is all that a service can tell.
        Ok(Verdict::Holds { evidence: applied.clone() })
    }

    async fn undo(
        &self,
        _: &StepContext,
        _: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        Err(ActionError::new(ErrorKind::Invalid, "take back a message: nothing can")
            .hint("Send a correction."))
    }
}

/// The error of a message that may have arrived.
pub(super) fn doubt(name: &str, deed: &str, why: &str) -> ActionError {
    ActionError::new(ErrorKind::Unknown, format!("learn whether {name} could {deed}: {why}"))
}

/// The error of an environment without this connection.
pub(super) fn required<C: SystemConnection>(
    connections: &Connections,
    example: &str,
) -> Result<(), ActionError> {
    if connections.has(C::KEY) {
        return Ok(());
    }
    let (key, environment) = (C::KEY, connections.environment());
    let message = format!("find the connection `{key}` of environment `{environment}`");
    Err(ActionError::new(ErrorKind::NotFound, message)
        .hint(format!("Add `connections: {{{key}: {example}}}` to the environment file.")))
}
