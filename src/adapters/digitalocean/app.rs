//! Apps and their deployments as the API describes them, and the specification of an app, which goes back as it came.

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::action::StepContext;
use crate::digest::sha256;

/// The phases of a deployment after which nothing more happens to it (`apps_deployment_phase` in the API's description).
const TERMINAL: [&str; 4] = ["ACTIVE", "SUPERSEDED", "ERROR", "CANCELED"];

/// An app as an item of a step names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Target {
    /// Its identifier.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "app {}", self.name)
    }
}

impl Target {
    /// The path of the app in the API.
    pub(super) fn path(&self) -> String {
        format!("/v2/apps/{}", super::client::segment(&self.id))
    }

    /// Its name in the predictions of a plan.
    pub(super) fn resource(&self) -> String {
        format!("digitalocean:app/{}", self.name)
    }

    /// Whether an earlier step of a plan will have archived it, if one has to do with that.
    pub(super) fn foreseen(&self, cx: &StepContext) -> Option<bool> {
        cx.predicted(&self.resource())?["archived"].as_bool()
    }
}

/// An app.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct App {
    #[serde(default)]
    pub(super) id: String,
    pub(super) spec: Spec,
    #[serde(default)]
    active_deployment: Option<Deployment>,
    #[serde(default)]
    in_progress_deployment: Option<Deployment>,
    #[serde(default)]
    pending_deployment: Option<Deployment>,
    #[serde(default)]
    pinned_deployment: Option<Deployment>,
}

impl App {
    /// The deployment that serves.
    pub(super) fn active(&self) -> Option<&Deployment> {
        real(self.active_deployment.as_ref())
    }

    /// The deployment that a rollback has pinned it to.
    pub(super) fn pinned(&self) -> Option<&Deployment> {
        real(self.pinned_deployment.as_ref())
    }

    /// The deployment that is under way.
    pub(super) fn in_flight(&self) -> Option<&Deployment> {
        let found = [&self.pending_deployment, &self.in_progress_deployment];
        found.into_iter().filter_map(|it| real(it.as_ref())).find(|it| !it.is_over())
    }

    /// The deployment that the last change has begun: guaranteed to be the pending one.
    pub(super) fn begun(&self) -> Option<&Deployment> {
        real(self.pending_deployment.as_ref()).or_else(|| self.in_flight())
    }
}

/// One that is there: an empty one means that there is none.
fn real(deployment: Option<&Deployment>) -> Option<&Deployment> {
    deployment.filter(|it| !it.id.is_empty())
}

/// A deployment.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Deployment {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default = "unknown")]
    pub(super) phase: String,
    #[serde(default)]
    pub(super) cloned_from: Option<String>,
    #[serde(default)]
    pub(super) spec: Option<Spec>,
    #[serde(default)]
    progress: Option<Progress>,
}

fn unknown() -> String {
    "UNKNOWN".to_owned()
}

#[derive(Debug, Clone, Deserialize)]
struct Progress {
    #[serde(default)]
    success_steps: u32,
    #[serde(default)]
    total_steps: u32,
}

impl Deployment {
    /// Whether nothing more happens to it.
    pub(super) fn is_over(&self) -> bool {
        TERMINAL.contains(&self.phase.as_str())
    }

    /// Whether it ended without ever serving.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.phase.as_str(), "ERROR" | "CANCELED")
    }

    /// Whether it serves.
    pub(super) fn is_active(&self) -> bool {
        self.phase == "ACTIVE"
    }

    /// Whether it is the deployment of this id, or repeats it.
    pub(super) fn is_of(&self, id: &str) -> bool {
        self.id == id || self.cloned_from.as_deref() == Some(id)
    }

    /// Whether what it deployed is archived.
    pub(super) fn is_archived(&self) -> bool {
        self.spec.as_ref().is_some_and(Spec::is_archived)
    }

    /// Where it is, in words: `BUILDING (1 of 2 steps)`.
    pub(super) fn progress(&self) -> String {
        let phase: String = self.phase.chars().take(30).collect();
        match &self.progress {
            Some(Progress { success_steps, total_steps })
                if *total_steps > 0 && !self.is_over() =>
            {
                format!("{phase} ({success_steps} of {total_steps} steps)")
            }
            _ => phase,
        }
    }
}

/// A deployment alone in an answer.
#[derive(Debug, Deserialize)]
pub(super) struct DeploymentAnswer {
    pub(super) deployment: Deployment,
}

/// An app alone in an answer.
#[derive(Debug, Deserialize)]
pub(super) struct AppAnswer {
    pub(super) app: App,
}

/// The specification of an app. An update replaces it as a whole, so what is not understood here is kept as it was written.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Spec(IndexMap<String, Box<RawValue>>);

