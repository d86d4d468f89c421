//! Deployments: each runs through its phases in its own time, and ends as its fate has it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Where a deployment is (`apps_deployment_phase` in the API's description).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Phase {
    /// Nobody knows.
    Unknown,
    /// It waits to be built.
    PendingBuild,
    /// It is built.
    Building,
    /// It waits to be deployed.
    PendingDeploy,
    /// It is deployed.
    Deploying,
    /// It serves.
    Active,
    /// It served, and another does now.
    Superseded,
    /// It failed.
    Error,
    /// It was given up for another.
    Canceled,
}

impl Phase {
    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Active | Self::Superseded | Self::Error | Self::Canceled)
    }

    /// Where a deployment is after this part of its time.
    fn after(part: f64) -> Self {
        match part {
            part if part < 0.1 => Self::PendingBuild,
            part if part < 0.5 => Self::Building,
            part if part < 0.6 => Self::PendingDeploy,
            _ => Self::Deploying,
        }
    }
}

/// How a deployment ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It becomes active.
    #[default]
    Active,
    /// It fails.
    Error,
    /// It never ends.
    Endless,
}

/// A deployment of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its identifier.
    pub id: String,
    /// What caused it, in words.
    pub cause: String,
    /// The deployment that it repeats, for a rollback.
    pub cloned_from: Option<String>,
    /// What is deployed.
    pub spec: Value,
    /// When it began.
    pub created_at: Timestamp,
    /// When its phase changed.
    pub changed_at: Timestamp,
    /// Where it is.
    pub phase: Phase,
    /// How it will end.
    pub fate: Fate,
}

impl Deployment {
    /// One that begins now.
    pub(super) fn begin(now: Timestamp, cause: &str, spec: Value, fate: Fate) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            cause: cause.to_owned(),
            cloned_from: None,
            spec,
            created_at: now,
            changed_at: now,
            phase: Phase::PendingBuild,
            fate,
        }
    }

    /// Lets it run to where it is by now; `whole` is the time that it takes.
    pub(super) fn advance(&mut self, now: Timestamp, whole: Duration) {
        if self.phase.is_terminal() {
            return;
        }
        let part = now.duration_since(self.created_at).as_secs_f64() / whole.as_secs_f64();
        let phase = match (part < 1.0, self.fate) {
            (true, _) => Phase::after(part),
            (false, Fate::Endless) => Phase::Deploying,
            (false, Fate::Active) => Phase::Active,
            (false, Fate::Error) => Phase::Error,
        };
        self.set(now, phase);
    }

    pub(super) fn set(&mut self, now: Timestamp, phase: Phase) {
        if self.phase != phase {
            (self.phase, self.changed_at) = (phase, now);
        }
    }

    /// The deployment in the form of the API.
    pub(super) fn shown(&self) -> Value {
        let (pending, running, success, error) = match self.phase {
            Phase::Active | Phase::Superseded => (0, 0, 2, 0),
            Phase::Error => (0, 0, 1, 1),
            Phase::Building => (1, 1, 0, 0),
            Phase::Deploying => (0, 1, 1, 0),
            _ => (2, 0, 0, 0),
        };
        let services = self.spec["services"].as_array().into_iter().flatten();
        let services: Vec<Value> =
            services.map(|service| json!({"name": service["name"]})).collect();
        let mut shown = json!({
            "id": self.id, "spec": self.spec, "services": services, "phase": self.phase, "cause": self.cause,
            "phase_last_updated_at": self.changed_at, "created_at": self.created_at, "updated_at": self.changed_at,
            "progress": {
                "pending_steps": pending, "running_steps": running, "success_steps": success, "error_steps": error,
                "total_steps": 2,
            },
            "tier_slug": "basic",
        });
        if let Some(from) = &self.cloned_from {
            shown["cloned_from"] = from.as_str().into();
        }
        shown
    }
}
