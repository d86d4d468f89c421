//! `file.unlock`: removes this run's lock, at the end of the procedure.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::lock::{release, resource};
use super::lock_file::{Holder, Lock};
use super::place::Place;
use super::root::validate_path;
use super::site::Site;
use super::work::Effect;
use crate::action::{
    Action, ActionError, Description, ErrorKind, Evidence, Prediction, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};

/// Removes a lock file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UnlockArgs {
    /// The lock file that `file.lock` took in this run, an absolute path.
    path: String,
}

#[async_trait]
impl VerbArgs for UnlockArgs {
    const NAME: &'static str = "file.unlock";
    const SUMMARY: &'static str = "Removes the lock file that this run took";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        validate_path("path", &self.path)
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(args: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let site = Site::new(args.path, cx.connections.clone());
        Ok(Work::Action(Box::new(RemoveLock { site })))
    }
}

struct RemoveLock {
    site: Site,
}

fn restore(place: &Place, run: &str, holder: &Holder) -> Result<(), ActionError> {
    if place.create(run, &holder.content()?)? {
        return Ok(());
    }
    match Lock::look(place, run)? {
        Lock::Ours(_) => Ok(()),
        other => Err(other.conflict(place)),
    }
}

#[async_trait]
impl Action for RemoveLock {
    fn describe(&self) -> Description {
        let path = self.site.path();
        Description::new(format!("remove the lock {path}"), format!("take the lock {path} again"))
    }

    fn repeat(&self) -> Repeat {
        Repeat::Safe
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let (lock, refusal) = self
            .site
            .at(cx, Effect::Reads, |place, run| {
                let lock = Lock::look(place, run)?;
                let refusal = lock.conflict(place);
                Ok((lock, refusal))
            })
            .await?;
        let holder = match lock {
            Lock::Ours(holder) => Some(holder),
            // In a plan the lock is not there yet, but an earlier step will take it.
            Lock::Free
                if cx.predicted(&resource(self.site.path())) == Some(json!({"locked": true})) =>
            {
                None
            }
            Lock::Free => {
                return Ok(Readiness::AlreadyDone { evidence: Evidence::new("there is no lock") });
            }
            Lock::Expired(_) | Lock::Held(_) | Lock::Unsigned { .. } => return Err(refusal),
        };
        let free = json!({"locked": false});
        let prediction = Prediction { resource: resource(self.site.path()), state: free };
        let saved = Saved::public(json!({"holder": holder}));
        Ok(Readiness::Needed { saved, predicted: vec![prediction] })
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        self.site.at(cx, Effect::Changes, release).await?;
        Ok(Evidence::new("the lock is removed"))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        self.site
            .at(cx, Effect::Reads, |place, run| {
                Ok(match Lock::look(place, run)? {
                    Lock::Ours(_) => Verdict::not_yet("the lock is still there"),
                    // Another run may hold it by now: that is what removing it was for.
                    _ => Verdict::holds("this run holds the lock no longer"),
                })
            })
            .await
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let holder: Option<Holder> = serde_json::from_value(saved.state["holder"].clone())
            .map_err(|error| {
                ActionError::new(ErrorKind::Invalid, "read who held the lock").caused_by(&error)
            })?;
        let Some(holder) = holder else { return Ok(()) };
        self.site.at(cx, Effect::Changes, move |place, run| restore(place, run, &holder)).await
    }
}
