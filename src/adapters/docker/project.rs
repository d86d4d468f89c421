//! A Compose project as the engine sees it, and the selection of its containers.
//!
//! Labels are those of Docker Compose (`pkg/api/labels.go`): `project`, `service`, `container-number`, and `oneoff`, which is
//! `False` for all but `compose run`. A name never selects anything, so `web` does not catch `web-staging`.

use std::collections::BTreeMap;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};

use super::client::{Engine, Limits};
use super::container::short;
use super::parking;
use crate::action::{ActionError, ErrorKind};

/// The label with the project's name.
pub(super) const PROJECT: &str = "com.docker.compose.project";
/// The label with the service's name.
pub(super) const SERVICE: &str = "com.docker.compose.service";
/// The label with the container's number within its service.
pub(super) const NUMBER: &str = "com.docker.compose.container-number";
/// The label that tells `compose run` from `compose up`.
pub(super) const ONEOFF: &str = "com.docker.compose.oneoff";
/// The label with the image that Compose resolved for the container.
pub(super) const IMAGE: &str = "com.docker.compose.image";
/// The label with which Compose marks a container that takes another's place.
pub(super) const REPLACE: &str = "com.docker.compose.replace";

/// One container of a project, from the engine's list.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// The full id.
    pub(super) id: String,
    /// The container's name.
    pub(super) name: String,
    /// Its service.
    pub(super) service: String,
    /// Its number within the service.
    pub(super) number: u64,
    /// Whether it runs, or the engine is about to run it again.
    pub(super) running: bool,
    /// The id of its image.
    pub(super) image: String,
    /// The image that it ran before, if whoever created it has recorded that.
    pub(super) former_image: Option<String>,
    /// The id of the container whose place it took.
    pub(super) replaces: Option<String>,
    /// The id of the container in whose network it lives.
    pub(super) network_of: Option<String>,
}

impl Member {
    fn read(summary: &ContainerSummary) -> Option<Self> {
        let labels = summary.labels.as_ref()?;
        // Links show up as further names, with a slash inside.
        let name = summary
            .names
            .iter()
            .flatten()
            .map(|name| name.trim_start_matches('/'))
            .find(|name| !name.contains('/'))?;
        Some(Self {
            id: summary.id.clone()?,
            name: name.to_owned(),
            service: labels.get(SERVICE)?.clone(),
            number: labels.get(NUMBER).and_then(|number| number.parse().ok()).unwrap_or(1),
            running: matches!(
                summary.state,
                Some(
                    ContainerSummaryStateEnum::RUNNING
                        | ContainerSummaryStateEnum::RESTARTING
                        | ContainerSummaryStateEnum::PAUSED
                )
            ),
            image: summary.image_id.clone().unwrap_or_default(),
            former_image: labels.get(parking::FORMER_IMAGE).cloned(),
            replaces: labels.get(parking::REPLACES).cloned(),
            network_of: summary
                .host_config
                .as_ref()
                .and_then(|host| host.network_mode.as_deref()?.strip_prefix("container:"))
                .map(str::to_owned),
        })
    }

    /// The name within the project: `agent-001-1`.
    pub(super) fn short_name(&self) -> String {
        short_name(&self.service, self.number)
    }
}

/// A container's name within its project.
pub(super) fn short_name(service: &str, number: u64) -> String {
    format!("{service}-{number}")
}

/// The name under which a plan predicts a container's state.
pub(super) fn resource(project: &str, short_name: &str) -> String {
    format!("docker:{project}/{short_name}")
}

/// A project's containers at one moment, in the order of service and number.
#[derive(Debug)]
pub(super) struct Project {
    name: String,
    /// Those in service: not parked, and not in the middle of an exchange.
    active: Vec<Member>,
    /// Those that `docker.scale` or `docker.swap` took out of service.
    parked: Vec<Member>,
}

impl Project {
    /// Reads a project with one request. An absent project is an error of kind `NotFound`.
    pub(super) async fn read(
        engine: &Engine,
        limits: &Limits,
        name: &str,
    ) -> Result<Self, ActionError> {
        let labels = vec![format!("{PROJECT}={name}"), format!("{ONEOFF}=False")];
        let found = engine.list(limits, labels).await?;
        if found.is_empty() {
            return Err(absent(engine, limits, name).await?);
        }
        Ok(Self::of(name, &found))
    }

