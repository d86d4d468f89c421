//! The report of a run as Markdown: for the incident's record, and for people who were asleep.

use std::fmt::Write as _;

use super::approvals::{ApprovalOutcome, ApprovalView, subject};
use super::facts::verdict;
use super::lines::why_stopped;
use super::questions::QuestionView;
use super::reverts;
use super::state::{ItemStage, StepView, View};
use super::style::{brief_ms, clock};
use super::text::markdown as escape;
use crate::action::Window;
use crate::event::{Channel, Outcome, SkipReason};

/// The whole report. `journal_head` is the hash of the journal's last record: written down elsewhere, it proves later that
/// the journal is still the one that this report tells about.
pub fn document(view: &View, journal_head: &str) -> String {
    let mut out = String::new();
    head(&mut out, view, journal_head);
    targets(&mut out, view);
    approvals(&mut out, view);
    for phase in &view.header.plan.phases {
        let budget =
            phase.budget.map(|budget| format!(" (budget {})", crate::value::brief(budget)));
        line(&mut out, &format!("\n## {}{}\n", escape(&phase.title), budget.unwrap_or_default()));
        line(&mut out, "| at | step | outcome | took | what |");
        line(&mut out, "|---|---|---|---|---|");
        for step in &phase.steps {
            if let Some(known) = view.steps.get(&step.id) {
                step_row(&mut out, &step.id.0, known, view.verdict.is_some());
            }
        }
    }
    escalation(&mut out, view);
    troubles(&mut out, view);
    questions(&mut out, view);
    evidence(&mut out, view);
    out
}

fn head(out: &mut String, view: &View, journal_head: &str) {
    let header = &view.header;
    let plan = &header.plan;
    line(out, &format!("# Rollback: {}\n", escape(&plan.title)));
    line(out, &format!("**{}**\n", verdict(view)));
    let mut fact = |name: &str, value: String| line(out, &format!("- **{name}**: {value}"));
    fact("Run", header.run.clone());
    fact(
        "Runbook",
        format!(
            "{} ({})",
            escape(&plan.runbook),
            &header.runbook_sha256[..12.min(header.runbook_sha256.len())]
        ),
    );
    fact("Environment", escape(&plan.environment));
    fact("Subject", escape(&plan.subject));
    fact("Reason", header.reason.as_deref().map_or_else(|| "not given".to_owned(), escape));
    fact("By", escape(&format!("{}@{}", header.by.user, header.by.host)));
    fact("Started", format!("{} (UTC)", header.started.strftime("%Y-%m-%d %H:%M:%S")));
    if let Some(since) = header.since {
        fact("Incident since", format!("{} (UTC)", since.strftime("%Y-%m-%d %H:%M:%S")));
    }
    fact(
        if view.verdict.is_some() { "Ended" } else { "Last sign of life" },
        format!(
            "{} (UTC), after {}",
            view.at.strftime("%Y-%m-%d %H:%M:%S"),
            brief_ms(view.elapsed_ms)
        ),
    );
    if let Some(standing) = view.standing {
        let when = view.confirmed.as_ref().map(|(at, by)| {
            let by = escape(&format!("{}@{}", by.user, by.host));
            format!(" at {} (UTC) by {by}", at.strftime("%Y-%m-%d %H:%M:%S"))
        });
        fact("State", format!("{}{}", standing.words(), when.unwrap_or_default()));
    }
    if let Some(former) = &plan.reverts {
        fact(
            "Takes back",
            format!("run {}, whose journal ended with `{}`", former.run, former.journal_head),
        );
        for stays in reverts::stays(former) {
            fact("Stays", escape(&stays));
        }
    }
    if let Some(other) = &view.reverted_by {
        fact("Taken back", format!("by run {}", escape(other)));
    }
    if let Some(reason) = &view.stop {
        fact("Stopped", escape(&why_stopped(reason)));
    }
    for (at, by) in &view.resumed {
        fact("Resumed", escape(&format!("at {} by {}@{}", clock(*at), by.user, by.host)));
    }
    fact("Journal", format!("ends with `{journal_head}`"));
}

fn targets(out: &mut String, view: &View) {
    if view.targets.is_empty() {
        return;
    }
    line(out, "\n## Targets\n");
    line(out, "| target | within | took | |");
    line(out, "|---|---|---|---|");
    for (name, target) in &view.targets {
        let took = target.took_ms.map_or_else(|| "–".to_owned(), brief_ms);
        let word = match (target.took_ms, target.late) {
            (Some(_), false) => "met",
            (Some(_), true) => "missed",
            (None, _) => "not reached",
        };
        line(out, &format!("| {} | {} | {took} | {word} |", escape(name), escape(&target.time())));
    }
}

