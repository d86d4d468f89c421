//! `docker.expect`: how many containers of a project are healthy, running or stopped, and from which image.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Engine, Limits};
use super::container::short;
use super::image;
use super::power::predicted_running;
use super::project::{self, Member, Project};
use crate::action::{
    ActionError, Connections, Description, Evidence, Probe, ResolveContext, StepContext, VerbArgs,
    VerbKind, Verdict, Work,
};
use crate::value::Count;

/// How many containers are inspected at once; the engine's own throughput peaks at four callers.
const CALLERS: usize = 4;

/// How many containers an answer names.
const NAMED: usize = 5;

/// Asks how the containers of a Compose project are. Parked containers do not count.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DockerExpect")]
pub(super) struct Expect {
    /// The Compose project.
    project: String,
    /// The services to count; all of them when left out.
    #[serde(default)]
    services: Option<Vec<String>>,
    /// How many run and are healthy; without a health check, running is enough.
    #[serde(default)]
    healthy: Option<Count>,
    /// How many run.
    #[serde(default)]
    running: Option<Count>,
    /// How many do not run.
    #[serde(default)]
    stopped: Option<Count>,
    /// How many there are.
    #[serde(default)]
    count: Option<Count>,
    /// The image from which every one of them was created; it must be on the engine.
    #[serde(default)]
    image: Option<String>,
}

/// The question, with the image resolved.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ExpectItem {
    project: String,
    services: Option<Vec<String>>,
    healthy: Option<Count>,
    running: Option<Count>,
    stopped: Option<Count>,
    count: Option<Count>,
    /// The image's name and id.
    image: Option<(String, String)>,
}

#[async_trait]
impl VerbArgs for Expect {
    const NAME: &'static str = "docker.expect";
    const SUMMARY: &'static str = "ask how many containers of a Compose project are healthy";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Item = ExpectItem;

    fn validate(&self) -> Result<(), String> {
        project::validate(&self.project, self.services.as_deref())?;
        let counts = [self.healthy, self.running, self.stopped, self.count];
        if counts.iter().all(Option::is_none) && self.image.is_none() {
            return Err(
                "nothing is expected; add `healthy`, `running`, `stopped`, `count` or `image`"
                    .to_owned(),
            );
        }
        self.image.as_deref().map_or(Ok(()), image::validate)
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, ExpectItem)>, ActionError> {
        let engine = Engine::of(&cx.connections)?;
        let limits = Limits::resolving();
        let found = Project::read(&engine, &limits, &self.project).await?;
        found.active(self.services.as_deref())?;
        let image = match self.image {
            Some(name) => Some((name.clone(), image::resolve(&engine, &limits, &name).await?)),
            None => None,
        };
        let item = ExpectItem {
            project: self.project,
            services: self.services,
            healthy: self.healthy,
            running: self.running,
            stopped: self.stopped,
            count: self.count,
            image,
        };
        Ok(vec![(String::new(), item)])
    }

    fn make(item: ExpectItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Probe(Box::new(ExpectProject { connections: cx.connections.clone(), item })))
    }
}

struct ExpectProject {
    connections: Arc<Connections>,
    item: ExpectItem,
}

#[async_trait]
impl Probe for ExpectProject {
    fn describe(&self) -> Description {
        let item = &self.item;
        let mut wanted: Vec<String> = [
            (item.count, "there"),
            (item.healthy, "healthy"),
            (item.running, "running"),
            (item.stopped, "stopped"),
        ]
        .into_iter()
        .filter_map(|(count, state)| count.map(|count| format!("{count} {state}")))
        .collect();
        wanted.extend(item.image.as_ref().map(|(name, _)| format!("all from {name}")));
        let place = match item.services.as_deref() {
            None => format!("project {}", item.project),
            Some([service]) => format!("service {service} of project {}", item.project),
            Some(services) => format!("{} services of project {}", services.len(), item.project),
        };
        Description::question(format!("containers of {place}: {}", wanted.join(", ")))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        let engine = Engine::of(&self.connections)?;
        let limits = Limits::from(cx);
        let item = &self.item;
        let found = Project::read(&engine, &limits.for_one_look(), &item.project).await?;
        let members: Vec<&Member> = found
            .active(item.services.as_deref())?
            .into_iter()
            .filter(|member| !will_be_parked(cx, &item.project, member))
            .collect();
        let mut seen = Seen::count(cx, &item.project, &members);
        if item.healthy.is_some() {
            seen.ask_for_health(&engine, &limits, &members).await?;
        }
        Ok(seen.judge(item, &members))
    }
}

