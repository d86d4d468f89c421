//! `rollback revert`: takes a run back, as a run of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::approval::ApprovalArgs;
use super::context::Context;
use super::custody::{self, Subject};
use super::error::{self, ABORTED, CliError, HELD, REFUSED, UNEXPECTED, USAGE};
use super::lock::LockArgs;
use super::open::{self, nobody_to_ask};
use super::output::Format;
use super::session::{RunVault, Session};
use super::{plan, prompt, run};
use crate::action::ResolveContext;
use crate::clock::{self, Boot};
use crate::engine::recover::RecoverError;
use crate::environment::{Environment, locate};
use crate::event::{DrillPart, Event, Header, Record, RunVerdict};
use crate::journal::{self, Holder, Journal, JournalError, Lock, LockError, Run, Store};
use crate::plan::{Concern, Plan, StepId, preflight};
use crate::report::style::{DOUBT, paint};
use crate::report::text::sanitize;
use crate::revert::{LookContext, Looked, Past, look};
use crate::signal;

/// Take a run back: undo what it changed, from its saved states, the last change first
#[derive(Debug, Args)]
pub(super) struct RevertArgs {
    /// The run: its id, the beginning of it, or `latest`
    run: String,
    /// Why: it goes into the journal and the report
    #[arg(long, value_name = "TEXT", help_heading = "Run")]
    reason: Option<String>,
    /// The environment's file, when it is no longer where it was
    #[arg(long, value_name = "NAME", help_heading = "Run")]
    env: Option<String>,
    /// Only show what would be done, read-only
    #[arg(long, help_heading = "Run")]
    dry_run: bool,
    /// Start without asking; answers nothing else
    #[arg(long, short, help_heading = "Run")]
    yes: bool,
    #[command(flatten)]
    approval: ApprovalArgs,
    #[command(flatten)]
    lock: LockArgs,
}

/// A run that can be taken back, in its environment.
struct Opened {
    store: Store,
    former: Run,
    past: Past,
    environment: Environment,
    resolve: Arc<ResolveContext>,
    lock_dir: Option<PathBuf>,
}

impl RevertArgs {
    /// What takes back a run of a drill, about which nobody is asked any more.
    pub(super) fn of_drill(run: &Run, start: &run::StartArgs) -> Self {
        Self {
            run: run.id().to_owned(),
            reason: start.reason().map(str::to_owned),
            env: None,
            dry_run: false,
            yes: true,
            approval: start.approval().clone(),
            lock: start.lock().clone(),
        }
    }
}

pub(super) async fn run(cx: Context, args: RevertArgs) -> Result<u8, CliError> {
    begin(&cx, &args).await.map(|reverted| reverted.code)
}

/// A revert that has come to its end.
#[derive(Default)]
pub(super) struct Reverted {
    /// The exit code.
    pub(super) code: u8,
    /// The run; none where there was nothing to take back.
    pub(super) by: Option<Run>,
    /// The steps whose changes stay; messages are not counted.
    pub(super) left: Vec<StepId>,
}

/// A revert, to its end.
pub(super) async fn begin(cx: &Context, args: &RevertArgs) -> Result<Reverted, CliError> {
    let store = open::store(cx, &cx.config)?;
    let former = store.find(&args.run)?;
    let history = read(&former)?;
    let past = Past::of(&history.records, history.head())
        .map_err(|error| unfollowable(&former, &error))?;
    if let Some(done) = already(&store, &former, &history.records, &past)? {
        cx.output.progress(done);
        return Ok(Reverted::default());
    }
    let opened = open(cx, store, former, past, args.env.as_deref()).await?;
    let plan = make_plan(&opened, args)?;
    let left = plan.reverts.iter().flat_map(|reverts| &reverts.left);
    let left = left.filter(|left| !left.message).map(|left| left.step.clone()).collect();
    opened.later(cx);
    if plan.phases.is_empty() {
        plan::left(&plan).into_iter().for_each(|line| cx.output.progress(line));
        let id = opened.former.id();
        cx.output.progress(format!("run {id} has changed nothing that could be taken back"));
        return Ok(Reverted { left, ..Reverted::default() });
    }
    if args.dry_run {
        pre_flight(cx, &opened, &plan).await?;
        let looked = opened.look(&plan).await;
        return show(cx, &plan, &looked).map(|code| Reverted { code, by: None, left });
    }
    let (code, run) = start(cx, opened, plan, args).await?;
    Ok(Reverted { code, by: Some(run), left })
}

