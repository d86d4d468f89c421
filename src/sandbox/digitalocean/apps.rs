//! Apps (`/v2/apps`): their spec is replaced as a whole, and every change is a deployment.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::account::{Holdings, Refusal};
use super::deployments::{Deployment, Fate, Phase};
use crate::clock;

/// An app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// Its identifier.
    pub id: String,
    /// What is wanted.
    pub spec: Value,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its configuration changed.
    pub updated_at: Timestamp,
    /// Its deployments, the newest first.
    pub deployments: Vec<Deployment>,
    /// The deployment that serves.
    pub active: Option<String>,
    /// The deployment that a rollback has pinned it to.
    pub pinned: Option<String>,
    /// What was wanted before that rollback.
    pub before_rollback: Option<Value>,
    /// What the validation of a rollback finds, in the form of the API: `error` or `warnings`.
    pub verdict: Value,
    /// How its next deployments end.
    pub fate: Fate,
    /// The lines of its log.
    pub log: Vec<String>,
    /// Where its logs are, in the form of the API, if not where the double has them.
    pub log_places: Option<Value>,
}

impl App {
    /// Its name.
    pub fn name(&self) -> &str {
        self.spec["name"].as_str().unwrap_or_default()
    }

    /// Whether it is archived.
    pub fn is_archived(&self) -> bool {
        self.spec["maintenance"]["archive"] == true
    }

    pub(super) fn deployment(&self, id: &str) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.id == id)
    }

    fn in_flight(&self) -> Option<&Deployment> {
        self.deployments.first().filter(|newest| !newest.phase.is_terminal())
    }

    /// Lets the newest deployment run. Whether it has ended.
    pub(super) fn advance(&mut self, now: Timestamp, whole: Duration) -> bool {
        let Some(newest) = self.deployments.first_mut() else { return false };
        let before = newest.phase;
        newest.advance(now, whole);
        let (id, phase) = (newest.id.clone(), newest.phase);
        if before == phase || !phase.is_terminal() {
            return false;
        }
        if phase == Phase::Active {
            let former = self.active.replace(id);
            let former = former.and_then(|former| {
                self.deployments.iter_mut().find(|deployment| deployment.id == former)
            });
            if let Some(former) = former {
                former.set(now, Phase::Superseded);
            }
        }
        true
    }

    /// Begins a deployment of what is wanted; one that was under way is given up.
    pub(super) fn deploy(&mut self, cause: &str, cloned_from: Option<String>) -> Deployment {
        let now = clock::now();
        if let Some(newest) = self.deployments.first_mut().filter(|it| !it.phase.is_terminal()) {
            newest.set(now, Phase::Canceled);
        }
        let begun = Deployment::begin(now, cause, self.spec.clone(), self.fate);
        let begun = Deployment { cloned_from, ..begun };
        self.updated_at = now;
        self.deployments.insert(0, begun.clone());
        begun
    }

    /// The app in the form of the API.
    pub(super) fn shown(&self) -> Value {
        let host = format!("{}-{}.ondigitalocean.app", self.name(), &self.id[..5]);
        let mut shown = json!({
            "id": self.id, "owner_uuid": "a4e16f25-cdd1-4483-b246-d77f283c9209", "spec": self.spec,
            "created_at": self.created_at, "updated_at": self.updated_at,
            "default_ingress": format!("https://{host}"), "live_url": format!("https://{host}"),
            "live_url_base": format!("https://{host}"), "live_domain": host, "tier_slug": "basic",
            "region": {"slug": "nyc", "label": "New York", "continent": "North America"},
        });
        let find = |id: &Option<String>| id.as_deref().and_then(|id| self.deployment(id));
        let pending = self.in_flight().filter(|it| it.phase == Phase::PendingBuild);
        let running = self.in_flight().filter(|it| it.phase != Phase::PendingBuild);
        for (name, deployment) in [
            ("active_deployment", find(&self.active)),
            ("pending_deployment", pending),
            ("in_progress_deployment", running),
            ("pinned_deployment", find(&self.pinned)),
        ] {
            if let Some(deployment) = deployment {
                shown[name] = deployment.shown();
            }
        }
        if let Some(newest) = self.deployments.first() {
            shown["last_deployment_created_at"] = json!(newest.created_at);
        }
        shown
    }

    /// Refuses what a rollback that is neither committed nor reverted forbids.
    pub(super) fn unpinned(&self) -> Result<(), Refusal> {
        match self.pinned {
            None => Ok(()),
            Some(_) => Err(Refusal::conflict(
                "app is pinned to a rollback deployment: commit or revert it first",
            )),
        }
    }
}

/// A name as the description has it: `^[a-z][a-z0-9-]{0,30}[a-z0-9]$`.
fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (2..=32).contains(&name.len()) && name.chars().all(good) && !name.ends_with('-')
}

impl Holdings {
    pub(super) fn app(&self, id: &str) -> Result<&App, Refusal> {
        self.apps.iter().find(|app| app.id == id).ok_or_else(Refusal::not_found)
    }

    pub(super) fn app_mut(&mut self, id: &str) -> Result<&mut App, Refusal> {
        self.apps.iter_mut().find(|app| app.id == id).ok_or_else(Refusal::not_found)
    }

    /// `PUT /v2/apps/{id}`.
    pub(super) fn put_app(
        &mut self,
        id: &str,
        body: &Map<String, Value>,
    ) -> Result<(String, Value), Refusal> {
        let Some(mut spec) = body.get("spec").filter(|spec| spec.is_object()).cloned() else {
            return Err(Refusal::invalid("spec is required"));
        };
        if !spec["name"].as_str().is_some_and(is_name) {
            return Err(Refusal::invalid("spec.name is no name of an app"));
        }
        let app = self.app_mut(id)?;
        app.unpinned()?;
        // "Setting this to true implies that enabled is set to true."
        if spec["maintenance"]["archive"] == true {
            spec["maintenance"]["enabled"] = true.into();
        }
        app.spec = spec;
        let _begun = app.deploy("app spec updated", None);
        Ok((format!("update app {}", app.name()), json!({"app": app.shown()})))
    }

    /// `POST /v2/apps/{id}/restart`.
    pub(super) fn restart_app(&mut self, id: &str) -> Result<(String, Value), Refusal> {
        let app = self.app_mut(id)?;
        if app.is_archived() {
            return Err(Refusal::invalid("app is archived"));
        }
        let begun = app.deploy("app restarted", None);
        Ok((format!("restart app {}", app.name()), json!({"deployment": begun.shown()})))
    }

    /// `POST /v2/apps/{id}/deployments`.
    pub(super) fn deploy_app(&mut self, id: &str) -> Result<(String, Value), Refusal> {
        let app = self.app_mut(id)?;
        app.unpinned()?;
        let begun = app.deploy("manual", None);
        Ok((format!("deploy app {}", app.name()), json!({"deployment": begun.shown()})))
    }
}
