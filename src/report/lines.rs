//! Events as lines for people: one line each for what matters at 3 a.m., nothing for the rest.

use super::approvals::{self, subject};
use super::state::{ItemStage, StepView, TargetView, View};
use super::style::{BAD, DOUBT, FAINT, GOOD, STRONG, brief_ms, clock, paint};
use super::text::sanitize;
use super::{hold, reverts};
use crate::event::{Event, Outcome, Record, SkipReason, StopReason};
use crate::plan::StepId;

/// The most failed items that one step shows; the report has them all.
const MOST_ITEMS: usize = 5;

/// The lines that tell an event, after the view has taken it in.
pub fn tell(record: &Record, view: &View) -> Vec<String> {
    // Most events have no line, so their time is not made into a text beforehand.
    let at = || paint(FAINT, format!("{:>7}", clock(record.elapsed_ms)));
    let line = |text: String| vec![format!("{}  {text}", at())];
    match &record.event {
        Event::RunStarted { .. } => started(view),
        Event::RunResumed { by, .. } => line(format!(
            "{} by {}@{}",
            paint(STRONG, "resumed"),
            sanitize(&by.user),
            sanitize(&by.host)
        )),
        Event::PhaseStarted { phase } => phase_line(view, phase, &at()),
        Event::StepEnded { step, outcome, .. } => step_lines(view, step, *outcome, &at()),
        Event::StepSkipped { step, reason } => line(format!(
            "{} {:<24} {}",
            paint(FAINT, "–"),
            name(step),
            paint(FAINT, skipped(reason))
        )),
        Event::RetryScheduled { at: place, delay_ms, error, .. } => line(format!(
            "{} {:<24} another attempt in {}: {}",
            paint(DOUBT, "↻"),
            label(&place.step, &place.item),
            brief_ms(*delay_ms),
            sanitize(&error.message)
        )),
        Event::UndoStarted { at: place } => line(format!(
            "{} {:<24} taking the change back",
            paint(DOUBT, "↶"),
            label(&place.step, &place.item)
        )),
        Event::TargetReached { target, took_ms, in_time } => {
            line(reached(view, target, *took_ms, *in_time))
        }
        Event::TargetLate { target, within_ms } => line(paint(
            BAD,
            format!(
                "! LATE: {} was due after {}; going on",
                sanitize(target),
                brief_ms(*within_ms)
            ),
        )),
        Event::BudgetPassed { phase, budget_ms } => line(paint(
            DOUBT,
            format!(
                "! phase {} has used its budget of {}; going on",
                sanitize(phase),
                brief_ms(*budget_ms)
            ),
        )),
        Event::QuestionProbed { at, held, seen, .. } => {
            let asked = view.questions.iter().find(|question| question.at == *at);
            let text =
                asked.map_or_else(|| label(&at.step, &at.item), |asked| sanitize(&asked.text));
            let sign = if *held { paint(GOOD, "✓") } else { paint(BAD, "✗") };
            line(format!("{sign} {text}: {}", sanitize(seen)))
        }
        Event::RevertStarted { by, run } => {
            let by = sanitize(&format!("{}@{}", by.user, by.host));
            line(paint(DOUBT, format!("↶ taken back by run {}, started by {by}", sanitize(run))))
        }
        Event::RunConfirmed { by } => {
            let by = sanitize(&format!("{}@{}", by.user, by.host));
            line(paint(GOOD, format!("● CONFIRMED by {by}: every item of the checklist holds")))
        }
        // What is asked after the run is counted at its end; a screen full of it now would hide what matters.
        Event::QuestionOpened { window: Some(_), .. } => Vec::new(),
        Event::QuestionOpened { text, required, .. } => {
            let wait = if *required { "waits for an answer" } else { "open" };
            line(format!(
                "{} {} {}",
                paint(DOUBT, "?"),
                sanitize(text),
                paint(FAINT, format!("({wait})"))
            ))
        }
        Event::HoldBegan { at: place, for_ms } => {
            let until =
                jiff::SignedDuration::from_millis(i64::try_from(*for_ms).unwrap_or(i64::MAX));
            let until = record.at.checked_add(until).unwrap_or(record.at);
            let until = until.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
            line(hold::begun(&label(&place.step, &place.item), *for_ms, &until))
        }
        Event::HoldLooked { at: place, .. } => {
            let item = view.steps.get(&place.step).and_then(|step| step.items.get(&place.item));
            let hold = item.and_then(|item| item.hold.as_ref());
            let told = hold.map(|hold| {
                hold::looked(&label(&place.step, &place.item), hold, record.elapsed_ms)
            });
            let told = told.unwrap_or_default().into_iter();
            told.map(|text| format!("{}  {text}", at())).collect()
        }
        Event::DecisionAsked { step } => {
            line(paint(DOUBT, format!("? {} failed: go on?", name(step))))
        }
        Event::RungRaised { level, who, phone } => {
            let call =
                phone.as_ref().map(|phone| format!(", call {}", paint(STRONG, sanitize(phone))));
            let told = format!("{} {}{}", sanitize(level), sanitize(who), call.unwrap_or_default());
            line(format!("{} telling {told}", paint(DOUBT, "↗")))
        }
        Event::RungTold { level, message, error: Some(error) } => line(format!(
            "{} {} was not told by {}: failed to {}",
            paint(DOUBT, "!"),
            sanitize(level),
            sanitize(message),
            sanitize(&error.message)
        )),
        Event::Acknowledged { by, remark } => {
            let remark = remark.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
            let who = sanitize(&format!("{}@{}{remark}", by.user, by.host));
            line(format!("{} by {who}; nobody further up is told", paint(STRONG, "acknowledged")))
        }
        Event::StopRequested { reason } => line(paint(DOUBT, stopping(reason))),
        Event::KillRequested => line(paint(BAD, "stopping now; what is in flight becomes unknown")),
        Event::Warned { message } => line(format!("{} {}", paint(DOUBT, "!"), sanitize(message))),
        event => {
            let mut told = approvals::tell(event, &view.header.run);
            if let Some(first) = told.first_mut() {
                *first = format!("{}  {first}", at());
            }
            told
        }
    }
}

