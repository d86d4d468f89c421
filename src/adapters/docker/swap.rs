//! `docker.swap`: containers of a project run another image, and can run their own again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Engine, Limits};
use super::container::{Container, short};
use super::handover::{self, Manners, Scene};
use super::image::{self, Wanted};
use super::parking::{self, Place};
use super::power::{Grace, predicted_running};
use super::project::{self, Member, Project};
use super::recreate::{Successor, Volumes, blueprint};
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Prediction, Readiness,
    Repeat, ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::value::Lasting;

/// Exchanges the image of a Compose project's containers. The former containers are parked until someone removes them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DockerSwap")]
pub(super) struct Swap {
    /// The Compose project.
    project: String,
    /// The services; all of them when left out.
    #[serde(default)]
    services: Option<Vec<String>>,
    /// The image to run; it must be on the engine.
    image: Wanted,
    /// The time that the former container gets to end by itself before it is killed; counted in whole seconds. Its own when left
    /// out, as for `docker.stop`. Never more than half of the time that the step still has.
    #[serde(default)]
    grace: Grace,
    /// How long a container without a health check must run before it counts as well.
    #[serde(default = "two_seconds")]
    steady: Lasting,
}

fn two_seconds() -> Lasting {
    Lasting(Duration::from_secs(2))
}

/// One container to exchange.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SwapItem {
    project: String,
    short_name: String,
    /// The container's name.
    container: String,
    /// The id of the container that has it now.
    old: String,
    /// The wanted image's name, as the runbook or the record has it.
    reference: String,
    /// The wanted image's id.
    image: String,
    grace: Grace,
    steady: Lasting,
}

#[async_trait]
impl VerbArgs for Swap {
    const NAME: &'static str = "docker.swap";
    const SUMMARY: &'static str = "run a Compose project's containers from another image";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(120);
    type Item = SwapItem;

    fn validate(&self) -> Result<(), String> {
        project::validate(&self.project, self.services.as_deref())?;
        self.image.validate()
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, SwapItem)>, ActionError> {
        let engine = Engine::of(&cx.connections)?;
        let limits = Limits::resolving();
        let found = Project::read(&engine, &limits, &self.project).await?;
        let members = found.select(self.services.as_deref())?;
        found.check_networks(&members)?;
        let references = self.image.references(&members)?;
        let mut ids = BTreeMap::new();
        for reference in &references {
            if !ids.contains_key(reference) {
                ids.insert(reference.clone(), image::resolve(&engine, &limits, reference).await?);
            }
        }
        let names = project::item_names(&members);
        let items = members.iter().zip(references).map(|(member, reference)| {
            let image = ids[&reference].clone();
            self.item(member, reference, image)
        });
        Ok(names.into_iter().zip(items).collect())
    }

    fn make(item: SwapItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(SwapContainer { connections: cx.connections.clone(), item })))
    }
}

impl Swap {
    fn item(&self, member: &Member, reference: String, image: String) -> SwapItem {
        SwapItem {
            project: self.project.clone(),
            short_name: member.short_name(),
            container: member.name.clone(),
            old: member.id.clone(),
            reference,
            image,
            grace: self.grace,
            steady: self.steady,
        }
    }
}

struct SwapContainer {
    connections: Arc<Connections>,
    item: SwapItem,
}

