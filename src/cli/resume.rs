//! `rollback resume`

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use similar::TextDiff;

use super::context::Context;
use super::custody::{self, Subject};
use super::error::{CliError, INVALID, UNEXPECTED, USAGE};
use super::lock::LockArgs;
use super::session::{Session, understand};
use super::{logbook, open, revert};
use crate::clock;
use crate::engine::{Request, recover};
use crate::event::{Header, RunVerdict};
use crate::journal::{self, Holder, Journal, LockDir, Owner, Run};
use crate::report::style::{BAD, DOUBT, GOOD, paint};
use crate::report::text::sanitize;

/// Go on with a run that was interrupted: finished steps are not repeated, a step that was in flight is looked at first
#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// The run: its id, the beginning of it, or `latest`
    run: String,
    /// Go on with what was approved, although the runbook or environment file has changed since
    #[arg(long)]
    as_approved: bool,
    /// Pass over damage in the middle of the journal, and look at every step anew
    #[arg(long)]
    salvage: bool,
    /// Go on although an emergency has taken the subject over since
    #[arg(long)]
    take_back: bool,
    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn run(cx: Context, args: ResumeArgs) -> Result<u8, CliError> {
    let config = cx.config.clone();
    let store = open::store(&cx, &config)?;
    let run = store.find(&args.run)?;
    let left = args.lock.left_elsewhere();
    let own = run.lock(&holder(&run, None, store.dir()), left)?;
    if args.take_back {
        // What asked it to make room is answered by whoever types this.
        let _stale = run.take()?;
    } else {
        for request in run.forget_aborts()? {
            if let Request::Stop { by } = understand(request) {
                let text = sanitize(&format!("{by}, and the process that was to stop had died"));
                cx.output.progress(format!("{text}; to stop it now: rollback abort {}", run.id()));
            }
        }
    }
    let own = own.published()?;
    let (history, salvaged) = history(&cx, &run, args.salvage)?;
    let header = history
        .header()
        .cloned()
        .ok_or_else(|| CliError::new(UNEXPECTED, "find the start of the run in its journal"))?;
    let (state, elapsed_ms) =
        recover::fold(&history.records, salvaged.is_some()).map_err(|error| {
            CliError::new(UNEXPECTED, error.to_string())
                .caused_by(&error)
                .hint(format!("Look at every step anew: `rollback resume {} --salvage`.", run.id()))
        })?;
    let recovered = matches!(state.ended, Some((_, 0 | 5)));
    if recovered {
        // What a program that was killed in its last moment has not written down.
        logbook::write(&cx.output, &run).await;
    }
    if let Some((other, ended)) = revert::last_revert(&store, &history.records)? {
        return Err(taken_back(&run, (&other, ended), &header));
    }
    if recovered {
        cx.output
            .progress(format!("run {} has recovered already; nothing is left to do", run.id()));
        return Ok(0);
    }
    let past = match &header.plan.reverts {
        Some(former) => Some(store.find(&former.run)?),
        None => None,
    };
    if !args.take_back {
        custody::still_owned(&run, &header, state.stop.as_ref(), &store)?;
    }
    // What takes another run back comes from that run's journal, whatever has become of the runbook.
    if !args.as_approved && past.is_none() {
        unchanged(&cx, &run, &header)?;
    }
    let registry = Arc::new(crate::adapters::registry());
    let path = Path::new(&header.environment_path);
    let (environment, resolve) = open::enter(&cx, path, registry, &config).await?;
    if crate::digest::sha256(environment.source.text.as_bytes()) != header.environment_sha256 {
        environment_changed(&cx, &run, &header, args.as_approved)?;
    }
    let plan = &header.plan;
    let dir = lock_dir(
        environment.lock_dir.clone().or(config.lock_dir),
        environment.sandbox,
        store.dir(),
    )?;
    let holder = holder(&run, Some(&header), store.dir());
    let place = (plan.environment.as_str(), plan.subject.as_str());
    let lock = dir.acquire(place.0, place.1, &holder, left)?;
    // Who says so takes the subject back from whoever had it.
    if let Some(owner) = dir.owner_of(place.0, place.1).read().filter(|_| args.take_back) {
        let owner = Owner { holder: holder.clone(), taken_over: None, ..owner };
        dir.owner_of(place.0, place.1).write(&owner)?;
    }
    let subject = Subject::of(dir, place, (holder, left), lock, run.clone()).published()?;
    let subject = Arc::new(subject);
    let journal = Journal::reopen(&run.journal_path(), &history)?;
    let signals = super::run::listen()?;
    let session = Session { output: cx.output, resolve, store, run, past, signals, own, subject };
    let by = super::actor::this_process();
    session.resume(journal, &history.records, state, elapsed_ms, by, salvaged).await
}

