//! From a runbook and an environment to a plan: everything is resolved before the first change.
//!
//! First the [`outline`] (order and policy), which needs no system; then the items of every step, for which verbs may read the
//! live systems, all at the same time and within five seconds. What cannot be resolved is judged by where it stands: on
//! the path to the first target it refuses the run, later it is deferred to the step's turn, and an optional step is dropped.

mod items;
mod messages;
mod notices;
mod policy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use indexmap::IndexMap;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::budget::Schedule;
use super::inputs::Inputs;
use super::layers::{path_to_first_target, step_id, waits};
use super::preflight::GRACE;
use super::{
    Concern, Deferred, Items, Plan, PlannedPhase, PlannedProbe, PlannedStep, PlannedTarget,
    Refused, StepId,
};
use crate::action::{ActionError, ErrorKind, Registry, ResolveContext, Verb};
use crate::environment::Environment;
use crate::runbook::diagnostic::Source;
use crate::runbook::template;
use crate::runbook::validate::offline_scope;
use crate::runbook::{Phase, Runbook, Step};
use crate::value::Shared;

use items::{Resolution, Resolver};
pub use items::{STEP_TIMEOUT, expand};

/// How many steps are resolved at the same time.
const PARALLEL_STEPS: usize = 16;

/// Looks up the median duration of a step in earlier runs.
pub type History<'a> = &'a (dyn Fn(&StepId) -> Option<Duration> + Sync);

/// What a plan is made from.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What to do, but for its phases.
    pub runbook: &'a Runbook,
    /// The runbook's text, for places in messages.
    pub source: &'a Source,
    /// Where.
    pub environment: &'a Environment,
    /// With which values.
    pub inputs: &'a Inputs,
    /// What the run knows of itself, `run.…` in templates: `{"id": …, "folder": …}`.
    pub run: &'a Value,
    /// The systems.
    pub cx: &'a ResolveContext,
    /// How long steps took so far.
    pub history: History<'a>,
}

/// A plan, and what is worth knowing before it is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// The plan.
    pub plan: Plan,
    /// What does not stop the run: deferred and dropped steps, times that cannot fit.
    pub warnings: Vec<Concern>,
}

/// Makes the plan of a run of these phases. They go as the plan comes: those of a long runbook are as large as its plan.
///
/// # Errors
/// Everything on the path to the first target that cannot be resolved.
pub async fn build(request: Request<'_>, phases: Vec<Phase>) -> Result<Built, Refused> {
    let mut plan = outlined(request.runbook, &phases, &request.cx.registry, request.history)?;
    plan.environment.clone_from(&request.environment.name);
    plan.inputs.clone_from(&request.inputs.values);
    plan.list_approvers(&request.environment.approvers);
    let path = path_to_first_target(&plan.phases, &plan.targets);
    let resolver = resolver(&request);
    let mut judge = Judge { path: &path, refused: Vec::new(), warnings: Vec::new() };
    let steps = plan.phases.iter_mut().flat_map(|phase| &mut phase.steps);
    let mut steps: Vec<&mut PlannedStep> = steps.collect();
    resolve_all(&resolver, phases, |place, resolution| {
        let step = &mut *steps[place];
        match notices::unwanted(&step.verb, request.runbook, &resolver) {
            Some(because) if step.skip.is_none() => step.skip = Some(because.into()),
            _ => {
                let resolution = resolution.unwrap_or_else(|| late(step));
                judge.settle(place, step, resolution);
            }
        }
    })
    .await;
    let mut warnings = judge.verdict()?;
    warnings.extend(messages::plan(&mut plan, request.runbook, &resolver).await);
    warnings.extend(plan.targets.iter().filter_map(|target| unprovable(&plan, target)));
    warnings.extend(Schedule::of(&plan).misfits().iter().map(Concern::from));
    Ok(Built { plan, warnings })
}

/// A target whose step is not run cannot be proved.
fn unprovable(plan: &Plan, target: &PlannedTarget) -> Option<Concern> {
    let because = plan.step(&target.reached_by)?.skip.as_ref()?;
    let step = &target.reached_by;
    let message = format!("prove it: the step {step} is skipped, because {because}");
    let error = ActionError::new(ErrorKind::Invalid, message);
    Some(Concern { about: format!("target {}", target.name), step: Some(step.clone()), error })
}