#[async_trait]
impl Action for SwapContainer {
    fn describe(&self) -> Description {
        let SwapItem { container, reference, image, grace, .. } = &self.item;
        let wanted = if reference == image {
            short(image).to_owned()
        } else {
            format!("{reference} ({})", short(image))
        };
        Description::new(
            format!("run {container} from {wanted} and park its present container ({grace})"),
            format!("bring the parked container of {container} back and remove the new one"),
        )
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let engine = Engine::of(&self.connections)?;
        let limits = Limits::from(cx);
        let scene = self.look(&engine, &limits).await?;
        if let Some(stranger) = &scene.stranger {
            // Someone else got there first: fine if it runs what is wanted.
            return if stranger.image == self.item.image {
                Ok(Readiness::AlreadyDone { evidence: self.evidence(stranger) })
            } else {
                Err(self.replaced(stranger))
            };
        }
        if let Some(new) = scene.new.as_ref().filter(|_| self.finished(&scene)) {
            return Ok(Readiness::AlreadyDone { evidence: self.evidence(new) });
        }
        let old = scene.old.as_ref().ok_or_else(|| self.gone())?;
        if scene.new.is_none() && old.image == self.item.image {
            return Ok(Readiness::AlreadyDone { evidence: self.evidence(old) });
        }
        image::resolve(&engine, &limits, &self.item.image).await?;
        let place = match (noted_place(cx)?, &scene.new) {
            (Some(place), _) => place,
            (None, None) => Place { name: self.item.container.clone(), ..Place::of(old)? },
            (None, Some(new)) if scene.handed_over() => return Err(self.replaced(new)),
            (None, Some(half)) => return Err(self.half_swapped(&engine, half)),
        };
        // In a plan an earlier step may have stopped it, and then the new one is not started either.
        let (project, name) = (&self.item.project, &self.item.short_name);
        let running = predicted_running(cx, project, name).unwrap_or(place.was_running);
        let predicted = vec![Prediction {
            resource: project::resource(project, name),
            state: json!({ "running": running, "image": self.item.image }),
        }];
        Ok(Readiness::Needed { saved: Saved::public(json!(place)), predicted })
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let engine = Engine::of(&self.connections)?;
        let limits = Limits::from(cx);
        let place = read_place(saved)?;
        // What was there first is known only before the first change: a look after a crash needs this note.
        cx.note(json!({ "place": place })).await?;
        let scene = self.look(&engine, &limits).await?;
        scene.check()?;
        let old = scene.old.as_ref().ok_or_else(|| self.gone())?;
        let new = match scene.new {
            Some(new) if new.running || new.name == place.name => new,
            Some(unfinished) => {
                // Perhaps not in all its networks: creating it again is quicker than finding out.
                engine.remove(&limits, &unfinished.id, &unfinished.name).await?;
                self.create(&engine, &limits, old).await?
            }
            None => self.create(&engine, &limits, old).await?,
        };
        if place.was_running && new.name != place.name {
            let swapped = handover::exchange(&engine, &limits, old, &new, &self.manners()).await;
            if let Err(error) = swapped {
                return Err(tidy(&engine, &limits, &new, error).await);
            }
        }
        handover::settle_names(&engine, &limits, &place, &new).await?;
        let mut evidence = self.evidence(&new);
        evidence.facts["running"] = place.was_running.into();
        Ok(evidence)
    }

    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        let engine = Engine::of(&self.connections)?;
        let name = &self.item.container;
        let should_run = applied.facts.get("running").and_then(serde_json::Value::as_bool);
        Ok(match engine.find(&cx.into(), name).await? {
            None => Verdict::not_yet(format!("there is no container {name}")),
            Some(now) if now.image != self.item.image => {
                Verdict::not_yet(format!("{name} runs {}", short(&now.image)))
            }
            Some(now) if should_run != Some(false) && !now.healthy() => {
                Verdict::not_yet(format!("{name} is not healthy"))
            }
            Some(now) => Verdict::Holds { evidence: self.evidence(&now) },
        })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let engine = Engine::of(&self.connections)?;
        let limits = Limits::from(cx);
        let place = read_place(saved)?;
        let scene = self.look(&engine, &limits).await?;
        if let Some(stranger) = &scene.stranger {
            return Err(self.replaced(stranger));
        }
        let old = scene.old.as_ref().ok_or_else(|| self.gone())?;
        let Some(new) = scene.new else {
            return place.come_back(&engine, &limits).await;
        };
        if place.was_running && !old.running {
            handover::exchange(&engine, &limits, &new, old, &self.manners()).await?;
        }
        if new.name == place.name {
            let aside = parking::successor_name(&place.name, &place.id);
            engine.rename(&limits, &new.id, &aside).await?;
        }
        place.occupy(&engine, &limits, old).await?;
        engine.remove(&limits, &new.id, &new.name).await
    }
}

impl SwapContainer {
    async fn look(&self, engine: &Engine, limits: &Limits) -> Result<Scene, ActionError> {
        Scene::look(engine, limits, &self.item.container, &self.item.old).await
    }

