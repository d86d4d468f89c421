//! `file.write`: a file's whole content, in one rename.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::lock::resource;
use super::place::{Content, LONGEST_CONTENT, Place};
use super::root::validate_path;
use super::site::Site;
use super::work::Effect;
use crate::action::{
    Action, ActionError, Description, ErrorKind, Evidence, Readiness, Repeat, ResolveContext,
    Saved, StepContext, Touches, VerbArgs, VerbKind, Verdict, Work,
};
use crate::secret::Secrets;

/// The permissions of a file that did not exist, unless the runbook says otherwise.
const NEW_FILE: u32 = 0o644;

/// Writes a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WriteArgs {
    /// The file, an absolute path. Its folder must exist.
    path: String,
    /// The content, at most 64 MiB. May hold secrets.
    content: String,
    /// The permissions in octal digits, such as `"0640"`; otherwise those of the former file, or 0644.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^0?[0-7]{3}$"))]
    mode: Option<String>,
    /// Adds the content at the end instead. A file that ends with it already is left alone.
    #[serde(default)]
    append: bool,
}

fn permissions(mode: &str) -> Option<u32> {
    let digits = mode.strip_prefix('0').unwrap_or(mode);
    (digits.len() == 3).then(|| u32::from_str_radix(digits, 8).ok()).flatten()
}

#[async_trait]
impl VerbArgs for WriteArgs {
    const NAME: &'static str = "file.write";
    const SUMMARY: &'static str = "Writes a file, or adds to one";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(10);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        if self.content.len() > LONGEST_CONTENT {
            return Err("`content` is longer than 64 MiB; use `file.copy-tree`".into());
        }
        if self.append && self.content.is_empty() {
            return Err("`append` with an empty `content` changes nothing".into());
        }
        if self.mode.as_deref().is_some_and(|mode| permissions(mode).is_none()) {
            return Err("`mode` must be octal digits in quotes, such as \"0640\"".into());
        }
        validate_path("path", &self.path)
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(args: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let site = Site::new(args.path, cx.connections.clone());
        let change = Change {
            content: args.content,
            mode: args.mode.as_deref().and_then(permissions),
            append: args.append,
        };
        Ok(Work::Action(Box::new(Write { change: Arc::new(change), site })))
    }
}

/// How the content should change.
struct Change {
    content: String,
    mode: Option<u32>,
    append: bool,
}

impl Change {
    /// What the file should be, given what it is.
    fn wanted(&self, former: Option<&Content>, secrets: &Secrets) -> Result<Content, ActionError> {
        let content = secrets.reveal(&self.content);
        let added = content.expose_secret().as_bytes();
        let kept = match former {
            Some(former) if self.append && !former.bytes.ends_with(added) => &former.bytes[..],
            Some(former) if self.append => &former.bytes[..former.bytes.len() - added.len()],
            _ => &[],
        };
        let bytes = [kept, added].concat();
        if bytes.len() > LONGEST_CONTENT {
            let message = "write the file: it would be longer than 64 MiB";
            return Err(ActionError::new(ErrorKind::Invalid, message));
        }
        let mode = self.mode.or(former.map(|former| former.mode)).unwrap_or(NEW_FILE);
        Ok(Content { bytes, mode, owner: former.and_then(|former| former.owner) })
    }
}

/// The former file, and the fingerprint of what takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Former {
    /// Nothing when there was no file.
    file: Option<FormerFile>,
    /// The SHA-256 of the new content.
    wanted_sha256: String,
}

/// A file's fingerprint. Its content may hold secrets and is kept apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FormerFile {
    sha256: String,
    mode: u32,
    owner: Option<(u32, u32)>,
}

impl Former {
    fn of(former: Option<&Content>, wanted: &Content) -> Self {
        let file = former.map(|content| FormerFile {
            sha256: content.sha256(),
            mode: content.mode,
            owner: content.owner,
        });
        Self { file, wanted_sha256: wanted.sha256() }
    }

    fn read(saved: &Saved) -> Result<Self, ActionError> {
        serde_json::from_value(saved.state.clone()).map_err(|error| {
            ActionError::new(ErrorKind::Invalid, "read what is known of the former file")
                .caused_by(&error)
        })
    }

    fn is(&self, present: Option<&Content>) -> bool {
        match (&self.file, present) {
            (None, None) => true,
            (Some(file), Some(present)) => {
                file.sha256 == present.sha256() && file.mode == present.mode
            }
            _ => false,
        }
    }

