//! How a working step tells what happens. Everything goes through the dispatcher, which alone knows the state.

use tokio::sync::{mpsc, oneshot};

use crate::event::{Event, Place};
use crate::journal::{Ack, JournalError};
use crate::plan::StepId;

/// What a step sends to the dispatcher.
pub(super) enum Message {
    /// Something happened.
    Event(Event),
    /// Something is about to happen, once it is on disk.
    Intent { event: Event, reply: oneshot::Sender<Ack> },
    /// An announced change was not made, since the announcement could not be written.
    Withdrawn { at: Place },
    /// A required question waits for its answer.
    Waiting { at: Place, answer: oneshot::Sender<bool> },
    /// A step's task is over.
    Finished { step: StepId, end: TaskEnd },
}

/// How a step's task ended. What became of its items stands in their events.
pub(super) enum TaskEnd {
    /// It went through its items.
    Through,
    /// It could not find its items.
    Unresolved(crate::action::ActionError),
    /// A bug.
    Panicked(String),
}

/// A step's way to the dispatcher.
#[derive(Clone)]
pub(super) struct Emitter {
    to: mpsc::UnboundedSender<Message>,
}

impl Emitter {
    pub(super) fn new(to: mpsc::UnboundedSender<Message>) -> Self {
        Self { to }
    }

    /// Tells without waiting. The journal keeps the order, and flushes it with the next intent at the latest.
    pub(super) fn emit(&self, event: Event) {
        self.send(Message::Event(event));
    }

    /// Returns when the event is on disk.
    pub(super) async fn intend(&self, event: Event) -> Result<(), JournalError> {
        let (reply, ack) = oneshot::channel();
        self.send(Message::Intent { event, reply });
        match ack.await {
            Ok(ack) => ack.await.map(drop),
            Err(_) => Err(JournalError::Closed),
        }
    }

    pub(super) fn send(&self, message: Message) {
        // The dispatcher outlives its steps; a message that nobody reads belongs to a run that is over.
        let _over = self.to.send(message);
    }
}
