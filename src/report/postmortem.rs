//! The post-mortem as Markdown, in the order of the procedure's template: what the journal knows is filled in, what only people know is said
//! to be not known, and what has to be decided stays open.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::View;
use super::approvals::ApprovalOutcome;
use super::facts::{actions, verdict};
use super::incident;
use super::log::measured;
use super::state::{ItemStage, StepView};
use super::style::brief_ms;
use super::text::markdown as escape;
use crate::event::{Outcome, SkipReason};

const TIME: &str = "%Y-%m-%d %H:%M UTC";
const AT: &str = "%H:%M:%S";
const NOT_KNOWN: &str = "not known";

/// What is always left to do, with an owner and a date that people decide.
const ACTION_ITEMS: [&str; 4] = [
    "Fix root cause",
    "Update monitoring to detect earlier",
    "Improve rollback automation",
    "Update documentation",
];

/// What has to be so before the next attempt.
const REDEPLOYMENT: [&str; 6] = [
    "Root cause fixed in staging",
    "Additional tests added",
    "Monitoring improved",
    "Gradual rollout plan updated",
    "Rollback procedure tested",
    "Approval obtained for re-deployment",
];

/// The whole document. `journal_head` is the hash of the journal's last record.
pub fn document(view: &View, journal_head: &str) -> String {
    let mut out = String::new();
    head(&mut out, view);
    section(&mut out, "Timeline");
    timeline(&mut out, view);
    section(&mut out, "Root Cause");
    root_cause(&mut out, view);
    section(&mut out, "Impact");
    impact(&mut out, view);
    section(&mut out, "What Went Well");
    list(&mut out, well(view), "Nothing that the run noticed.");
    section(&mut out, "What Didn't Go Well");
    list(&mut out, badly(view), "Nothing that the run noticed.");
    section(&mut out, "Action Items");
    for item in ACTION_ITEMS {
        line(&mut out, &format!("- [ ] {item} (Owner: ( ), Due: ( ))"));
    }
    incident::reviewed(&mut out, view, &["action items"]);
    section(&mut out, "Prevention");
    if !incident::reviewed(&mut out, view, &["prevention", "lessons learned"]) {
        line(&mut out, &not_answered(view));
    }
    section(&mut out, "Re-Deployment Plan");
    for item in REDEPLOYMENT {
        line(&mut out, &format!("- [ ] {item}"));
    }
    incident::reviewed(&mut out, view, &["retry plan", "re-deployment plan"]);
    let run = &view.header.run;
    line(&mut out, &format!("\nRun `{run}`; its journal ends with `{journal_head}`."));
    out
}

fn head(out: &mut String, view: &View) {
    let header = &view.header;
    let plan = &header.plan;
    line(out, "# Rollback Post-Mortem\n");
    let (started, ended) = (view.header.since.unwrap_or(header.started), view.elapsed_ms);
    let by = escape(&format!("{}@{}", header.by.user, header.by.host));
    let severity = plan.severity.map_or(NOT_KNOWN, |severity| severity.word());
    for (name, value) in [
        ("Date", started.strftime(TIME).to_string()),
        ("Duration", brief_ms(ended + view.head_start_ms())),
        ("Triggered By", format!("Manual, by {by}")),
        ("Rollback Type", plan.scenario.title().to_owned()),
        ("Severity", severity.to_owned()),
        ("Runbook", format!("{} in {}", escape(&plan.runbook), escape(&plan.environment))),
        ("Result", verdict(view).to_owned()),
    ] {
        line(out, &format!("**{name}**: {value}  "));
    }
}

fn timeline(out: &mut String, view: &View) {
    let header = &view.header;
    let mut point = |at: Option<Timestamp>, what: &str, unless: &str| match at {
        Some(at) => line(out, &format!("- {} - {what}", at.strftime(AT))),
        None => line(out, &format!("- {what}: {NOT_KNOWN}{unless}")),
    };
    point(header.since, "Issue first detected", ", the run was started without `--since`");
    let approved = view.approvals.iter().find_map(|asked| match &asked.outcome {
        Some(ApprovalOutcome::Answered { at_ms, approved: true, .. }) => Some(*at_ms),
        _ => None,
    });
    let decided = approved.and_then(|at| after(header.started, at));
    point(decided, "Rollback decision made", ", no approval was asked for");
    point(Some(header.started), "Rollback initiated", "");
    let restored = header.plan.targets.first().and_then(|first| {
        let took = view.targets.get(&first.name)?.took_ms?;
        after(header.since.unwrap_or(header.started), took)
    });
    point(restored, "Service restored", ", no target was reached");
    let ended = view.verdict.and_then(|_| after(header.started, view.elapsed_ms));
    point(ended, "Rollback completed", ", the run has not ended");
    line(out, "\nFrom the journal, since the start of the run:\n");
    incident::timeline(view, out);
}

