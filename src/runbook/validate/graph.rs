//! Ids, waits and layers: duplicate ids, unknown `after` references, circles, steps that never run.

use std::collections::{HashMap, HashSet};

use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::model::{Phase, Runbook, Step};
use crate::runbook::node::{NodeValue, Span};
use crate::runbook::suggest;

/// Which steps of a phase wait for which, by position.
pub(super) struct PhaseGraph {
    waits: Vec<Vec<usize>>,
}

impl PhaseGraph {
    /// Every step that must have settled before this one starts, as a set of positions.
    pub(super) fn before(&self, step: usize) -> HashSet<usize> {
        let mut seen = HashSet::new();
        let mut open = vec![step];
        while let Some(next) = open.pop() {
            for wait in self.waits.get(next).into_iter().flatten() {
                if seen.insert(*wait) {
                    open.push(*wait);
                }
            }
        }
        seen
    }

    /// Every step that starts only when this one has settled, as a set of positions.
    pub(super) fn after(&self, step: usize) -> HashSet<usize> {
        let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); self.waits.len()];
        for (later, waits) in self.waits.iter().enumerate() {
            for wait in waits {
                waiting[*wait].push(later);
            }
        }
        let mut seen = HashSet::new();
        let mut open = vec![step];
        while let Some(next) = open.pop() {
            open.extend(waiting[next].iter().filter(|later| seen.insert(**later)));
        }
        seen
    }
}

/// Checks every phase and returns its graph.
pub(super) fn check(runbook: &Runbook, problems: &mut Vec<Diagnostic>) -> Vec<PhaseGraph> {
    let all = runbook.phases.iter().chain(runbook.drill_phases());
    unique(all.map(|phase| (phase.id.as_str(), phase.span)), "phase", problems);
    for phase in runbook.drill_phases() {
        let _graph = check_phase(phase, problems);
    }
    runbook.phases.iter().map(|phase| check_phase(phase, problems)).collect()
}

fn unique<'a>(
    ids: impl Iterator<Item = (&'a str, Span)>,
    what: &str,
    problems: &mut Vec<Diagnostic>,
) {
    let mut first: HashMap<&str, Span> = HashMap::new();
    for (id, span) in ids.filter(|(id, _)| !id.is_empty()) {
        if let Some(former) = first.get(id) {
            problems.push(
                Diagnostic::error("duplicate-id", format!("another {what} is called `{id}`"))
                    .at(span)
                    .also(*former, "the first"),
            );
        } else {
            let _none = first.insert(id, span);
        }
    }
}

fn check_phase(phase: &Phase, problems: &mut Vec<Diagnostic>) -> PhaseGraph {
    unique(
        phase.steps.iter().map(|step| (step.id.as_str(), step.span)),
        "step of this phase",
        problems,
    );
    let positions: HashMap<&str, usize> = phase
        .steps
        .iter()
        .enumerate()
        .rev()
        .map(|(position, step)| (step.id.as_str(), position))
        .collect();
    let mut waits = Vec::with_capacity(phase.steps.len());
    let mut required_above = None;
    for (position, step) in phase.steps.iter().enumerate() {
        waits.push(match &step.after {
            None => required_above.into_iter().collect(),
            Some(_) => explicit(phase, step, &positions, problems),
        });
        if !step.optional {
            required_above = Some(position);
        }
        never_runs(step, problems);
    }
    let graph = PhaseGraph { waits };
    circles(phase, &graph, problems);
    graph
}

fn explicit(
    phase: &Phase,
    step: &Step,
    positions: &HashMap<&str, usize>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<usize> {
    let mut waits = Vec::new();
    for after in step.after.iter().flatten() {
        let Some(position) = positions.get(after.step.as_str()) else {
            let message = format!("this phase has no step `{}`", suggest::visible(&after.step));
            let mut problem = Diagnostic::error("unknown-step", message).at(after.span);
            let ids = phase.steps.iter().map(|step| step.id.as_str()).filter(|id| *id != step.id);
            problem.hints.extend(suggest::hint(&after.step, ids));
            problems.push(problem);
            continue;
        };
        if waits.contains(position) {
            let message = format!("`{}` is waited for twice", after.step);
            problems.push(Diagnostic::error("repeated-wait", message).at(after.span));
            continue;
        }
        waits.push(*position);
        let other = &phase.steps[*position];
        if other.optional && !step.optional {
            problems.push(
                Diagnostic::warning(
                    "required-waits-for-optional",
                    format!("a required step waits for `{}`, which is optional", other.id),
                )
                .at(after.span)
                .also(other.span, "optional")
                .hint("An optional step is dropped when time is short: do not put it on the path."),
            );
        }
    }
    waits
}

/// A step whose condition is the literal `false`.
fn never_runs(step: &Step, problems: &mut Vec<Diagnostic>) {
    if let Some(when) = &step.when
        && when.value == NodeValue::Bool(false)
    {
        problems.push(
            Diagnostic::error("unreachable-step", format!("`{}` never runs", step.id))
                .at(when.span)
                .hint("Remove the step, or give it a condition that can be true."),
        );
    }
}

/// Finds steps that wait for themselves, by removing everything that can start (Kahn).
fn circles(phase: &Phase, graph: &PhaseGraph, problems: &mut Vec<Diagnostic>) {
    let count = graph.waits.len();
    let mut missing: Vec<usize> = graph.waits.iter().map(Vec::len).collect();
    let mut waiters: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (step, waits) in graph.waits.iter().enumerate() {
        for wait in waits {
            waiters[*wait].push(step);
        }
    }
    let mut ready: Vec<usize> = (0..count).filter(|step| missing[*step] == 0).collect();
    while let Some(step) = ready.pop() {
        for waiter in &waiters[step] {
            missing[*waiter] -= 1;
            if missing[*waiter] == 0 {
                ready.push(*waiter);
            }
        }
    }
    let stuck: Vec<usize> = (0..count).filter(|step| missing[*step] > 0).collect();
    let Some(circle) = stuck.first().map(|first| one_circle(*first, graph, &missing)) else {
        return;
    };
    let names: Vec<&str> = circle.iter().map(|step| phase.steps[*step].id.as_str()).collect();
    let first = &phase.steps[circle[0]];
    let message = match names.as_slice() {
        [only] => format!("`{only}` waits for itself"),
        _ => format!("these steps wait for each other: {}", suggest::listed(&names)),
    };
    problems.push(
        Diagnostic::error("circular-wait", message)
            .at(first.after.iter().flatten().next().map_or(first.span, |after| after.span))
            .hint("Take one of them out of `after`."),
    );
    for step in stuck.iter().filter(|step| !circle.contains(step)) {
        let step = &phase.steps[*step];
        let message = format!("`{}` never starts: it waits for a circle", step.id);
        problems.push(Diagnostic::error("unreachable-step", message).at(step.span));
    }
}

/// Follows unmet waits from a stuck step until a step comes again.
fn one_circle(from: usize, graph: &PhaseGraph, missing: &[usize]) -> Vec<usize> {
    let mut path = Vec::new();
    let mut seen: HashMap<usize, usize> = HashMap::new();
    let mut step = from;
    while !seen.contains_key(&step) {
        let _none = seen.insert(step, path.len());
        path.push(step);
        let next = graph.waits[step].iter().find(|wait| missing[**wait] > 0);
        step = next.copied().unwrap_or(from);
    }
    path.split_off(seen[&step])
}
