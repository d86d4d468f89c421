//! `file.copy-tree`: a folder becomes a verified copy of another.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::lock::resource;
use super::place::Place;
use super::root::{root, validate_path};
use super::swap::{Stage, Swap, manifest};
use super::tree::{Manifest, open_folder};
use super::work::{Effect, Until, blocking, fail};
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Readiness, Repeat,
    ResolveContext, Saved, StepContext, Touches, VerbArgs, VerbKind, Verdict, Work,
};

/// Makes a folder a copy of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CopyTreeArgs {
    /// The folder to copy, an absolute path.
    from: String,
    /// The folder that becomes the copy, an absolute path. What was there is kept aside for undo.
    to: String,
    /// A list as `sha256sum` writes it, with which every file of `from` must agree; an absolute path, or `auto` for
    /// none.
    #[serde(default = "auto")]
    manifest: String,
    /// Keeps files of `to` that are not in `from`.
    #[serde(default)]
    keep_extra: bool,
}

const AUTO: &str = "auto";

fn auto() -> String {
    AUTO.into()
}

#[async_trait]
impl VerbArgs for CopyTreeArgs {
    const NAME: &'static str = "file.copy-tree";
    const SUMMARY: &'static str = "Replaces a folder by a verified copy of another";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        validate_path("from", &self.from)?;
        validate_path("to", &self.to)?;
        if self.manifest != AUTO {
            validate_path("manifest", &self.manifest)?;
        }
        let (from, to) = (self.from.trim_end_matches('/'), self.to.trim_end_matches('/'));
        let lies_in = |one: &str, other: &str| format!("{one}/").starts_with(&format!("{other}/"));
        if lies_in(from, to) || lies_in(to, from) {
            return Err("`from` and `to` are the same, or one lies in the other".into());
        }
        Ok(())
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(args: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(CopyTree {
            args: Arc::new(args),
            connections: cx.connections.clone(),
        })))
    }
}

/// Both folders, open, and what the copy shall be.
pub(super) struct Trees {
    source: OwnedFd,
    from: Manifest,
    shown: String,
    /// The folder to replace.
    pub(super) place: Place,
    present: Option<Manifest>,
    wanted: Manifest,
    /// The swap that leads there.
    pub(super) swap: Swap,
}

impl Trees {
    /// Reads both trees, and recognises a swap that a crash has interrupted.
    pub(super) fn look(
        args: &CopyTreeArgs,
        connections: &Connections,
        run: &str,
        until: &Until,
    ) -> Result<Self, ActionError> {
        let root = root(connections)?;
        let source = root.place(&args.from)?;
        let shown = source.shown().to_owned();
        let source = open_folder(source.folder(), source.name())
            .map_err(|error| fail(format!("open the folder `{shown}`"), error))?;
        let from = Manifest::read(&source, &shown, until)?;
        if args.manifest != AUTO {
            agree(&from, args, &root.place(&args.manifest)?)?;
        }
        let place = root.place(&args.to)?;
        let wanted = |present: &Manifest| {
            if args.keep_extra { from.with_extras_of(present) } else { from.clone() }
        };
        let mut present = manifest(&place, place.name(), until)?;
        let mut swap = None;
        if present.is_none() {
            let after = |old: &Manifest| wanted(old).digest();
            if let Some((old, found)) = Swap::interrupted(&place, run, until, after)? {
                (present, swap) = (Some(old), Some(found));
            }
        }
        let wanted = present.as_ref().map_or_else(|| from.clone(), wanted);
        let swap = swap.unwrap_or_else(|| {
            let before = present.as_ref().map(Manifest::digest);
            Swap::new(&place, run, before, wanted.digest())
        });
        Ok(Self { source, from, shown, place, present, wanted, swap })
    }

    /// The steps that are still to do. When the new folder is there already, the hidden one is the old folder and must
    /// not be made anew.
    fn stages_left(&self, swap: &Swap) -> &'static [Stage] {
        let is_there = self.place_has(&swap.after);
        if is_there { &[Stage::SwapIn] } else { &Stage::ALL }
    }

    /// Carries out one step of the swap. `exchange` says whether to try the exchange at once.
    pub(super) fn advance(
        &self,
        swap: &Swap,
        stage: Stage,
        exchange: bool,
        until: &Until,
    ) -> Result<(), ActionError> {
        match stage {
            Stage::Copy => {
                let source = (&self.source, &self.from, self.shown.as_str());
                swap.stage(&self.place, source, &self.wanted, until)
            }
            Stage::SwapOut => swap.swap_out(&self.place, exchange, until),
            Stage::SwapIn => swap.swap_in(&self.place, until),
        }
    }

    fn readiness(&self) -> Readiness {
        if self.place_has(&self.swap.after) {
            let summary = format!(
                "{} is a copy of {} ({} entries)",
                self.place.shown(),
                self.shown,
                self.wanted.entries.len()
            );
            return Readiness::AlreadyDone { evidence: Evidence::new(summary) };
        }
        Readiness::needed(Saved::public(json!(self.swap)))
    }

    /// Whether the folder has this digest. (Interrupted between two renames it has none, and differs in any case.)
    fn place_has(&self, digest: &str) -> bool {
        self.swap.before.as_deref() == Some(digest)
    }
}

