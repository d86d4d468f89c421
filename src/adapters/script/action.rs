//! The action behind `script.run` and `script.shell`.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::child::{self, End, Ended, Surroundings};
use super::process::{self, Note, Part};
use super::program::Program;
use crate::action::{
    Action, ActionError, Description, ErrorKind, Evidence, Present, Readiness, Repeat, Reversal,
    Saved, StepContext, Touches, Verdict,
};
use crate::secret::Secrets;

/// How much of an output goes into an error message, in bytes.
const QUOTED: usize = 1500;

/// A resolved script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ScriptItem {
    /// The command that makes the change.
    pub(super) program: Program,
    /// The command that takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) undo: Option<Program>,
    /// The command that tells whether it has happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) check: Option<Program>,
    /// The exit codes that mean success, for `program` and `undo`.
    pub(super) expect_exit: Vec<i32>,
    /// Whether it may be run again when its outcome is unknown.
    pub(super) repeat: Repeat,
    /// What all three commands run in.
    pub(super) surroundings: Surroundings,
}

/// A command as a change.
pub(super) struct Script {
    item: ScriptItem,
    secrets: Arc<Secrets>,
}

impl Script {
    pub(super) fn new(item: ScriptItem, secrets: Arc<Secrets>) -> Self {
        Self { item, secrets }
    }

    async fn start(
        &self,
        cx: &StepContext,
        program: &Program,
        part: Part,
    ) -> Result<Ended, ActionError> {
        child::run(cx, program, &self.item.surroundings, &self.secrets, part).await
    }

    /// Runs the command of a part and judges its end.
    async fn carry_out(
        &self,
        cx: &StepContext,
        program: &Program,
        part: Part,
    ) -> Result<Ended, ActionError> {
        let ended = self.start(cx, program, part).await?;
        let shown = program.path.display();
        match ended.end {
            End::Itself(status)
                if status.code().is_some_and(|code| self.item.expect_exit.contains(&code)) =>
            {
                Ok(ended)
            }
            End::Itself(status) => {
                let wanted: Vec<String> =
                    self.item.expect_exit.iter().map(ToString::to_string).collect();
                let message =
                    format!("run `{shown}`: {}, expected {}", told(status), wanted.join(" or "));
                let error = ActionError::new(ErrorKind::Failed, message)
                    .retryable(self.item.repeat != Repeat::Never);
                Err(quoting(error, &ended))
            }
            End::TimedOut => Err(quoting(
                ActionError::new(
                    ErrorKind::Unknown,
                    format!("run `{shown}` in time: it was stopped, and may have had effects"),
                ),
                &ended,
            )
            .hint("Give the step a longer `timeout` if the command needs it.")),
            End::Cancelled => Err(ActionError::new(
                ErrorKind::Unknown,
                format!("let `{shown}` finish: it was stopped with the run"),
            )),
        }
    }

    /// Asks `check` whether the change has happened; `None` without a check.
    async fn has_happened(&self, cx: &StepContext) -> Result<Option<bool>, ActionError> {
        let Some(check) = &self.item.check else { return Ok(None) };
        let ended = self.start(cx, check, Part::Look).await?;
        ending(check, &ended).map(|status| Some(status.success()))
    }

    /// Whether it is noted that the undo command has ended well, and since then nothing was made again.
    fn is_undone(cx: &StepContext) -> bool {
        let last = Note::all(cx.notes()).iter().rev().find_map(|note| match note {
            Note::Undone => Some(true),
            Note::Started { part: Part::Apply, .. } => Some(false),
            Note::Started { .. } => None,
        });
        last == Some(true)
    }

    /// Ends what an earlier attempt left running. With a check, time is kept back for it.
    async fn settle_orphans(&self, cx: &StepContext) -> Result<process::Orphans, ActionError> {
        let share = if self.item.check.is_some() { 2 } else { 1 };
        let patience = Instant::now() + cx.remaining() / share;
        process::settle(cx, patience, self.item.surroundings.grace.0).await
    }
}

