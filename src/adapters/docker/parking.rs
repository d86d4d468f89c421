//! Parking: how a container leaves service without being lost.
//!
//! A parked container is stopped, carries a name that says so, and is never restarted by the engine. Its files, anonymous
//! volumes and environment stay where they are, so bringing it back is a rename and a start. The names derive
//! from the container's id alone: after a crash, a look at the engine tells how far a change has come.

use bollard::models::{RestartPolicy, RestartPolicyNameEnum};
use serde::{Deserialize, Serialize};

use super::client::{Engine, Limits};
use super::container::{Container, short};
use crate::action::{ActionError, ErrorKind};

/// The label with the image that ran before a container was created; deployments may set it themselves.
pub(super) const FORMER_IMAGE: &str = "rollback.former-image";
/// The label with the id of the container whose place a container takes.
pub(super) const REPLACES: &str = "rollback.replaces";
/// The label with the run that created a container.
pub(super) const CREATED_BY: &str = "rollback.created-by";

const ASIDE: &str = ".rollback-";
const OLD: &str = ".rollback-old-";
const NEW: &str = ".rollback-new-";

/// The name of the container `id`, called `home` while in service, when it is parked.
pub(super) fn parked_name(home: &str, id: &str) -> String {
    format!("{home}{OLD}{}", short(id))
}

/// The name of the container that is to take the place of `id`, until it does.
pub(super) fn successor_name(home: &str, id: &str) -> String {
    format!("{home}{NEW}{}", short(id))
}

/// Whether a name says that its container is out of service: parked, or not yet in its place.
pub(super) fn is_aside(name: &str) -> bool {
    name.contains(ASIDE)
}

/// Whether a name says that its container is parked.
pub(super) fn is_parked(name: &str) -> bool {
    name.contains(OLD)
}

/// The name in service of a parked container.
pub(super) fn home_name(name: &str) -> &str {
    name.split_once(OLD).map_or(name, |(home, _)| home)
}

/// The policy under which a stopped container stays stopped when the engine itself restarts, if it is another one.
///
/// `always` and, after a non-zero exit code, `on-failure` revive even what was stopped by hand (moby, `restartmanager`).
/// `unless-stopped` is the nearest to `always` for a container that comes back later.
pub(super) fn at_rest(policy: &RestartPolicy) -> Option<RestartPolicy> {
    let name = match policy.name {
        Some(RestartPolicyNameEnum::ALWAYS) => RestartPolicyNameEnum::UNLESS_STOPPED,
        Some(RestartPolicyNameEnum::ON_FAILURE) => RestartPolicyNameEnum::NO,
        _ => return None,
    };
    Some(RestartPolicy { name: Some(name), maximum_retry_count: Some(0) })
}

/// What it takes to bring a container back into service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The container.
    pub(super) id: String,
    /// Its name in service.
    pub(super) name: String,
    /// Whether it ran.
    pub(super) was_running: bool,
    /// When the engine restarted it by itself.
    pub(super) restart: RestartPolicy,
}

impl Place {
    /// The place of a container in service. Refuses one that the engine removes as soon as it stops.
    pub(super) fn of(container: &Container) -> Result<Self, ActionError> {
        if container.vanishes() {
            return Err(ActionError::new(
                ErrorKind::Conflict,
                format!(
                    "keep container {}: the engine removes it as soon as it stops (`--rm`)",
                    container.name
                ),
            ));
        }
        Ok(Self {
            id: container.id.clone(),
            name: container.name.clone(),
            was_running: container.running,
            restart: container.restart_policy(),
        })
    }

    async fn container(&self, engine: &Engine, limits: &Limits) -> Result<Container, ActionError> {
        engine.find(limits, &self.id).await?.ok_or_else(|| {
            ActionError::new(
                ErrorKind::Conflict,
                format!("find container {} ({}): it was removed", self.name, short(&self.id)),
            )
        })
    }

    /// Takes the container out of service; `grace` in seconds before it is killed. Twice is the same as once.
    pub(super) async fn leave(
        &self,
        engine: &Engine,
        limits: &Limits,
        grace: Option<i32>,
    ) -> Result<(), ActionError> {
        let container = self.container(engine, limits).await?;
        if container.running {
            engine.stop(limits, &self.id, &self.name, grace).await?;
        }
        self.vacate(engine, limits, &container).await
    }

    /// Keeps the engine from restarting the stopped container, and gives it its parked name. In this order: once it is called so, it counts as
    /// done.
    pub(super) async fn vacate(
        &self,
        engine: &Engine,
        limits: &Limits,
        container: &Container,
    ) -> Result<(), ActionError> {
        if let Some(policy) = at_rest(&container.restart_policy()) {
            engine.set_restart_policy(limits, &self.id, &container.name, policy).await?;
        }
        let parked = parked_name(&self.name, &self.id);
        if container.name != parked {
            engine.rename(limits, &self.id, &parked).await?;
        }
        Ok(())
    }

    /// Brings the container back into service, running if it ran. Twice is the same as once.
    pub(super) async fn come_back(
        &self,
        engine: &Engine,
        limits: &Limits,
    ) -> Result<(), ActionError> {
        let container = self.container(engine, limits).await?;
        self.occupy(engine, limits, &container).await?;
        if self.was_running && !container.running {
            engine.start(limits, &self.id, &self.name).await?;
        }
        Ok(())
    }

    /// Gives the container its name and restart policy in service.
    pub(super) async fn occupy(
        &self,
        engine: &Engine,
        limits: &Limits,
        container: &Container,
    ) -> Result<(), ActionError> {
        if container.name != self.name {
            engine.rename(limits, &self.id, &self.name).await?;
        }
        if container.restart_policy() != self.restart {
            let policy = self.restart.clone();
            engine.set_restart_policy(limits, &self.id, &self.name, policy).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_container_stays_stopped_when_the_engine_restarts() {
        let named = |name| RestartPolicy { name: Some(name), maximum_retry_count: Some(3) };
        let rest = |name| at_rest(&named(name)).and_then(|policy| policy.name);
        assert_eq!(
            rest(RestartPolicyNameEnum::ALWAYS),
            Some(RestartPolicyNameEnum::UNLESS_STOPPED)
        );
        assert_eq!(rest(RestartPolicyNameEnum::ON_FAILURE), Some(RestartPolicyNameEnum::NO));
        assert_eq!(rest(RestartPolicyNameEnum::UNLESS_STOPPED), None);
        assert_eq!(rest(RestartPolicyNameEnum::NO), None);
        assert_eq!(at_rest(&RestartPolicy::default()), None);
    }

    #[test]
    fn names_tell_where_a_container_stands_and_lead_back_home() {
        let id = "0123456789abcdef0123";
        let parked = parked_name("green-web-1", id);
        let next = successor_name("green-web-1", id);
        assert_eq!(parked, "green-web-1.rollback-old-0123456789ab");
        assert_eq!(home_name(&parked), "green-web-1");
        assert!(is_aside(&parked) && is_parked(&parked));
        assert!(is_aside(&next) && !is_parked(&next));
        assert!(!is_aside("rollback-web-1"), "a project may be called rollback");
    }
}
