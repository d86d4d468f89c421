//! What `docker.stop` and `docker.start` share: one container, looked at by name and recognised by id.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Engine, Limits};
use super::container::{Container, short};
use super::project::{self, Member};
use crate::action::{ActionError, ErrorKind, Evidence, Prediction, Saved, StepContext};
use crate::value::Lasting;

/// A container of a project, as a step names it. By name and not by id, since an earlier step may exchange it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Target {
    project: String,
    /// The name within the project.
    short_name: String,
    /// The container's name.
    pub(super) container: String,
}

impl Target {
    /// The target of a step over a project's members.
    pub(super) fn of(project: &str, member: &Member) -> Self {
        Self {
            project: project.to_owned(),
            short_name: member.short_name(),
            container: member.name.clone(),
        }
    }

    /// The container now; `None` when there is none. One of another project is refused.
    pub(super) async fn look(
        &self,
        engine: &Engine,
        limits: &Limits,
    ) -> Result<Option<Container>, ActionError> {
        let found = engine.find(limits, &self.container).await?;
        match &found {
            Some(container) if container.label(project::PROJECT) != Some(&self.project) => {
                Err(ActionError::new(
                    ErrorKind::Conflict,
                    format!(
                        "use container {}: it no longer belongs to project `{}`",
                        self.container, self.project
                    ),
                ))
            }
            _ => Ok(found),
        }
    }

    /// The container that a former look saved. Refused when it was removed or another has taken its name.
    pub(super) async fn same(
        &self,
        engine: &Engine,
        limits: &Limits,
        saved: &Saved,
    ) -> Result<Container, ActionError> {
        let before = Before::read(saved)?;
        match self.look(engine, limits).await? {
            Some(container) if container.id == before.id => Ok(container),
            Some(container) => Err(ActionError::new(
                ErrorKind::Conflict,
                format!(
                    "use container {}: {} has taken the place of {}",
                    self.container,
                    short(&container.id),
                    short(&before.id)
                ),
            )),
            None => Err(ActionError::new(
                ErrorKind::Conflict,
                format!("use container {}: it was removed", self.container),
            )),
        }
    }

    /// Whether the container runs, as far as the plan's earlier steps leave it alone.
    pub(super) fn will_run(&self, cx: &StepContext, container: &Container) -> bool {
        predicted_running(cx, &self.project, &self.short_name).unwrap_or(container.running)
    }

    /// The effect for later steps of a plan.
    pub(super) fn predict(&self, running: bool) -> Vec<Prediction> {
        vec![Prediction {
            resource: project::resource(&self.project, &self.short_name),
            state: json!({ "running": running }),
        }]
    }

    /// Evidence about the container.
    pub(super) fn evidence(&self, container: &Container, what: &str) -> Evidence {
        Evidence::with(
            format!("{} {what}", self.container),
            json!({ "id": container.id, "running": container.running, "exit_code": container.exit_code }),
        )
    }
}

/// What earlier steps of the plan do to a container, if anything.
pub(super) fn predicted_running(cx: &StepContext, project: &str, short_name: &str) -> Option<bool> {
    cx.predicted(&project::resource(project, short_name))?.get("running")?.as_bool()
}

/// The saved state of a container that is stopped or started.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    /// The container.
    pub(super) id: String,
    /// Whether it ran.
    pub(super) was_running: bool,
}

impl Before {
    /// What to keep of a container.
    pub(super) fn save(container: &Container) -> Saved {
        Saved::public(json!({ "id": container.id, "was_running": container.running }))
    }

    /// What was kept.
    pub(super) fn read(saved: &Saved) -> Result<Self, ActionError> {
        serde_json::from_value(saved.state.clone()).map_err(|error| {
            ActionError::new(ErrorKind::Invalid, "read the saved state of a container")
                .caused_by(&error)
        })
    }
}

/// The time that a container gets to end by itself before it is killed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Grace(Option<Lasting>);

impl Grace {
    /// Seconds for the engine, which knows no fractions: never shorter than asked. `None` leaves it to the container.
    pub(super) fn seconds(self) -> Option<i32> {
        self.0.map(|time| {
            let seconds = time.0.as_secs() + u64::from(time.0.subsec_nanos() > 0);
            i32::try_from(seconds).unwrap_or(i32::MAX)
        })
    }
}

impl fmt::Display for Grace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => write!(f, "grace {time}"),
            None => f.write_str("its own grace"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_grace_is_never_shortened() {
        let seconds = |time: Duration| Grace(Some(Lasting(time))).seconds();
        assert_eq!(seconds(Duration::from_millis(1)), Some(1));
        assert_eq!(seconds(Duration::from_secs(3)), Some(3));
        assert_eq!(seconds(Duration::from_millis(3001)), Some(4));
        assert_eq!(seconds(Duration::from_secs(u64::MAX)), Some(i32::MAX));
        assert_eq!(Grace::default().seconds(), None, "a container knows its own");
    }
}
