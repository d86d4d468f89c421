//! One container takes another's place, in an order that loses nothing at any moment.
//!
//! create the new one under a temporary name → stop the old one → start the new one and wait until it is well → park the old one →
//! give the new one the name. If the new one does not get well, it is stopped, the old one is started, and the new one is
//! removed. Names derive from the old container's id, so [`Scene::look`] finds out after a crash how far it has come.

use std::time::Duration;

use tokio::time::Instant;

use super::client::{Engine, Limits};
use super::container::{Container, Health, short};
use super::parking::{self, Place};
use crate::action::{ActionError, ErrorKind};

/// Between two looks at a container that is getting well.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The seconds that the engine gives a container for which nobody has asked for others.
const ENGINES_GRACE: i64 = 10;

/// How long a container is watched that the engine says it could not stop.
const LAST_MOMENT: Duration = Duration::from_secs(3);

/// The most time that is kept back for bringing the old container back.
const RESCUE: Duration = Duration::from_secs(15);

/// The old container, the new one, and who has the name.
#[derive(Debug)]
pub(super) struct Scene {
    /// The container that was there first.
    pub(super) old: Option<Container>,
    /// The container that takes its place, under its temporary or its final name.
    pub(super) new: Option<Container>,
    /// Whoever has the name and is neither.
    pub(super) stranger: Option<Container>,
    home: String,
}

impl Scene {
    /// Looks at the container `old`, called `home`, and at the one that takes its place.
    pub(super) async fn look(
        engine: &Engine,
        limits: &Limits,
        home: &str,
        old: &str,
    ) -> Result<Self, ActionError> {
        let successor = parking::successor_name(home, old);
        let former = engine.find(limits, old).await?;
        let mut new = engine.find(limits, &successor).await?.filter(|new| replaces(new, old));
        let mut stranger = None;
        match engine.find(limits, home).await? {
            Some(occupant) if occupant.id == old => {}
            Some(occupant) if new.is_none() && replaces(&occupant, old) => new = Some(occupant),
            occupant => stranger = occupant,
        }
        Ok(Self { old: former, new, stranger, home: home.to_owned() })
    }

    /// Whether the new container has the name.
    pub(super) fn handed_over(&self) -> bool {
        self.new.as_ref().is_some_and(|new| new.name == self.home)
    }

    /// Refuses a scene in which someone else has the name.
    pub(super) fn check(&self) -> Result<(), ActionError> {
        match &self.stranger {
            None => Ok(()),
            Some(stranger) => Err(ActionError::new(
                ErrorKind::Conflict,
                format!(
                    "use the name {}: container {} has taken it",
                    self.home,
                    short(&stranger.id)
                ),
            )),
        }
    }
}

fn replaces(container: &Container, old: &str) -> bool {
    container.label(parking::REPLACES) == Some(old)
}

/// How a container gives way and when the other one counts as well.
pub(super) struct Manners {
    /// Seconds before the one that leaves is killed; its own when `None`.
    pub(super) grace: Option<i32>,
    /// How long a container without a health check must run.
    pub(super) steady: Duration,
}

/// `leaving` stops and `coming` starts and gets well; otherwise `coming` stops and `leaving` runs again.
pub(super) async fn exchange(
    engine: &Engine,
    limits: &Limits,
    leaving: &Container,
    coming: &Container,
    manners: &Manners,
) -> Result<(), ActionError> {
    let creators = leaving.raw.config.as_ref().and_then(|config| config.stop_timeout);
    let left = limits.deadline().saturating_duration_since(Instant::now());
    let grace = Some(patience(manners.grace, creators, left));
    if leaving.running
        && let Err(error) = engine.stop(limits, &leaving.id, &leaving.name, grace).await
    {
        return Err(stay(engine, limits, leaving, error).await);
    }
    let Err(error) = run_well(engine, limits, coming, manners.steady).await else {
        return Ok(());
    };
    if limits.over() {
        // No time to bring anything back: a later look decides between forward and back.
        return Err(ActionError { kind: ErrorKind::Unknown, retryable: false, ..error });
    }
    if let Err(rescue) = bring_back(engine, limits, leaving, coming).await {
        return Err(down(engine, leaving, error, rescue));
    }
    Err(ActionError {
        kind: ErrorKind::Failed,
        retryable: false,
        message: format!("{}; {} runs again", error.message, short(&leaving.id)),
        ..error
    })
}

