//! The incident report as Markdown: what is known is filled in, and what only people know stands there as they have answered it, or as open.
//!
//! A step of the checklist whose items have the window `review` is a section; where its title is that of a section below, its items stand there.

use std::fmt::Write as _;

use super::View;
use super::approvals::ApprovalOutcome;
use super::facts::{MESSAGES, is_question, system};
use super::markdown;
use super::questions::QuestionView;
use super::state::StepView;
use super::style::{brief_ms, clock};
use super::text::markdown as escape;
use crate::action::Window;
use crate::event::Outcome;
use crate::plan::{PlannedStep, StepId};

/// Writes what is known for a section.
type Fill = fn(&View, &mut String);

/// The sections in the order of a post-rollback analysis, each with what fills it.
const SECTIONS: [(&str, Fill); 9] = [
    ("Root cause analysis", root_cause),
    ("Impact assessment", impact),
    ("Data integrity", data),
    ("Performance", performance),
    ("Communication", communication),
    ("Timeline", timeline),
    ("Failure patterns", patterns),
    ("Retry plan", nothing),
    ("Lessons learned", nothing),
];

/// The systems whose probes tell whether data are as they should be.
const DATA: [&str; 3] = ["postgres", "redis", "file"];
/// The system of metrics.
const METRICS: &str = "prometheus";

/// The whole report. `journal_head` is the hash of the journal's last record.
pub fn document(view: &View, journal_head: &str) -> String {
    let mut out = String::new();
    let header = &view.header;
    line(&mut out, &format!("# Incident report: {}\n", escape(&header.plan.title)));
    let reason = header.reason.as_deref().unwrap_or("not given");
    let standing = view.standing.map_or("not recovered", |standing| standing.words());
    for (name, value) in [
        ("Run", header.run.clone()),
        ("Environment", header.plan.environment.clone()),
        ("Trigger", reason.to_owned()),
        ("Started by", format!("{}@{}", header.by.user, header.by.host)),
        ("Began", format!("{} (UTC)", header.since.unwrap_or(header.started).strftime(TIME))),
        ("Rollback ended", format!("{} (UTC)", view.at.strftime(TIME))),
        ("State", standing.to_owned()),
    ] {
        line(&mut out, &format!("- **{name}**: {}", escape(&value)));
    }
    line(&mut out, &format!("- **Journal**: ends with `{journal_head}`"));
    let mut reviewed: Vec<&StepId> = Vec::new();
    for (title, fill) in SECTIONS {
        line(&mut out, &format!("\n## {title}\n"));
        fill(view, &mut out);
        let of_section = |step: &&PlannedStep| is_titled(step, title);
        for step in view.header.plan.steps().filter(of_section) {
            items(&mut out, view, &step.id);
            reviewed.push(&step.id);
        }
    }
    let others = view.header.plan.steps().filter(|step| !reviewed.contains(&&step.id));
    for step in others.filter(|step| of_step(view, &step.id).next().is_some()) {
        line(&mut out, &format!("\n## {}\n", escape(step.title.as_deref().unwrap_or(&step.id.0))));
        items(&mut out, view, &step.id);
    }
    out
}

const TIME: &str = "%Y-%m-%d %H:%M:%S";

fn is_titled(step: &PlannedStep, title: &str) -> bool {
    step.title.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(title))
}

/// What people are asked in the review, from one step.
fn of_step<'a>(view: &'a View, step: &'a StepId) -> impl Iterator<Item = &'a QuestionView> {
    let review = view.questions.iter().filter(|asked| asked.window == Some(Window::Review));
    review.filter(move |asked| asked.at.step == *step)
}

fn items(out: &mut String, view: &View, step: &StepId) {
    for asked in of_step(view, step) {
        let text = escape(&asked.text);
        match &asked.answer {
            None => line(out, &format!("- [ ] {text}")),
            Some((yes, by, remark)) => {
                let mark = if *yes { "x" } else { " " };
                let remark = remark.as_ref().map(|said| format!(": {}", escape(said)));
                let by = escape(&format!("{}@{}", by.user, by.host));
                line(out, &format!("- [{mark}] {text}{} ({by})", remark.unwrap_or_default()));
            }
        }
    }
}

/// What people are asked in the review by the steps of these titles, in lower case. Says whether there is any.
pub(super) fn reviewed(out: &mut String, view: &View, titles: &[&str]) -> bool {
    let mut any = false;
    for step in view.header.plan.steps() {
        let titled = titles.iter().any(|title| is_titled(step, title));
        if titled && of_step(view, &step.id).next().is_some() {
            items(out, view, &step.id);
            any = true;
        }
    }
    any
}

fn nothing(_: &View, _: &mut String) {}

