//! What no shape can say: names that lead nowhere, conditions that cannot be asked, and triggers that do not agree.
//!
//! Two triggers are about the same values when their conditions differ in the bounds alone. Then the ranges are compared: a more severe one
//! may take a part of a less severe one's (above 90 % of above 75 %), and decides there. Anything else is told: two answers of the
//! same severity, a trigger whose whole range another decides, a milder answer to something worse, and a gap between two ranges, unless one is
//! of all lower values and the other of all higher ones.

use std::collections::HashMap;

use serde_json::Value;

use super::model::{Approval, Response, Table, Trigger};
use super::ranges::{BOUNDS, Range};
use crate::environment::FoundRunbook;
use crate::runbook::Scenario;
use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::schema::Catalog;
use crate::runbook::suggest;

/// The argument by which a probe looks back.
pub(super) const LOOKING_BACK: &str = "for";
/// The argument by which a probe says which of several series has made it hold.
const SERIES: &str = "series";

/// Checks a table.
pub(super) fn check(
    table: &Table,
    catalog: &Catalog<'_>,
    runbooks: &[FoundRunbook],
    problems: &mut Vec<Diagnostic>,
) {
    ids(table, problems);
    for trigger in &table.triggers {
        approval(table, trigger, problems);
        runbook(trigger, runbooks, problems);
        looking_back(trigger, catalog, problems);
        label(trigger, catalog, problems);
    }
    agreement(table, problems);
}

fn ids(table: &Table, problems: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<&str, &Trigger> = HashMap::new();
    for trigger in &table.triggers {
        if let Some(first) = seen.insert(&trigger.id, trigger) {
            problems.push(
                Diagnostic::error(
                    "repeated-id",
                    format!("there are two triggers `{}`", trigger.id),
                )
                .at(trigger.span)
                .label("again")
                .also(first.span, "first"),
            );
        }
    }
}

fn approval(table: &Table, trigger: &Trigger, problems: &mut Vec<Diagnostic>) {
    let rolls_back = trigger.response >= Response::PlannedRollback;
    match &trigger.approval {
        Approval::Role(role) if !table.roles.contains_key(role) => {
            let message =
                format!("`{}` needs the approval of `{role}`, who is no role", trigger.id);
            let known = table.roles.keys().map(String::as_str).chain(["automated"]);
            let mut problem = Diagnostic::error("unknown-role", message).at(trigger.approval_span);
            problem.hints.extend(suggest::hint(role, known));
            problems.push(problem.hint("Roles are declared under `roles:`, at the top."));
        }
        Approval::Automated if !rolls_back => {
            let message =
                format!("`{}` is automated, and asks for a person's judgement", trigger.id);
            problems.push(
                Diagnostic::error("automated-judgement", message)
                    .at(trigger.approval_span)
                    .hint("Name the role that judges, or let the action be a rollback."),
            );
        }
        // Without it, a condition that the rollback does not mend at once would start the next one.
        Approval::Automated if trigger.cool_down.is_none() => {
            let message = format!(
                "`{}` is automated, and nothing says how long it has to be left alone then",
                trigger.id
            );
            problems.push(
                Diagnostic::error("missing-cool-down", message)
                    .at(trigger.approval_span)
                    .hint("Add `cool_down: 30m`: longer than the rollback and the metrics need."),
            );
        }
        _ => {}
    }
}

fn runbook(trigger: &Trigger, runbooks: &[FoundRunbook], problems: &mut Vec<Diagnostic>) {
    if let Some(known) = runbooks.iter().find(|known| known.name == trigger.runbook) {
        let takes_a_name =
            matches!(known.scenario, Some(Scenario::Partial | Scenario::KnowledgeBase));
        if trigger.argument.is_some() && !takes_a_name {
            let message = format!("the runbook of `{}` is started without a name", trigger.id);
            problems.push(
                Diagnostic::error("no-argument", message)
                    .at(trigger.runbook_span)
                    .hint("Leave `argument` out: a partial or a knowledge-base runbook takes one."),
            );
        }
        return;
    }
    let shown = suggest::visible(&trigger.runbook);
    let message = format!("`{}` names the runbook `{shown}`, which is not there", trigger.id);
    let mut problem = Diagnostic::error("unknown-runbook", message).at(trigger.runbook_span);
    let known = runbooks.iter().map(|known| known.name.as_str());
    problem.hints.extend(suggest::hint(&trigger.runbook, known));
    problems.push(problem);
}

/// A condition that has to have held is asked of the past, which not every probe can tell.
fn looking_back(trigger: &Trigger, catalog: &Catalog<'_>, problems: &mut Vec<Diagnostic>) {
    let verb = &trigger.condition.verb;
    if trigger.condition.args.get(LOOKING_BACK).is_some() {
        let message = format!("the condition of `{}` says `for` itself", trigger.id);
        problems.push(
            Diagnostic::error("for-in-condition", message)
                .at(trigger.condition.span)
                .hint("Write it as `sustained_for` beside the condition, where a table's reader looks for it."),
        );
    }
    let arguments = catalog.arguments(verb).map(|schema| catalog.resolve(schema));
    let looks_back =
        arguments.is_some_and(|schema| schema["properties"].get(LOOKING_BACK).is_some());
    if trigger.sustained_for.is_some() && !looks_back {
        let message = format!("`{verb}` cannot tell how long something has been so");
        problems.push(
            Diagnostic::error("cannot-look-back", message)
                .at(trigger.condition.span)
                .hint("Leave `sustained_for` out, or ask something that keeps the past, such as `prometheus.expect`."),
        );
    }
}

