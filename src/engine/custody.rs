//! The subject of a run: held while something may be changed, lent while nothing is for hours.

use std::sync::Arc;

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
    fn take_back(&self) -> Result<(), StopReason>;
}

/// A subject that is never lent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kept;

impl Custody for Kept {
    fn lend(&self, _waits: &str) {}

    fn take_back(&self) -> Result<(), StopReason> {
        Ok(())
    }
}

/// A subject, and whether it is lent.
pub(super) struct Lease {
    custody: Arc<dyn Custody>,
    lent: bool,
}

impl Lease {
    /// A subject that is held.
    pub(super) fn of(custody: Arc<dyn Custody>) -> Self {
        Self { custody, lent: false }
    }

    /// Lends it while the run does nothing but wait.
    pub(super) fn lend_while_it_waits(&mut self, state: &RunState) {
        if !self.lent
            && let Some(step) = waits(state)
        {
            self.custody.lend(&step);
            self.lent = true;
        }
    }

    /// Makes sure of it before something is changed.
    pub(super) fn take_back(&mut self) -> Result<(), StopReason> {
        if std::mem::take(&mut self.lent) { self.custody.take_back() } else { Ok(()) }
    }
}

/// The step that a run waits in or for, and for nothing else: a hold, or an approval while nothing is in flight.
fn waits(state: &RunState) -> Option<String> {
    if state.stop.is_some() || state.ended.is_some() {
        return None;
    }
    let mut running = state.steps.iter().filter(|(_, step)| step.is_running()).peekable();
    if running.peek().is_none() {
        let (step, ..) = approval::waiting(state).next()?;
        return Some(
            step.as_ref().map_or_else(|| "the whole run".to_owned(), |step| step.0.clone()),
        );
    }
    let mut holding = None;
    for (id, step) in running {
        if !StepState::is_holding(step) {
            return None;
        }
        holding = holding.or_else(|| Some(id.0.clone()));
    }
    holding
}