/// The status of a command that only asks something.
pub(super) fn ending(program: &Program, ended: &Ended) -> Result<ExitStatus, ActionError> {
    let shown = program.path.display();
    match ended.end {
        End::Itself(status) => Ok(status),
        End::TimedOut => {
            Err(ActionError::new(ErrorKind::TimedOut, format!("get an answer from `{shown}`")))
        }
        End::Cancelled => {
            Err(ActionError::new(ErrorKind::Cancelled, format!("get an answer from `{shown}`")))
        }
    }
}

/// A status in words.
pub(super) fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn quoting(mut error: ActionError, ended: &Ended) -> ActionError {
    for (name, output) in [("standard error", &ended.stderr), ("standard output", &ended.stdout)] {
        let quote = output.ending(QUOTED);
        if !quote.is_empty() {
            error.causes.push(format!("{name} ends with: {quote}"));
            break;
        }
    }
    error
}

fn evidence(program: &Program, ended: &Ended) -> Evidence {
    let status = match ended.end {
        End::Itself(status) => told(status),
        End::TimedOut | End::Cancelled => "stopped".into(),
    };
    let mut facts = json!({
        "status": status,
        "stdout": ended.stdout.text,
        "stderr": ended.stderr.text,
    });
    if ended.stdout.dropped + ended.stderr.dropped > 0 {
        facts["dropped_bytes"] = (ended.stdout.dropped + ended.stderr.dropped).into();
    }
    let mut summary = format!("{} ended with {status}", program.path.display());
    if ended.leaked {
        facts["leaked"] = true.into();
        summary.push_str("; what it had left running was killed");
    }
    Evidence::with(summary, facts)
}

#[async_trait]
impl Action for Script {
    fn describe(&self) -> Description {
        let undo = match &self.item.undo {
            Some(undo) => format!("run {}", undo.shown()),
            None => "cannot be undone: the step has no `undo` command".into(),
        };
        Description::new(format!("run {}", self.item.program.shown()), undo)
    }

    fn touches(&self) -> Touches {
        Touches::Anything
    }

    fn repeat(&self) -> Repeat {
        self.item.repeat
    }

    /// With a check, undo looks itself whether anything is left to take back.
    fn repeat_of_undo(&self) -> Repeat {
        if self.item.check.is_some() { Repeat::AfterInspect } else { Repeat::Never }
    }

    fn reversal(&self) -> Reversal {
        match self.item.undo {
            Some(_) => Reversal::Automatic,
            None => Reversal::Irreversible { reason: "the script has no `undo` command".into() },
        }
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        // Before asking whether it has happened, nothing of it may still be happening.
        let orphans = self.settle_orphans(cx).await?;
        if self.has_happened(cx).await? == Some(true) {
            let mut evidence = Evidence::new("the check says that it has happened");
            if orphans == process::Orphans::Ended {
                evidence.summary.push_str(", after an earlier attempt had ended");
            }
            return Ok(Readiness::AlreadyDone { evidence });
        }
        Ok(Readiness::needed(Saved::default()))
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let ended = self.carry_out(cx, &self.item.program, Part::Apply).await?;
        Ok(evidence(&self.item.program, &ended))
    }

    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        Ok(match self.has_happened(cx).await? {
            Some(true) => Verdict::holds("the check says that it has happened"),
            Some(false) => Verdict::not_yet("the check says that it has not happened"),
            None => Verdict::holds(applied.summary.clone()),
        })
    }

    /// A look beforehand ends nothing that is running. Once an undo may have begun, nothing of it may be left when its outcome is judged.
    async fn present(
        &self,
        cx: &StepContext,
        _: &Saved,
        _: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        if cx.was_attempted() {
            let _orphans = self.settle_orphans(cx).await?;
        }
        if Self::is_undone(cx) {
            return Ok(Present::AsBefore);
        }
        let in_force = self.has_happened(cx).await? == Some(true);
        Ok(if in_force { Present::AsLeft } else { Present::Unseen })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        _: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let Some(undo) = &self.item.undo else {
            let message = format!("take back `{}`", self.item.program.path.display());
            return Err(ActionError::new(ErrorKind::Invalid, message)
                .hint("Give the step an `undo` command, or do it by hand."));
        };
        let _orphans = self.settle_orphans(cx).await?;
        if Self::is_undone(cx) || self.has_happened(cx).await? == Some(false) {
            return Ok(());
        }
        let _ended = self.carry_out(cx, undo, Part::Undo).await?;
        Note::Undone.write(cx).await
    }
}