/// The name that a runbook is started with is a label of one series, which has to be told.
fn label(trigger: &Trigger, catalog: &Catalog<'_>, problems: &mut Vec<Diagnostic>) {
    if trigger.argument.is_none() {
        return;
    }
    let verb = &trigger.condition.verb;
    let schema = catalog.arguments(verb).map(|schema| catalog.resolve(schema));
    let (message, hint) = if schema.is_none_or(|it| it["properties"].get(SERIES).is_none()) {
        (
            format!("`{verb}` answers with no label that `{}` could take a name from", trigger.id),
            "Leave `argument` out, or ask something whose answer has labels, such as `prometheus.expect`.",
        )
    } else if !may_be_any(&trigger.condition.args.to_json()) {
        (
            format!(
                "no one series makes `{}` fire, so there is no label to take a name from",
                trigger.id
            ),
            "Add `series: any` to the condition, or leave `argument` out.",
        )
    } else {
        return;
    };
    let problem = Diagnostic::error("no-label", message).at(trigger.condition.span);
    problems.push(problem.hint(hint));
}

/// Of what an environment gives nothing can be said.
fn may_be_any(args: &Value) -> bool {
    match args {
        Value::Object(args) => args.get(SERIES).is_some_and(|series| {
            series.as_str().is_some_and(|series| series == "any" || series.contains("{{"))
        }),
        _ => true,
    }
}

/// Triggers about the same values.
fn agreement(table: &Table, problems: &mut Vec<Diagnostic>) {
    let mut groups: Vec<(String, Vec<(&Trigger, Range)>)> = Vec::new();
    for trigger in &table.triggers {
        let mut args = trigger.condition.args.to_json();
        let Some(range) = Range::of(&args) else { continue };
        if let Value::Object(args) = &mut args {
            args.retain(|key, _| !BOUNDS.contains(&key.as_str()));
        }
        let subject = format!("{} {args}", trigger.condition.verb);
        match groups.iter_mut().find(|(known, _)| *known == subject) {
            Some((_, group)) => group.push((trigger, range)),
            None => groups.push((subject, vec![(trigger, range)])),
        }
    }
    for (_, group) in groups {
        for (index, (one, range)) in group.iter().enumerate() {
            for (other, other_range) in &group[index + 1..] {
                if range.overlaps(other_range) {
                    problems.extend(disagreement((one, range), (other, other_range)));
                }
            }
        }
        problems.extend(gap(&group));
    }
}

type Ranged<'a> = (&'a Trigger, &'a Range);

/// What is wrong with two triggers of which both fire at the same value.
fn disagreement(first: Ranged<'_>, second: Ranged<'_>) -> Option<Diagnostic> {
    let ((worse, wide), (lesser, narrow)) =
        if first.0.severity >= second.0.severity { (first, second) } else { (second, first) };
    let (one, two) = (&worse.id, &lesser.id);
    let at = |code, message: String| {
        Diagnostic::error(code, message).at(second.0.span).also(first.0.span, "the other")
    };
    if worse.severity == lesser.severity {
        let severity = worse.severity.word();
        if worse.response == lesser.response {
            // Far beyond the bound at once, a little beyond it when it lasts: each decides where the other does not.
            let later = |(one, wider): Ranged<'_>, (other, narrower): Ranged<'_>| {
                let strictly = wider.contains(narrower) && !narrower.contains(wider);
                strictly && one.sustained_for > other.sustained_for
            };
            if later(first, second) || later(second, first) {
                return None;
            }
            let message = format!("`{one}` and `{two}` fire at the same values, both {severity}");
            return Some(
                at("overlap", message).hint("Leave one out, or bound them so that they meet."),
            );
        }
        // First it is watched; more is asked for when it lasts.
        let escalates = |one: Ranged<'_>, other: Ranged<'_>| {
            one.0.sustained_for < other.0.sustained_for && one.0.response < other.0.response
        };
        if escalates(first, second) || escalates(second, first) {
            return None;
        }
        let message = format!(
            "`{one}` and `{two}` are both {severity} and fire at the same values, with two answers: {} and {}",
            worse.response.word(),
            lesser.response.word()
        );
        return Some(
            at("contradiction", message)
                .hint("Bound them so that each value has one answer, or give them two severities."),
        );
    }
    if worse.response < lesser.response {
        let message = format!(
            "`{one}` is worse than `{two}`, and asks for less: {} and not {}",
            worse.response.word(),
            lesser.response.word()
        );
        return Some(
            at("contradiction", message)
                .hint("The more severe trigger decides: let it ask for as much at least."),
        );
    }
    let never = wide.contains(narrow) && worse.sustained_for <= lesser.sustained_for;
    never.then(|| {
        let message =
            format!("`{two}` never decides: `{one}` is worse, and fires whenever it does");
        at("shadowed", message).hint("Move its bound, or leave it out.")
    })
}

/// Values between those of two triggers, at which none fires.
fn gap(group: &[(&Trigger, Range)]) -> Option<Diagnostic> {
    let ranges: Vec<Range> = group.iter().map(|(_, range)| *range).collect();
    let gap = Range::gap(&ranges)?;
    let (last, _) = group.last()?;
    let names: Vec<String> = group.iter().map(|(trigger, _)| format!("`{}`", trigger.id)).collect();
    let message = format!("between {} nothing fires at values {gap}", names.join(" and "));
    Some(
        Diagnostic::error("gap", message)
            .at(last.span)
            .hint("Leave out the bound that makes the gap: of two triggers that fire, the more severe one decides."),
    )
}