/// Seconds that a container gets to end by itself: what the step has `asked` for or else its creator, at most half of the time that is
/// `left`, since the other one has to start in the rest. Cut off in between, neither would run.
fn patience(asked: Option<i32>, creators: Option<i64>, left: Duration) -> i32 {
    let wanted = asked.map(i64::from).or(creators).unwrap_or(ENGINES_GRACE);
    let most = i32::try_from(left.as_secs() / 2).unwrap_or(i32::MAX);
    // A negative one asks to wait for ever.
    let wanted = i32::try_from(wanted).ok().filter(|wanted| *wanted >= 0);
    wanted.map_or(most, |wanted| wanted.min(most))
}

/// One that could not be stopped stays in service: the engine may end it although it reports a failure.
async fn stay(
    engine: &Engine,
    limits: &Limits,
    leaving: &Container,
    error: ActionError,
) -> ActionError {
    match error.kind {
        ErrorKind::Failed => {}
        // Still under way.
        ErrorKind::Unknown => return error.hint(by_hand(engine, leaving)),
        // Never asked for.
        _ => return error,
    }
    match keep_running(engine, limits, leaving).await {
        Ok(()) => error,
        Err(rescue) => {
            let retryable = error.retryable;
            down(engine, leaving, error, rescue).retryable(retryable)
        }
    }
}

/// Watches a container for a moment, and starts it when it ends.
async fn keep_running(
    engine: &Engine,
    limits: &Limits,
    container: &Container,
) -> Result<(), ActionError> {
    let until = Instant::now() + LAST_MOMENT;
    loop {
        let now = engine.find(limits, &container.id).await?;
        if !now.is_some_and(|now| now.running) {
            return engine.start(limits, &container.id, &container.name).await;
        }
        if Instant::now() >= until {
            return Ok(());
        }
        limits.pause(LOOK_AGAIN, &format!("watch container {}", container.name)).await?;
    }
}

/// The error of an exchange after which neither may run.
fn down(
    engine: &Engine,
    left: &Container,
    mut error: ActionError,
    rescue: ActionError,
) -> ActionError {
    error.message = format!("{}; perhaps {} does not run", error.message, left.name);
    error.kind = ErrorKind::Unknown;
    error.retryable = false;
    error.causes.push(rescue.message);
    error.hint(by_hand(engine, left))
}

fn by_hand(engine: &Engine, container: &Container) -> String {
    let (at, id) = (engine.at(), &container.id);
    format!("If {} does not run: `docker -H {at} start {id}`.", container.name)
}

/// The one that came is stopped at once and the one that left is started.
async fn bring_back(
    engine: &Engine,
    limits: &Limits,
    left: &Container,
    came: &Container,
) -> Result<(), ActionError> {
    engine.stop(limits, &came.id, &came.name, Some(0)).await?;
    engine.start(limits, &left.id, &left.name).await
}

/// Starts a container and waits until it is healthy or, without a health check, has run for `steady` without a
/// restart. Time is kept back for bringing the other one back.
async fn run_well(
    engine: &Engine,
    limits: &Limits,
    container: &Container,
    steady: Duration,
) -> Result<(), ActionError> {
    let left = limits.deadline().saturating_duration_since(Instant::now());
    let limits = limits.until(limits.deadline() - RESCUE.min(left / 4));
    engine.start(&limits, &container.id, &container.name).await?;
    let doing = format!("wait until container {} is well", container.name);
    let mut first: Option<(Instant, i64)> = None;
    loop {
        let now = engine
            .find(&limits, &container.id)
            .await?
            .ok_or_else(|| failed(format!("start container {}: it was removed", container.name)))?;
        let (since, restarts) = *first.get_or_insert((Instant::now(), now.restarts));
        let pause = match fate(&now, restarts) {
            Fate::Well => return Ok(()),
            Fate::Runs if since.elapsed() >= steady => return Ok(()),
            // The caller holds one of few places at the engine: not a moment longer than asked for.
            Fate::Runs => LOOK_AGAIN.min(steady.saturating_sub(since.elapsed())),
            Fate::Starting => LOOK_AGAIN,
            Fate::Ill(reason) => {
                return Err(failed(format!("start container {}: {reason}", container.name)));
            }
        };
        limits.pause(pause, &doing).await?;
    }
}