/// The journal of the run, which nobody is writing.
fn read(former: &Run) -> Result<journal::History, CliError> {
    let id = former.id();
    if former.is_running()? {
        return Err(CliError::new(HELD, format!("revert run {id}: it is still running"))
            .hint(format!("Stop it first: `rollback abort {id}`.")));
    }
    journal::read(&former.journal_path()).map_err(|error| match error {
        JournalError::UnknownRun { .. } => error.into(),
        error => CliError::from(error).hint(format!(
            "What stands in the damaged part cannot be taken back; see what is left with `rollback resume {id} --salvage`."
        )),
    })
}

fn unfollowable(former: &Run, error: &RecoverError) -> CliError {
    CliError::new(UNEXPECTED, error.to_string())
        .caused_by(error)
        .hint(format!("See what it did: `rollback status {}`.", former.id()))
}

/// What says that there is nothing to do, because the run was taken back already.
fn already(
    store: &Store,
    former: &Run,
    records: &[Record],
    past: &Past,
) -> Result<Option<String>, CliError> {
    let id = former.id();
    if let Some(reverts) = &past.header.plan.reverts {
        let (runbook, environment) = (&past.header.plan.runbook, &past.header.plan.environment);
        let text = format!("revert run {id}: it has itself taken back run {}", reverts.run);
        return Err(CliError::new(USAGE, text).hint(format!(
            "To go forward again, run the runbook, with all its checks: `rollback run {runbook} --env {environment}`."
        )));
    }
    let Some((other, ended)) = last_revert(store, records)? else { return Ok(None) };
    let other = other.id();
    if matches!(ended, Some(RunVerdict::Recovered | RunVerdict::RecoveredLate)) {
        return Ok(Some(format!(
            "run {id} was taken back already, by run {other}; nothing is left to do"
        )));
    }
    let text = format!("revert run {id}: run {other} has begun that and is not done");
    Err(CliError::new(USAGE, text).hint(format!("Go on with it: `rollback resume {other}`.")))
}

/// The last run that was started to take this one back and has begun, and how it ended.
pub(super) fn last_revert(
    store: &Store,
    records: &[Record],
) -> Result<Option<(Run, Option<RunVerdict>)>, CliError> {
    for record in records.iter().rev() {
        let Event::RevertStarted { run, .. } = &record.event else { continue };
        let run = match store.find(run) {
            // The link is written first: one that was killed in between has changed nothing.
            Err(JournalError::UnknownRun { .. }) => continue,
            found => found?,
        };
        let history = match journal::read(&run.journal_path()) {
            Err(JournalError::NeverStarted { .. }) => continue,
            Err(_) if !run.journal_path().exists() => continue,
            read => read?,
        };
        let ended = history.records.iter().rev().find_map(|record| match record.event {
            Event::RunEnded { verdict, .. } => Some(verdict),
            _ => None,
        });
        return Ok(Some((run, ended)));
    }
    Ok(None)
}

async fn open(
    cx: &Context,
    store: Store,
    former: Run,
    past: Past,
    env: Option<&str>,
) -> Result<Opened, CliError> {
    let header = &past.header;
    let path = match env {
        None => PathBuf::from(&header.environment_path),
        Some(_) => {
            locate::locate(env, Path::new(&header.runbook_path), &cx.config)
                .map_err(|error| CliError::new(USAGE, error.to_string()).hints(error.hints()))?
                .path
        }
    };
    let registry = Arc::new(crate::adapters::registry());
    let (environment, resolve) = open::enter(cx, &path, registry, &cx.config).await?;
    let wanted = &header.plan.environment;
    if environment.name != *wanted {
        let text = format!("revert run {}: it ran in environment {wanted}", former.id());
        return Err(CliError::new(USAGE, text).hint(format!(
            "{} is environment {}.",
            path.display(),
            environment.name
        )));
    }
    if crate::digest::sha256(environment.source.text.as_bytes()) != header.environment_sha256 {
        warn(
            cx,
            &format!(
                "{} has changed since the run; its present connections are used",
                path.display()
            ),
        );
    }
    let lock_dir = environment.lock_dir.clone().or(cx.config.lock_dir.clone());
    Ok(Opened { store, former, past, environment, resolve, lock_dir })
}