/// The plan without items, which needs neither an environment nor inputs: enough for `check` to draw the
/// layers and to fit the budget offline.
///
/// # Errors
/// Steps that make no order, and verbs that do not exist; a validated runbook has neither.
pub fn outline(
    runbook: &Runbook,
    registry: &Registry,
    history: History<'_>,
) -> Result<Plan, Refused> {
    outlined(runbook, &runbook.phases, registry, history)
}

fn outlined(
    runbook: &Runbook,
    phases: &[Phase],
    registry: &Registry,
    history: History<'_>,
) -> Result<Plan, Refused> {
    let mut targets: Vec<PlannedTarget> = runbook
        .targets
        .iter()
        .map(|(name, target)| PlannedTarget {
            name: name.clone(),
            within: target.within,
            from: target.from.as_deref().map(|step| StepId(step.into())),
            reached_by: StepId(target.reached_by.as_str().into()),
        })
        .collect();
    targets.sort_by_key(PlannedTarget::rank);
    let scope = offline_scope(runbook);
    let lasts = |step: &Step, verb: &Verb| {
        let args = verb.lasts.zip(template::evaluate(&step.args, &scope).ok());
        args.and_then(|(lasts, args)| lasts(args))
    };
    let phases = phases.iter().map(|phase| planned_phase(phase, registry, history, &lasts));
    Ok(Plan {
        runbook: runbook.name.clone(),
        title: runbook.title.clone(),
        scenario: runbook.scenario,
        subject: runbook.subject.clone(),
        severity: Some(runbook.severity),
        environment: String::new(),
        inputs: IndexMap::new(),
        targets,
        give_up: runbook.give_up,
        approval: runbook.approval.as_ref().map(policy::approval),
        escalation: Vec::new(),
        closing: Vec::new(),
        reverts: None,
        phases: phases.collect::<Result<_, _>>()?,
    })
}

fn planned_phase(
    phase: &Phase,
    registry: &Registry,
    history: History<'_>,
    lasts: &dyn Fn(&Step, &Verb) -> Option<Duration>,
) -> Result<PlannedPhase, Refused> {
    let invalid = |message: String| Refused {
        reasons: vec![Concern {
            about: format!("phase {}", phase.id),
            step: None,
            error: ActionError::new(ErrorKind::Invalid, message),
        }],
    };
    let waits = waits(phase).map_err(|error| invalid(error.to_string()))?;
    let mut steps: Vec<PlannedStep> = Vec::with_capacity(phase.steps.len());
    for (step, waits) in phase.steps.iter().zip(waits) {
        let verb = registry.verb(&step.verb).ok_or_else(|| {
            invalid(format!("find the verb `{}` of step `{}`", step.verb, step.id))
        })?;
        let id = step_id(phase, step);
        let policy = policy::policy(step, verb, lasts(step, verb), history(&id));
        let above = steps.last();
        let policy = Shared::from(policy).same_as(above.map(|above| &above.policy));
        let same = above.map(|above| &above.verb).filter(|verb| ***verb == *step.verb);
        let verb = same.map_or_else(|| step.verb.as_str().into(), Arc::clone);
        steps.push(PlannedStep {
            id,
            title: step.title.as_deref().map(Into::into),
            verb,
            waits,
            skip: None,
            items: Items::Resolved(Vec::new()),
            policy,
        });
    }
    Ok(PlannedPhase {
        id: phase.id.clone(),
        title: phase.title.clone().unwrap_or_else(|| phase.id.clone()),
        budget: phase.budget,
        steps,
    })
}

fn resolver<'a>(request: &Request<'a>) -> Resolver<'a> {
    Resolver {
        cx: request.cx,
        source: request.source,
        channels: &request.environment.channels,
        unread: &request.inputs.unread,
        scope: scope(request),
        deadline: Instant::now() + STEP_TIMEOUT,
    }
}