/// What a look says about a container that was started.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Its health check is content.
    Well,
    /// It runs and has no health check.
    Runs,
    /// Its health check has not decided.
    Starting,
    /// It will not get well.
    Ill(String),
}

fn fate(now: &Container, restarts: i64) -> Fate {
    if now.restarting || now.restarts > restarts {
        return Fate::Ill(format!("it ends with exit code {} and is restarted", now.exit_code));
    }
    if !now.running {
        return Fate::Ill(format!("it ended with exit code {}", now.exit_code));
    }
    match now.health {
        Health::Healthy => Fate::Well,
        Health::Unhealthy => Fate::Ill("its health check fails".to_owned()),
        Health::Starting => Fate::Starting,
        Health::Undefined => Fate::Runs,
    }
}

/// Parks the old container and gives its name to the new one.
pub(super) async fn settle_names(
    engine: &Engine,
    limits: &Limits,
    place: &Place,
    new: &Container,
) -> Result<(), ActionError> {
    if let Some(old) = engine.find(limits, &place.id).await? {
        if old.running {
            engine.stop(limits, &old.id, &old.name, None).await?;
        }
        place.vacate(engine, limits, &old).await?;
    }
    if new.name == place.name {
        return Ok(());
    }
    engine.rename(limits, &new.id, &place.name).await
}

fn failed(message: String) -> ActionError {
    ActionError::new(ErrorKind::Failed, message)
}

#[cfg(test)]
mod tests {
    use bollard::models::{
        ContainerInspectResponse, ContainerState, Health as Reported, HealthStatusEnum,
    };

    use super::*;

    fn container(state: ContainerState, restarts: i64) -> Container {
        Container::read(ContainerInspectResponse {
            id: Some("0123".into()),
            name: Some("/web".into()),
            image: Some("sha256:aa".into()),
            restart_count: Some(restarts),
            state: Some(state),
            ..ContainerInspectResponse::default()
        })
        .unwrap()
    }

    fn running(status: Option<HealthStatusEnum>) -> ContainerState {
        ContainerState {
            running: Some(true),
            health: status.map(|status| Reported { status: Some(status), ..Reported::default() }),
            ..ContainerState::default()
        }
    }

    #[test]
    fn the_one_that_leaves_has_half_of_the_time_at_most() {
        let left = Duration::from_secs(120);
        assert_eq!(patience(Some(3), Some(300), left), 3, "the step knows best");
        assert_eq!(patience(None, Some(45), left), 45);
        assert_eq!(patience(None, None, left), 10, "the engine's own");
        assert_eq!(patience(None, Some(300), left), 60);
        assert_eq!(patience(Some(90), None, left), 60);
        assert_eq!(patience(None, Some(-1), left), 60, "for ever is not for us");
        assert_eq!(patience(Some(3), None, Duration::ZERO), 0);
    }

    #[test]
    fn a_health_check_decides_where_there_is_one() {
        let cases = [
            (None, Fate::Runs),
            (Some(HealthStatusEnum::NONE), Fate::Runs),
            (Some(HealthStatusEnum::STARTING), Fate::Starting),
            (Some(HealthStatusEnum::HEALTHY), Fate::Well),
            (Some(HealthStatusEnum::UNHEALTHY), Fate::Ill("its health check fails".into())),
        ];
        for (status, expected) in cases {
            assert_eq!(fate(&container(running(status), 0), 0), expected);
        }
    }

    #[test]
    fn an_end_and_a_restart_are_both_the_end() {
        let ended = ContainerState { exit_code: Some(3), ..ContainerState::default() };
        assert_eq!(fate(&container(ended, 0), 0), Fate::Ill("it ended with exit code 3".into()));
        let revived = container(running(Some(HealthStatusEnum::HEALTHY)), 1);
        assert!(matches!(fate(&revived, 0), Fate::Ill(_)));
        assert_eq!(fate(&revived, 1), Fate::Well, "a former restart does not count");
    }
}
