//! Replacing a configuration file, live: write, test, reload, prove; and all of it backwards.
//!
//! A change that nginx does not take leaves the former file in place. One that is killed between the write and the
//! reload is seen by `inspect` as "file new, live old", and made again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::error_log::{Complaints, Mark};
use super::files;
use super::nginx::Nginx;
use super::proof::{Proof, Unproved};
use super::workers::{self, Worker};
use crate::action::{
    Action, ActionError, Description, ErrorKind, Evidence, Prediction, Present, Readiness, Repeat,
    Saved, StepContext, Touches, Verdict,
};
use crate::digest::sha256;
use crate::value::brief;

/// How often the proof is asked for after a reload.
const PACE: Duration = Duration::from_millis(20);
/// How long unknown former workers accept on: nginx tells them to finish a tenth of a second after it started new ones.
const LINGER: Duration = Duration::from_millis(500);

/// A file with its new text, and how it shows that it is live.
pub(super) struct Change {
    pub(super) nginx: Arc<Nginx>,
    pub(super) file: PathBuf,
    pub(super) text: String,
    pub(super) proof: Option<Proof>,
    pub(super) description: Description,
    /// What evidence says in one line: `agents is on blue`.
    pub(super) outcome: String,
    pub(super) prediction: Option<Prediction>,
}

/// What shows that nginx has taken a configuration.
enum Goal {
    /// This proof is answered.
    Answered(Proof),
    /// This proof is answered no more.
    Gone(Proof),
    /// There are workers beside these.
    NewWorkers(Vec<Worker>),
}

impl Change {
    /// The proof of a text that stood or will stand in the file.
    fn goal(&self, text: Option<&str>) -> Result<Goal, ActionError> {
        let Some(proof) = &self.proof else {
            return Ok(Goal::NewWorkers(self.workers()?));
        };
        if text == Some(&self.text) {
            return Ok(Goal::Answered(proof.clone()));
        }
        Ok(match text.and_then(|text| Proof::in_text(text, proof.address())) {
            Some(former) => Goal::Answered(former),
            None => Goal::Gone(proof.clone()),
        })
    }

    fn pid_file(&self) -> Result<&Path, String> {
        let path = self.nginx.settings.nginx.pid_file.as_deref();
        path.ok_or_else(|| "the environment names no `pid_file`".to_owned())
    }

    fn workers(&self) -> Result<Vec<Worker>, ActionError> {
        self.pid_file().and_then(workers::of_master).map_err(|problem| {
            ActionError::new(ErrorKind::NotFound, format!("find nginx's workers: {problem}"))
                .hint("Mend `loadbalancer.nginx.pid_file` in the environment file, or give the step a `proof` address.")
        })
    }

    async fn reached(&self, goal: &Goal, deadline: Instant) -> Result<(), String> {
        match goal {
            Goal::Answered(proof) => proof.holds(deadline).await.map_err(Unproved::text),
            Goal::Gone(proof) => proof.is_gone(deadline).await,
            Goal::NewWorkers(before) => workers::are_new(self.pid_file()?, before),
        }
    }

    /// Whether nginx already serves what stands in the file.
    async fn is_live(&self, text: Option<&str>, cx: &StepContext) -> bool {
        match &self.proof {
            None => self.pid_file().is_ok_and(|path| workers::are_younger(path, &self.file)),
            Some(_) => match self.goal(text) {
                Ok(goal) => self.reached(&goal, cx.deadline()).await.is_ok(),
                Err(_) => false,
            },
        }
    }

