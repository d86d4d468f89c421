//! From a wanted number of containers to the moves that lead there, and back.
//!
//! A plan is made once, noted before the first move and saved for undo; every move may be made twice. Containers come into service
//! before others leave it: stopped ones are started, parked ones come back, and only then new ones are created.

use bollard::models::RestartPolicy;
use serde::{Deserialize, Serialize};

use super::client::{Engine, Limits};
use super::container::Container;
use super::parking::{self, Place};
use super::project::{Member, Project};
use crate::action::{ActionError, ErrorKind};

/// The moves for one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Leave service.
    pub(super) park: Vec<Place>,
    /// Are in service and stopped: start.
    pub(super) start: Vec<Place>,
    /// Are parked: come back, and run.
    pub(super) revive: Vec<Place>,
    /// Are created.
    pub(super) create: Vec<Addition>,
    /// The id of the container after which others are created.
    pub(super) model: Option<String>,
    /// The run that makes the plan, which marks what it creates.
    pub(super) run: String,
}

/// A container to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Addition {
    /// Its name.
    pub(super) name: String,
    /// Its number within the service.
    pub(super) number: u64,
}

impl Plan {
    /// Whether nothing has to move.
    pub(super) fn is_empty(&self) -> bool {
        self.park.is_empty()
            && self.start.is_empty()
            && self.revive.is_empty()
            && self.create.is_empty()
    }
}

/// Which containers move, before their details are known.
#[derive(Debug)]
struct Choice<'a> {
    keep: Vec<&'a Member>,
    park: Vec<&'a Member>,
    revive: Vec<&'a Member>,
    create: u64,
}

/// Keeps those that run and have low numbers.
fn choose<'a>(active: &[&'a Member], parked: &[&'a Member], wanted: usize) -> Choice<'a> {
    let mut active = active.to_vec();
    active.sort_by_key(|member| (!member.running, member.number));
    let park = active.split_off(wanted.min(active.len()));
    let missing = wanted - active.len();
    let mut revive: Vec<&Member> = parked
        .iter()
        .copied()
        .filter(|member| active.iter().all(|taken| taken.name != parking::home_name(&member.name)))
        .collect();
    revive.sort_by_key(|member| member.number);
    revive.truncate(missing);
    let create = u64::try_from(missing - revive.len()).unwrap_or_default();
    Choice { keep: active, park, revive, create }
}

/// Plans the way of one service to `wanted` containers.
pub(super) async fn plan(
    engine: &Engine,
    limits: &Limits,
    project: &Project,
    service: &str,
    wanted: usize,
    run: &str,
) -> Result<Plan, ActionError> {
    let services = [service.to_owned()];
    let active = project.active(Some(&services))?;
    let parked = project.parked(service);
    let choice = choose(&active, &parked, wanted);
    let mut plan = Plan { run: run.to_owned(), ..Plan::default() };
    for member in &choice.park {
        plan.park.push(Place::of(&look(engine, limits, member).await?)?);
    }
    for member in choice.keep.iter().filter(|member| !member.running) {
        plan.start.push(Place::of(&look(engine, limits, member).await?)?);
    }
    let policy = match choice.keep.first() {
        Some(sibling) if !choice.revive.is_empty() => {
            Some(look(engine, limits, sibling).await?.restart_policy())
        }
        _ => None,
    };
    for member in &choice.revive {
        plan.revive.push(revived(&look(engine, limits, member).await?, policy.clone()));
    }
    if choice.create > 0 {
        let model = choice.keep.first().or(choice.revive.first()).ok_or_else(|| {
            ActionError::new(
                ErrorKind::NotFound,
                format!("find a container of service `{service}` to create others after"),
            )
        })?;
        let highest = active.iter().chain(&parked).map(|member| member.number).max().unwrap_or(0);
        plan.create = additions(model, highest, choice.create)?;
        plan.model = Some(model.id.clone());
    }
    Ok(plan)
}

/// Where a parked container comes back to. Its former restart policy is known only to the run that parked it;
/// its siblings' is the best guess.
fn revived(container: &Container, policy: Option<RestartPolicy>) -> Place {
    Place {
        id: container.id.clone(),
        name: parking::home_name(&container.name).to_owned(),
        was_running: true,
        restart: policy.unwrap_or_else(|| container.restart_policy()),
    }
}

/// Names as Compose gives them: the project, the service and the next numbers.
fn additions(model: &Member, highest: u64, many: u64) -> Result<Vec<Addition>, ActionError> {
    let home = parking::home_name(&model.name);
    let prefix = home.strip_suffix(&model.number.to_string()).ok_or_else(|| {
        ActionError::new(
            ErrorKind::Conflict,
            format!("create another container like {home}: its name is fixed"),
        )
        .hint("Remove `container_name` from the service, or leave it at one container.")
    })?;
    Ok((highest + 1..=highest + many)
        .map(|number| Addition { name: format!("{prefix}{number}"), number })
        .collect())
}

async fn look(engine: &Engine, limits: &Limits, member: &Member) -> Result<Container, ActionError> {
    engine.find(limits, &member.id).await?.ok_or_else(|| {
        ActionError::new(
            ErrorKind::Conflict,
            format!("find container {}: it was removed just now", member.name),
        )
        .retryable(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, number: u64, running: bool) -> Member {
        Member {
            id: format!("id-of-{name}"),
            name: name.to_owned(),
            service: "web".into(),
            number,
            running,
            image: String::new(),
            former_image: None,
            replaces: None,
            network_of: None,
        }
    }

    fn numbers(members: &[&Member]) -> Vec<u64> {
        members.iter().map(|member| member.number).collect()
    }

    #[test]
    fn scaling_down_parks_the_stopped_and_the_highest_first() {
        let (one, two, three) =
            (member("w-1", 1, false), member("w-2", 2, true), member("w-3", 3, true));
        let choice = choose(&[&one, &two, &three], &[], 1);
        assert_eq!((numbers(&choice.keep), numbers(&choice.park)), (vec![2], vec![3, 1]));
        let none = choose(&[&one, &two, &three], &[], 0);
        assert_eq!(none.park.len(), 3);
        assert_eq!(none.create, 0);
    }

    #[test]
    fn scaling_up_brings_parked_ones_back_before_it_creates() {
        let one = member("w-1", 1, true);
        let parked = member("w-2.rollback-old-0123456789ab", 2, false);
        let choice = choose(&[&one], &[&parked], 4);
        assert_eq!((numbers(&choice.revive), choice.create), (vec![2], 2));
        assert_eq!(
            additions(&one, 2, 2).unwrap(),
            [
                Addition { name: "w-3".into(), number: 3 },
                Addition { name: "w-4".into(), number: 4 }
            ]
        );
    }

    #[test]
    fn a_parked_container_whose_name_is_taken_stays_parked() {
        let one = member("w-1", 1, true);
        let former = member("w-1.rollback-old-0123456789ab", 1, false);
        let choice = choose(&[&one], &[&former], 2);
        assert_eq!((choice.revive.len(), choice.create), (0, 1));
    }

    #[test]
    fn a_fixed_name_cannot_be_multiplied() {
        let error = additions(&member("postgres", 1, true), 1, 1).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.hints[0].contains("container_name"));
    }
}
