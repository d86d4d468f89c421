//! The subject of a run in this process: the lock while it works, and a record of ownership while it waits for hours.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::context::Context;
use super::error::{CliError, HELD, USAGE};
use super::open;
use crate::clock;
use crate::engine::custody::{Custody, Regained};
use crate::event::{Header, StopReason};
use crate::journal::{
    Holder, JournalError, LeftElsewhere, Lock, LockDir, LockError, Owner, OwnerFile, Request, Run,
    Store,
};
use crate::report::style::{DOUBT, paint};
use crate::report::text::sanitize;
use crate::runbook::{Runbook, Scenario};

/// The subject of one run.
pub(super) struct Subject {
    dir: LockDir,
    environment: String,
    /// Its name.
    name: String,
    holder: Holder,
    left: LeftElsewhere,
    lock: Mutex<Option<Lock>>,
    run: Run,
}

impl Subject {
    /// A subject whose lock was taken for this run.
    pub(super) fn of(
        dir: LockDir,
        (environment, name): (&str, &str),
        (holder, left): (Holder, LeftElsewhere),
        lock: Lock,
        run: Run,
    ) -> Self {
        let (environment, name) = (environment.to_owned(), name.to_owned());
        Self { dir, environment, name, holder, left, lock: Mutex::new(Some(lock)), run }
    }

    /// Returns when others can see who holds it.
    pub(super) fn published(self) -> Result<Self, JournalError> {
        let lock = self.lock.into_inner().unwrap_or_else(PoisonError::into_inner);
        let lock = lock.map(Lock::published).transpose()?;
        Ok(Self { lock: Mutex::new(lock), ..self })
    }

    /// Writes down that this run, which begins now, has the subject of another that owned it, and tells that run. While this one was
    /// being prepared the lock has kept the other from going on; had it not begun, the other would know nothing of it.
    pub(super) fn displace_owner(&self, runbook: &Runbook) -> Result<(), JournalError> {
        let file = self.file();
        let another =
            |owner: &Owner| owner.holder.run != self.holder.run && owner.taken_over.is_none();
        let Some(owner) = file.read().filter(another) else { return Ok(()) };
        if is_alive(&owner.holder) {
            // It looks who owns the subject before it changes anything; the letter only tells it sooner.
            let _told = ask_to_settle(&owner.holder, runbook, &self.holder.run);
        }
        file.write(&Owner { taken_over: Some(self.holder.clone()), ..owner })
    }

    /// Lets it go at the end of the run, and with it the ownership, if it is to be given up.
    pub(super) fn release(&self, give_up: bool) {
        if give_up && let Some(file) = self.run.ownership() {
            // At worst somebody is told to look at a run that has ended.
            let _given_up = file.give_up(&self.holder.run);
        }
        drop(self.lock().take());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Lock>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> OwnerFile {
        self.dir.owner_of(&self.environment, &self.name)
    }

    fn own(&self, waits: &str) -> Result<(), JournalError> {
        let file = self.file();
        self.run.keep_ownership(&file)?;
        let (waits, since) = (waits.to_owned(), clock::now());
        file.write(&Owner { holder: self.holder.clone(), waits, since, taken_over: None })
    }
}

impl Custody for Subject {
    fn lend(&self, waits: &str) {
        // Nobody takes an emergency over, so it has nothing to lend. Who cannot write that it owns the subject keeps the lock.
        if open::is_emergency(&self.holder) || self.own(waits).is_err() {
            return;
        }
        drop(self.lock().take());
    }