    fn manners(&self) -> Manners {
        Manners { grace: self.item.grace.seconds(), steady: self.item.steady.0 }
    }

    /// Whether nothing is left to do: the new container is in its place and the old one is parked for good.
    fn finished(&self, scene: &Scene) -> bool {
        let in_place = scene.handed_over()
            && scene.new.as_ref().is_some_and(|new| new.image == self.item.image);
        let parked = scene
            .old
            .as_ref()
            .is_none_or(|old| !old.running && parking::at_rest(&old.restart_policy()).is_none());
        in_place && parked
    }

    async fn create(
        &self,
        engine: &Engine,
        limits: &Limits,
        old: &Container,
    ) -> Result<Container, ActionError> {
        let name = parking::successor_name(&self.item.container, &self.item.old);
        let former = engine.image(limits, &old.image).await?.ok_or_else(|| {
            ActionError::new(
                ErrorKind::NotFound,
                format!("find image {} of container {}", short(&old.image), old.name),
            )
            .hint("Without it, the image's settings cannot be told from the container's own.")
        })?;
        let successor = Successor {
            image: &self.item.image,
            volumes: Volumes::Inherit,
            labels: vec![
                (parking::REPLACES, old.id.clone()),
                (parking::FORMER_IMAGE, old.image.clone()),
            ],
        };
        let drawn = blueprint(&old.raw, &former.config.unwrap_or_default(), &successor);
        let id = engine.create(limits, &name, drawn.body).await?;
        for (network, settings) in drawn.more_networks {
            engine.join(limits, &id, &network, settings).await?;
        }
        engine.find(limits, &id).await?.ok_or_else(|| {
            ActionError::new(ErrorKind::Failed, format!("create container {name}: it was removed"))
        })
    }

    fn evidence(&self, container: &Container) -> Evidence {
        let name = &self.item.container;
        Evidence::with(
            format!("{name} runs {} in container {}", self.item.reference, short(&container.id)),
            json!({
                "id": container.id,
                "image": container.image,
                "parked": parking::parked_name(name, &self.item.old),
            }),
        )
    }

    fn replaced(&self, stranger: &Container) -> ActionError {
        ActionError::new(
            ErrorKind::Conflict,
            format!(
                "use container {}: {} has taken the place of {}",
                self.item.container,
                short(&stranger.id),
                short(&self.item.old)
            ),
        )
    }

    /// Another run has begun an exchange: only that one knows what was there before.
    fn half_swapped(&self, engine: &Engine, half: &Container) -> ActionError {
        ActionError::new(
            ErrorKind::Conflict,
            format!(
                "use container {}: {} is about to take its place",
                self.item.container, half.name
            ),
        )
        .hint("Resume or abort the run that began it; `rollback status` shows it.")
        .hint(format!(
            "If there is no such run: `docker -H {at} rm -f {}` and `docker -H {at} start {}`.",
            half.name,
            short(&self.item.old),
            at = engine.at(),
        ))
    }

    fn gone(&self) -> ActionError {
        ActionError::new(
            ErrorKind::Conflict,
            format!(
                "find container {} ({}): it was removed",
                self.item.container,
                short(&self.item.old)
            ),
        )
    }
}

/// Removes the container that did not get well. Where that is unsafe or fails, the next look finds it.
async fn tidy(
    engine: &Engine,
    limits: &Limits,
    new: &Container,
    mut error: ActionError,
) -> ActionError {
    if error.outcome_unknown() {
        return error;
    }
    if let Err(left) = engine.remove(limits, &new.id, &new.name).await {
        error.causes.push(format!("{}; it is still there", left.message));
    }
    error
}

fn read_place(saved: &Saved) -> Result<Place, ActionError> {
    serde_json::from_value(saved.state.clone()).map_err(|error| {
        ActionError::new(ErrorKind::Invalid, "read the saved place of a container")
            .caused_by(&error)
    })
}

/// The place that the first attempt noted before it changed anything.
fn noted_place(cx: &StepContext) -> Result<Option<Place>, ActionError> {
    let noted = cx.notes().iter().find_map(|note| note.get("place"));
    noted.map(|place| read_place(&Saved::public(place.clone()))).transpose()
}