    /// The former file with its content, which must be what was saved.
    fn content(&self, private: Option<&Value>) -> Result<Option<Content>, ActionError> {
        let Some(file) = &self.file else { return Ok(None) };
        let bytes = private
            .and_then(|private| private["content"].as_str())
            .and_then(|text| BASE64_STANDARD.decode(text).ok());
        bytes
            .map(|bytes| Content { bytes, mode: file.mode, owner: file.owner })
            .filter(|content| content.sha256() == file.sha256)
            .map(Some)
            .ok_or_else(|| {
                let message = "read the content of the former file: it was not saved as it was";
                ActionError::new(ErrorKind::Failed, message)
            })
    }
}

struct Write {
    change: Arc<Change>,
    site: Site,
}

impl Write {
    /// Reads the file, and says what it is and what it should be.
    async fn look(&self, cx: &StepContext) -> Result<(Option<Content>, Content), ActionError> {
        let (change, secrets) = (self.change.clone(), self.site.connections().secrets().clone());
        self.site
            .at(cx, Effect::Reads, move |place, _| {
                let present = place.read()?;
                let wanted = change.wanted(present.as_ref(), &secrets)?;
                Ok((present, wanted))
            })
            .await
    }
}

fn changed(place: &Place) -> ActionError {
    let message = format!("write `{}`: it was changed since it was looked at", place.shown());
    ActionError::new(ErrorKind::Conflict, message)
        .hint("Find out who writes to it, then run the step again.")
}

fn restore(place: &Place, run: &str, former: &Former, saved: &Saved) -> Result<(), ActionError> {
    let present = place.read()?;
    if former.is(present.as_ref()) {
        return Ok(());
    }
    let ours = present.is_some_and(|present| present.sha256() == former.wanted_sha256);
    if !ours {
        let message = format!("bring `{}` back: it is not what this run wrote", place.shown());
        return Err(ActionError::new(ErrorKind::Conflict, message)
            .hint("Look at the file and decide by hand which content should stay."));
    }
    if let Some(content) = former.content(saved.private.as_ref())? {
        place.replace(run, &content)
    } else {
        place.unlink(place.name())?;
        place.sync()
    }
}

#[async_trait]
impl Action for Write {
    fn describe(&self) -> Description {
        let path = self.site.path();
        let verb = if self.change.append { "append to" } else { "write" };
        Description::new(
            format!("{verb} {path} ({} bytes)", self.change.content.len()),
            format!("bring the former {path} back, or remove it if there was none"),
        )
    }

    fn touches(&self) -> Touches {
        Touches::Only(vec![resource(self.site.path())])
    }

    fn repeat(&self) -> Repeat {
        Repeat::Safe
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let (present, wanted) = self.look(cx).await?;
        if present.as_ref() == Some(&wanted) {
            let evidence = Evidence::new(format!("{} is as wanted", self.site.path()));
            return Ok(Readiness::AlreadyDone { evidence });
        }
        let state = json!(Former::of(present.as_ref(), &wanted));
        let private =
            present.map(|present| json!({"content": BASE64_STANDARD.encode(&present.bytes)}));
        Ok(Readiness::needed(Saved { state, private }))
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let former = Former::read(saved)?;
        let (change, secrets) = (self.change.clone(), self.site.connections().secrets().clone());
        let written = self
            .site
            .at(cx, Effect::Changes, move |place, run| {
                let present = place.read()?;
                let wanted = change.wanted(present.as_ref(), &secrets)?;
                if present.as_ref() != Some(&wanted) {
                    if !former.is(present.as_ref()) {
                        return Err(changed(place));
                    }
                    place.replace(run, &wanted)?;
                }
                Ok(wanted)
            })
            .await?;
        let summary = format!("{} holds {} bytes", self.site.path(), written.bytes.len());
        Ok(Evidence::with(summary, json!({"sha256": written.sha256(), "mode": written.mode})))
    }

    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        let (present, _) = self.look(cx).await?;
        let path = self.site.path();
        Ok(match present {
            Some(present) if applied.facts["sha256"] == present.sha256() => {
                Verdict::holds(format!("{path} holds what was written"))
            }
            Some(_) => Verdict::not_yet(format!("{path} holds something else")),
            None => Verdict::not_yet(format!("{path} does not exist")),
        })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let (former, saved) = (Former::read(saved)?, saved.clone());
        self.site
            .at(cx, Effect::Changes, move |place, run| restore(place, run, &former, &saved))
            .await
    }
}