    fn of(name: &str, found: &[ContainerSummary]) -> Self {
        let mut members: Vec<Member> = found.iter().filter_map(Member::read).collect();
        members
            .sort_by(|a, b| (&a.service, a.number, &a.name).cmp(&(&b.service, b.number, &b.name)));
        let (parked, active): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| parking::is_aside(&member.name));
        let parked = parked.into_iter().filter(|member| parking::is_parked(&member.name)).collect();
        Self { name: name.to_owned(), active, parked }
    }

    /// The names of all services, sorted.
    pub(super) fn services(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.active.iter().chain(&self.parked).map(|member| member.service.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Refuses to give these others' places when one lives in another container's network (`network_mode: service:…`): that network ends with
    /// the container, and nobody but Compose knows how to make both anew.
    pub(super) fn check_networks(&self, members: &[&Member]) -> Result<(), ActionError> {
        let moved = |id: &str| members.iter().any(|member| member.id == id);
        let guest = self.active.iter().find_map(|guest| {
            let host = guest.network_of.as_deref()?;
            (moved(&guest.id) || moved(host)).then_some((guest, host))
        });
        let Some((guest, host)) = guest else { return Ok(()) };
        let text = format!(
            "exchange container {}: it lives in the network of {}",
            guest.name,
            self.active
                .iter()
                .find(|other| other.id == host)
                .map_or_else(|| short(host), |found| found.name.as_str())
        );
        Err(ActionError::new(ErrorKind::Conflict, text).hint(
            "Name the `services` without these two, and let a `script.run` step make both anew by `docker compose up`.",
        ))
    }

    /// The containers in service of these services, all of them when `None`. An unknown service is an error.
    pub(super) fn active(&self, services: Option<&[String]>) -> Result<Vec<&Member>, ActionError> {
        self.check(services)?;
        Ok(self.active.iter().filter(|member| wanted(member, services)).collect())
    }

    /// The parked containers of a service that could come back: not those whose place another container took.
    pub(super) fn parked(&self, service: &str) -> Vec<&Member> {
        let replaced: Vec<&str> = self
            .active
            .iter()
            .chain(&self.parked)
            .filter_map(|member| member.replaces.as_deref())
            .collect();
        self.parked
            .iter()
            .filter(|member| member.service == service && !replaced.contains(&member.id.as_str()))
            .collect()
    }

    /// Like [`active`](Self::active), for a change: nothing to change is an error.
    pub(super) fn select(&self, services: Option<&[String]>) -> Result<Vec<&Member>, ActionError> {
        let selected = self.active(services)?;
        if selected.is_empty() {
            return Err(not_found(format!(
                "find containers in project `{}`: all are parked",
                self.name
            ))
            .hint("`docker.scale` brings parked containers back into service."));
        }
        Ok(selected)
    }

    /// Like [`select`](Self::select); a service whose containers are all parked counts with these, since they are stopped.
    pub(super) fn select_to_stop(
        &self,
        services: Option<&[String]>,
    ) -> Result<Vec<&Member>, ActionError> {
        let mut selected = self.active(services)?;
        let parked = self.parked.iter().filter(|member| {
            wanted(member, services)
                && !self.active.iter().any(|active| active.service == member.service)
        });
        selected.extend(parked);
        Ok(selected)
    }

    fn check(&self, services: Option<&[String]>) -> Result<(), ActionError> {
        let known = self.services();
        let missing: Vec<&str> = services
            .into_iter()
            .flatten()
            .map(String::as_str)
            .filter(|wanted| !known.contains(wanted))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let listed: Vec<String> =
            missing.iter().take(10).map(|service| format!("`{service}`")).collect();
        let more = match missing.len().saturating_sub(listed.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let noun = if missing.len() == 1 { "service" } else { "services" };
        let mut error = not_found(format!(
            "find {noun} {}{more} in project `{}`",
            listed.join(", "),
            self.name
        ));
        for service in missing.iter().take(3) {
            if let Some(near) = nearest(service, &known) {
                error = error.hint(format!("Did you mean `{near}` for `{service}`?"));
            }
        }
        Err(error)
    }
}

fn wanted(member: &Member, services: Option<&[String]>) -> bool {
    services.is_none_or(|services| services.contains(&member.service))
}

/// Gives every container of a step a name of its own: the short one, or the full one where two would be the same.
pub(super) fn item_names(members: &[&Member]) -> Vec<String> {
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for member in members {
        *uses.entry(member.short_name()).or_default() += 1;
    }
    members
        .iter()
        .map(|member| {
            let short = member.short_name();
            if uses[&short] == 1 { short } else { member.name.clone() }
        })
        .collect()
}

/// The error for a project without containers, with the projects that there are.
async fn absent(engine: &Engine, limits: &Limits, name: &str) -> Result<ActionError, ActionError> {
    let all = engine.list(limits, vec![PROJECT.to_owned()]).await?;
    let mut known: Vec<&str> = all
        .iter()
        .filter_map(|summary| summary.labels.as_ref()?.get(PROJECT).map(String::as_str))
        .collect();
    known.sort_unstable();
    known.dedup();
    let error = not_found(format!("find project `{name}` at {}", engine.at()));
    Ok(match (nearest(name, &known), known.as_slice()) {
        (Some(near), _) => error.hint(format!("Did you mean `{near}`?")),
        (None, []) => error.hint("This engine has no Compose projects. Is it the right one?"),
        (None, known) => {
            let some: Vec<&str> = known.iter().take(10).copied().collect();
            error.hint(format!("This engine has the projects {}.", some.join(", ")))
        }
    })
}

fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn not_found(message: impl Into<String>) -> ActionError {
    ActionError::new(ErrorKind::NotFound, message)
}

/// Checks a list of services offline.
pub(super) fn validate(project: &str, services: Option<&[String]>) -> Result<(), String> {
    if project.is_empty() {
        return Err("`project` is empty".to_owned());
    }
    match services {
        Some([]) => Err("`services` is empty; leave it out to select all".to_owned()),
        Some(services) if services.iter().any(String::is_empty) => {
            Err("`services` holds an empty name".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::ContainerSummaryHostConfig;

    use super::*;

    fn summary(name: &str, service: &str, number: u64) -> ContainerSummary {
        let labels = HashMap::from([
            (SERVICE.to_owned(), service.to_owned()),
            (NUMBER.to_owned(), number.to_string()),
        ]);
        ContainerSummary {
            id: Some(format!("id-of-{name}")),
            names: Some(vec![format!("/other/{name}"), format!("/{name}")]),
            labels: Some(labels),
            state: Some(ContainerSummaryStateEnum::RUNNING),
            ..ContainerSummary::default()
        }
    }

    fn project() -> Project {
        Project::of(
            "green",
            &[
                summary("green-web-10", "web", 10),
                summary("green-web-2", "web", 2),
                summary("green-api-1", "api", 1),
                summary("green-web-1.rollback-old-0123456789ab", "web", 1),
                summary("green-api-1.rollback-new-0123456789ab", "api", 1),
                summary("green-job-1.rollback-old-0123456789ab", "job", 1),
            ],
        )
    }

    fn names(members: &[&Member]) -> Vec<String> {
        members.iter().map(|member| member.name.clone()).collect()
    }

    #[test]
    fn containers_are_ordered_by_service_and_number_and_those_aside_do_not_count() {
        let project = project();
        let all = project.active(None).unwrap();
        assert_eq!(names(&all), ["green-api-1", "green-web-2", "green-web-10"]);
        assert_eq!(project.services(), ["api", "job", "web"]);
        assert_eq!(project.parked("web").len(), 1);
        assert_eq!(project.parked("api").len(), 0, "half an exchange is not parked");
    }

    #[test]
    fn containers_that_share_a_network_are_not_exchanged() {
        let mut guest = summary("green-side-1", "side", 1);
        guest.host_config = Some(ContainerSummaryHostConfig {
            network_mode: Some("container:id-of-green-web-1".into()),
            ..ContainerSummaryHostConfig::default()
        });
        let found = [summary("green-api-1", "api", 1), guest, summary("green-web-1", "web", 1)];
        let project = Project::of("green", &found);
        let check = |service: &str| {
            let wanted = [service.to_owned()];
            project.check_networks(&project.select(Some(&wanted)).unwrap())
        };
        assert_eq!(check("api"), Ok(()));
        for service in ["side", "web"] {
            let error = check(service).unwrap_err();
            let told = "container green-side-1: it lives in the network of green-web-1";
            assert!(error.message.contains(told), "{service}: {error}");
        }
    }

    #[test]
    fn an_unknown_service_is_named_with_its_nearest_neighbour() {
        let project = project();
        let wanted = ["web".to_owned(), "wep".to_owned(), "zzz".to_owned()];
        let error = project.active(Some(&wanted)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.message.contains("services `wep`, `zzz` in project `green`"), "{error}");
        assert_eq!(error.hints, ["Did you mean `web` for `wep`?"]);
    }

    #[test]
    fn a_parked_service_can_be_stopped_again_but_not_changed() {
        let project = project();
        let wanted = ["job".to_owned()];
        assert_eq!(project.select_to_stop(Some(&wanted)).unwrap().len(), 1);
        let error = project.select(Some(&wanted)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        let web = ["web".to_owned()];
        assert_eq!(project.select_to_stop(Some(&web)).unwrap().len(), 2);
    }

    #[test]
    fn items_with_the_same_short_name_get_their_full_one() {
        let found = [summary("a", "web", 1), summary("b", "web", 1), summary("c", "web", 2)];
        let project = Project::of("green", &found);
        assert_eq!(item_names(&project.active(None).unwrap()), ["a", "b", "web-2"]);
    }

    #[test]
    fn an_empty_list_of_services_is_refused_offline() {
        assert!(validate("green", None).is_ok());
        assert!(validate("green", Some(&[])).unwrap_err().contains("empty"));
        assert!(validate("", None).is_err());
    }
}
