//! `file.lock`: takes a lock that other tools can see.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::lock_file::{Holder, Lock};
use super::place::Place;
use super::root::validate_path;
use super::site::Site;
use super::work::Effect;
use crate::action::{
    Action, ActionError, Description, Evidence, Prediction, Readiness, Repeat, ResolveContext,
    Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::secret::has_marker;
use crate::value::Lasting;

/// Takes a lock file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LockArgs {
    /// The lock file, an absolute path. Its folder must exist.
    path: String,
    /// Whom to ask about it, for whoever finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// How long it counts; after that another run may take it. Without one, until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Lasting>,
}

/// The name of a lock in predictions.
pub(super) fn resource(path: &str) -> String {
    format!("file:{path}")
}

#[async_trait]
impl VerbArgs for LockArgs {
    const NAME: &'static str = "file.lock";
    const SUMMARY: &'static str = "Takes a lock file that says who holds it";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        if self.owner.as_deref().is_some_and(has_marker) {
            return Err("`owner` holds a secret, and everybody can read a lock".into());
        }
        validate_path("path", &self.path)
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(args: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let site = Site::new(args.path.clone(), cx.connections.clone());
        Ok(Work::Action(Box::new(TakeLock { args, site })))
    }
}

struct TakeLock {
    args: LockArgs,
    site: Site,
}

fn take(place: &Place, args: &LockArgs, run: &str) -> Result<Holder, ActionError> {
    if let expired @ Lock::Expired(_) = Lock::look(place, run)? {
        set_aside(place, run, &expired)?;
    }
    let holder = Holder::this(run, args.owner.as_deref(), args.expires);
    if place.create(run, &holder.content()?)? {
        return Ok(holder);
    }
    match Lock::look(place, run)? {
        Lock::Ours(holder) => Ok(holder),
        other => Err(other.conflict(place)),
    }
}

/// Moves an expired lock out of the way. Of several runs that try, one succeeds.
fn set_aside(place: &Place, run: &str, expired: &Lock) -> Result<(), ActionError> {
    let aside = place.aside(run, "expired");
    place.unlink(&aside)?;
    place.rename(place.name(), &aside)?;
    let moved = Place::new(
        place.folder().try_clone().map_err(|error| {
            super::work::fail_io(format!("look at `{}` again", place.shown()), &error)
        })?,
        aside.clone(),
        place.shown().to_owned(),
    );
    if Lock::look(&moved, run)? != *expired {
        // It was taken anew between the look and the move: it goes back.
        place.rename(&aside, place.name())?;
        return Err(Lock::look(place, run)?.conflict(place));
    }
    place.unlink(&aside)
}

/// Removes the lock if it is this run's.
pub(super) fn release(place: &Place, run: &str) -> Result<(), ActionError> {
    match Lock::look(place, run)? {
        Lock::Free => Ok(()),
        Lock::Ours(_) => {
            place.unlink(place.name())?;
            place.sync()
        }
        other => Err(other.conflict(place)),
    }
}

/// The facts of a held lock.
fn evidence(holder: &Holder) -> Evidence {
    let summary = format!("held by run {} since {}", holder.run, holder.since_shown());
    Evidence::with(summary, json!({"holder": holder}))
}

#[async_trait]
impl Action for TakeLock {
    fn describe(&self) -> Description {
        let path = &self.args.path;
        let until = self.args.expires.map_or(String::new(), |time| format!(" for {time}"));
        Description::new(format!("take the lock {path}{until}"), format!("remove the lock {path}"))
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
        let expired = match lock {
            Lock::Free => json!({}),
            Lock::Expired(holder) => json!({"expired": holder}),
            Lock::Ours(holder) => {
                return Ok(Readiness::AlreadyDone { evidence: evidence(&holder) });
            }
            Lock::Held(_) | Lock::Unsigned { .. } => return Err(refusal),
        };
        let locked = json!({"locked": true});
        let prediction = Prediction { resource: resource(&self.args.path), state: locked };
        Ok(Readiness::Needed { saved: Saved::public(expired), predicted: vec![prediction] })
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let args = self.args.clone();
        let holder =
            self.site.at(cx, Effect::Changes, move |place, run| take(place, &args, run)).await?;
        Ok(evidence(&holder))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        self.site
            .at(cx, Effect::Reads, |place, run| {
                Ok(match Lock::look(place, run)? {
                    Lock::Ours(holder) => Verdict::Holds { evidence: evidence(&holder) },
                    other => Verdict::not_yet(other.conflict(place).message),
                })
            })
            .await
    }

    async fn undo(
        &self,
        cx: &StepContext,
        _: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        self.site.at(cx, Effect::Changes, release).await
    }
}
