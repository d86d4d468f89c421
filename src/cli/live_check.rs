//! `rollback check --env`: whether a runbook still matches the systems that it is for, and what its questions are answered.
//!
//! It is what `rollback plan` finds out, for every runbook and without a person: inputs that somebody would have to type take
//! their samples.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::context::Context;
use super::error::CliError;
use super::open;
use super::run::{DRY, known_of};
use crate::environment::{Environment, locate};
use crate::plan::inputs::{self, Given, Inputs};
use crate::plan::preflight::preflight;
use crate::plan::preview::{Finding, PreviewItem, PreviewStep};
use crate::plan::{Concern, PreviewContext, Request, StepId, preview};
use crate::report::check::{Level, Problem};
use crate::runbook::{Loaded, Runbook, Scenario, load};

/// What the live systems of an environment say against a runbook that is fine by itself.
pub(super) async fn problems(
    cx: &Context,
    path: &Path,
    env: &str,
) -> Result<Vec<Problem>, CliError> {
    let registry = Arc::new(crate::adapters::registry());
    let config = &cx.config;
    let choice = match locate::locate(Some(env), path, config) {
        Ok(choice) => choice,
        Err(error) => {
            let (text, hints) = (error.to_string(), error.hints());
            return Ok(vec![Problem::beyond(Level::Error, "no-environment", text, hints)]);
        }
    };
    // It was read a moment ago, and then nothing was wrong with it.
    let Ok(mut loaded) = load(path, &registry) else { return Ok(Vec::new()) };
    let phases = std::mem::take(&mut loaded.runbook.phases);
    let (environment, resolve) = open::enter(cx, &choice.path, registry, config).await?;
    let mut found = Vec::new();
    let inputs = inputs(&loaded.runbook, &environment, &resolve, &mut found).await;
    let known = known_of(DRY, &loaded.runbook, path, false);
    let request = request(&loaded, &environment, &inputs, &known, &resolve);
    let built = match crate::plan::build(request, phases).await {
        Ok(built) => built,
        Err(refused) => {
            found
                .extend(refused.reasons.iter().map(|reason| told(Level::Error, "refused", reason)));
            return Ok(found);
        }
    };
    found.extend(built.warnings.iter().map(|concern| told(Level::Warning, "not-now", concern)));
    let reached = preflight(&built.plan, &resolve.registry, &resolve.connections).await;
    let unreachable = |level| move |concern: &Concern| told(level, "not-reached", concern);
    found.extend(reached.refusals.iter().map(unreachable(Level::Error)));
    found.extend(reached.warnings.iter().map(unreachable(Level::Warning)));
    let scratch = open::store(cx, config)?.dir().to_owned();
    let seen = preview(&built.plan, &PreviewContext { resolve, scratch }).await;
    // Whether a rollback holds is no question while none was made.
    let scenario = loaded.runbook.scenario;
    if scenario != Scenario::Validation {
        let asks = scenario == Scenario::Prevention;
        found.extend(seen.steps.iter().flat_map(|step| findings(step, asks)));
        found.extend(seen.late.iter().map(|late| {
            let (text, hints) = (late.to_string(), vec![late.hint()]);
            Problem::beyond(Level::Warning, "reaches-all-too-late", text, hints)
        }));
    }
    Ok(found)
}

fn request<'a>(
    loaded: &'a Loaded,
    environment: &'a Environment,
    inputs: &'a Inputs,
    run: &'a Value,
    cx: &'a crate::action::ResolveContext,
) -> Request<'a> {
    let (runbook, source) = (&loaded.runbook, &loaded.source);
    Request { runbook, environment, inputs, source, run, cx, history: &unmeasured }
}

/// Whether it fits by what was measured is for `rollback plan`: here the file's own times count.
fn unmeasured(_: &StepId) -> Option<std::time::Duration> {
    None
}

/// The inputs; those that somebody would be asked for take their samples.
async fn inputs(
    runbook: &Runbook,
    environment: &Environment,
    cx: &crate::action::ResolveContext,
    found: &mut Vec<Problem>,
) -> Inputs {
    let given = Given {
        flags: Vec::new(),
        environment: environment.inputs.clone(),
        values: environment.values.clone(),
        file: IndexMap::new(),
    };
    let mut inputs = inputs::resolve(runbook, &given, cx).await;
    found.extend(inputs.problems.iter().map(|problem| told(Level::Error, "wrong-input", problem)));
    for question in inputs.questions.clone() {
        let sample = runbook.inputs.get(&question.input).and_then(|input| input.sample.as_ref());
        let sample = sample.map_or_else(|| "sample".to_owned(), |sample| text(&sample.to_json()));
        if let Err(why) = inputs.answer(runbook, &question.input, &sample) {
            let message = format!("input {}: {why}; give it a `sample`", question.input);
            found.push(Problem::beyond(Level::Warning, "no-sample", message, Vec::new()));
        }
    }
    inputs
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn told(level: Level, code: &str, concern: &Concern) -> Problem {
    Problem::beyond(level, code, concern.to_string(), concern.error.hints.clone())
}

/// What a step's items are found to be. Where the questions are what the runbook is for, every answer counts; elsewhere those
/// that the run would fail by.
fn findings(step: &PreviewStep, asks: bool) -> impl Iterator<Item = Problem> {
    let level = if step.optional { Level::Warning } else { Level::Error };
    step.items.iter().filter_map(move |item| {
        let about = about(step, item);
        let problem = |level, code, text: String| {
            Some(Problem::beyond(level, code, format!("{about}: {text}"), Vec::new()))
        };
        match &item.finding {
            Finding::DoesNotHold { observed } => problem(level, "does-not-hold", observed.clone()),
            Finding::CannotTell { error } if asks => problem(level, "no-answer", error.to_string()),
            Finding::AsksPerson { .. } | Finding::AsksLater { .. } if asks => {
                problem(Level::Note, "for-a-person", item.does.clone())
            }
            _ => None,
        }
    })
}

fn about(step: &PreviewStep, item: &PreviewItem) -> String {
    if item.name.is_empty() {
        format!("step {}", step.id)
    } else {
        format!("step {}/{}", step.id, item.name)
    }
}
