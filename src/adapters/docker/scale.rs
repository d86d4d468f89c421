//! `docker.scale`: how many containers a project's services have in service.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Engine, Limits};
use super::container::short;
use super::parking::{self, Place};
use super::power::Grace;
use super::project::{self, Project};
use super::recreate::{Successor, Volumes, blueprint};
use super::scaling::{self, Addition, Plan};
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Prediction, Readiness,
    Repeat, ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};

/// How many containers of one service move at once; the engine's own throughput peaks at four to eight callers.
const CALLERS: usize = 8;

/// The most containers of one service.
const MOST: u64 = 1000;

/// Changes how many containers services of a Compose project have. Surplus ones are stopped and parked, not removed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DockerScale")]
pub(super) struct Scale {
    /// The Compose project.
    project: String,
    /// The services: `{web: 3, api: 0}`, or a list together with `to`; all of them when left out.
    #[serde(default)]
    services: Option<Replicas>,
    /// The number of containers for every listed service.
    #[serde(default)]
    to: Option<u64>,
    /// The time that a container gets to end by itself before it is killed; counted in whole seconds. Its own when left
    /// out, as for `docker.stop`.
    #[serde(default)]
    grace: Grace,
}

/// Services, with or without a number for each.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "DockerReplicas")]
pub(super) enum Replicas {
    /// A number for each.
    Each(IndexMap<String, u64>),
    /// The same number for all.
    Same(Vec<String>),
}

/// One service to scale.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ScaleItem {
    project: String,
    service: String,
    to: u64,
    grace: Grace,
}

#[async_trait]
impl VerbArgs for Scale {
    const NAME: &'static str = "docker.scale";
    const SUMMARY: &'static str = "change how many containers a Compose project's services have";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(120);
    type Item = ScaleItem;

    fn validate(&self) -> Result<(), String> {
        let (services, largest) = match (&self.services, self.to) {
            (Some(Replicas::Each(_)), Some(_)) => {
                return Err("`to` does not go with a number for each service".to_owned());
            }
            (Some(Replicas::Each(each)), None) => {
                (Some(each.keys().cloned().collect()), each.values().max().copied())
            }
            (_, None) => {
                return Err(
                    "the number is missing; add `to`, or write `{service: number}`".to_owned()
                );
            }
            (Some(Replicas::Same(services)), to) => (Some(services.clone()), to),
            (None, to) => (None, to),
        };
        if largest > Some(MOST) {
            return Err(format!("a service can have at most {MOST} containers"));
        }
        project::validate(&self.project, services.as_deref())
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, ScaleItem)>, ActionError> {
        let engine = Engine::of(&cx.connections)?;
        let found = Project::read(&engine, &Limits::resolving(), &self.project).await?;
        let to = self.to.unwrap_or_default();
        let wanted: Vec<(String, u64)> = match self.services {
            Some(Replicas::Each(each)) => each.into_iter().collect(),
            Some(Replicas::Same(services)) => {
                services.into_iter().map(|service| (service, to)).collect()
            }
            None => found.services().into_iter().map(|service| (service.to_owned(), to)).collect(),
        };
        let services: Vec<String> = wanted.iter().map(|(service, _)| service.clone()).collect();
        found.active(Some(&services))?;
        let item = |(service, to): (String, u64)| {
            let project = self.project.clone();
            (service.clone(), ScaleItem { project, service, to, grace: self.grace })
        };
        Ok(wanted.into_iter().map(item).collect())
    }

    fn make(item: ScaleItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(ScaleService { connections: cx.connections.clone(), item })))
    }
}

struct ScaleService {
    connections: Arc<Connections>,
    item: ScaleItem,
}