fn approvals(out: &mut String, view: &View) {
    if view.approvals.is_empty() {
        return;
    }
    line(out, "\n## Approvals\n");
    line(out, "| asked | for | of | answer |");
    line(out, "|---|---|---|---|");
    for asked in &view.approvals {
        let (at, of) = (clock(asked.asked_ms), escape(&asked.approval.who()));
        let subject = escape(&subject(asked.step.as_ref()));
        line(out, &format!("| {at} | {subject} | {of} | {} |", approval_answer(asked)));
    }
}

fn approval_answer(asked: &ApprovalView) -> String {
    match &asked.outcome {
        None => "not answered".to_owned(),
        Some(ApprovalOutcome::Expired) => {
            format!("**nobody answered** within {}", crate::value::brief(asked.approval.within))
        }
        Some(ApprovalOutcome::Answered { at_ms, approved, name, by, how, reason }) => {
            let word = if *approved { "approved" } else { "**denied**" };
            let how = match how {
                Channel::Terminal => "on the terminal",
                Channel::Command => "by `rollback approve`",
            };
            let login = escape(&format!("{}@{}", by.user, by.host));
            let reason = reason.as_ref().map(|text| format!(": {}", escape(text)));
            let (at, name) = (clock(*at_ms), escape(name));
            format!("{word} by {name} at {at}, {how}, login {login}{}", reason.unwrap_or_default())
        }
    }
}

fn step_row(out: &mut String, id: &str, step: &StepView, ended: bool) {
    let at = step.started_ms.map_or_else(|| "–".to_owned(), clock);
    let took = step.took_ms().map_or_else(|| "–".to_owned(), brief_ms);
    let mut what = match &step.skipped {
        Some(reason) => why_skipped(reason),
        None if step.items.len() > 1 || step.outcome == Some(Outcome::Open) => counts(step),
        None => {
            let fragment = matches!(step.outcome, Some(Outcome::Failed | Outcome::Unknown));
            let lead = if fragment { "failed to " } else { "" };
            step.evidence().map(|text| format!("{lead}{}", escape(text))).unwrap_or_default()
        }
    };
    if step.retries > 0 {
        let again = format!(" (attempts repeated: {})", step.retries);
        what.push_str(&again);
    }
    let name = id.split_once('/').map_or(id, |(_, name)| name);
    line(out, &format!("| {at} | {} | {} | {took} | {what} |", escape(name), outcome(step, ended)));
}

/// Who was told, and who took notice.
fn escalation(out: &mut String, view: &View) {
    if view.rungs.is_empty() {
        return;
    }
    line(out, "\n## Escalation");
    rungs(out, view);
}

/// The levels that were told, and who took notice; nothing when there was no ladder.
pub(super) fn rungs(out: &mut String, view: &View) {
    if view.rungs.is_empty() {
        return;
    }
    line(out, "\n| at | level | who | messages |");
    line(out, "|---|---|---|---|");
    for rung in &view.rungs {
        let message = |(name, why): (&String, &Option<String>)| match why {
            None => format!("{} sent", escape(name)),
            Some(why) => format!("{}: failed to {}", escape(name), escape(why)),
        };
        let messages: Vec<String> = rung.messages.iter().map(message).collect();
        let call = rung.phone.as_deref().map(|phone| format!(" ({})", escape(phone)));
        let who = format!("{}{}", escape(&rung.who), call.unwrap_or_default());
        let (at, level) = (clock(rung.raised_ms), escape(&rung.level));
        line(out, &format!("| {at} | {level} | {who} | {} |", messages.join("; ")));
    }
    match &view.acknowledged {
        Some((at, by, remark)) => {
            let remark = remark.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
            let who = escape(&format!("{}@{}{remark}", by.user, by.host));
            line(out, &format!("\nAcknowledged at {} by {who}.", clock(*at)));
        }
        None => line(out, "\nNobody acknowledged the run."),
    }
}

/// What became of the items, in numbers: `120 done, 11 already done`.
fn counts(step: &StepView) -> String {
    use ItemStage::{AlreadyDone, Done, Failed, Open, Undone, Unknown, Waiting, Working};
    let words: [(&str, &[ItemStage]); 7] = [
        ("done", &[Done]),
        ("already done", &[AlreadyDone]),
        ("**failed**", &[Failed]),
        ("**unknown**", &[Unknown]),
        ("taken back", &[Undone]),
        ("open for a person", &[Open]),
        ("not done", &[Waiting, Working]),
    ];
    let counted = words.iter().filter_map(|(word, stages)| {
        let count = step.items.values().filter(|item| stages.contains(&item.stage)).count();
        (count > 0).then(|| format!("{count} {word}"))
    });
    counted.collect::<Vec<_>>().join(", ")
}