fn after(start: Timestamp, ms: u64) -> Option<Timestamp> {
    start.checked_add(Duration::from_millis(ms)).ok()
}

fn root_cause(out: &mut String, view: &View) {
    let reason = view.header.reason.as_deref().map_or_else(|| "not given".to_owned(), escape);
    line(out, &format!("The reason that was given at the start: {reason}\n"));
    if !incident::reviewed(out, view, &["root cause", "root cause analysis"]) {
        line(out, &not_answered(view));
    }
}

fn impact(out: &mut String, view: &View) {
    let seen = |words: &[&str]| measured(view, words).unwrap_or_else(|| "not measured".to_owned());
    for (name, value) in [
        ("Users affected", NOT_KNOWN.to_owned()),
        ("Error rate", seen(&["error rate"])),
        ("Response time", seen(&["p95", "response time"])),
        ("Revenue impact", NOT_KNOWN.to_owned()),
        ("Reputation impact", NOT_KNOWN.to_owned()),
    ] {
        line(out, &format!("- {name}: {value}"));
    }
    if let Some(kept) = view.evidence.last() {
        for (name, (before, after)) in &kept.compared {
            let shown = |value: &Option<f64>| {
                value.map_or_else(|| "no data".to_owned(), |value| format!("{value:.4}"))
            };
            let (name, before, after) = (escape(name), shown(before), shown(after));
            line(out, &format!("- {name}: {before} before the rollback, {after} after it"));
        }
    }
    incident::reviewed(out, view, &["impact", "impact assessment"]);
}

fn well(view: &View) -> Vec<String> {
    let targets = view.targets.iter().filter(|(_, target)| !target.late);
    let met = targets.filter_map(|(name, target)| {
        let (took, within) = (brief_ms(target.took_ms?), brief_ms(target.within_ms));
        Some(format!("The target {name} was met: {took} of {within}"))
    });
    met.chain(actions(view)).map(|text| escape(&text)).collect()
}

fn badly(view: &View) -> Vec<String> {
    let mut bad = Vec::new();
    for (name, target) in &view.targets {
        let within = brief_ms(target.within_ms);
        match target.took_ms {
            None => bad.push(format!("The target {name} was not reached within {within}")),
            Some(took) if target.late => {
                bad.push(format!("The target {name} was missed: {} of {within}", brief_ms(took)));
            }
            Some(_) => {}
        }
    }
    for (id, step) in &view.steps {
        bad.extend(trouble(step).map(|what| format!("{id}: {what}")));
    }
    for rung in &view.rungs {
        let failed = rung.messages.iter().filter_map(|(name, why)| Some((name, why.as_ref()?)));
        bad.extend(failed.map(|(name, why)| format!("{}: {name} failed to {why}", rung.level)));
    }
    let resumed = view.resumed.iter();
    bad.extend(resumed.map(|(at, _)| {
        format!("The run was interrupted, and resumed {} after its start", brief_ms(*at))
    }));
    bad.extend(view.warnings.iter().cloned());
    bad.iter().map(|text| escape(text)).collect()
}

/// What was not as it should be with a step.
fn trouble(step: &StepView) -> Option<String> {
    match (step.outcome, step.skipped.as_deref()) {
        (Some(Outcome::Failed | Outcome::Unknown | Outcome::Undone), _) => {
            let bad = |stage| matches!(stage, ItemStage::Failed | ItemStage::Unknown);
            let first = step.items.values().find(|item| bad(item.stage));
            let note = first.and_then(|item| item.note.as_deref()).or(step.summary.as_deref());
            Some(format!("failed to {}", note.unwrap_or("do it")))
        }
        (_, Some(SkipReason::NoSpareTime { .. })) => Some("left out, there was no time".to_owned()),
        _ if step.retries > 0 => Some(format!("repeated {} times", step.retries)),
        _ => None,
    }
}

/// What stands where a person has not said anything yet.
fn not_answered(view: &View) -> String {
    let run = &view.header.run;
    if view.questions.iter().any(|asked| asked.window == Some(crate::action::Window::Review)) {
        return format!("Not known yet: `rollback confirm {run} --window review` asks.");
    }
    "Not known yet.".to_owned()
}

fn section(out: &mut String, title: &str) {
    line(out, &format!("\n## {title}\n"));
}

fn list(out: &mut String, lines: Vec<String>, none: &str) {
    if lines.is_empty() {
        line(out, none);
    }
    for text in lines {
        line(out, &format!("- {text}"));
    }
}

fn line(out: &mut String, text: &str) {
    // Writing into a String cannot fail.
    let _always_fits = writeln!(out, "{text}");
}