fn started(view: &View) -> Vec<String> {
    let header = &view.header;
    let plan = &header.plan;
    let mut lines = vec![
        String::new(),
        format!("{}  {}", paint(STRONG, "ROLLBACK"), paint(STRONG, sanitize(&plan.title))),
        format!(
            "run {} · {} · environment {}{}",
            paint(STRONG, &header.run),
            sanitize(&plan.subject),
            paint(STRONG, sanitize(&plan.environment)),
            header
                .reason
                .as_ref()
                .map(|text| format!(" · reason: {}", sanitize(text)))
                .unwrap_or_default()
        ),
    ];
    lines.extend(plan.reverts.iter().flat_map(reverts::lines));
    let targets: Vec<_> = view
        .targets
        .iter()
        .map(|(name, target)| format!("{} in {}", sanitize(name), target.time()))
        .collect();
    if !targets.is_empty() {
        lines.push(format!("targets: {}", targets.join(", ")));
    }
    if !plan.escalation.is_empty() {
        let rungs: Vec<_> = plan
            .escalation
            .iter()
            .map(|rung| format!("{} {}", sanitize(&rung.level), rung.when()))
            .collect();
        let acknowledge = paint(STRONG, format!("rollback acknowledge {}", header.run));
        lines.push(format!("told until {acknowledge}: {}", rungs.join(", ")));
    }
    if view.head_start_ms() > 0 {
        lines.push(format!("the clock has been running for {}", brief_ms(view.head_start_ms())));
    }
    lines
}

fn phase_line(view: &View, id: &str, at: &str) -> Vec<String> {
    let Some(phase) = view.header.plan.phases.iter().find(|phase| phase.id == id) else {
        return Vec::new();
    };
    let budget = phase.budget.map(|budget| format!("  budget {}", crate::value::brief(budget)));
    vec![
        String::new(),
        format!(
            "{at}  {}{}",
            paint(STRONG, sanitize(&phase.title)),
            paint(FAINT, budget.unwrap_or_default())
        ),
    ]
}

fn step_lines(view: &View, id: &StepId, outcome: Outcome, at: &str) -> Vec<String> {
    let Some(step) = view.steps.get(id) else { return Vec::new() };
    let sign = match outcome {
        Outcome::Done => paint(GOOD, "✓"),
        Outcome::AlreadyDone => paint(GOOD, "="),
        Outcome::Skipped | Outcome::NotStarted => paint(FAINT, "–"),
        Outcome::Open => paint(DOUBT, "?"),
        Outcome::Undone => paint(DOUBT, "↶"),
        Outcome::Failed => paint(BAD, "✗"),
        Outcome::Unknown => paint(BAD, "??"),
    };
    let took = step.took_ms().map(|ms| paint(FAINT, brief_ms(ms))).unwrap_or_default();
    let mut lines = vec![format!("{at}  {sign} {:<24} {}  {took}", name(id), story(step, outcome))];
    if matches!(outcome, Outcome::Failed | Outcome::Unknown) {
        lines.extend(troubles(step));
    }
    lines
}

