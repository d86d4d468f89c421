//! A folder takes another's place, in steps that a crash can separate and a later look can tell apart.
//!
//! | after | the folder | `.new` beside it | `.old` beside it |
//! |---|---|---|---|
//! | nothing | old | – | – |
//! | `Copy` | old | a copy, perhaps partial | – |
//! | `SwapOut` by exchange | **new** | old | – |
//! | `SwapOut` by two renames | – | new | old |
//! | `SwapIn` | **new** | – | old |
//!
//! The two hidden names carry a key made from both manifests, so a look after a crash recognises its own work, and no
//! other step's copy is ever touched.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::place::Place;
use super::tree::{Manifest, copy, open_folder, remove};
use super::work::{Until, fail};
use crate::action::{ActionError, ErrorKind};
use crate::digest::sha256;

/// The steps, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The copy is made and verified beside the folder.
    Copy,
    /// The old folder leaves its name.
    SwapOut,
    /// The new folder has the name, and the old one is kept aside.
    SwapIn,
}

impl Stage {
    /// All steps.
    pub(super) const ALL: [Self; 3] = [Self::Copy, Self::SwapOut, Self::SwapIn];
}

/// One swap as it is written down: what was, what shall be, and the two hidden names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Swap {
    /// The digest of the old folder; nothing when there was none.
    pub(super) before: Option<String>,
    /// The digest of the new one.
    pub(super) after: String,
    new: String,
    old: String,
}

/// Where a swap stands.
struct Now {
    target: Option<String>,
    new: bool,
    old: bool,
}

impl Swap {
    /// The swap from one digest to another, at a place.
    pub(super) fn new(place: &Place, run: &str, before: Option<String>, after: String) -> Self {
        let both = format!("{}{after}", before.as_deref().unwrap_or("-"));
        let key = &sha256(both)[..12];
        let new = place.aside(run, &format!("{key}.new"));
        let old = place.aside(run, &format!("{key}.old"));
        Self { before, after, new, old }
    }

    /// Finds the old folder that a crash between two renames left under its hidden name.
    pub(super) fn interrupted(
        place: &Place,
        run: &str,
        until: &Until,
        after: impl Fn(&Manifest) -> String,
    ) -> Result<Option<(Manifest, Self)>, ActionError> {
        let prefix = place.aside(run, "");
        for name in siblings(place)? {
            if !name.starts_with(&prefix) || name.strip_suffix(".old").is_none() {
                continue;
            }
            let Some(old) = manifest(place, &name, until)? else { continue };
            let swap = Self::new(place, run, Some(old.digest()), after(&old));
            if swap.old == name && place.is_there(&swap.new)? {
                return Ok(Some((old, swap)));
            }
        }
        Ok(None)
    }

    fn now(&self, place: &Place, until: &Until) -> Result<Now, ActionError> {
        Ok(Now {
            target: manifest(place, place.name(), until)?.map(|manifest| manifest.digest()),
            new: place.is_there(&self.new)?,
            old: place.is_there(&self.old)?,
        })
    }

    /// Makes the copy: `source` with its `wanted` entries, and what else is wanted from the present folder.
    pub(super) fn stage(
        &self,
        place: &Place,
        source: (&OwnedFd, &Manifest, &str),
        wanted: &Manifest,
        until: &Until,
    ) -> Result<(), ActionError> {
        if manifest(place, &self.new, until)?.is_some_and(|copy| copy.digest() == self.after) {
            return Ok(());
        }
        let failed = |error| fail(format!("make a copy beside `{}`", place.shown()), error);
        remove(place.folder(), &self.new, 0).map_err(failed)?;
        rustix::fs::mkdirat(place.folder(), &self.new, rustix::fs::Mode::RWXU).map_err(failed)?;
        let staged = open_folder(place.folder(), &self.new).map_err(failed)?;
        let (folder, manifest_of_source, shown) = source;
        let paths: Vec<&str> = manifest_of_source.entries.keys().map(String::as_str).collect();
        copy(folder, &staged, manifest_of_source, &paths, shown, until)?;
        let extras = manifest_of_source.extras(wanted);
        if !extras.is_empty() {
            let present = if place.is_there(place.name())? { place.name() } else { &self.old };
            let present = open_folder(place.folder(), present).map_err(failed)?;
            copy(&present, &staged, wanted, &extras, place.shown(), until)?;
        }
        let copied = Manifest::read(&staged, place.shown(), until)?.digest();
        if copied != self.after {
            let message =
                format!("copy to `{}`: the copy differs from what was looked at", place.shown());
            return Err(ActionError::new(ErrorKind::Conflict, message)
                .retryable(true)
                .hint("Something changes the source; run the step again when it is quiet."));
        }
        place.sync()
    }

