//! The entry of a run in the rollback log, a Markdown file that people go on writing in.
//!
//! What is not known is said to be not known: nothing in an entry waits to be replaced.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::View;
use super::facts::{actions, verdict};
use super::style::brief_ms;
use super::text::markdown as plain;

/// What a log begins with.
pub const HEADING: &str = "# Rollback History\n";
const TIME: &str = "%Y-%m-%d %H:%M:%S UTC";
const NOT_MEASURED: &str = "not measured";

/// What is measured for a graceful rollback: its name in the log, and words by which a step or an item of a checklist measures it.
const METRICS: [(&str, &[&str]); 4] = [
    ("Error rate", &["error rate"]),
    ("Response time P95", &["p95", "response time"]),
    ("Cost per query", &["cost per query"]),
    ("Routing accuracy", &["routing accuracy"]),
];

/// The entry of a run that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The text, with its mark at its end.
    pub text: String,
    /// What shows that the log has the entry already: it names the run and its end, and stands behind everything else, so that an
    /// entry that was cut short does not have it.
    pub mark: String,
}

/// The entry of a run; `None` while it has not ended. `journal_head` is the hash of its journal's last record.
pub fn entry(view: &View, journal_head: &str) -> Option<Entry> {
    let (end, _) = view.verdict?;
    let header = &view.header;
    let plan = &header.plan;
    let kind = plan.scenario.title();
    let reason = header.reason.as_deref().map_or_else(|| "not given".to_owned(), plain);
    let at = header.started;
    let mut text = String::new();
    let title = plain(&plan.title);
    line(&mut text, &format!("\n## {}: {kind} Rollback - {title}\n", at.strftime("%Y-%m-%d")));
    if plan.scenario.is_gradual() {
        measured_block(&mut text, view, at, &reason);
    } else {
        let at = at.strftime(TIME);
        line(&mut text, &format!("{at}: {kind} rollback triggered - Reason: {reason}\n"));
    }
    for (name, value) in [
        ("Reason", reason),
        ("Impact", impact(view)),
        ("Resolution", resolution(view)),
        ("Prevention", "not known yet".to_owned()),
        ("Re-deployed", "not yet".to_owned()),
    ] {
        line(&mut text, &format!("**{name}**: {value}"));
    }
    let by = plain(&format!("{}@{}", header.by.user, header.by.host));
    let (run, environment) = (&header.run, plain(&plan.environment));
    line(
        &mut text,
        &format!(
            "\nRun `{run}` in {environment}, started by {by}; its journal ends with `{journal_head}`.\n"
        ),
    );
    let end = serde_json::to_value(end).ok()?;
    let mark = format!("<!-- rollback {run} {} -->", end.as_str()?);
    line(&mut text, &format!("{mark}\n\n---"));
    Some(Entry { text, mark })
}

/// What a graceful rollback is measured by, in the block that the procedure has for it.
fn measured_block(text: &mut String, view: &View, at: Timestamp, reason: &str) {
    let kind = view.header.plan.scenario.title();
    line(text, "---");
    line(text, &format!("Date: {}\nType: {kind} Rollback\nReason: {reason}", at.strftime(TIME)));
    line(text, "Metrics:");
    for (name, words) in METRICS {
        let value = measured(view, words).unwrap_or_else(|| NOT_MEASURED.to_owned());
        line(text, &format!("  - {name}: {value}"));
    }
    line(text, "Actions Taken:");
    let actions = actions(view);
    if actions.is_empty() {
        line(text, "  - none");
    }
    for action in actions {
        line(text, &format!("  - {}", plain(&action)));
    }
    line(text, "---\n");
}

/// What the last step that measured it saw.
pub(super) fn measured(view: &View, words: &[&str]) -> Option<String> {
    let plan = &view.header.plan;
    let seen = plan.steps().flat_map(|step| {
        let title = step.title.as_deref().unwrap_or(&step.id.0).replace('-', " ");
        let known = view.steps.get(&step.id);
        known.into_iter().flat_map(move |known| {
            let title = title.clone();
            known.items.iter().filter_map(move |(name, item)| {
                let about = format!("{title} {} {}", name.replace('-', " "), item.does);
                Some((about.to_lowercase(), item.note.as_deref()?))
            })
        })
    });
    let of_this = seen.filter(|(about, _)| words.iter().any(|word| about.contains(word)));
    of_this.last().map(|(_, note)| plain(note))
}

/// What is known of what users noticed.
fn impact(view: &View) -> String {
    let mut known: Vec<String> = Vec::new();
    let restored = view.header.plan.targets.first().and_then(|first| view.targets.get(&first.name));
    if let (Some(_), Some(took)) = (view.header.since, restored.and_then(|first| first.took_ms)) {
        known.push(format!("service restored {} after the incident began", brief_ms(took)));
    }
    for (name, words) in &METRICS[..2] {
        known
            .extend(measured(view, words).map(|value| format!("{}: {value}", name.to_lowercase())));
    }
    if known.is_empty() { NOT_MEASURED.to_owned() } else { known.join("; ") }
}

/// What was achieved, with each target's time against its limit.
fn resolution(view: &View) -> String {
    let targets = view.targets.iter().map(|(name, target)| {
        let within = brief_ms(target.within_ms);
        let took = target.took_ms.map_or_else(
            || format!("not reached within {within}"),
            |took| format!("after {} of {within}", brief_ms(took)),
        );
        plain(&format!("{name} {took}"))
    });
    let told: Vec<String> = std::iter::once(verdict(view).to_owned()).chain(targets).collect();
    told.join("; ")
}

fn line(out: &mut String, text: &str) {
    // Writing into a String cannot fail.
    let _always_fits = writeln!(out, "{text}");
}