/// Settles every step, by its place in the order of the runbook, as its items are found. Once the required steps have theirs, the optional
/// ones have a moment more: a silent system that nothing depends on must not hold up the start.
async fn resolve_all(
    resolver: &Resolver<'_>,
    phases: Vec<Phase>,
    mut settle: impl FnMut(usize, Option<Resolution>),
) {
    let steps = phases.iter().flat_map(|phase| &phase.steps);
    let optional: Vec<bool> = steps.map(|step| step.optional).collect();
    let mut unheard: BTreeSet<usize> = (0..optional.len()).collect();
    // As their turn comes, since ten thousand at once are a lot of memory; and past one that waits, since a silent system must not
    // take the time of the others.
    let steps = phases.into_iter().flat_map(|phase| phase.steps).enumerate();
    let futures =
        steps.map(|(place, step)| async move { (place, resolver.resolve(&step).await) }.boxed());
    let mut resolving = stream::iter(futures).buffer_unordered(PARALLEL_STEPS);
    let mut required = optional.iter().filter(|optional| !**optional).count();
    let mut until = Instant::now() + if required == 0 { GRACE } else { STEP_TIMEOUT + GRACE };
    while let Ok(Some((place, resolution))) = timeout_at(until, resolving.next()).await {
        settle(place, Some(resolution));
        let _it_was = unheard.remove(&place);
        if !optional[place] {
            required -= 1;
        }
        if required == 0 {
            until = until.min(Instant::now() + GRACE);
        }
    }
    for place in unheard {
        settle(place, None);
    }
}

/// What becomes of a step that nothing was heard of in time.
fn late(step: &PlannedStep) -> Resolution {
    let message =
        format!("resolve `{}` in time: no answer yet, and it is not waited for", step.verb);
    let error = ActionError::new(ErrorKind::TimedOut, message);
    Resolution::Unresolved { error, args: Vec::new(), probe: None }
}

fn scope(request: &Request<'_>) -> template::Scope {
    let mut scope = template::Scope::new()
        .with_environment(request.environment.values.clone())
        .with_run(request.run.clone())
        .with_inputs(request.inputs.values.clone().into_iter().collect());
    for name in request.inputs.unread.keys() {
        scope = scope.with_unknown(format!("inputs.{name}"));
    }
    scope
}

/// Decides what an unresolved step means.
struct Judge<'a> {
    path: &'a HashSet<StepId>,
    /// With the places of their steps.
    refused: Vec<(usize, Concern)>,
    warnings: Vec<(usize, Concern)>,
}

impl Judge<'_> {
    /// What is worth knowing, or why the run is refused, in the order of the runbook.
    fn verdict(self) -> Result<Vec<Concern>, Refused> {
        let ordered = |mut found: Vec<(usize, Concern)>| -> Vec<Concern> {
            found.sort_by_key(|(place, _)| *place);
            found.into_iter().map(|(_, concern)| concern).collect()
        };
        if self.refused.is_empty() {
            Ok(ordered(self.warnings))
        } else {
            Err(Refused { reasons: ordered(self.refused) })
        }
    }

    fn settle(&mut self, place: usize, step: &mut PlannedStep, resolution: Resolution) {
        let id = step.id.clone();
        let concern = |error| (place, Concern::step(&id, error));
        match resolution {
            Resolution::Ready { items, probe, lasts, remarks } => {
                step.items = Items::Resolved(items);
                if let Some(lasts) = lasts
                    && step.policy.expected != lasts
                {
                    step.policy.expected = lasts;
                }
                self.warnings.extend(remarks.into_iter().map(concern));
                verified_by(step, probe);
            }
            Resolution::Skipped { because } => step.skip = Some(because.into()),
            Resolution::Unresolved { error, .. } if self.path.contains(&step.id) => {
                self.refused.push(concern(error));
            }
            Resolution::Unresolved { error, .. } if step.policy.optional => {
                step.skip = Some(format!("it is optional, and cannot {error}").into());
                self.warnings.push(concern(error));
            }
            Resolution::Unresolved { error, args, probe } => {
                step.items =
                    Items::Deferred(Deferred { args, reason: error.message.clone() }.into());
                verified_by(step, probe);
                self.warnings.push(concern(error));
            }
        }
    }
}

/// Most steps have no probe of their own, and share a policy.
fn verified_by(step: &mut PlannedStep, probe: Option<PlannedProbe>) {
    if probe.is_some() {
        step.policy.verify.probe = probe;
    }
}

/// What tells the elements of a list apart: a text itself, a mapping's `name` or `id`, else the position.
fn element_name(element: &Value, index: usize) -> String {
    match element {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Object(fields) => ["name", "id"]
            .iter()
            .find_map(|key| fields.get(*key)?.as_str())
            .map_or_else(|| index.to_string(), str::to_owned),
        _ => index.to_string(),
    }
}
