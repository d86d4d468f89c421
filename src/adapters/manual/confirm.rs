//! `manual.confirm`: a list of items, each a question to a person or to a system.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::action::{
    ActionError, Later, ProbeCall, Question, ResolveContext, VerbArgs, VerbKind, Window, Work,
};
use crate::value::Lasting;

/// The longest name of an item, in characters.
const LONGEST_NAME: usize = 48;

/// The items to confirm.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Checklist(#[schemars(length(min = 1))] Vec<Entry>);

/// One item of a checklist.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The statement to confirm.
    #[schemars(length(min = 1))]
    item: String,
    /// A probe that answers in place of a person: one verb and its arguments.
    #[serde(default)]
    #[schemars(extend("x-rollback" = "probe-call", "minProperties" = 1, "maxProperties" = 1))]
    probe: Option<IndexMap<String, Value>>,
    /// Whether the run waits for the person's answer.
    #[serde(default)]
    required: bool,
    /// When, after the run, it is looked at by `rollback confirm` with `--window`: 0 to 3, 3 to 15, or 15 to 60 minutes. Without it, the item is a part
    /// of the run itself.
    window: Option<Window>,
    /// How long the probe's answer has to hold; 30m in the long window, one look in the others.
    hold: Option<Lasting>,
}

/// A resolved item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ConfirmItem {
    text: String,
    required: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probe: Option<ProbeCall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<Lasting>,
}

#[async_trait]
impl VerbArgs for Checklist {
    const NAME: &'static str = "manual.confirm";
    const SUMMARY: &'static str = "Confirms a list of statements, by probes where there are some";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Item = ConfirmItem;

    fn validate(&self) -> Result<(), String> {
        if self.0.is_empty() {
            return Err("the list of items is empty".into());
        }
        for Entry { item, probe, required, window, hold } in &self.0 {
            if item.trim().is_empty() {
                return Err("`item` is empty".into());
            }
            if probe.as_ref().is_some_and(|probe| probe.len() != 1) {
                return Err(format!("the `probe` of \"{item}\" must be exactly one verb"));
            }
            if probe.is_some() && *required {
                return Err(format!(
                    "\"{item}\" is `required` and has a `probe`; only a person's answer can be required"
                ));
            }
            if window.is_some() && *required {
                return Err(format!(
                    "\"{item}\" is `required` and has a `window`; the run does not wait for what is looked at after it"
                ));
            }
            if hold.is_some() && (probe.is_none() || window.is_none()) {
                return Err(format!(
                    "\"{item}\" has a `hold`, which needs a `probe` and a `window`"
                ));
            }
        }
        Ok(())
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, ConfirmItem)>, ActionError> {
        let mut taken = HashSet::new();
        let mut items = Vec::new();
        for (index, entry) in self.0.into_iter().enumerate() {
            let Entry { item: text, probe, required, window, hold } = entry;
            let probe = match probe {
                Some(call) => Some(ProbeCall::resolve(call, cx).await?),
                None => None,
            };
            let name = unique(&text, index + 1, &mut taken);
            items.push((name, ConfirmItem { text, required, probe, window, hold }));
        }
        Ok(items)
    }

    fn make(item: ConfirmItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        let ConfirmItem { text, required, probe, window, hold } = item;
        let Some(call) = probe else {
            return Ok(Work::Manual(Question { text, required, window }));
        };
        let probe = call.make(&text, cx)?;
        Ok(match window {
            None => Work::Probe(probe),
            Some(window) => {
                let hold = hold.map_or(window.hold(), |hold| hold.0);
                Work::Later(Later { text, window, hold, probe })
            }
        })
    }
}

/// A short name from the item's own words, different from all before it.
fn unique(text: &str, number: usize, taken: &mut HashSet<String>) -> String {
    let words: Vec<String> = text
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let mut name = String::new();
    for word in words {
        if name.len() + 1 + word.len() > LONGEST_NAME {
            break;
        }
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(&word);
    }
    if name.is_empty() {
        name = format!("item-{number}");
    }
    if taken.contains(&name) {
        name = format!("{name}-{number}");
    }
    let _new = taken.insert(name.clone());
    name
}
