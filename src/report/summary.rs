//! The last word of a run: what it came to, what is left, and what to type next. Read by a tired person.

use super::approvals;
use super::lines;
use super::questions;
use super::reverts;
use super::state::{ItemStage, StepView, View};
use super::style::{BAD, DOUBT, FAINT, GOOD, STRONG, brief_ms, paint};
use super::text::sanitize;
use crate::event::{Outcome, RunVerdict, Standing, StopReason};

/// The open items that the last word shows; a long checklist must not push the verdict off the screen.
const MOST_OPEN_ITEMS: usize = 5;
/// Why an approval is answered.
const ANSWER: &str = "answer the approval";

/// The lines of the final verdict, or of a run that goes on.
pub fn lines(view: &View) -> Vec<String> {
    told(view, next(view))
}

/// The same for a run that no process runs: nobody can answer it before it is taken up again.
pub fn left_alone(view: &View) -> Vec<String> {
    let mut commands = next(view);
    if view.verdict.is_none() {
        commands.sort_by_key(|(why, _)| *why == ANSWER);
    }
    told(view, commands)
}

fn told(view: &View, commands: Vec<(&'static str, String)>) -> Vec<String> {
    let mut lines = vec![String::new(), headline(view)];
    lines.extend(standing(view));
    lines.extend(reverts(view));
    if let Some(reason) = &view.stop {
        lines.push(format!("  stopped: {}", lines::why_stopped(reason)));
    }
    lines.extend(targets(view));
    lines.extend(leftovers(view));
    lines.extend(failures(view));
    lines.push(String::new());
    lines.extend(
        commands
            .into_iter()
            .map(|(why, command)| format!("  {why:<28} {}", paint(STRONG, command))),
    );
    lines
}

fn headline(view: &View) -> String {
    let took = brief_ms(view.elapsed_ms);
    if view.header.plan.reverts.is_some()
        && let Some(text) = reverted(view, &took)
    {
        return text;
    }
    match view.verdict.map(|(verdict, _)| verdict) {
        Some(RunVerdict::Recovered) => {
            paint(GOOD, format!("RECOVERED in {took}, every target met"))
        }
        Some(RunVerdict::RecoveredLate) => {
            format!(
                "{}{}",
                paint(GOOD, format!("RECOVERED in {took}")),
                paint(BAD, ", but LATE: a target was missed")
            )
        }
        Some(RunVerdict::FailedClean) => {
            paint(BAD, format!("NOT RECOVERED after {took}; nothing of this run's changes remains"))
        }
        Some(RunVerdict::FailedPartial) => paint(
            BAD,
            format!(
                "NOT RECOVERED after {took}; changes remain or are unknown: a person is needed"
            ),
        ),
        Some(RunVerdict::Aborted) => {
            paint(DOUBT, format!("STOPPED after {took}; everything in flight has settled"))
        }
        Some(RunVerdict::NotApproved) => {
            let begun = view.steps.values().any(|step| step.started_ms.is_some());
            let kept = if begun { "what was done is kept" } else { "nothing was touched" };
            paint(BAD, format!("NOT APPROVED after {took}; nothing more was started, {kept}"))
        }
        Some(RunVerdict::InternalError) => {
            paint(BAD, format!("A BUG IN ROLLBACK stopped the run after {took}"))
        }
        None => paint(DOUBT, format!("NOT FINISHED; last sign of life {took} after the start")),
    }
}

/// The headline of a run that takes another one back, where it differs.
fn reverted(view: &View, took: &str) -> Option<String> {
    Some(match view.verdict?.0 {
        RunVerdict::Recovered | RunVerdict::RecoveredLate => {
            paint(GOOD, format!("REVERTED in {took}: everything that can be is as it was before"))
        }
        RunVerdict::FailedClean => {
            paint(BAD, format!("NOT REVERTED after {took}; nothing was taken back"))
        }
        RunVerdict::FailedPartial => paint(
            BAD,
            format!("NOT REVERTED after {took}; a part is taken back: a person is needed"),
        ),
        _ => return None,
    })
}

/// What stays of a run that is taken back, and by which run this one is.
fn reverts(view: &View) -> Vec<String> {
    let stays = view.header.plan.reverts.iter().flat_map(reverts::stays);
    let mut lines: Vec<String> = stays.map(|text| format!("  {text}")).collect();
    lines.extend(
        view.reverted_by
            .as_ref()
            .map(|run| paint(DOUBT, format!("  taken back by run {}", sanitize(run)))),
    );
    lines
}

/// The three states of a run: which of them it has come to.
fn standing(view: &View) -> Option<String> {
    if view.targets.is_empty() && view.questions.is_empty() {
        return None;
    }
    let all = [Standing::TrafficRestored, Standing::Recovered, Standing::Confirmed];
    let states = all.iter().filter(|state| {
        // Without a target nothing tells when users were served again.
        **state != Standing::TrafficRestored || !view.targets.is_empty()
    });
    let told = states.map(|state| {
        if view.standing >= Some(*state) {
            format!("{} {}", paint(GOOD, "✓"), state.words())
        } else {
            paint(FAINT, format!("– {}", state.words()))
        }
    });
    Some(format!("  {}", told.collect::<Vec<_>>().join("   ")))
}

fn targets(view: &View) -> Vec<String> {
    let width = view.targets.keys().map(String::len).max().unwrap_or(0);
    view.targets
        .iter()
        .map(|(name, target)| {
            let (took, word) = match target.took_ms {
                Some(took) if target.late => (brief_ms(took), paint(BAD, "MISSED")),
                Some(took) => (brief_ms(took), paint(GOOD, "met")),
                None => ("–".to_owned(), paint(BAD, "NOT REACHED")),
            };
            format!("  {:<width$}  {took:>8} of {:<8} {word}", sanitize(name), target.time())
        })
        .collect()
}

/// When a run did not finish: what is done, not done, unknown.
fn leftovers(view: &View) -> Vec<String> {
    let finished =
        matches!(view.verdict, Some((RunVerdict::Recovered | RunVerdict::RecoveredLate, _)));
    if finished {
        return Vec::new();
    }
    let named = |wanted: fn(&StepView) -> bool| -> Vec<String> {
        let steps = view.steps.iter().filter(|(_, step)| wanted(step));
        steps.map(|(id, _)| sanitize(&id.0)).collect()
    };
    let done = named(|step| step.outcome.is_some_and(Outcome::is_success));
    let failed = named(|step| matches!(step.outcome, Some(Outcome::Failed | Outcome::Undone)));
    let in_flight = named(StepView::is_at_work);
    let unknown = named(|step| step.outcome == Some(Outcome::Unknown));
    let not_done = named(|step| match step.outcome {
        None => step.started_ms.is_none(),
        outcome => outcome == Some(Outcome::NotStarted) && done_of(step) == 0,
    });
    let told: Vec<_> = [
        ("done", done),
        ("partly done", partly_done(view)),
        ("failed", failed),
        ("in flight", in_flight),
        ("unknown", unknown),
        ("not done", not_done),
    ]
    .into_iter()
    .filter(|(_, names)| !names.is_empty())
    .collect();
    let width = told.iter().map(|(word, _)| word.len()).fold("in flight".len(), usize::max);
    told.into_iter().map(|(word, names)| format!("  {word:<width$} {}", names.join(", "))).collect()
}

/// The steps that were stopped between their items, with how far they came.
fn partly_done(view: &View) -> Vec<String> {
    let stopped = |step: &StepView| step.outcome == Some(Outcome::NotStarted) && done_of(step) > 0;
    let steps = view.steps.iter().filter(|(_, step)| stopped(step));
    steps
        .map(|(id, step)| {
            format!("{} ({} of {})", sanitize(&id.0), done_of(step), step.items.len())
        })
        .collect()
}

/// How many items of a step are as wanted.
fn done_of(step: &StepView) -> usize {
    let done = |stage| matches!(stage, ItemStage::Done | ItemStage::AlreadyDone);
    step.items.values().filter(|item| done(item.stage)).count()
}

fn failures(view: &View) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, step) in &view.steps {
        if matches!(step.outcome, Some(Outcome::Failed | Outcome::Unknown)) {
            let first = step
                .items
                .values()
                .find(|item| matches!(item.stage, ItemStage::Failed | ItemStage::Unknown))
                .and_then(|item| item.note.clone())
                .or_else(|| step.summary.clone())
                .unwrap_or_else(|| "tell what became of it: it was cut off".to_owned());
            lines.push(format!(
                "  {} {}: failed to {}",
                paint(BAD, "✗"),
                sanitize(&id.0),
                sanitize(&first)
            ));
            lines.extend(lines::troubles(step));
        }
    }
    lines.extend(view.questions.iter().filter_map(|question| {
        let (false, by, remark) = question.answer.as_ref()? else { return None };
        let remark = remark.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
        let denied = sanitize(&format!("(denied by {}{remark})", by.user));
        Some(format!("  {} {} {denied}", paint(BAD, "✗"), sanitize(&question.text)))
    }));
    lines.extend(open_items(view));
    lines
}