    /// Brings `text` into the file and into nginx. When nginx does not take it, `former` is put back.
    async fn replace(
        &self,
        cx: &StepContext,
        text: Option<&str>,
        former: Option<&str>,
    ) -> Result<(), ActionError> {
        let _turn = self.nginx.turn(cx).await?;
        let goal = self.goal(text)?;
        let former_workers = self.pid_file().and_then(workers::of_master).unwrap_or_default();
        files::put(&self.file, text)?;
        if let Err(error) = self.nginx.test(cx).await {
            return Err(self.put_back(former, error));
        }
        let mark = self.nginx.mark().map_err(|error| self.put_back(former, error))?;
        match self.nginx.reload(cx).await {
            Ok(()) => {}
            Err(error) if error.outcome_unknown() => return Err(error),
            Err(error) => return Err(self.put_back(former, error)),
        }
        match self.settle(cx, &goal, &mark).await? {
            None => retire(cx, &former_workers).await,
            Some(reason) => {
                let text = format!("make the configuration live: nginx kept the old one: {reason}");
                let error = self.put_back(former, ActionError::new(ErrorKind::Failed, text));
                Err(error.hint("`nginx -t` and the reload both exit 0 here; the reason is in nginx's error log."))
            }
        }
    }

    /// Waits until the goal is reached (`None`), or nginx has said why it never will be.
    async fn settle(
        &self,
        cx: &StepContext,
        goal: &Goal,
        mark: &Mark,
    ) -> Result<Option<String>, ActionError> {
        let mut suspected = false;
        loop {
            // The log is read before the question, so that a complaint about something else never hides a proof.
            let complaints = mark.complaints();
            let Err(seen) = self.reached(goal, cx.deadline()).await else { return Ok(None) };
            if let (true, Some(reason)) = (suspected, &complaints.fatal) {
                return Ok(Some(reason.clone()));
            }
            suspected = complaints.fatal.is_some();
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                () = cx.cancelled().cancelled() => {
                    return Err(unproven("the run was told to stop", &seen, complaints));
                }
            }
            if cx.remaining().is_zero() {
                return Err(unproven("time is up", &seen, complaints));
            }
        }
    }

    /// Puts the former file back after a change that nginx did not take.
    fn put_back(&self, former: Option<&str>, error: ActionError) -> ActionError {
        let file = self.file.display();
        match files::put(&self.file, former) {
            Ok(()) => error
                .hint(format!("{file} is as it was before; nginx serves the old configuration.")),
            Err(second) => {
                let mut error = error.hint(format!(
                    "{file} holds the new text, which nginx does not serve: put the former one back by hand."
                ));
                error.kind = ErrorKind::Unknown;
                error.retryable = false;
                error.causes.push(format!("then failed to {}", second.message));
                error
            }
        }
    }

    /// Where the saved state is parked while the file already has its new text.
    fn parked(&self, cx: &StepContext) -> PathBuf {
        let written = sha256(format!("{}\n{}", self.file.display(), self.text));
        cx.scratch().join(format!("loadbalancer-{}.json", &written[..16]))
    }

    fn saved(&self, former: Option<&str>) -> Saved {
        let proof = self.proof.as_ref().map(Proof::address);
        let line = proof.and_then(|address| Proof::in_text(former?, address));
        Saved {
            state: json!({
                "file": self.file,
                "existed": former.is_some(),
                "sha256": former.map(sha256),
                "proof": line.as_ref().map(Proof::line),
            }),
            private: former.map(Value::from),
        }
    }

    /// The saved state of a first attempt that was killed after the write, if there was one.
    fn unpark(&self, cx: &StepContext) -> Option<Saved> {
        let text = files::read(&self.parked(cx)).ok()??;
        serde_json::from_str(&text).ok()
    }

    /// Keeps the saved state beside the run before the file loses it.
    fn park(&self, cx: &StepContext, saved: &Saved) -> Result<(), ActionError> {
        let text = serde_json::to_string(saved).map_err(|error| {
            ActionError::new(ErrorKind::Failed, "keep the former configuration").caused_by(&error)
        })?;
        files::keep(&self.parked(cx), &text)
    }
}

/// Waits until the former workers have stopped accepting; where they are not known, for as long as that takes.
async fn retire(cx: &StepContext, former: &[Worker]) -> Result<(), ActionError> {
    if former.is_empty() {
        tokio::time::sleep(LINGER.min(cx.remaining())).await;
        return Ok(());
    }
    while let Err(seen) = workers::have_retired(former) {
        if cx.remaining().is_zero() || cx.cancelled().is_cancelled() {
            let text = format!("see nginx finish its reload: {seen}");
            return Err(ActionError::new(ErrorKind::Unknown, text));
        }
        tokio::time::sleep(PACE.min(cx.remaining())).await;
    }
    Ok(())
}