fn warn(cx: &Context, text: &str) {
    cx.output.progress(format!("{} {}", paint(DOUBT, "!"), sanitize(text)));
}

impl Opened {
    /// Tells what later runs of the same subject may have changed; each change is looked at besides.
    fn later(&self, cx: &Context) {
        let header = &self.past.header;
        // Runs that cannot be read are told of by `rollback history`.
        let listing = self.store.list().unwrap_or_default();
        let later = listing.runs.iter().filter(|other| {
            let plan = &other.header.plan;
            other.header.started > header.started
                && (&plan.subject, &plan.environment)
                    == (&header.plan.subject, &header.plan.environment)
                && plan.reverts.is_none()
                && other.reverted_by.is_none()
                && !matches!(other.ended, Some((RunVerdict::FailedClean, _)))
        });
        for other in later {
            let id = other.run.id();
            warn(
                cx,
                &format!(
                    "run {id} came later on the same subject: what it changed is looked at, and is taken back by `rollback revert {id}`"
                ),
            );
        }
    }

    async fn look(&self, plan: &Plan) -> Looked {
        let cx = LookContext {
            resolve: self.resolve.clone(),
            vault: Arc::new(RunVault(self.former.clone())),
            scratch: self.former.scratch(),
        };
        look(plan, &self.past, &cx).await
    }

    fn holder(&self, run: &Run) -> Holder {
        let runbook = &self.past.header.plan.runbook;
        Holder {
            run: run.id().to_owned(),
            // Not as an emergency: one may take the subject over.
            runbook: format!("{runbook} (revert)"),
            by: super::actor::this_process(),
            since: clock::now(),
            state_dir: self.store.dir().display().to_string(),
        }
    }