/// The first open items of the run itself: all of them, and those for afterwards, are what `rollback confirm` is for.
fn open_items(view: &View) -> Vec<String> {
    let mark = paint(DOUBT, "?");
    let open: Vec<_> = view.open_questions().filter(|asked| asked.window.is_none()).collect();
    let shown = open.iter().take(MOST_OPEN_ITEMS);
    let mut lines: Vec<String> = shown
        .map(|open| format!("  {mark} {} {}", sanitize(&open.text), paint(FAINT, "(open)")))
        .collect();
    if open.len() > MOST_OPEN_ITEMS {
        lines.push(format!("  {mark} and {} more open items", open.len() - MOST_OPEN_ITEMS));
    }
    lines
}

/// Whether what should have held for hours did not: what it was meant to find out early is found.
fn a_hold_failed(view: &View) -> bool {
    let failed = |step: &StepView| step.outcome == Some(Outcome::Failed);
    let held = |step: &StepView| step.items.values().any(|item| item.hold.is_some());
    !view.header.plan.is_emergency() && view.steps.values().any(|step| failed(step) && held(step))
}

/// What to type next, most urgent first.
fn next(view: &View) -> Vec<(&'static str, String)> {
    let run = &view.header.run;
    if let Some(other) = &view.reverted_by {
        // Nobody goes on with it, or answers for it.
        return vec![
            ("see how that went", format!("rollback status {other}")),
            ("write the report", format!("rollback report {run}")),
        ];
    }
    let asked = view.open_approvals();
    let mut commands: Vec<_> =
        asked.map(|open| (ANSWER, approvals::command(run, open.step.as_ref()))).collect();
    if let Some(StopReason::TakenOver { run: other, .. }) = &view.stop {
        commands.push(("see what took it over", format!("rollback status {}", sanitize(other))));
        commands.push(("go on all the same", format!("rollback resume {run} --take-back")));
    }
    if a_hold_failed(view) {
        let environment = sanitize(&view.header.plan.environment);
        let command = format!("rollback --emergency --env {environment} --take-over");
        commands.push(("do not wait any longer", command));
    }
    match view.verdict.map(|(verdict, _)| verdict) {
        None
        | Some(
            RunVerdict::Aborted
            | RunVerdict::FailedClean
            | RunVerdict::FailedPartial
            | RunVerdict::InternalError,
        ) => {
            commands.push(("look at every step", format!("rollback status {run}")));
            commands.push(("go on from here", format!("rollback resume {run}")));
        }
        Some(RunVerdict::NotApproved) => {
            commands.push(("look at every step", format!("rollback status {run}")));
            commands.push(("ask again, and go on", format!("rollback resume {run}")));
        }
        Some(RunVerdict::Recovered | RunVerdict::RecoveredLate) => {}
    }
    let open = questions::commands(run, view.open_questions());
    commands.extend(open.into_iter().map(|(_, command)| ("answer the open items", command)));
    commands.push(("write the report", format!("rollback report {run}")));
    if view.verdict.is_some() && view.changed && view.header.plan.reverts.is_none() {
        commands.push(("take all of it back", format!("rollback revert {run}")));
    }
    commands
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::Header;
    use crate::plan::StepId;
    use crate::report::state::ItemView;

    /// A view of a run that was stopped, with these steps: how they ended, and the stages of their items.
    fn stopped(steps: &[(&str, Outcome, &[ItemStage])]) -> View {
        let header: Header = serde_json::from_value(json!({
            "run": "20261121-2015-k7qd", "program": "0.1.0", "runbook_path": "a.yaml",
            "runbook_text": "", "runbook_sha256": "", "environment_path": "b.yaml",
            "environment_sha256": "",
            "plan": {
                "runbook": "a", "title": "A", "scenario": "emergency", "subject": "a",
                "environment": "b", "inputs": {}, "targets": [], "phases": [],
            },
            "by": {"user": "ada", "host": "ops-1", "pid": 4711},
            "started": "2026-11-21T20:15:00Z",
            "boot": {"id": "b007", "elapsed_ms": 1},
        }))
        .expect("the header has the form of this version");
        let item = |(index, stage): (usize, &ItemStage)| {
            let (does, note, hints) = ("".into(), None, Vec::new());
            (index.to_string().into(), ItemView { stage: *stage, does, note, hints, hold: None })
        };
        let step = |(id, outcome, stages): &(&str, Outcome, &[ItemStage])| {
            let items = stages.iter().enumerate().map(item).collect();
            let view = StepView { outcome: Some(*outcome), items, ..StepView::default() };
            (StepId((*id).into()), view)
        };
        View {
            at: header.started,
            header: header.into(),
            steps: steps.iter().map(step).collect(),
            targets: indexmap::IndexMap::new(),
            questions: Vec::new(),
            rungs: Vec::new(),
            acknowledged: None,
            warnings: Vec::new(),
            resumed: Vec::new(),
            undecided: Vec::new(),
            approvals: Vec::new(),
            evidence: Vec::new(),
            stop: None,
            verdict: Some((RunVerdict::Aborted, 10)),
            standing: None,
            changed: true,
            reverted_by: None,
            confirmed: None,
            elapsed_ms: 1000,
        }
    }

    #[test]
    fn a_step_that_was_stopped_between_its_items_is_partly_done() {
        use ItemStage::{AlreadyDone, Done, Waiting};
        let view = stopped(&[
            ("stop/first", Outcome::Done, &[Done]),
            ("stop/agents", Outcome::NotStarted, &[Done, AlreadyDone, Waiting, Waiting]),
            ("stop/last", Outcome::NotStarted, &[Waiting]),
        ]);
        assert_eq!(
            leftovers(&view),
            [
                "  done        stop/first",
                "  partly done stop/agents (2 of 4)",
                "  not done    stop/last",
            ]
        );
    }
}