/// The former text of a saved state. One that lost its text would otherwise read as "there was no file".
fn former_text(saved: &Saved) -> Result<Option<&str>, ActionError> {
    let text = saved.private.as_ref().and_then(Value::as_str);
    if saved.state["sha256"].as_str() == text.map(sha256).as_deref() {
        return Ok(text);
    }
    let error = "use the saved configuration: its text is not the one whose hash was recorded";
    Err(ActionError::new(ErrorKind::Invalid, error))
}

fn unproven(why: &str, seen: &str, complaints: Complaints) -> ActionError {
    let text = format!("prove that nginx has taken the configuration: {why}, and {seen}");
    let mut error = ActionError::new(ErrorKind::Unknown, text)
        .hint("Look into nginx's error log: it says why a reload was not taken.");
    error.causes.extend(complaints.fatal.or(complaints.passing));
    error
}

#[async_trait]
impl Action for Change {
    fn describe(&self) -> Description {
        self.description.clone()
    }

    fn touches(&self) -> Touches {
        Touches::Only(vec![format!("loadbalancer:{}", self.file.display())])
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let present = files::read(&self.file)?;
        let written = present.as_deref() == Some(&self.text);
        if written && self.is_live(present.as_deref(), cx).await {
            let evidence = Evidence::new(format!("{} already", self.outcome));
            return Ok(Readiness::AlreadyDone { evidence });
        }
        let parked = if written { self.unpark(cx) } else { None };
        Ok(Readiness::Needed {
            saved: parked.unwrap_or_else(|| self.saved(present.as_deref())),
            predicted: self.prediction.clone().into_iter().collect(),
        })
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let began = Instant::now();
        let former = former_text(saved)?;
        let present = files::read(&self.file)?;
        if present.as_deref() != Some(&self.text) {
            if present.as_deref() != former {
                let text = format!("replace {}: it changed since it was read", self.file.display());
                return Err(ActionError::new(ErrorKind::Conflict, text)
                    .hint("Look who else writes this file, then run the step again."));
            }
            self.park(cx, saved)?;
        }
        self.replace(cx, Some(&self.text), former).await?;
        Ok(Evidence::with(
            format!("{}, proved in {}", self.outcome, brief(began.elapsed())),
            json!({
                "file": self.file,
                "sha256": sha256(&self.text),
                "proof": self.proof.as_ref().map(Proof::line),
            }),
        ))
    }

    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        if files::read(&self.file)?.as_deref() != Some(&self.text) {
            return Ok(Verdict::not_yet(format!("{} was changed again", self.file.display())));
        }
        let Some(proof) = &self.proof else {
            // Workers are counted once, at the reload; the file is all that can be looked at again.
            return Ok(Verdict::Holds { evidence: applied.clone() });
        };
        Ok(match proof.holds(cx.deadline()).await {
            Ok(()) => Verdict::holds(format!("{}: {} answers it", self.outcome, proof.address())),
            Err(seen) => Verdict::not_yet(seen.text()),
        })
    }

    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        let former = former_text(saved)?;
        let present = files::read(&self.file)?;
        Ok(if present.as_deref() == former {
            // One that nginx has not taken is for undo.
            let live = self.is_live(former, cx).await;
            if live { Present::AsBefore } else { Present::Unseen }
        } else if present.as_deref() == Some(&self.text) {
            Present::AsLeft
        } else {
            Present::Other
        })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let former = former_text(saved)?;
        let present = files::read(&self.file)?;
        if present.as_deref() == former && self.is_live(former, cx).await {
            return Ok(());
        }
        if present.as_deref() != former && present.as_deref() != Some(&self.text) {
            let text = format!("put {} back: it is not what this step wrote", self.file.display());
            return Err(ActionError::new(ErrorKind::Conflict, text)
                .hint("Compare the file with the plan; somebody changed it after this run."));
        }
        self.replace(cx, former, present.as_deref()).await
    }
}