#[async_trait]
impl Action for ScaleService {
    fn describe(&self) -> Description {
        let ScaleItem { project, service, to, grace } = &self.item;
        Description::new(
            format!(
                "scale service {service} of project {project} to {to}; surplus containers are parked ({grace})"
            ),
            format!("bring back the containers that service {service} has now"),
        )
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let engine = Engine::of(&self.connections)?;
        let limits = Limits::from(cx);
        let ScaleItem { project, service, to, .. } = &self.item;
        let found = Project::read(&engine, &limits, project).await?;
        let wanted = usize::try_from(*to).unwrap_or(usize::MAX);
        let now = scaling::plan(&engine, &limits, &found, service, wanted, cx.run()).await?;
        if now.is_empty() {
            let evidence = Evidence::new(format!("service {service} has {to} running already"));
            return Ok(Readiness::AlreadyDone { evidence });
        }
        // After a crash, undo still needs what was there before the first move.
        let plan = noted_plan(cx)?.unwrap_or(now);
        let predicted = self.predict(&plan);
        Ok(Readiness::Needed { saved: Saved::public(json!(plan)), predicted })
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let engine = Engine::of(&self.connections)?;
        let (engine, limits) = (engine.as_ref(), &Limits::from(cx));
        let plan = &read_plan(saved)?;
        cx.note(json!({ "plan": plan })).await?;
        let grace = self.item.grace.seconds();
        all(plan
            .start
            .iter()
            .map(|place| engine.start(limits, &place.id, &place.name).boxed())
            .collect())
        .await?;
        all(plan.revive.iter().map(|place| place.come_back(engine, limits).boxed()).collect())
            .await?;
        all(plan
            .create
            .iter()
            .map(|addition| self.add(engine, limits, plan, addition).boxed())
            .collect())
        .await?;
        all(plan.park.iter().map(|place| place.leave(engine, limits, grace).boxed()).collect())
            .await?;
        Ok(Evidence::new(format!("service {} scaled to {}", self.item.service, self.item.to)))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let engine = Engine::of(&self.connections)?;
        let ScaleItem { project, service, to, .. } = &self.item;
        let found = Project::read(&engine, &cx.into(), project).await?;
        let active = found.active(Some(std::slice::from_ref(service)))?;
        let running = active.iter().filter(|member| member.running).count();
        let observed =
            format!("service {service} has {} containers, {running} running", active.len());
        let wanted = usize::try_from(*to).unwrap_or(usize::MAX);
        Ok(if active.len() == wanted && running == wanted {
            Verdict::holds(observed)
        } else {
            Verdict::not_yet(observed)
        })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let engine = Engine::of(&self.connections)?;
        let (engine, limits) = (engine.as_ref(), &Limits::from(cx));
        let plan = &read_plan(saved)?;
        let grace = self.item.grace.seconds();
        all(plan.park.iter().map(|place| place.come_back(engine, limits).boxed()).collect())
            .await?;
        all(plan
            .create
            .iter()
            .map(|addition| withdraw(engine, limits, plan, addition, grace).boxed())
            .collect())
        .await?;
        all(plan.revive.iter().map(|place| place.leave(engine, limits, grace).boxed()).collect())
            .await?;
        all(plan
            .start
            .iter()
            .map(|place| engine.stop(limits, &place.id, &place.name, grace).boxed())
            .collect())
        .await
    }
}

impl ScaleService {
    fn predict(&self, plan: &Plan) -> Vec<Prediction> {
        let ScaleItem { project, service, .. } = &self.item;
        let resource = |place: &Place| {
            let number = place.name.rsplit(['-', '_']).next().and_then(|text| text.parse().ok());
            project::resource(project, &project::short_name(service, number.unwrap_or(1)))
        };
        let parked = plan.park.iter().map(|place| Prediction {
            resource: resource(place),
            state: json!({ "running": false, "parked": true }),
        });
        let running = plan.start.iter().chain(&plan.revive).map(|place| Prediction {
            resource: resource(place),
            state: json!({ "running": true }),
        });
        parked.chain(running).collect()
    }

    /// Creates one more container and starts it. One that does not start is removed again.
    async fn add(
        &self,
        engine: &Engine,
        limits: &Limits,
        plan: &Plan,
        addition: &Addition,
    ) -> Result<(), ActionError> {
        let id = match engine.find(limits, &addition.name).await? {
            Some(made) if made.label(parking::CREATED_BY) == Some(&plan.run) && made.running => {
                return Ok(());
            }
            Some(unfinished) if unfinished.label(parking::CREATED_BY) == Some(&plan.run) => {
                engine.remove(limits, &unfinished.id, &unfinished.name).await?;
                self.create(engine, limits, plan, addition).await?
            }
            Some(stranger) => return Err(taken(addition, &stranger.id)),
            None => self.create(engine, limits, plan, addition).await?,
        };
        let Err(mut error) = engine.start(limits, &id, &addition.name).await else {
            return Ok(());
        };
        if !error.outcome_unknown()
            && let Err(left) = engine.remove(limits, &id, &addition.name).await
        {
            error.causes.push(left.message);
        }
        Err(error)
    }

