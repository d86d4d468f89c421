//! A container as this adapter sees it, distilled from the engine's inspection.

use bollard::models::{ContainerInspectResponse, HealthStatusEnum, RestartPolicy};

use crate::action::{ActionError, ErrorKind};

/// What a container's health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// There is no health check.
    Undefined,
    /// No verdict yet.
    Starting,
    /// Healthy.
    Healthy,
    /// Unhealthy.
    Unhealthy,
}

/// One container at one moment.
#[derive(Debug, Clone)]
pub(super) struct Container {
    /// The full id.
    pub(super) id: String,
    /// The name, without the engine's leading slash.
    pub(super) name: String,
    /// Whether it runs, or the engine is about to run it again.
    pub(super) running: bool,
    /// Whether it is frozen.
    pub(super) paused: bool,
    /// Whether the engine waits before it runs it again.
    pub(super) restarting: bool,
    /// How often the engine has restarted it by itself.
    pub(super) restarts: i64,
    /// The last exit code.
    pub(super) exit_code: i64,
    /// What its health check says.
    pub(super) health: Health,
    /// The id of its image.
    pub(super) image: String,
    /// Everything the engine told, which holds secrets: never printed, never recorded.
    pub(super) raw: ContainerInspectResponse,
}

impl Container {
    /// Reads the engine's answer.
    pub(super) fn read(raw: ContainerInspectResponse) -> Result<Self, ActionError> {
        let state = raw.state.clone().unwrap_or_default();
        let (Some(id), Some(name), Some(image)) =
            (raw.id.clone(), raw.name.clone(), raw.image.clone())
        else {
            return Err(ActionError::new(
                ErrorKind::Failed,
                "understand the engine: a container without an id, a name or an image",
            ));
        };
        let restarting = state.restarting.unwrap_or(false);
        let health = match state.health.and_then(|health| health.status) {
            None | Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) => Health::Undefined,
            Some(HealthStatusEnum::STARTING) => Health::Starting,
            Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
            Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
        };
        Ok(Self {
            id,
            name: name.trim_start_matches('/').to_owned(),
            running: state.running.unwrap_or(false) || restarting,
            paused: state.paused.unwrap_or(false),
            restarting,
            restarts: raw.restart_count.unwrap_or(0),
            exit_code: state.exit_code.unwrap_or(0),
            health,
            image,
            raw,
        })
    }

    /// Whether it runs and its health check, if it has one, is content.
    pub(super) fn healthy(&self) -> bool {
        self.running
            && !self.restarting
            && !self.paused
            && matches!(self.health, Health::Healthy | Health::Undefined)
    }

    /// A label's value.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.raw.config.as_ref()?.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// When the engine restarts it by itself.
    pub(super) fn restart_policy(&self) -> RestartPolicy {
        self.raw
            .host_config
            .as_ref()
            .and_then(|host| host.restart_policy.clone())
            .unwrap_or_default()
    }

    /// Whether the engine removes it as soon as it stops.
    pub(super) fn vanishes(&self) -> bool {
        self.raw.host_config.as_ref().and_then(|host| host.auto_remove).unwrap_or(false)
    }
}

/// The first twelve digits of an id, with or without its algorithm: what people see and type.
pub(super) fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}
