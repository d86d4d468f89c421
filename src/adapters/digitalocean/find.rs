//! Which apps a step means: by their exact names, over all pages. A part of a name is never enough.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::app::{App, AppAnswer, Target};
use super::client::DigitalOcean;
use crate::action::{ActionError, ErrorKind, ResolveContext, StepContext};

/// The time for finding apps while a plan is made; a list of some pages takes a second or two.
const RESOLVING: Duration = Duration::from_secs(20);
/// The most candidates that an error names.
const MOST_CANDIDATES: usize = 8;

/// Which apps.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Named {
    /// The app, by its exact name.
    #[serde(default)]
    app: Option<String>,
    /// Several apps, by their exact names; each is done, and recorded, by itself.
    #[serde(default)]
    apps: Option<Vec<String>>,
}

impl Named {
    /// Checks the names offline.
    pub(super) fn check(&self) -> Result<(), String> {
        let names = self.names()?;
        if names.iter().any(|name| name.trim().is_empty()) {
            return Err("the name of an app is empty".to_owned());
        }
        let twice = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name));
        twice.map_or(Ok(()), |(_, name)| Err(format!("`apps` names `{name}` twice")))
    }

    fn names(&self) -> Result<&[String], String> {
        match (&self.app, &self.apps) {
            (Some(app), None) => Ok(std::slice::from_ref(app)),
            (None, Some(apps)) if !apps.is_empty() => Ok(apps),
            (None, Some(_)) => Err("`apps` is empty".to_owned()),
            _ => Err("exactly one of `app` and `apps` is needed".to_owned()),
        }
    }

    /// The apps, each with the name of its item: none where only one is meant.
    pub(super) async fn find(
        &self,
        cx: &ResolveContext,
    ) -> Result<Vec<(String, App, Target)>, ActionError> {
        let names = self.names().map_err(|problem| {
            ActionError::new(ErrorKind::Invalid, format!("choose apps: {problem}"))
        })?;
        let account = DigitalOcean::of(&cx.connections)?;
        let all = account.apps(&StepContext::looking(RESOLVING)).await?;
        let item = |name: &String| if self.app.is_some() { String::new() } else { name.clone() };
        let one = |name: &String| {
            let app = one_of("app", name, &all, |app| app.spec.name(), |app| app.id.clone())?;
            let target = Target { id: app.id.clone(), name: name.clone() };
            Ok((item(name), app.clone(), target))
        };
        names.iter().map(one).collect()
    }
}

/// All apps of the account.
pub(super) async fn all(account: &DigitalOcean, cx: &StepContext) -> Result<Vec<App>, ActionError> {
    account.list(cx, "list apps", "/v2/apps", "apps").await
}

/// The app of an item as it is now.
pub(super) async fn look(
    account: &DigitalOcean,
    cx: &StepContext,
    target: &Target,
) -> Result<App, ActionError> {
    let doing = format!("read {target}");
    let answer: AppAnswer = account.get(cx, &doing, &target.path()).await?;
    Ok(answer.app)
}

/// The one of this exact name, or an error that names those that may have been meant.
pub(super) fn one_of<'a, T>(
    kind: &str,
    name: &str,
    all: &'a [T],
    name_of: impl Fn(&T) -> String,
    id_of: impl Fn(&T) -> String,
) -> Result<&'a T, ActionError> {
    let found: Vec<&T> = all.iter().filter(|it| name_of(it) == name).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let text = format!("find the {kind} `{name}` among {}", all.len());
            let error = ActionError::new(ErrorKind::NotFound, text);
            Err(match candidates(name, all.iter().map(name_of)) {
                near if near.is_empty() => error,
                near => error.hint(format!("Did you mean {}?", Listed(&near))),
            })
        }
        several => {
            let ids: Vec<String> = several.iter().map(|it| id_of(it)).collect();
            let text = format!("find the one {kind} `{name}`: there are {}", Listed(&ids));
            Err(ActionError::new(ErrorKind::Conflict, text)
                .hint("Rename all but one of them; what is meant is never guessed."))
        }
    }
}

/// Names that are near to this one, the nearest first: a few letters off, or longer or shorter at an end.
fn candidates(name: &str, all: impl Iterator<Item = String>) -> Vec<String> {
    let limit = (name.chars().count() / 3).max(1);
    let near = all.filter_map(|other| {
        let distance = strsim::damerau_levenshtein(name, &other);
        let akin = name.len() > 3 && (other.contains(name) || name.contains(other.as_str()));
        (distance <= limit || akin).then_some((distance, other))
    });
    let mut near: Vec<(usize, String)> = near.filter(|(_, other)| !other.is_empty()).collect();
    near.sort();
    near.dedup();
    near.into_iter().take(MOST_CANDIDATES).map(|(_, other)| other).collect()
}

/// Names in back quotes.
struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, name) in self.0.iter().enumerate() {
            let joint = if place == 0 { "" } else { ", " };
            write!(f, "{joint}`{name}`")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str) -> Result<String, ActionError> {
        let all = ["web", "web-staging", "finance", "finance-2", "twin", "twin"].map(str::to_owned);
        one_of("app", name, &all, Clone::clone, Clone::clone).cloned()
    }

    #[test]
    fn only_an_exact_name_is_found_and_others_are_proposed() {
        assert_eq!(find("web").unwrap(), "web");
        let error = find("fin").unwrap_err();
        assert_eq!((error.kind, error.hints), (ErrorKind::NotFound, Vec::<String>::new()));
        let error = find("finence").unwrap_err();
        assert_eq!(error.hints, ["Did you mean `finance`?"]);
        let error = find("web-stag").unwrap_err();
        assert_eq!(error.hints, ["Did you mean `web-staging`, `web`?"]);
        assert_eq!(find("twin").unwrap_err().kind, ErrorKind::Conflict);
    }

    #[test]
    fn names_are_checked_offline() {
        let check = |app: Option<&str>, apps: Option<&[&str]>| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            Named { app: app.map(str::to_owned), apps: apps.map(owned) }.check()
        };
        assert!(check(Some("web"), None).is_ok() && check(None, Some(&["a", "b"])).is_ok());
        for bad in [
            check(None, None),
            check(Some("a"), Some(&["b"])),
            check(None, Some(&[])),
            check(Some(" "), None),
            check(None, Some(&["a", "a"])),
        ] {
            assert!(bad.is_err());
        }
    }
}