    fn header(&self, run: &Run, plan: Plan, reason: Option<String>) -> Header {
        let former = &self.past.header;
        Header {
            run: run.id().to_owned(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            environment_path: run::absolute(&self.environment.path),
            environment_sha256: crate::digest::sha256(self.environment.source.text.as_bytes()),
            plan,
            reason,
            by: super::actor::this_process(),
            since: None,
            started: clock::now(),
            boot: Boot::now(),
            left_out: BTreeMap::new(),
            drill: former.drill.as_ref().map(|_| DrillPart::Restore),
            ..Header::clone(former)
        }
    }
}

fn make_plan(opened: &Opened, args: &RevertArgs) -> Result<Plan, CliError> {
    let former = &opened.past.header.plan;
    let measured = opened.store.measured(&former.runbook, &former.environment).unwrap_or_default();
    let history = |step: &StepId| -> Option<Duration> { measured.get(step.as_str()).copied() };
    let mut plan = crate::revert::plan(&opened.past, &opened.resolve, &history)
        .map_err(|refused| refusal(&refused.reasons))?;
    args.approval.add_to(&mut plan, &opened.environment)?;
    Ok(plan)
}

fn refusal(reasons: &[Concern]) -> CliError {
    run::refused("revert; nothing was touched", reasons)
}

/// Every system is needed: whatever cannot be seen cannot be taken back.
async fn pre_flight(cx: &Context, opened: &Opened, plan: &Plan) -> Result<(), CliError> {
    let resolve = &opened.resolve;
    let found = preflight(plan, &resolve.registry, &resolve.connections).await;
    for concern in &found.warnings {
        warn(cx, &concern.to_string());
    }
    if found.refusals.is_empty() { Ok(()) } else { Err(refusal(&found.refusals)) }
}

fn show(cx: &Context, plan: &Plan, looked: &Looked) -> Result<u8, CliError> {
    if cx.output.format == Format::Human {
        let lines = plan::review_of(plan, &looked.preview, Duration::ZERO);
        lines.into_iter().for_each(|line| cx.output.data(line));
    } else {
        let document = serde_json::to_value(&looked.preview)
            .map(|preview| json!({"format": 1, "plan": plan, "preview": preview}))
            .map_err(|error| CliError::new(UNEXPECTED, "write the plan").caused_by(&error))?;
        cx.output.data(crate::secret::hide_markers(&document.to_string()));
    }
    Ok(if looked.refusals.is_empty() { 0 } else { REFUSED })
}

async fn start(
    cx: &Context,
    opened: Opened,
    plan: Plan,
    args: &RevertArgs,
) -> Result<(u8, Run), CliError> {
    let mut signals = run::listen()?;
    let run = opened.store.create_run()?;
    let prepared = tokio::select! {
        prepared = prepare(cx, &opened, &plan, args, &run) => prepared,
        () = signal::asked_to_end(&mut signals) => {
            cx.output.raw_progress("\n");
            Err(CliError::new(ABORTED, "start: it was stopped; nothing was touched"))
        }
    };
    let (own, subject) = match prepared {
        Ok(locks) => locks,
        Err(error) => {
            // It is empty and does no harm; the first error counts.
            let _discarded = run.discard_unbegun();
            return Err(error);
        }
    };
    let header = Arc::new(opened.header(&run, plan, args.reason.clone()));
    let Opened { store, former, resolve, .. } = opened;
    let past = Some(former);
    let subject = Arc::new(subject);
    let output = cx.output.clone();
    let session = Session { output, resolve, store, run: run.clone(), past, signals, own, subject };
    session.start(header).await.map(|code| (code, run))
}

/// Everything before the first change: takes the subject, looks at what there is, shows it, asks, and notes it in the former run's journal.
async fn prepare(
    cx: &Context,
    opened: &Opened,
    plan: &Plan,
    args: &RevertArgs,
    run: &Run,
) -> Result<(Lock, Subject), CliError> {
    let (holder, left) = (opened.holder(run), args.lock.left_elsewhere());
    let own = run.lock(&holder, left)?;
    let dir =
        run::lock_dir_of(cx, opened.lock_dir.clone(), opened.environment.sandbox, &opened.store)?;
    let place = (plan.environment.as_str(), plan.subject.as_str());
    // Whoever waits for hours owns the subject without its lock. The run that is taken back owns it no more.
    if let Some(owner) = custody::owned_by_another(&dir, place, opened.former.id()) {
        return Err(custody::owned(&owner, "revert"));
    }
    let lock = dir.acquire(place.0, place.1, &holder, left)?;
    // And with the lock: who held it until now may have begun to wait meanwhile.
    if let Some(owner) = custody::owned_by_another(&dir, place, opened.former.id()) {
        return Err(custody::owned(&owner, "revert"));
    }
    let subject = Subject::of(dir, place, (holder.clone(), left), lock, run.clone());
    pre_flight(cx, opened, plan).await?;
    let looked = opened.look(plan).await;
    if cx.output.format == Format::Human {
        plan::screen(plan, Duration::ZERO).into_iter().for_each(|line| cx.output.progress(line));
    }
    if !looked.refusals.is_empty() {
        return Err(refusal(&looked.refusals)
            .hint(format!("See all of it: `rollback revert {} --dry-run`.", opened.former.id())));
    }
    if !args.yes {
        if !cx.output.interactive {
            return Err(
                nobody_to_ask("whether to start").hint("Add `--yes` to start without being asked.")
            );
        }
        if !prompt::confirm(&cx.output, "Start?").await? {
            return Err(CliError::new(USAGE, "start: you said no; nothing was touched"));
        }
    }
    let locks = (own.published()?, subject.published()?);
    link(opened, &holder, run).await?;
    Ok(locks)
}

/// Notes in the former run's journal that it is taken back, durably: nobody resumes it from here on.
async fn link(opened: &Opened, holder: &Holder, run: &Run) -> Result<(), CliError> {
    let former = &opened.former;
    let held = former.lock(holder, journal::LeftElsewhere::MayBeAlive);
    let _lock = held.map_err(|error| match error {
        LockError::Held { .. } => CliError::new(
            HELD,
            format!("revert run {}: another process has taken it up", former.id()),
        ),
        other => other.into(),
    })?;
    let path = former.journal_path();
    let history = journal::read(&path)?;
    if history.head() != opened.past.head {
        return Err(CliError::new(error::REFUSED, "start: the run's journal has grown meanwhile")
            .hint("Type the same again."));
    }
    let journal = Journal::reopen(&path, &history)?;
    let elapsed_ms = history.records.last().map_or(0, |record| record.elapsed_ms);
    let (by, run) = (super::actor::this_process(), run.id().to_owned());
    let _record = journal.append(Event::RevertStarted { by, run }, elapsed_ms).await?;
    journal.close().await;
    Ok(())
}