/// Whether an earlier step of the plan parks a container.
fn will_be_parked(cx: &StepContext, project: &str, member: &Member) -> bool {
    let predicted = cx.predicted(&project::resource(project, &member.short_name()));
    predicted.and_then(|state| state.get("parked")?.as_bool()).unwrap_or(false)
}

/// What was seen of a project.
struct Seen {
    /// Per container, whether it runs.
    running: Vec<bool>,
    /// How many run and are healthy, when that was asked.
    healthy: usize,
    /// The names of those that are not.
    unhealthy: Vec<String>,
}

impl Seen {
    fn count(cx: &StepContext, project: &str, members: &[&Member]) -> Self {
        let running = members
            .iter()
            .map(|member| {
                predicted_running(cx, project, &member.short_name()).unwrap_or(member.running)
            })
            .collect();
        Self { running, healthy: 0, unhealthy: Vec::new() }
    }

    /// Only an inspection tells health: the list has it in a sentence, or not at all before API 1.52.
    async fn ask_for_health(
        &mut self,
        engine: &Engine,
        limits: &Limits,
        members: &[&Member],
    ) -> Result<(), ActionError> {
        let questions: Vec<_> = members
            .iter()
            .zip(&self.running)
            .map(|(member, runs)| is_well(engine, limits, member, *runs).boxed())
            .collect();
        let verdicts: Vec<bool> = stream::iter(questions).buffered(CALLERS).try_collect().await?;
        self.healthy = verdicts.iter().filter(|healthy| **healthy).count();
        self.unhealthy = members
            .iter()
            .zip(verdicts)
            .filter(|(_, healthy)| !healthy)
            .map(|(member, _)| member.short_name())
            .collect();
        Ok(())
    }

    fn judge(&self, item: &ExpectItem, members: &[&Member]) -> Verdict {
        let total = members.len();
        let running = self.running.iter().filter(|runs| **runs).count();
        let mut facts = json!({ "count": total, "running": running, "stopped": total - running });
        let mut words = vec![format!("{total} containers"), format!("{running} running")];
        let mut content = admits(item.count, total)
            && admits(item.running, running)
            && admits(item.stopped, total - running);
        if item.healthy.is_some() {
            content &= admits(item.healthy, self.healthy);
            facts["healthy"] = self.healthy.into();
            words.push(format!("{} healthy", self.healthy));
            if !self.unhealthy.is_empty() {
                words.push(format!("not healthy: {}", some_of(&self.unhealthy)));
            }
        }
        if let Some((name, id)) = &item.image {
            let others: Vec<String> = members
                .iter()
                .filter(|member| &member.image != id)
                .map(|member| format!("{} ({})", member.short_name(), short(&member.image)))
                .collect();
            content &= others.is_empty() && total > 0;
            match others.as_slice() {
                [] => words.push(format!("all from {name}")),
                others => words.push(format!("not from {name}: {}", some_of(others))),
            }
        }
        let summary = words.join(", ");
        if content {
            Verdict::Holds { evidence: Evidence::with(summary, facts) }
        } else {
            Verdict::NotYet { observed: summary }
        }
    }
}

/// Whether a container is healthy. What a plan predicts to run is not there to be asked yet.
async fn is_well(
    engine: &Engine,
    limits: &Limits,
    member: &Member,
    runs: bool,
) -> Result<bool, ActionError> {
    if !runs || !member.running {
        return Ok(runs);
    }
    let container = engine.find(&limits.for_one_look(), &member.id).await?;
    Ok(container.is_some_and(|container| container.healthy()))
}

fn admits(wanted: Option<Count>, number: usize) -> bool {
    wanted.is_none_or(|wanted| wanted.admits(u64::try_from(number).unwrap_or(u64::MAX)))
}

fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
