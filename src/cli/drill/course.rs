//! The course of a drill: break, recover, measure, bring back. Each part is a run of its own, with a journal, so that a drill that is
//! killed leaves what every killed run leaves.

use std::sync::Arc;

use crate::action::ResolveContext;
use crate::cli::context::Context;
use crate::cli::error::{CliError, PERSON, UNEXPECTED};
use crate::cli::open::{self, Opened};
use crate::cli::revert::{self, RevertArgs};
use crate::cli::run::{self, StartArgs};
use crate::clock;
use crate::engine::fault::Faults;
use crate::event::{
    DRILL_FORMAT, Drill, DrillPart, DrillResult, DrillRun, DrillTarget, InjectedFault, Restored,
};
use crate::journal::{self, Holder, LeftElsewhere, Run};
use crate::report::View;
use crate::report::style::{STRONG, paint};
use crate::report::text::sanitize;
use crate::runbook::Phase;
use crate::sandbox::process as sandbox;

/// A drill that may begin.
pub(super) struct Course {
    /// Where its parts tell how they go.
    pub(super) cx: Context,
    pub(super) opened: Opened,
    pub(super) args: StartArgs,
    pub(super) reason: String,
    pub(super) faults: Arc<Faults>,
    pub(super) left: LeftElsewhere,
}

/// A drill that is over.
pub(super) struct Drilled {
    pub(super) record: Drill,
    /// The run beside whose journal the record lies: the rollback, or the preparation when it never came to that.
    pub(super) kept_with: Option<Run>,
}

/// What a drill has come to so far.
#[derive(Default)]
struct Come {
    prepared: Option<Run>,
    rollback: Option<Run>,
    exit_code: u8,
}

impl Course {
    /// The whole drill. Once something has been broken it is brought back, whatever happens in between.
    ///
    /// # Errors
    /// What keeps it from beginning: then nothing was touched.
    pub(super) async fn go(self) -> Result<Drilled, CliError> {
        let started = clock::now();
        if self.opened.environment.sandbox {
            self.told("reset the sandbox");
            self.reset().await?;
        }
        let come = self.recover_from_failure().await?;
        let restored = self.restore(&come).await;
        let rollback = come.rollback.as_ref().map(measured).transpose()?;
        let (rollback, targets) = rollback.unzip();
        let prepared = come.prepared.as_ref().map(measured).transpose()?.map(|(run, _)| run);
        let mut exit_code = come.exit_code;
        if matches!(restored, Restored::Failed { .. }) && matches!(exit_code, 0 | 5) {
            exit_code = PERSON;
        }
        let faults = self.faults.met();
        let (loaded, environment) = (&self.opened.loaded, &self.opened.environment);
        let record = Drill {
            format: DRILL_FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            runbook: loaded.runbook.name.clone(),
            scenario: loaded.runbook.scenario,
            subject: loaded.runbook.subject.clone(),
            environment: environment.name.clone(),
            reason: Some(self.reason.clone()),
            by: crate::cli::actor::this_process(),
            started,
            ended: clock::now(),
            runbook_sha256: loaded.sha256.clone(),
            environment_sha256: crate::digest::sha256(environment.source.text.as_bytes()),
            faults: faults
                .map(|(fault, met)| InjectedFault { fault: fault.to_string(), met })
                .collect(),
            result: result(rollback.is_some(), exit_code),
            prepared,
            rollback,
            targets: targets.unwrap_or_default(),
            restored,
            exit_code,
        };
        Ok(Drilled { record, kept_with: come.rollback.or(come.prepared) })
    }

    /// Breaks the environment and rolls it back. What goes wrong after the first change is no reason not to bring it back.
    async fn recover_from_failure(&self) -> Result<Come, CliError> {
        let mut come = Come::default();
        if let Some(phase) = &self.opened.loaded.runbook.prepare {
            self.told("break the environment");
            let (code, run) = self.part(phase, DrillPart::Prepare).await?;
            come.prepared = Some(run);
            if code != 0 {
                come.exit_code = code;
                return Ok(come);
            }
        }
        self.told("roll back");
        let faults = self.faults.met().map(|(fault, _)| fault.to_string()).collect();
        let behind = self.behind_faults();
        match run::begin(&self.cx, behind, &self.args, Some(DrillPart::Rollback { faults })).await {
            Ok((code, run)) => {
                come.exit_code = code;
                come.rollback = Some(run);
            }
            Err(error) if come.prepared.is_none() => return Err(error),
            Err(error) => {
                error.lines().into_iter().for_each(|line| self.cx.output.progress(line));
                come.exit_code = error.code;
            }
        }
        Ok(come)
    }

    /// What was opened, with the faults between the engine and the adapters.
    fn behind_faults(&self) -> Opened {
        let resolve = &self.opened.resolve;
        let registry = resolve.registry.as_ref().clone().behind(self.faults.clone());
        let connections = resolve.connections.clone();
        let resolve = Arc::new(ResolveContext { connections, registry: Arc::new(registry) });
        Opened { resolve, ..self.opened.clone() }
    }