    /// The second step. `exchange` says whether to try the exchange at once.
    pub(super) fn swap_out(
        &self,
        place: &Place,
        exchange: bool,
        until: &Until,
    ) -> Result<(), ActionError> {
        let now = self.now(place, until)?;
        if now.target.is_none() && (self.before.is_none() || now.old) {
            return Ok(());
        }
        if now.target != self.before {
            let message =
                format!("replace `{}`: it was changed since it was looked at", place.shown());
            return Err(ActionError::new(ErrorKind::Conflict, message));
        }
        if exchange && place.exchange(&self.new, place.name())? {
            return Ok(());
        }
        place.rename(place.name(), &self.old)
    }

    /// The third step.
    pub(super) fn swap_in(&self, place: &Place, until: &Until) -> Result<(), ActionError> {
        let now = self.now(place, until)?;
        match now.target {
            None => place.rename(&self.new, place.name()),
            Some(target) if target == self.after && now.new => place.rename(&self.new, &self.old),
            Some(target) if target == self.after => Ok(()),
            Some(_) => Err(conflict(place)),
        }
    }

    /// Brings the old folder back, from wherever a crash has left it.
    pub(super) fn undo(
        &self,
        place: &Place,
        exchange: bool,
        until: &Until,
    ) -> Result<(), ActionError> {
        let now = self.now(place, until)?;
        if now.target == self.before {
            return self.clear(place);
        }
        match (now.target.as_deref(), &self.before) {
            (Some(target), None) if target == self.after => {
                place.rename(place.name(), &self.new)?;
                self.clear(place)
            }
            (Some(target), Some(before)) if target == self.after => {
                let kept = self.kept(place, before, until)?;
                if !(exchange && place.exchange(kept, place.name())?) {
                    // The new folder goes to whichever of the two names the old one does not have.
                    let other = if kept == self.old { &self.new } else { &self.old };
                    place.rename(place.name(), other)?;
                    place.rename(kept, place.name())?;
                }
                self.clear(place)
            }
            (None, Some(before)) => {
                let kept = self.kept(place, before, until)?;
                place.rename(kept, place.name())?;
                self.clear(place)
            }
            _ => Err(conflict(place)),
        }
    }

    /// The hidden name under which the old folder is.
    fn kept(&self, place: &Place, before: &str, until: &Until) -> Result<&str, ActionError> {
        for name in [&self.old, &self.new] {
            if manifest(place, name, until)?.is_some_and(|kept| kept.digest() == before) {
                return Ok(name);
            }
        }
        let message = format!("bring `{}` back: the copy that was kept is gone", place.shown());
        Err(ActionError::new(ErrorKind::Conflict, message))
    }

    /// Removes both hidden names, once the old folder is back: then they hold nothing but copies of the new one.
    fn clear(&self, place: &Place) -> Result<(), ActionError> {
        for name in [&self.new, &self.old] {
            remove(place.folder(), name, 0).map_err(|error| {
                fail(format!("remove the copy beside `{}`", place.shown()), error)
            })?;
        }
        place.sync()
    }
}

fn conflict(place: &Place) -> ActionError {
    let message = format!("bring `{}` back: it is not what this run put there", place.shown());
    ActionError::new(ErrorKind::Conflict, message)
        .hint("Compare it with the hidden copy beside it, and decide by hand which should stay.")
}

/// The manifest of a folder beside or at a place; nothing when there is none.
pub(super) fn manifest(
    place: &Place,
    name: &str,
    until: &Until,
) -> Result<Option<Manifest>, ActionError> {
    if !place.is_there(name)? {
        return Ok(None);
    }
    let folder = open_folder(place.folder(), name)
        .map_err(|error| fail(format!("open the folder `{}`", place.shown()), error))?;
    Manifest::read(&folder, place.shown(), until).map(Some)
}

fn siblings(place: &Place) -> Result<Vec<String>, ActionError> {
    let failed = |error| fail(format!("look beside `{}`", place.shown()), error);
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(place.folder()).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().to_str().map(str::to_owned));
    }
    Ok(names)
}