/// Nobody goes on with a run that is taken back: what it had done already is undone.
fn taken_back(run: &Run, (other, ended): (&Run, Option<RunVerdict>), header: &Header) -> CliError {
    let (id, other) = (run.id(), other.id());
    let (runbook, environment) = (&header.plan.runbook, &header.plan.environment);
    let error = if matches!(ended, Some(RunVerdict::Recovered | RunVerdict::RecoveredLate)) {
        CliError::new(USAGE, format!("resume run {id}: it was taken back, by run {other}"))
    } else {
        let text = format!("resume run {id}: run {other} takes it back, and is not done");
        CliError::new(USAGE, text).hint(format!("See how far that is: `rollback status {other}`."))
    };
    error.hint(format!("To go forward again: `rollback run {runbook} --env {environment}`."))
}

/// The records of the run; with `--salvage` those that are left of a damaged journal.
fn history(
    cx: &Context,
    run: &Run,
    salvage: bool,
) -> Result<(journal::History, Option<String>), CliError> {
    let path = run.journal_path();
    if !salvage {
        let history = journal::read(&path).map_err(|error| {
            CliError::from(error).hint(format!(
                "Pass over the damage and look at every step anew: `rollback resume {} --salvage`.",
                run.id()
            ))
        })?;
        return Ok((history, None));
    }
    let salvaged = journal::salvage(&path)?;
    let report = salvaged.report();
    let (history, kept) = salvaged.rebuild(&path)?;
    cx.output.progress(format!(
        "{} the damaged journal is kept as {}: {}",
        paint(DOUBT, "!"),
        kept.display(),
        sanitize(&report)
    ));
    Ok((history, Some(report)))
}

/// Refuses to go on when the runbook is not the one that was approved, and shows the difference.
fn unchanged(cx: &Context, run: &Run, header: &Header) -> Result<(), CliError> {
    let now = std::fs::read_to_string(&header.runbook_path).unwrap_or_default();
    if crate::digest::sha256(&now) == header.runbook_sha256 {
        return Ok(());
    }
    let diff = TextDiff::from_lines(&*header.runbook_text, &now);
    for line in diff.unified_diff().context_radius(2).to_string().lines() {
        let shown = sanitize(line);
        cx.output.progress(match line.as_bytes().first() {
            Some(b'+') => paint(GOOD, shown),
            Some(b'-') => paint(BAD, shown),
            _ => shown,
        });
    }
    Err(CliError::new(
        USAGE,
        format!("resume: {} is not the file that was approved for this run", header.runbook_path),
    )
    .hint(format!("Go on with what was approved: `rollback resume {} --as-approved`.", run.id()))
    .hint("Or start a new run with the new file; what is done already is recognised."))
}

/// Refuses to go on against an environment that is not the one that was approved, unless told to. The journal keeps its hash
/// alone, so there is no difference to show.
fn environment_changed(
    cx: &Context,
    run: &Run,
    header: &Header,
    as_approved: bool,
) -> Result<(), CliError> {
    let path = &header.environment_path;
    if as_approved {
        cx.output.progress(format!(
            "{} {} has changed since the run started; going on with the new connections",
            paint(DOUBT, "!"),
            sanitize(path)
        ));
        return Ok(());
    }
    let text = format!("resume: {path} has changed since this run was approved");
    let go_on = format!(
        "Go on with the approved plan and the new connections: `rollback resume {} --as-approved`.",
        run.id()
    );
    Err(CliError::new(USAGE, text)
        .hint(go_on)
        .hint("Or start a new run; what is done already is recognised."))
}

fn holder(run: &Run, header: Option<&Header>, state_dir: &Path) -> Holder {
    Holder {
        run: run.id().to_owned(),
        runbook: header.map_or_else(
            || "resume".to_owned(),
            |header| match &header.plan.reverts {
                Some(_) => format!("{} (revert)", header.plan.runbook),
                None => open::holder_name(&header.plan.runbook, header.plan.scenario),
            },
        ),
        by: super::actor::this_process(),
        since: clock::now(),
        state_dir: state_dir.display().to_string(),
    }
}

fn lock_dir(
    configured: Option<std::path::PathBuf>,
    sandbox: bool,
    state_dir: &Path,
) -> Result<LockDir, CliError> {
    let own = sandbox.then(|| state_dir.join("locks"));
    match configured.or(own) {
        Some(dir) => Ok(LockDir::at(&dir)?),
        None => Ok(LockDir::usual(state_dir)
            .map_err(|error| CliError { code: INVALID, ..CliError::from(error) })?
            .0),
    }
}