    /// A run of what only a drill does.
    async fn part(&self, phase: &Phase, part: DrillPart) -> Result<(u8, Run), CliError> {
        run::begin(&self.cx, self.opened.drill_part(phase), &self.args, Some(part)).await
    }

    /// Brings the environment back. Why it cannot be is for the record.
    async fn restore(&self, come: &Come) -> Restored {
        if self.opened.environment.sandbox {
            self.told("reset the sandbox");
            return match self.reset().await {
                Ok(()) => Restored::Reset,
                Err(error) => self.not_restored(&error),
            };
        }
        let Some(phase) = &self.opened.loaded.runbook.restore else {
            self.told("take back what was changed");
            return self.take_back(come).await.unwrap_or_else(|error| self.not_restored(&error));
        };
        self.told("bring the environment back");
        match self.part(phase, DrillPart::Restore).await {
            Ok((0, run)) => match measured(&run) {
                Ok((run, _)) => Restored::Runbook { run },
                Err(error) => self.not_restored(&error),
            },
            Ok((code, run)) => ended_badly(&run, code),
            Err(error) => self.not_restored(&error),
        }
    }

    /// Takes back what the drill has changed, the last run first.
    async fn take_back(&self, come: &Come) -> Result<Restored, CliError> {
        let (mut runs, mut left) = (Vec::new(), Vec::new());
        for part in come.rollback.iter().chain(&come.prepared) {
            let args = RevertArgs::of_drill(part, &self.args);
            let reverted = revert::begin(&self.cx, &args).await?;
            left.extend(reverted.left.iter().map(ToString::to_string));
            match (&reverted.by, reverted.code) {
                (None, _) => {}
                (Some(by), 0) => runs.push(measured(by)?.0),
                (Some(by), code) => return Ok(ended_badly(by, code)),
            }
        }
        Ok(Restored::Reverted { runs, left })
    }

    fn not_restored(&self, error: &CliError) -> Restored {
        error.lines().into_iter().for_each(|line| self.cx.output.progress(line));
        Restored::Failed { because: format!("failed to {}", error.message) }
    }

    /// Puts the sandbox back to deployed-green. Nothing may run on it meanwhile.
    async fn reset(&self) -> Result<(), CliError> {
        let opened = &self.opened;
        let runbook = &opened.loaded.runbook;
        let holder = Holder {
            run: "drill".to_owned(),
            runbook: open::holder_name(&runbook.name, runbook.scenario),
            by: crate::cli::actor::this_process(),
            since: clock::now(),
            state_dir: opened.store.dir().display().to_string(),
        };
        let locks = run::lock_dir(&self.cx, opened)?;
        let name = &opened.environment.name;
        let lock = locks.acquire(name, &runbook.subject, &holder, self.left)?.published()?;
        let world = sandbox::running(opened.store.dir()).await;
        let failed = |error: crate::sandbox::SandboxError| {
            CliError::new(UNEXPECTED, "reset the sandbox").caused_by(&error)
        };
        let Some(world) = world.map_err(failed)? else {
            return Err(CliError::new(UNEXPECTED, "reset the sandbox: it has ended"));
        };
        let _status = sandbox::reset(&world).await.map_err(failed)?;
        drop(lock);
        Ok(())
    }

    fn told(&self, what: &str) {
        let name = sanitize(&self.opened.environment.name);
        self.cx.output.progress(paint(STRONG, format!("drill in {name}: {what}")));
    }
}

fn ended_badly(run: &Run, code: u8) -> Restored {
    Restored::Failed { because: format!("run {} ended with exit code {code}", run.id()) }
}

/// What the journal of a run says about it.
fn measured(run: &Run) -> Result<(DrillRun, Vec<DrillTarget>), CliError> {
    let history = journal::read(&run.journal_path())?;
    let view = View::of(&history.records).ok_or_else(crate::cli::ledger::no_start)?;
    let targets = view.targets.iter().map(|(name, target)| DrillTarget {
        target: name.clone(),
        within_ms: target.within_ms,
        took_ms: target.took_ms,
        in_time: target.took_ms.is_some() && !target.late,
    });
    let (verdict, exit_code) =
        view.verdict.map_or((None, PERSON), |(verdict, code)| (Some(verdict), code));
    let measured = DrillRun {
        run: run.id().to_owned(),
        verdict,
        exit_code,
        elapsed_ms: view.elapsed_ms,
        journal_head: history.head(),
    };
    Ok((measured, targets.collect()))
}

fn result(began: bool, exit_code: u8) -> DrillResult {
    match (began, exit_code) {
        (false, _) => DrillResult::NotBegun,
        (true, 0) => DrillResult::Passed,
        (true, 5) => DrillResult::Late,
        (true, _) => DrillResult::Failed,
    }
}