impl Spec {
    /// Reads one that was kept as text.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The text to send, and to keep.
    pub(super) fn text(&self) -> String {
        // Texts that were read as JSON are JSON again.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    fn field(&self, name: &str) -> Value {
        let field = self.0.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok());
        field.unwrap_or(Value::Null)
    }

    /// The name of the app.
    pub(super) fn name(&self) -> String {
        self.field("name").as_str().unwrap_or_default().to_owned()
    }

    /// Whether the app is to be archived.
    pub(super) fn is_archived(&self) -> bool {
        self.field("maintenance")["archive"] == true
    }

    /// Whether visitors are to see the page of the maintenance mode.
    pub(super) fn is_in_maintenance(&self) -> bool {
        self.is_archived() || self.field("maintenance")["enabled"] == true
    }

    /// As one document, for comparing.
    pub(super) fn value(&self) -> Value {
        let read = |raw: &RawValue| -> Value {
            // A number that fits nowhere is compared as it is written.
            serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().into())
        };
        self.0.iter().map(|(name, raw)| (name.clone(), read(raw))).collect()
    }

    /// The same with the app archived.
    pub(super) fn archived(&self) -> Self {
        self.with_maintenance(|maintenance| {
            let _former = maintenance.insert("archive".to_owned(), raw("true"));
        })
    }

    /// The same with the app neither archived nor in maintenance.
    pub(super) fn in_service(&self) -> Self {
        self.with_maintenance(|maintenance| {
            maintenance.retain(|name, _| !matches!(name.as_str(), "archive" | "enabled"));
        })
    }

    fn with_maintenance(&self, change: impl FnOnce(&mut IndexMap<String, Box<RawValue>>)) -> Self {
        let present = self.0.get("maintenance");
        let mut maintenance: IndexMap<String, Box<RawValue>> =
            present.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        change(&mut maintenance);
        let mut changed = self.clone();
        if maintenance.is_empty() {
            let _gone = changed.0.shift_remove("maintenance");
            return changed;
        }
        let text = serde_json::to_string(&maintenance).unwrap_or_default();
        let _former = changed.0.insert("maintenance".to_owned(), raw(&text));
        changed
    }

    /// What tells two specifications apart, however their fields are ordered.
    pub(super) fn digest(&self) -> String {
        digest_of(&self.value())
    }

    /// Whether all is the same but whether the app is archived or in maintenance.
    pub(super) fn is_same_but_archived(&self, other: &Self) -> bool {
        self.in_service().value() == other.in_service().value()
    }
}

fn raw(text: &str) -> Box<RawValue> {
    // What is given here is JSON.
    RawValue::from_string(text.to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The SHA-256 of a document with its keys in order.
pub(super) fn digest_of(value: &Value) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    sha256(sorted.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With numbers and escapes that a parser would write in another way.
    const WRITTEN: &str = r#"{"name":"web","later":{"b":1.50,"a":[1e400,123456789012345678901234567890]},"note":"\u00e9\/","maintenance":{"offline_page_url":"https:\/\/example.com","mode":1.0}}"#;

    #[test]
    fn what_is_not_understood_stays_as_it_was_written() {
        let spec = Spec::read(WRITTEN).unwrap();
        assert_eq!(spec.text(), WRITTEN);
        let archived = spec.archived();
        let wanted = WRITTEN.replace(r#""mode":1.0"#, r#""mode":1.0,"archive":true"#);
        assert_eq!(archived.text(), wanted);
        assert!(archived.is_archived() && !spec.is_archived());
        assert_eq!(archived.in_service().text(), WRITTEN);
        assert!(archived.is_same_but_archived(&spec));
        let other = Spec::read(&WRITTEN.replace("web", "wed")).unwrap();
        assert!(!archived.is_same_but_archived(&other));
    }

    #[test]
    fn a_maintenance_without_content_goes() {
        let spec = Spec::read(r#"{"name":"web","services":[]}"#).unwrap();
        let archived = Spec::read(
            r#"{"name":"web","services":[],"maintenance":{"enabled":true,"archive":true}}"#,
        );
        let archived = archived.unwrap();
        assert_eq!(archived.in_service().text(), spec.text());
        assert_eq!(spec.archived().in_service().text(), spec.text());
        assert!(archived.is_in_maintenance());
    }

    #[test]
    fn a_digest_knows_no_order() {
        let [one, two] = [r#"{"a":1,"b":{"c":2,"d":3}}"#, r#"{"b":{"d":3,"c":2},"a":1}"#]
            .map(|text| Spec::read(text).unwrap().digest());
        assert_eq!(one, two);
    }
}
