//! `--take-over`: an emergency asks a lesser run to settle, waits, and takes its subject.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::args::Context;
use super::error::{CliError, HELD};
use crate::journal::{Holder, Lock, LockError, Request, Store, read};
use crate::plan::Plan;
use crate::report::style::{DOUBT, paint};
use crate::runbook::Scenario;

/// How long the other run may take to settle.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the lock is tried meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn take_over(
    cx: &Context,
    plan: &Plan,
    other: &Holder,
    acquire: impl Fn() -> Result<Lock, LockError>,
) -> Result<Lock, CliError> {
    if plan.scenario != Scenario::Emergency {
        return Err(CliError::new(HELD, "take over: only an emergency may"));
    }
    let run = Store::open_to_read(Some(Path::new(&other.state_dir)))?.find(&other.run)?;
    let theirs = read(&run.journal_path())?;
    if theirs.header().is_some_and(|header| header.plan.scenario == Scenario::Emergency) {
        return Err(CliError::new(
            HELD,
            format!("take over run {}: it is an emergency, too", other.run),
        )
        .hint(format!("Stop it first: `rollback abort {}`.", other.run)));
    }
    let by = super::actor::this_process();
    run.post(&Request::Abort {
        by,
        reason: Some(format!("taken over by an emergency ({})", plan.runbook)),
    })?;
    cx.output.progress(paint(
        DOUBT,
        format!("taking over from run {}; waiting for it to settle", other.run),
    ));
    let until = Instant::now() + PATIENCE;
    loop {
        match acquire() {
            Err(LockError::Held { .. }) if Instant::now() < until => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            taken => return Ok(taken?),
        }
    }
}