fn agree(from: &Manifest, args: &CopyTreeArgs, list: &Place) -> Result<(), ActionError> {
    let text = list.read()?.ok_or_else(|| {
        ActionError::new(ErrorKind::NotFound, format!("find the manifest `{}`", list.shown()))
    })?;
    let inside = list
        .shown()
        .strip_prefix(args.from.trim_end_matches('/'))
        .and_then(|path| path.strip_prefix('/'));
    from.agrees_with(&String::from_utf8_lossy(&text.bytes), inside).map_err(|problem| {
        let message = format!("trust `{}`: {problem} in `{}`", args.from, list.shown());
        ActionError::new(ErrorKind::Conflict, message)
            .hint("The backup is not what was backed up: choose another one.")
    })
}

struct CopyTree {
    args: Arc<CopyTreeArgs>,
    connections: Arc<Connections>,
}

impl CopyTree {
    async fn at_trees<T: Send + 'static>(
        &self,
        cx: &StepContext,
        effect: Effect,
        work: impl FnOnce(&CopyTreeArgs, &Connections, &str, &Until) -> Result<T, ActionError>
        + Send
        + 'static,
    ) -> Result<T, ActionError> {
        let (args, connections) = (self.args.clone(), self.connections.clone());
        let run = cx.run().to_owned();
        let what = format!("copy `{}` to `{}`", args.from, args.to);
        blocking(cx, effect, what, move |until| work(&args, &connections, &run, until)).await
    }
}

fn swap_of(saved: &Saved) -> Result<Swap, ActionError> {
    serde_json::from_value(saved.state.clone()).map_err(|error| {
        ActionError::new(ErrorKind::Invalid, "read where the former folder is").caused_by(&error)
    })
}

#[async_trait]
impl Action for CopyTree {
    fn describe(&self) -> Description {
        let CopyTreeArgs { from, to, keep_extra, .. } = &*self.args;
        let extra = if *keep_extra { ", other files stay" } else { "" };
        Description::new(
            format!("make {to} a copy of {from}{extra}"),
            format!("bring the former {to} back"),
        )
    }

    fn touches(&self) -> Touches {
        Touches::Only(vec![resource(&self.args.to)])
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        self.at_trees(cx, Effect::Reads, |args, connections, run, until| {
            Ok(Trees::look(args, connections, run, until)?.readiness())
        })
        .await
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let swap = swap_of(saved)?;
        self.at_trees(cx, Effect::Changes, move |args, connections, run, until| {
            let trees = Trees::look(args, connections, run, until)?;
            for stage in trees.stages_left(&swap) {
                trees.advance(&swap, *stage, true, until)?;
            }
            let present = trees.present.clone().unwrap_or_default();
            let made = present.difference(&trees.wanted);
            let summary = format!(
                "{} is a copy of {}: {} entries added, {} changed, {} removed",
                args.to, args.from, made.added, made.changed, made.removed
            );
            Ok(Evidence::with(summary, json!({"digest": swap.after})))
        })
        .await
    }

    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        let wanted = applied.facts["digest"].clone();
        self.at_trees(cx, Effect::Reads, move |args, connections, _, until| {
            let place = root(connections)?.place(&args.to)?;
            Ok(match manifest(&place, place.name(), until)? {
                Some(present) if wanted == present.digest() => {
                    Verdict::holds(format!("{} holds what was copied", args.to))
                }
                Some(_) => Verdict::not_yet(format!("{} holds something else", args.to)),
                None => Verdict::not_yet(format!("{} does not exist", args.to)),
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
        let swap = swap_of(saved)?;
        self.at_trees(cx, Effect::Changes, move |args, connections, _, until| {
            swap.undo(&root(connections)?.place(&args.to)?, true, until)
        })
        .await
    }
}
