//! The journal of a run that no process runs, open for what people and probes say afterwards.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::{CliError, UNEXPECTED};
use crate::engine::{RunState, recover};
use crate::event::{Actor, Event, Record};
use crate::journal::{self, Holder, Journal, LeftElsewhere, Lock, LockError, Run};
use crate::report::View;

/// How another `rollback confirm` calls itself in the lock.
const CONFIRM: &str = "confirm";
/// How long another `rollback confirm` may take to write its answers, and how often that is looked at.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The journal of a run that has nobody else who writes it.
pub(super) struct Ledger {
    journal: Journal,
    by: Actor,
    /// What the engine would take the run up from.
    pub(super) state: RunState,
    /// The run as its readers see it, with what was appended.
    pub(super) view: View,
    /// Now, milliseconds since the run's start.
    pub(super) now_ms: u64,
    _lock: Lock,
}

impl Ledger {
    /// Opens the journal; `None` when a process runs the run.
    pub(super) async fn open(
        run: &Run,
        by: &Actor,
        left: LeftElsewhere,
    ) -> Result<Option<Self>, CliError> {
        let Some(lock) = lock(run, by, left).await? else { return Ok(None) };
        let history = journal::read(&run.journal_path())?;
        let (state, now_ms) = recover::fold(&history.records, false)
            .map_err(|error| CliError::new(UNEXPECTED, error.to_string()).caused_by(&error))?;
        let view = View::of(&history.records).ok_or_else(no_start)?;
        let journal = Journal::reopen(&run.journal_path(), &history)?;
        Ok(Some(Self { journal, by: by.clone(), state, view, now_ms, _lock: lock }))
    }

    /// Writes an event.
    pub(super) async fn append(&mut self, event: Event) -> Result<Arc<Record>, CliError> {
        let record = self.journal.append(event, self.now_ms).await?;
        self.view.take(&record);
        Ok(record)
    }

    /// Writes down that the run is confirmed, if this was the last thing that was missing. Returns the run as it stands.
    pub(super) async fn close(mut self) -> Result<View, CliError> {
        if self.view.is_complete() && self.view.confirmed.is_none() {
            let by = self.by.clone();
            let _record = self.append(Event::RunConfirmed { by }).await?;
        }
        self.journal.close().await;
        Ok(self.view)
    }
}

/// The error of a journal without its first record.
pub(super) fn no_start() -> CliError {
    CliError::new(UNEXPECTED, "find the start of the run in its journal")
}

/// Makes sure that nobody else writes the journal; `None` when a process runs the run.
async fn lock(run: &Run, by: &Actor, left: LeftElsewhere) -> Result<Option<Lock>, CliError> {
    // <state folder>/runs/<run>
    let state_dir = run.dir().ancestors().nth(2).unwrap_or(run.dir());
    let holder = Holder {
        run: run.id().to_owned(),
        runbook: CONFIRM.to_owned(),
        by: by.clone(),
        since: crate::clock::now(),
        state_dir: state_dir.display().to_string(),
    };
    let until = Instant::now() + PATIENCE;
    loop {
        match run.lock(&holder, left) {
            Ok(lock) => return Ok(Some(lock.published()?)),
            // It reads no letters, and is done in a moment.
            Err(LockError::Held { holder: Some(other), .. })
                if other.runbook == CONFIRM && Instant::now() < until =>
            {
                sleep(LOOK_EVERY).await;
            }
            Err(LockError::Held { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}
