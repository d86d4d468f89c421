//! The acknowledgement of one append.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::error::JournalError;
use crate::event::Record;

/// What becomes of one append.
pub(super) type Outcome = Result<Arc<Record>, JournalError>;

/// Resolves once the record is on disk, or with the reason why it is not. The record is on its way
/// whether or not this is awaited.
#[must_use = "nothing may be changed before the record is on disk; use `append_nowait` where that does not matter"]
#[derive(Debug)]
pub struct Ack(oneshot::Receiver<Outcome>);

impl Ack {
    /// An acknowledgement and the end at which it is given.
    pub(super) fn pair() -> (oneshot::Sender<Outcome>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }

    /// An acknowledgement that is there already.
    pub(super) fn ready(outcome: Outcome) -> Self {
        let (sender, ack) = Self::pair();
        // The receiver is held right here, so the value cannot come back.
        let _unsent = sender.send(outcome);
        ack
    }
}

impl Future for Ack {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|received| match received {
            Ok(outcome) => outcome,
            Err(_) => Err(JournalError::Closed),
        })
    }
}
