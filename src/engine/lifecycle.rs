//! The life of one item, as one table: which event may follow in which stage.
//!
//! The running engine and recovery use the same table, so a sequence that could not be resumed cannot be written.

use crate::event::Event;

/// Where an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Not looked at yet.
    Pending,
    /// Looked at: a change is needed, and what undo needs is saved.
    Inspected,
    /// The change is being made; without another event its outcome is in doubt.
    Applying,
    /// The change was made and is not yet proved.
    Applied,
    /// Proved: the change is in force, or the probe's answer is as expected.
    Verified,
    /// The wanted state was there already.
    FoundDone,
    /// Failed, with a known outcome.
    Failed,
    /// The change was made and did not come into force.
    NotInForce,
    /// Nobody knows whether the change was made.
    Unknown,
    /// A person has been asked.
    Open,
    /// The change is being taken back.
    Undoing,
    /// The change was taken back.
    Undone,
    /// Taking back failed: a person is needed.
    Stuck,
}

impl Stage {
    /// The stage after `event`, or `None` when that event is illegal here.
    #[expect(clippy::match_same_arms, reason = "a table: one line for each transition")]
    pub fn next(self, event: &Event) -> Option<Self> {
        use Stage::{
            Applied, Applying, Failed, FoundDone, Inspected, NotInForce, Open, Pending, Stuck,
            Undoing, Undone, Unknown, Verified,
        };
        Some(match (self, event) {
            // A look. After a crash or a lost answer it decides what the doubt was about.
            (Pending | Inspected | Unknown, Event::Inspected { .. }) => Inspected,
            (Pending | Inspected | Unknown, Event::FoundDone { .. }) => FoundDone,
            (Pending | Inspected, Event::InspectFailed { .. }) => Failed,
            // The change.
            (Inspected, Event::ApplyStarted { .. }) => Applying,
            (Applying, Event::Noted { .. }) => Applying,
            (Applying, Event::Applied { .. }) => Applied,
            (Applying, Event::ApplyFailed { .. }) => Failed,
            // A later look that sees nothing leaves an earlier attempt in doubt.
            (Pending | Applying | Unknown, Event::ApplyUnknown { .. }) => Unknown,
            // Another attempt starts with another look.
            (Pending | Inspected | Applying, Event::RetryScheduled { .. }) => Pending,
            (Unknown, Event::RetryScheduled { .. }) => Unknown,
            // The proof. A probe is nothing but the proof, and is in doubt only after a salvage.
            (Pending | Unknown | Applied, Event::Verified { .. }) => Verified,
            (Pending | Unknown, Event::VerifyFailed { .. }) => Failed,
            (Applied, Event::VerifyFailed { .. }) => NotInForce,
            // A question to a person.
            (Pending | Unknown, Event::QuestionOpened { .. }) => Open,
            // A hold: its gates are asked, and when its time is over and nobody knows of one of them, a person. Whichever comes
            // first, data or the answer, ends it.
            (Pending | Unknown, Event::HoldBegan { .. }) => Pending,
            (Pending | Open, Event::HoldLooked { .. }) => self,
            (Unknown, Event::HoldLooked { .. }) => Pending,
            (Open, Event::Verified { .. }) => Verified,
            (Open, Event::VerifyFailed { .. }) => Failed,
            // A no may become a yes when somebody looks again.
            (Open | Failed, Event::QuestionAnswered { confirmed: true, .. }) => Verified,
            (Open, Event::QuestionAnswered { confirmed: false, .. }) => Failed,
            // The way back, also of what waited for another attempt, or had been looked at for it, when the run was stopped. A second undo
            // after a crash is legal: undo changes nothing twice.
            (
                Pending | Inspected | Applied | Verified | FoundDone | Failed | NotInForce
                | Unknown | Undoing | Stuck,
                Event::UndoStarted { .. },
            ) => Undoing,
            (Undoing, Event::Noted { .. }) => Undoing,
            (Undoing, Event::Undone { .. }) => Undone,
            (Undoing, Event::UndoFailed { .. }) => Stuck,
            _ => return None,
        })
    }

    /// The stage in which another process takes the item up again. What was in flight is in doubt.
    #[must_use]
    pub fn resumed(self) -> Self {
        match self {
            Self::Inspected | Self::Failed | Self::Undone => Self::Pending,
            Self::Applying | Self::NotInForce => Self::Unknown,
            other => other,
        }
    }

    /// The stage in which an item is taken up when a part of the journal is lost: everything is looked at anew.
    #[must_use]
    pub fn salvaged(self) -> Self {
        match self {
            Self::Open | Self::Undoing | Self::Undone | Self::Stuck => self,
            _ => Self::Unknown,
        }
    }

    /// Whether nothing remains to be done for the item in this session.
    pub fn is_settled(self) -> bool {
        !matches!(
            self,
            Self::Pending | Self::Inspected | Self::Applying | Self::Applied | Self::Undoing
        )
    }

    /// Whether the item is as wanted.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Verified | Self::FoundDone)
    }
}