    fn take_back(&self) -> Result<Regained, StopReason> {
        let mut held = self.lock();
        if held.is_some() {
            return Ok(Regained::Held);
        }
        let acquired = self.dir.acquire(&self.environment, &self.name, &self.holder, self.left);
        let owner = self.file().read();
        if let Some(by) = owner.and_then(|owner| taken_from(owner, &self.holder.run)) {
            return Err(taken_over(&by));
        }
        match acquired {
            Ok(lock) => {
                let published = lock.published();
                *held = Some(published.map_err(|error| lost(&LockError::Failed(error)))?);
                Ok(Regained::Held)
            }
            // Who takes it over writes that down before anything is changed; until then a person may still say no.
            Err(LockError::Held { holder, .. }) => Ok(Regained::NotYet {
                holder: holder.map_or_else(
                    || "another process".to_owned(),
                    |by| format!("run {} of {}", by.run, by.runbook),
                ),
            }),
            Err(LockError::Elsewhere { holder, .. }) => Err(taken_over(&holder)),
            Err(error @ LockError::Failed(_)) => Err(lost(&error)),
        }
    }
}

fn taken_over(by: &Holder) -> StopReason {
    StopReason::TakenOver { run: by.run.clone(), runbook: by.runbook.clone() }
}

/// Why a subject that was lent cannot be had again.
fn lost(error: &LockError) -> StopReason {
    StopReason::Terminated { by: Some(format!("the subject was lost: failed to {error}")) }
}

/// The run that has the subject instead of `run`, if there is one.
fn taken_from(owner: Owner, run: &str) -> Option<Holder> {
    match owner {
        Owner { holder, taken_over: None, .. } if holder.run != run => Some(holder),
        Owner { holder, taken_over, .. } if holder.run == run => taken_over,
        // Taken from a third run, which is nothing to this one.
        Owner { .. } => None,
    }
}

/// The run that owns a subject whose lock is free, if another does.
pub(super) fn owned_by_another(dir: &LockDir, place: (&str, &str), run: &str) -> Option<Owner> {
    let owner = dir.owner_of(place.0, place.1).read()?;
    (owner.holder.run != run && owner.taken_over.is_none()).then_some(owner)
}

/// The error of a command that has to leave the owner of a subject alone.
pub(super) fn owned(Owner { holder, waits, .. }: &Owner, what: &str) -> CliError {
    let (run, state) =
        (&holder.run, if is_alive(holder) { "waits in" } else { "was interrupted in" });
    let told = format!("run {run} of {}, which {state} {waits}", holder.runbook);
    CliError::new(HELD, format!("{what}: the subject is owned by {told}")).hint(format!(
        "Watch it with `rollback status {run}`, or give it up with `rollback abort {run}`."
    ))
}

/// Whether a new run may pass over the owner of its subject: only an emergency, and over a run that is alive only with `--take-over`.
pub(super) fn may_pass(
    cx: &Context,
    runbook: &Runbook,
    owner: &Owner,
    take_over: bool,
) -> Result<(), CliError> {
    let Owner { holder, waits, .. } = owner;
    let alive = is_alive(holder);
    let run = &holder.run;
    let state = if alive { "waits in" } else { "was interrupted in" };
    let told = format!("run {run} of {}, which {state} {waits}", holder.runbook);
    if runbook.scenario != Scenario::Emergency || (alive && !take_over) {
        let or = match runbook.scenario {
            Scenario::Emergency => ", or start with `--take-over`",
            _ => "",
        };
        let go_on = if alive {
            format!("Watch it with `rollback status {run} --follow`.")
        } else {
            format!("Go on with it: `rollback resume {run}`.")
        };
        return Err(CliError::new(HELD, format!("start: the subject is owned by {told}"))
            .hint(go_on)
            .hint(format!("Give it up with `rollback abort {run}`{or}.")));
    }
    let text = sanitize(&format!("taking the subject over from {told}"));
    cx.output.progress(format!("{} {text}", paint(DOUBT, "!")));
    Ok(())
}

/// Posts the request into the letter box of the other run, which may lie in the state folder of another user.
pub(super) fn ask_to_settle(
    other: &Holder,
    runbook: &Runbook,
    new_run: &str,
) -> Result<(), JournalError> {
    let by = super::actor::this_process();
    let runbook = open::holder_name(&runbook.name, runbook.scenario);
    run_of(other)?.post(&Request::TakeOver { by, run: new_run.to_owned(), runbook })
}

fn run_of(holder: &Holder) -> Result<Run, JournalError> {
    Store::open_to_read(Some(Path::new(&holder.state_dir)))?.find(&holder.run)
}

/// Whether a process runs that run, as far as this user can tell.
fn is_alive(holder: &Holder) -> bool {
    match run_of(holder).and_then(|run| run.is_running()) {
        Ok(running) => running,
        Err(_) => Path::new("/proc").join(holder.by.pid.to_string()).exists(),
    }
}

/// Refuses to go on with a run whose subject another has taken over, unless a person says so.
pub(super) fn still_owned(
    run: &Run,
    header: &Header,
    stop: Option<&StopReason>,
    store: &Store,
) -> Result<(), CliError> {
    let by = match stop {
        Some(StopReason::TakenOver { run, runbook }) => Some((run.clone(), runbook.clone())),
        _ => None,
    };
    let recorded = || {
        let owner = run.ownership()?.read()?;
        let by = taken_from(owner, run.id())?;
        Some((by.run, by.runbook))
    };
    let Some((other, runbook)) =
        by.or_else(recorded).or_else(|| later_emergency(run, header, store))
    else {
        return Ok(());
    };
    let id = run.id();
    let text = format!("resume run {id}: its subject was taken over by run {other} of {runbook}");
    Err(CliError::new(USAGE, text)
        .hint(format!("See what that did: `rollback status {other}`."))
        .hint(format!(
            "Go on all the same, from where this run was: `rollback resume {id} --take-back`."
        )))
}

/// An emergency of the same subject that began after the run's last sign of life. A restarted machine forgets who owned what; the
/// journals do not.
fn later_emergency(run: &Run, header: &Header, store: &Store) -> Option<(String, String)> {
    if header.plan.scenario == Scenario::Emergency {
        return None;
    }
    let listing = store.list().ok()?;
    let last = listing.runs.iter().find(|known| known.run.id() == run.id())?.last;
    let same = |other: &Header| {
        (&other.plan.environment, &other.plan.subject)
            == (&header.plan.environment, &header.plan.subject)
    };
    let after = listing.runs.iter().find(|known| {
        let other = &known.header;
        other.started > last && other.plan.scenario == Scenario::Emergency && same(other)
    })?;
    let plan = &after.header.plan;
    Some((after.run.id().to_owned(), open::holder_name(&plan.runbook, plan.scenario)))
}

/// Who owns the subject of a run that waits, or waited: for `rollback status`.
pub(super) fn told(run: &Run, header: &Header) -> Option<String> {
    let owner = run.ownership()?.read()?;
    let place = format!("{} in {}", header.plan.subject, header.plan.environment);
    let since = |holder: &Holder| holder.since.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let who = |holder: &Holder| format!("{}@{}", holder.by.user, holder.by.host);
    let text = match &owner {
        Owner { holder, taken_over: Some(by), .. } if holder.run == run.id() => {
            format!(
                "{place} was taken over by run {} of {}, {} at {}",
                by.run,
                by.runbook,
                who(by),
                since(by)
            )
        }
        Owner { holder, waits, .. } => {
            let here =
                if holder.run == run.id() { "this run" } else { &format!("run {}", holder.run) };
            let state = if is_alive(holder) {
                "waits in"
            } else {
                "nobody runs now; it was interrupted in"
            };
            format!("{place} belongs to {here} ({}), which {state} {waits}", who(holder))
        }
    };
    Some(format!("  owner     {}", sanitize(&text)))
}
