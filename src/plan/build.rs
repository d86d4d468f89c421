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

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use indexmap::IndexMap;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::budget::Schedule;
use super::inputs::Inputs;
use super::layers::{path_to_first_target, step_id, waits};
use super::preflight::GRACE;
use super::{Concern, Items, Plan, PlannedPhase, PlannedStep, PlannedTarget, Refused, StepId};
use crate::action::{ActionError, ErrorKind, Registry, ResolveContext, Verb};
use crate::environment::Environment;
use crate::runbook::diagnostic::Source;
use crate::runbook::template;
use crate::runbook::validate::offline_scope;
use crate::runbook::{Phase, Runbook, Step};

use items::{Resolution, Resolver};
pub use items::{STEP_TIMEOUT, expand};

/// How many steps are resolved at the same time.
const PARALLEL_STEPS: usize = 16;

/// Looks up the median duration of a step in earlier runs.
pub type History<'a> = &'a (dyn Fn(&StepId) -> Option<Duration> + Sync);

/// What a plan is made from.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What to do.
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

/// Makes the plan of a run.
///
/// # Errors
/// Everything on the path to the first target that cannot be resolved.
pub async fn build(request: Request<'_>) -> Result<Built, Refused> {
    let mut plan = outline(request.runbook, &request.cx.registry, request.history)?;
    plan.environment.clone_from(&request.environment.name);
    plan.inputs.clone_from(&request.inputs.values);
    plan.list_approvers(&request.environment.approvers);
    let path = path_to_first_target(&plan.phases, &plan.targets);
    let resolver = resolver(&request);
    let resolutions = resolve_all(&resolver, request.runbook).await;
    let mut judge = Judge { path: &path, refused: Vec::new(), warnings: Vec::new() };
    let steps = plan.phases.iter_mut().flat_map(|phase| &mut phase.steps);
    for (step, resolution) in steps.zip(resolutions) {
        match notices::unwanted(&step.verb, request.runbook, &resolver) {
            Some(because) if step.skip.is_none() => step.skip = Some(because),
            _ => judge.settle(step, resolution),
        }
    }
    let Judge { refused, mut warnings, .. } = judge;
    if !refused.is_empty() {
        return Err(Refused { reasons: refused });
    }
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
    let mut targets: Vec<PlannedTarget> = runbook
        .targets
        .iter()
        .map(|(name, target)| PlannedTarget {
            name: name.clone(),
            within: target.within,
            from: target.from.clone().map(StepId),
            reached_by: StepId(target.reached_by.clone()),
        })
        .collect();
    targets.sort_by_key(PlannedTarget::rank);
    let scope = offline_scope(runbook);
    let lasts = |step: &Step, verb: &Verb| {
        let args = verb.lasts.zip(template::evaluate(&step.args, &scope).ok());
        args.and_then(|(lasts, args)| lasts(args))
    };
    let phases = runbook.phases.iter().map(|phase| planned_phase(phase, registry, history, &lasts));
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
    let mut steps = Vec::with_capacity(phase.steps.len());
    for (step, waits) in phase.steps.iter().zip(waits) {
        let verb = registry.verb(&step.verb).ok_or_else(|| {
            invalid(format!("find the verb `{}` of step `{}`", step.verb, step.id))
        })?;
        let id = step_id(phase, step);
        let policy = policy::policy(step, verb, lasts(step, verb), history(&id));
        steps.push(PlannedStep {
            id,
            title: step.title.clone(),
            verb: step.verb.clone(),
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

/// The items of every step, in the order of the runbook. Once the required steps have theirs, the optional ones have a moment more:
/// a silent system that nothing depends on must not hold up the start.
async fn resolve_all(resolver: &Resolver<'_>, runbook: &Runbook) -> Vec<Resolution> {
    let steps: Vec<&Step> = runbook.phases.iter().flat_map(|phase| &phase.steps).collect();
    // As their turn comes, since ten thousand at once are a lot of memory; and past one that waits, since a silent system must not
    // take the time of the others.
    let futures = steps
        .iter()
        .enumerate()
        .map(|(place, step)| async move { (place, resolver.resolve(step).await) }.boxed());
    let mut resolving = stream::iter(futures).buffer_unordered(PARALLEL_STEPS);
    let mut resolved: Vec<Option<Resolution>> = steps.iter().map(|_| None).collect();
    let mut required = steps.iter().filter(|step| !step.optional).count();
    let mut until = Instant::now() + if required == 0 { GRACE } else { STEP_TIMEOUT + GRACE };
    while let Ok(Some((place, resolution))) = timeout_at(until, resolving.next()).await {
        resolved[place] = Some(resolution);
        if !steps[place].optional {
            required -= 1;
        }
        if required == 0 {
            until = until.min(Instant::now() + GRACE);
        }
    }
    drop(resolving);
    let late = |step: &Step| {
        let message =
            format!("resolve `{}` in time: no answer yet, and it is not waited for", step.verb);
        let error = ActionError::new(ErrorKind::TimedOut, message);
        Resolution::Unresolved { error, args: Vec::new(), probe: None }
    };
    let steps = steps.into_iter().zip(resolved);
    steps.map(|(step, resolution)| resolution.unwrap_or_else(|| late(step))).collect()
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
    refused: Vec<Concern>,
    warnings: Vec<Concern>,
}

impl Judge<'_> {
    fn settle(&mut self, step: &mut PlannedStep, resolution: Resolution) {
        match resolution {
            Resolution::Ready { items, probe, lasts, remarks } => {
                step.items = Items::Resolved(items);
                if let Some(lasts) = lasts {
                    step.policy.expected = lasts;
                }
                step.policy.verify.probe = probe;
                let remarks = remarks.into_iter().map(|remark| Concern::step(&step.id, remark));
                self.warnings.extend(remarks);
            }
            Resolution::Skipped { because } => step.skip = Some(because),
            Resolution::Unresolved { error, .. } if self.path.contains(&step.id) => {
                self.refused.push(Concern::step(&step.id, error));
            }
            Resolution::Unresolved { error, .. } if step.policy.optional => {
                step.skip = Some(format!("it is optional, and cannot {error}"));
                self.warnings.push(Concern::step(&step.id, error));
            }
            Resolution::Unresolved { error, args, probe } => {
                step.items = Items::Deferred { args, reason: error.message.clone() };
                step.policy.verify.probe = probe;
                self.warnings.push(Concern::step(&step.id, error));
            }
        }
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
