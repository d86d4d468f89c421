//! The subject of a run: held while something may be changed, lent while nothing is for hours.

use std::sync::Arc;

use super::agenda::Agenda;
use super::approval;
use super::state::{RunState, StepState};
use crate::event::StopReason;

/// Who keeps the lock of a run's subject.
pub trait Custody: Send + Sync {
    /// Nothing will be changed for a while: `waits` is the step that the run waits in, or for. Others may take the subject from now on,
    /// as far as they are allowed to. Blocks for a flush.
    fn lend(&self, waits: &str);

    /// Something is about to be changed. Fails with why the run has to stop: somebody has taken the subject over, or it cannot be known.
    /// Blocks for a flush.
    fn take_back(&self) -> Result<Regained, StopReason>;
}

/// Whether a subject that was lent is this run's again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Regained {
    /// It is.
    Held,
    /// Somebody has its lock who may yet give it back: a run that is still being prepared has taken nothing over.
    NotYet {
        /// Who, in words.
        holder: String,
    },
}

/// A subject that is never lent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kept;

impl Custody for Kept {
    fn lend(&self, _waits: &str) {}

    fn take_back(&self) -> Result<Regained, StopReason> {
        Ok(Regained::Held)
    }
}

/// A subject, and whether it is lent.
pub(super) struct Lease {
    custody: Arc<dyn Custody>,
    lent: bool,
    awaited: bool,
}

impl Lease {
    /// A subject that is held.
    pub(super) fn of(custody: Arc<dyn Custody>) -> Self {
        Self { custody, lent: false, awaited: false }
    }

    /// Lends it while the run does nothing but wait.
    pub(super) fn lend_while_it_waits(&mut self, state: &RunState, agenda: &Agenda) {
        if !self.lent
            && let Some(step) = waits(state, agenda)
        {
            self.custody.lend(&step);
            self.lent = true;
        }
    }

    /// Makes sure of it before something is changed. What is not to be had yet is [awaited](Self::is_awaited).
    pub(super) fn take_back(&mut self) -> Result<Regained, StopReason> {
        let regained = if self.lent { self.custody.take_back() } else { Ok(Regained::Held) };
        self.awaited = matches!(regained, Ok(Regained::NotYet { .. }));
        self.lent = self.awaited;
        regained
    }

    /// Whether the run has something to change and waits for its subject.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited
    }
}

/// The step that a run waits in or for, and for nothing else: a hold, or an approval while nothing is in flight.
fn waits(state: &RunState, agenda: &Agenda) -> Option<String> {
    if state.stop.is_some() || state.ended.is_some() {
        return None;
    }
    let mut running = agenda.running(state).peekable();
    if running.peek().is_none() {
        let (step, ..) = approval::waiting(state).next()?;
        return Some(step.as_ref().map_or_else(|| "the whole run".to_owned(), ToString::to_string));
    }
    let mut holding = None;
    for (id, step) in running {
        if !StepState::is_holding(step) {
            return None;
        }
        holding = holding.or_else(|| Some(id.to_string()));
    }
    holding
}
