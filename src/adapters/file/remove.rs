//! `file.remove`: moves a file or folder aside. The copy beside it stays until someone deletes it.

use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::{FileType, Stat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::lock::resource;
use super::place::Place;
use super::root::validate_path;
use super::site::Site;
use super::work::Effect;
use crate::action::{
    Action, ActionError, Description, ErrorKind, Evidence, Readiness, Repeat, ResolveContext,
    Saved, StepContext, Touches, VerbArgs, VerbKind, Verdict, Work,
};

/// How many times one run can remove the same path.
const MOST_COPIES: usize = 100;

/// Moves a file or folder aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveArgs {
    /// What to remove, an absolute path. It is renamed to a hidden name beside itself, which undo needs.
    path: String,
    /// Whether it may be a folder with everything in it.
    #[serde(default)]
    recursive: bool,
}

#[async_trait]
impl VerbArgs for RemoveArgs {
    const NAME: &'static str = "file.remove";
    const SUMMARY: &'static str = "Removes a file or folder by moving it aside";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(10);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        validate_path("path", &self.path)
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(args: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let site = Site::new(args.path, cx.connections.clone());
        Ok(Work::Action(Box::new(Remove { recursive: args.recursive, site })))
    }
}

/// Where a removed thing went, and which it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Parked {
    aside: String,
    /// Device and inode, which a rename keeps.
    identity: String,
}

impl Parked {
    fn of(stat: &Stat, aside: String) -> Self {
        Self { aside, identity: identity(stat) }
    }

    fn is(&self, stat: &Stat) -> bool {
        self.identity == identity(stat)
    }

    fn read(saved: &Saved) -> Result<Self, ActionError> {
        serde_json::from_value(saved.state.clone()).map_err(|error| {
            ActionError::new(ErrorKind::Invalid, "read where the file was moved").caused_by(&error)
        })
    }
}

fn identity(stat: &Stat) -> String {
    format!("{}:{}", stat.st_dev, stat.st_ino)
}

struct Remove {
    recursive: bool,
    site: Site,
}

fn look(place: &Place, recursive: bool, run: &str) -> Result<Option<Parked>, ActionError> {
    let Some(stat) = place.stat(place.name())? else { return Ok(None) };
    let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if is_folder && !recursive {
        return Err(ActionError::new(
            ErrorKind::Conflict,
            format!("remove `{}`: it is a folder", place.shown()),
        )
        .hint("Add `recursive: true` if the whole folder should go."));
    }
    for number in 1..=MOST_COPIES {
        let aside = place.aside(run, &format!("removed-{number}"));
        if !place.is_there(&aside)? {
            return Ok(Some(Parked::of(&stat, aside)));
        }
    }
    Err(ActionError::new(
        ErrorKind::Conflict,
        format!("remove `{}` more than {MOST_COPIES} times in one run", place.shown()),
    ))
}

fn park(place: &Place, parked: &Parked) -> Result<(), ActionError> {
    match place.stat(place.name())? {
        Some(stat) if parked.is(&stat) => place.rename(place.name(), &parked.aside),
        Some(_) => Err(ActionError::new(
            ErrorKind::Conflict,
            format!("remove `{}`: it was replaced since it was looked at", place.shown()),
        )),
        None => Ok(()),
    }
}

fn put_back(place: &Place, parked: &Parked) -> Result<(), ActionError> {
    let conflict = |why: &str| {
        let message = format!("bring `{}` back: {why}", place.shown());
        Err(ActionError::new(ErrorKind::Conflict, message))
    };
    match (place.stat(place.name())?, place.stat(&parked.aside)?) {
        (None, Some(_)) => place.rename(&parked.aside, place.name()),
        (Some(present), None) if parked.is(&present) => Ok(()),
        (Some(_), _) => conflict("something else has its name now"),
        (None, None) => conflict("the copy that was kept aside is gone"),
    }
}

#[async_trait]
impl Action for Remove {
    fn describe(&self) -> Description {
        let path = self.site.path();
        let contents = if self.recursive { " with all that is in it" } else { "" };
        Description::new(format!("move {path}{contents} aside"), format!("move {path} back"))
    }

    fn touches(&self) -> Touches {
        Touches::Only(vec![resource(self.site.path())])
    }

    fn repeat(&self) -> Repeat {
        Repeat::Safe
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let recursive = self.recursive;
        let look = move |place: &Place, run: &str| look(place, recursive, run);
        match self.site.at(cx, Effect::Reads, look).await? {
            None => Ok(Readiness::AlreadyDone {
                evidence: Evidence::new(format!("{} does not exist", self.site.path())),
            }),
            Some(parked) => Ok(Readiness::needed(Saved::public(json!(parked)))),
        }
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let parked = Parked::read(saved)?;
        let summary = format!("{} is now {}", self.site.path(), parked.aside);
        self.site.at(cx, Effect::Changes, move |place, _| park(place, &parked)).await?;
        Ok(Evidence::new(summary))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        self.site
            .at(cx, Effect::Reads, |place, _| {
                Ok(if place.is_there(place.name())? {
                    Verdict::not_yet(format!("{} exists", place.shown()))
                } else {
                    Verdict::holds(format!("{} does not exist", place.shown()))
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
        let parked = Parked::read(saved)?;
        self.site.at(cx, Effect::Changes, move |place, _| put_back(place, &parked)).await
    }
}
