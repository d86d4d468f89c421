//! `--take-over`: an emergency asks a lesser run to settle, waits, and takes its subject.

use std::time::Duration;

use tokio::time::Instant;

use super::context::Context;
use super::error::{CliError, HELD};
use super::{custody, open};
use crate::journal::{Holder, JournalError, Lock, LockError};
use crate::report::style::{DOUBT, paint};
use crate::runbook::{Runbook, Scenario};

/// How long the other run may take to settle.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the lock is tried meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn take_over(
    cx: &Context,
    runbook: &Runbook,
    (other, new_run): (&Holder, &str),
    acquire: impl Fn() -> Result<Lock, LockError>,
) -> Result<Lock, CliError> {
    if runbook.scenario != Scenario::Emergency {
        return Err(CliError::new(HELD, "take over: only an emergency may"));
    }
    if open::is_emergency(other) {
        let text = format!("take over run {}: it is an emergency, too", other.run);
        return Err(CliError::new(HELD, text)
            .hint(format!("Stop it first: `rollback abort {}`.", other.run)));
    }
    custody::ask_to_settle(other, runbook, new_run).map_err(|error| cannot_ask(&error, other))?;
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

fn cannot_ask(error: &JournalError, other: &Holder) -> CliError {
    let Holder { run, by, state_dir, .. } = other;
    CliError::new(HELD, format!("take over run {run}: it cannot be asked to stop"))
        .caused_by(error)
        .hint(format!("Its state belongs to {}. Stop it as that user: `sudo -u {} rollback abort {run} --state-dir {state_dir}`.", by.user, by.user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_run_in_a_folder_that_cannot_be_opened_is_stopped_as_its_user() {
        let folder = tempfile::tempdir().expect("a folder");
        let other = Holder {
            run: "20261121-2015-k7qd".into(),
            runbook: open::holder_name("cleanup", Scenario::Graceful),
            by: crate::event::Actor { user: "ada".into(), host: "ops-1".into(), pid: 4711 },
            since: clock::now(),
            state_dir: folder.path().join("missing").display().to_string(),
        };
        let text = "version: 1\nname: rescue\nscenario: emergency\nphases: [{id: a, steps: [{id: b, notify.slack: {text: hi}}]}]\n";
        let loaded = crate::runbook::load_text("a.yaml", text, &crate::adapters::registry());
        let runbook =
            loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false))).runbook;
        let new_run = "20261121-2016-aaaa";
        let error =
            custody::ask_to_settle(&other, &runbook, new_run).expect_err("there is nothing");
        let told = cannot_ask(&error, &other);
        assert_eq!(told.code, HELD);
        assert!(!told.causes.is_empty());
        let command = "`sudo -u ada rollback abort 20261121-2015-k7qd --state-dir ";
        assert!(told.hints[0].contains(command), "{:?}", told.hints);
    }
}