fn root_cause(view: &View, out: &mut String) {
    let reason = view.header.reason.as_deref().unwrap_or("not given");
    line(out, &format!("The rollback was started because of: {}\n", escape(reason)));
    for asked in &view.approvals {
        if let Some(ApprovalOutcome::Answered { approved: true, name, .. }) = &asked.outcome {
            let (name, role) = (escape(name), escape(&asked.approval.role));
            line(out, &format!("- approved by {name} as {role}"));
        }
    }
}

fn impact(view: &View, out: &mut String) {
    if !view.targets.is_empty() {
        line(out, "| target | within | took |");
        line(out, "|---|---|---|");
        for (name, target) in &view.targets {
            let took = target.took_ms.map_or_else(|| "not reached".to_owned(), brief_ms);
            let within = escape(&target.time());
            line(out, &format!("| {} | {within} | {took} |", escape(name)));
        }
        line(out, "");
    }
    let changed = view.header.plan.steps().filter(|step| !is_question(step));
    rows(out, view, changed.filter(|step| system(step) != MESSAGES));
}

fn data(view: &View, out: &mut String) {
    let asked = view.header.plan.steps().filter(|step| is_question(step));
    rows(out, view, asked.filter(|step| DATA.contains(&system(step))));
}

fn performance(view: &View, out: &mut String) {
    if let Some(kept) = view.evidence.last().filter(|kept| !kept.compared.is_empty()) {
        line(out, "| metric | before the rollback | after it |");
        line(out, "|---|---|---|");
        for (name, (before, after)) in &kept.compared {
            let shown = |value: &Option<f64>| {
                value.map_or_else(|| "no data".to_owned(), |value| format!("{value:.4}"))
            };
            let (name, before, after) = (escape(name), shown(before), shown(after));
            line(out, &format!("| {name} | {before} | {after} |"));
        }
        line(out, "");
    } else {
        line(out, &format!("Not compared: `rollback evidence {}` does.\n", view.header.run));
    }
    let asked = view.header.plan.steps().filter(|step| system(step) == METRICS);
    rows(out, view, asked);
}

fn communication(view: &View, out: &mut String) {
    rows(out, view, view.header.plan.steps().filter(|step| system(step) == MESSAGES));
    markdown::rungs(out, view);
}

/// What happened when, milliseconds since the run's start.
pub(super) fn timeline(view: &View, out: &mut String) {
    let mut times: Vec<(u64, String)> = Vec::new();
    for (id, step) in &view.steps {
        if let (Some(started), Some(outcome)) = (step.started_ms, step.outcome) {
            let took = step.took_ms().map(|took| format!(", {}", brief_ms(took)));
            let text = format!("{}: {}{}", id.0, word(outcome), took.unwrap_or_default());
            times.push((started, text));
        }
    }
    for (name, target) in &view.targets {
        // The targets' clock may have begun before the run.
        let reached = view.reached_ms(target);
        times.extend(reached.map(|at| (at, format!("target reached: {name}"))));
    }
    times.extend(view.resumed.iter().map(|(at, by)| (*at, format!("resumed by {}", by.user))));
    times.sort();
    for (at, text) in times {
        line(out, &format!("- {} {}", clock(at), escape(&text)));
    }
}

fn patterns(view: &View, out: &mut String) {
    let Some(kept) = view.evidence.last() else {
        line(out, &format!("Not counted: `rollback evidence {}` does.", view.header.run));
        return;
    };
    if kept.failures.is_empty() {
        line(out, "None of the known patterns was found.");
        return;
    }
    line(out, "| pattern | lines | pieces |");
    line(out, "|---|---|---|");
    for (pattern, found) in &kept.failures {
        let (lines, pieces): (u64, _) = (found.values().sum(), found.len());
        line(out, &format!("| {} | {lines} | {pieces} |", escape(pattern)));
    }
}

/// A line for each step that was begun.
fn rows<'a>(out: &mut String, view: &View, steps: impl Iterator<Item = &'a PlannedStep>) {
    for step in steps {
        let known = view.steps.get(&step.id);
        let Some((known, outcome)) = known.and_then(|known| Some((known, known.outcome?))) else {
            continue;
        };
        let title = step.title.as_deref().unwrap_or(&step.id.0);
        line(out, &format!("- {}: {}{}", escape(title), word(outcome), told(known)));
    }
}

fn told(step: &StepView) -> String {
    match step.progress() {
        (done, all) if all > 1 => format!(", {done} of {all}"),
        _ => step.evidence().map(|text| format!(", {}", escape(text))).unwrap_or_default(),
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::AlreadyDone => "already so",
        Outcome::Skipped => "not needed",
        Outcome::Open => "open",
        Outcome::Failed => "**failed**",
        Outcome::Unknown => "**unknown**",
        Outcome::Undone => "failed and taken back",
        Outcome::NotStarted => "not done",
    }
}

fn line(out: &mut String, text: &str) {
    // Writing into a String cannot fail.
    let _always_fits = writeln!(out, "{text}");
}