fn outcome(step: &StepView, ended: bool) -> &'static str {
    match step.outcome {
        None if step.started_ms.is_none() && ended => "not started",
        None => "not finished",
        Some(Outcome::Done) => "done",
        Some(Outcome::AlreadyDone) => "already done",
        Some(Outcome::Skipped) => "skipped",
        Some(Outcome::Open) => "open",
        Some(Outcome::Failed) => "**failed**",
        Some(Outcome::Unknown) => "**unknown**",
        Some(Outcome::Undone) => "failed, taken back",
        Some(Outcome::NotStarted) => "not started",
    }
}

fn why_skipped(reason: &SkipReason) -> String {
    match reason {
        SkipReason::Condition { because } => format!("not needed: {}", escape(because)),
        SkipReason::NoSpareTime { needs_ms, left_ms } => {
            format!("no spare time: needs {}, {} was left", brief_ms(*needs_ms), brief_ms(*left_ms))
        }
        SkipReason::Blocked { by } => format!("{} did not succeed", escape(&by.0)),
        SkipReason::LeftOut { because } => format!("left out: {}", escape(because)),
        SkipReason::NotApproved { role } => format!("not approved by {}", escape(role)),
        SkipReason::Stopping => "the run was stopping".to_owned(),
    }
}

fn troubles(out: &mut String, view: &View) {
    let bad: Vec<_> = view
        .steps
        .iter()
        .flat_map(|(id, step)| step.items.iter().map(move |(name, item)| (id, name, item)))
        .filter(|(_, _, item)| matches!(item.stage, ItemStage::Failed | ItemStage::Unknown))
        .collect();
    if bad.is_empty() && view.warnings.is_empty() {
        return;
    }
    line(out, "\n## What went wrong\n");
    for (id, name, item) in bad {
        let place = if name.is_empty() { id.to_string() } else { format!("{} [{name}]", id.0) };
        let note = item.note.as_deref().map(escape).unwrap_or_default();
        let what = match (item.stage, note.as_str()) {
            (_, "") => "denied by a person".to_owned(),
            (ItemStage::Unknown, note) => format!("UNKNOWN, failed to {note}"),
            (_, note) => format!("failed to {note}"),
        };
        line(out, &format!("- **{}**: {what}", escape(&place)));
        for hint in &item.hints {
            line(out, &format!("  - {}", escape(hint)));
        }
    }
    for warning in &view.warnings {
        line(out, &format!("- {}", escape(warning)));
    }
}

fn questions(out: &mut String, view: &View) {
    if view.questions.is_empty() {
        return;
    }
    line(out, "\n## Checklist\n");
    let of = |window| view.questions.iter().filter(move |asked| asked.window == window);
    of(None).for_each(|question| question_line(out, question));
    for window in Window::ALL {
        if of(Some(window)).next().is_some() {
            line(out, &format!("\n### After the run: {window}\n"));
            of(Some(window)).for_each(|question| question_line(out, question));
        }
    }
}

fn evidence(out: &mut String, view: &View) {
    if view.evidence.is_empty() {
        return;
    }
    line(out, "\n## Evidence\n");
    for kept in &view.evidence {
        let (archive, pieces) = (escape(&kept.archive), kept.pieces);
        let at = kept.at.strftime("%Y-%m-%d %H:%M:%S");
        line(out, &format!("- {at} (UTC): {archive}, {pieces} pieces, SHA-256 `{}`", kept.sha256));
        for (name, reason) in &kept.missing {
            line(out, &format!("  - missing: {}: {}", escape(name), escape(reason)));
        }
        for (pattern, found) in &kept.failures {
            let (count, pieces): (u64, _) = (found.values().sum(), found.len());
            let text = format!("{pattern}: {count} lines in {pieces} pieces");
            line(out, &format!("  - {}", escape(&text)));
        }
    }
}

fn question_line(out: &mut String, question: &QuestionView) {
    let (mark, told) = match (&question.answer, &question.look) {
        (Some((yes, by, remark)), _) => {
            let remark = remark.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
            let (mark, word) = if *yes { ("x", "confirmed") } else { (" ", "denied") };
            (mark, format!(" ({word} by {}@{}{remark})", by.user, by.host))
        }
        (None, Some(look)) => {
            let held = question.held_ms().map_or_else(
                || "does not hold".to_owned(),
                |held| format!("has held for {}", brief_ms(held)),
            );
            (" ", format!(" ({held}, looked at {}: {})", clock(look.at_ms), look.seen))
        }
        (None, None) => (" ", String::new()),
    };
    line(out, &format!("- [{mark}] {}{}", escape(&question.text), escape(&told)));
}

fn line(out: &mut String, text: &str) {
    // Writing into a String cannot fail.
    let _always_fits = writeln!(out, "{text}");
}