/// What became of a step, in a few words.
fn story(step: &StepView, outcome: Outcome) -> String {
    let (done, all) = step.progress();
    let evidence = step.evidence().map(sanitize).unwrap_or_default();
    match outcome {
        Outcome::Done if all > 1 => format!("{done} of {all}"),
        Outcome::AlreadyDone if all > 1 => format!("{all} already done"),
        Outcome::AlreadyDone => format!("already done: {evidence}"),
        Outcome::Open => {
            let open = step.items.values().filter(|item| item.stage == ItemStage::Open).count();
            format!("{done} confirmed, {open} open for `rollback confirm`")
        }
        Outcome::Undone => "failed, and taken back".to_owned(),
        Outcome::Unknown => format!("UNKNOWN: {evidence}"),
        Outcome::Failed if all > 1 => format!("FAILED: {done} of {all} done"),
        Outcome::Failed => format!("FAILED: failed to {evidence}"),
        Outcome::NotStarted if done > 0 => format!("stopped after {done} of {all}"),
        Outcome::NotStarted if step.items.values().any(|item| item.hold.is_some()) => {
            "interrupted; its time goes on".to_owned()
        }
        Outcome::NotStarted => "not done".to_owned(),
        Outcome::Done | Outcome::Skipped => evidence,
    }
}

/// The items that went wrong, with what to do about them.
pub(super) fn troubles(step: &StepView) -> Vec<String> {
    let bad: Vec<_> = step
        .items
        .iter()
        .filter(|(_, item)| matches!(item.stage, ItemStage::Failed | ItemStage::Unknown))
        .collect();
    let mut lines = Vec::new();
    for (name, item) in bad.iter().take(MOST_ITEMS) {
        let note = item.note.as_deref().map(sanitize).unwrap_or_default();
        if step.items.len() > 1 {
            lines.push(format!("           {}: failed to {note}", sanitize(name)));
        }
        for hint in &item.hints {
            lines.push(format!("           {} {}", paint(STRONG, "hint:"), sanitize(hint)));
        }
    }
    if bad.len() > MOST_ITEMS {
        lines.push(format!("           and {} more; see the report", bad.len() - MOST_ITEMS));
    }
    lines
}

fn reached(view: &View, target: &str, took_ms: u64, in_time: bool) -> String {
    let time = view.targets.get(target).map(TargetView::time).unwrap_or_default();
    let text = format!("{} after {} of {time}", sanitize(target), brief_ms(took_ms));
    if in_time {
        paint(GOOD, format!("● TARGET MET: {text}"))
    } else {
        paint(BAD, format!("● TARGET MISSED: {text}"))
    }
}

/// The step's own id, without its phase.
fn name(step: &StepId) -> String {
    sanitize(step.0.split_once('/').map_or(step.as_str(), |(_, id)| id))
}

fn label(step: &StepId, item: &str) -> String {
    if item.is_empty() { name(step) } else { format!("{} [{}]", name(step), sanitize(item)) }
}

fn skipped(reason: &SkipReason) -> String {
    match reason {
        SkipReason::Condition { because } => format!("not needed: {}", sanitize(because)),
        SkipReason::NoSpareTime { needs_ms, left_ms } => format!(
            "left out, no spare time: it needs {}, {} is left",
            brief_ms(*needs_ms),
            brief_ms(*left_ms)
        ),
        SkipReason::Blocked { by } => format!("not started: {} did not succeed", name(by)),
        SkipReason::LeftOut { because } => format!("left out: {}", sanitize(because)),
        SkipReason::NotApproved { role } => {
            format!("left out: not approved by {}", sanitize(role))
        }
        SkipReason::Stopping => "not started: the run stops".to_owned(),
    }
}

/// A run begins to stop, in one line.
fn stopping(reason: &StopReason) -> String {
    match reason {
        StopReason::Interrupted => {
            "stopping: letting what is in flight settle (Ctrl-C again to stop now)".to_owned()
        }
        other => format!("stopping: {}; nothing more is started", why_stopped(other)),
    }
}

/// Why a run stopped, as a fragment.
pub fn why_stopped(reason: &StopReason) -> String {
    match reason {
        StopReason::StepFailed { step } => format!("{} failed", sanitize(&step.0)),
        StopReason::Interrupted => "interrupted by Ctrl-C".to_owned(),
        StopReason::Terminated { by: None } => "told to end (SIGTERM)".to_owned(),
        StopReason::Terminated { by: Some(by) } => sanitize(by),
        StopReason::NotApproved { step, role, denied_by } => {
            let (subject, role) = (subject(step.as_ref()), sanitize(role));
            match denied_by {
                Some(name) => format!("{} denied {subject} as {role}", sanitize(name)),
                None => format!("nobody approved {subject} as {role} in time"),
            }
        }
        StopReason::TakenOver { run, runbook } => {
            format!("taken over by run {} of {}", sanitize(run), sanitize(runbook))
        }
        StopReason::GaveUp => "the time to give up has come".to_owned(),
        StopReason::JournalLost { error } => {
            format!("the journal cannot be written ({})", sanitize(error))
        }
        StopReason::Panicked { message } => {
            format!("a bug in rollback itself ({})", sanitize(message))
        }
    }
}