    async fn create(
        &self,
        engine: &Engine,
        limits: &Limits,
        plan: &Plan,
        addition: &Addition,
    ) -> Result<String, ActionError> {
        let gone = |what: &str| {
            ActionError::new(
                ErrorKind::Conflict,
                format!("create container {}: {what} was removed", addition.name),
            )
        };
        let model = plan.model.as_deref().unwrap_or_default();
        let model =
            engine.find(limits, model).await?.ok_or_else(|| gone("the one to create it after"))?;
        let image = engine.image(limits, &model.image).await?.ok_or_else(|| gone("its image"))?;
        let successor = Successor {
            image: &model.image,
            volumes: Volumes::Fresh,
            labels: vec![
                (project::NUMBER, addition.number.to_string()),
                (parking::CREATED_BY, plan.run.clone()),
            ],
        };
        let drawn = blueprint(&model.raw, &image.config.unwrap_or_default(), &successor);
        let id = engine.create(limits, &addition.name, drawn.body).await?;
        for (network, settings) in drawn.more_networks {
            engine.join(limits, &id, &network, settings).await?;
        }
        Ok(id)
    }
}

/// Removes a container that the plan created, and none that anyone else did.
async fn withdraw(
    engine: &Engine,
    limits: &Limits,
    plan: &Plan,
    addition: &Addition,
    grace: Option<i32>,
) -> Result<(), ActionError> {
    let Some(made) = engine.find(limits, &addition.name).await? else { return Ok(()) };
    if made.label(parking::CREATED_BY) != Some(&plan.run) {
        return Err(taken(addition, &made.id));
    }
    if made.running {
        engine.stop(limits, &made.id, &made.name, grace).await?;
    }
    engine.remove(limits, &made.id, &made.name).await
}

fn taken(addition: &Addition, id: &str) -> ActionError {
    ActionError::new(
        ErrorKind::Conflict,
        format!("use the name {}: container {} has taken it", addition.name, short(id)),
    )
}

/// Makes all moves, a few at a time, and lets each end. An unknown outcome weighs more than a failure.
async fn all(moves: Vec<BoxFuture<'_, Result<(), ActionError>>>) -> Result<(), ActionError> {
    let outcomes: Vec<_> = stream::iter(moves).buffer_unordered(CALLERS).collect().await;
    let mut errors: Vec<ActionError> = outcomes.into_iter().filter_map(Result::err).collect();
    errors.sort_by_key(|error| !error.outcome_unknown());
    match errors.into_iter().next() {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

fn read_plan(saved: &Saved) -> Result<Plan, ActionError> {
    serde_json::from_value(saved.state.clone()).map_err(|error| {
        ActionError::new(ErrorKind::Invalid, "read the saved plan of a service").caused_by(&error)
    })
}

/// The plan that the first attempt noted before it changed anything.
fn noted_plan(cx: &StepContext) -> Result<Option<Plan>, ActionError> {
    let noted = cx.notes().iter().find_map(|note| note.get("plan"));
    noted.map(|plan| read_plan(&Saved::public(plan.clone()))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(args: serde_json::Value) -> Result<(), String> {
        serde_json::from_value::<Scale>(args).map_err(|error| error.to_string())?.validate()
    }

    #[test]
    fn the_number_is_given_once() {
        assert!(checked(json!({"project": "p", "services": {"web": 3, "api": 0}})).is_ok());
        assert!(checked(json!({"project": "p", "services": ["web"], "to": 0})).is_ok());
        assert!(checked(json!({"project": "p", "to": 0})).is_ok());
        let cases = [
            (json!({"project": "p", "services": {"web": 3}, "to": 1}), "does not go"),
            (json!({"project": "p", "services": ["web"]}), "`to`"),
            (json!({"project": "p"}), "`to`"),
            (json!({"project": "p", "services": {}}), "empty"),
            (json!({"project": "p", "services": {"web": 1001}}), "at most 1000"),
            (json!({"project": "p", "services": [], "to": 1}), "empty"),
        ];
        for (args, reason) in cases {
            let message = checked(args.clone()).unwrap_err();
            assert!(message.contains(reason), "{args}: {message}");
        }
    }

    #[tokio::test]
    async fn an_unknown_outcome_weighs_more_than_a_failure() {
        let outcome = |kind: Option<ErrorKind>| {
            async move { kind.map_or(Ok(()), |kind| Err(ActionError::new(kind, "stop"))) }.boxed()
        };
        let kinds = [None, Some(ErrorKind::Failed), Some(ErrorKind::Unknown), None];
        let error = all(kinds.into_iter().map(outcome).collect()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unknown);
        assert!(all([None, None].into_iter().map(outcome).collect()).await.is_ok());
    }
}
