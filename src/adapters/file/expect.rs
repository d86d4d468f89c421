//! `file.expect`: a question about a file.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::place::Place;
use super::root::validate_path;
use super::site::Site;
use super::work::Effect;
use crate::action::{
    ActionError, Description, Probe, ResolveContext, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::secret::has_marker;

/// Asks about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectArgs {
    /// The file or folder, an absolute path.
    path: String,
    /// Whether it should exist.
    #[serde(default = "yes")]
    exists: bool,
    /// The SHA-256 of its content, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    sha256: Option<String>,
    /// Text that it should hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contains: Option<String>,
}

fn yes() -> bool {
    true
}

#[async_trait]
impl VerbArgs for ExpectArgs {
    const NAME: &'static str = "file.expect";
    const SUMMARY: &'static str = "Asks whether a file exists and what it holds";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        if !self.exists && (self.sha256.is_some() || self.contains.is_some()) {
            return Err("a file that should not exist can hold nothing".into());
        }
        if self.contains.as_deref().is_some_and(has_marker) {
            return Err("`contains` holds a secret, and questions are shown".into());
        }
        let well_formed =
            |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if self.sha256.as_deref().is_some_and(|text| !well_formed(text)) {
            return Err("`sha256` must be 64 hexadecimal digits".into());
        }
        validate_path("path", &self.path)
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(args: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let site = Site::new(args.path.clone(), cx.connections.clone());
        Ok(Work::Probe(Box::new(Expect { args, site })))
    }
}

struct Expect {
    args: ExpectArgs,
    site: Site,
}

fn observe(place: &Place, args: &ExpectArgs) -> Result<Verdict, ActionError> {
    let path = place.shown();
    let exists = place.is_there(place.name())?;
    if exists != args.exists {
        let seen = if exists { "exists" } else { "does not exist" };
        return Ok(Verdict::not_yet(format!("{path} {seen}")));
    }
    if args.sha256.is_none() && args.contains.is_none() {
        let seen = if exists { "exists" } else { "does not exist" };
        return Ok(Verdict::holds(format!("{path} {seen}")));
    }
    let Some(content) = place.read()? else {
        return Ok(Verdict::not_yet(format!("{path} does not exist")));
    };
    let found = content.sha256();
    if args.sha256.as_ref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&found)) {
        return Ok(Verdict::not_yet(format!("{path} has the SHA-256 {found}")));
    }
    let text = String::from_utf8_lossy(&content.bytes);
    if args.contains.as_ref().is_some_and(|wanted| !text.contains(wanted)) {
        return Ok(Verdict::not_yet(format!("{path} does not hold the text")));
    }
    Ok(Verdict::holds(format!("{path} holds what is expected")))
}

#[async_trait]
impl Probe for Expect {
    fn describe(&self) -> Description {
        let ExpectArgs { path, exists, sha256, contains } = &self.args;
        let exists = if *exists { "exists" } else { "does not exist" };
        let holds = contains.as_ref().map(|text| format!(" and holds {text:?}"));
        let hashes = sha256.as_ref().map(|sum| format!(" and has the SHA-256 {sum}"));
        let (holds, hashes) = (holds.unwrap_or_default(), hashes.unwrap_or_default());
        Description::question(format!("{path} {exists}{holds}{hashes}"))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        let args = self.args.clone();
        self.site.at(cx, Effect::Reads, move |place, _| observe(place, &args)).await
    }
}
