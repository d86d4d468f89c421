//! The record of a drill for people: on the terminal, and as a section of the run's report.

use std::fmt::Write as _;

use anstyle::Style;
use serde_json::Value;

use super::style::{BAD, DOUBT, FAINT, GOOD, brief_ms, paint};
use super::text::{markdown as escape, sanitize};
use crate::event::{Drill, DrillResult, DrillTarget, Restored};
use crate::secret::hide_markers;

/// The record as one JSON document.
pub fn json(drill: &Drill) -> Value {
    // A record is plain data, and always is JSON.
    let text = serde_json::to_string(drill).unwrap_or_default();
    serde_json::from_str(&hide_markers(&text)).unwrap_or_default()
}

/// The record on a terminal. `kept_with` is the run beside whose journal it lies.
pub fn lines(drill: &Drill, kept_with: Option<&str>) -> Vec<String> {
    let style = style(drill.result);
    let word = drill.result.word().to_uppercase();
    let mut lines = vec![
        format!("{} {}", paint(style, format!("DRILL {word}")), sanitize(&told_in_short(drill))),
        String::new(),
    ];
    for target in &drill.targets {
        let style = if target.in_time { GOOD } else { BAD };
        let (name, time) = (sanitize(&target.target), against_limit(target));
        lines.push(format!("  {name:<24} {time:<16} {}", paint(style, in_time(target))));
    }
    for fault in &drill.faults {
        let met = match fault.met {
            0 => paint(DOUBT, "no call met it"),
            met => format!("met by {met} calls"),
        };
        lines.push(format!("  {:<24} {met}", sanitize(&fault.fault)));
    }
    lines.push(format!("  {}", sanitize(&restored(&drill.restored))));
    if let Some(run) = kept_with {
        lines.push(paint(FAINT, format!("  the record and the timeline: rollback report {run}")));
    }
    lines
}

/// One line of a list of drills, without what tells them apart.
pub fn entry(drill: &Drill) -> String {
    let times = drill
        .targets
        .iter()
        .map(|target| format!("{} {}", sanitize(&target.target), against_limit(target)));
    let faults = drill.faults.iter().map(|fault| sanitize(&fault.fault));
    let told: Vec<String> = times.chain(faults).collect();
    let (met, all) = drill.score();
    format!("{} {met}/{all}  {}", paint(style(drill.result), drill.result.word()), told.join(", "))
}

/// The section about the drill in the report of its run.
pub fn section(drill: &Drill) -> String {
    let mut out = String::from("\n## Drill\n\n");
    let mut line = |text: String| {
        // Writing into a String cannot fail.
        let _always_fits = writeln!(out, "{text}");
    };
    let (met, all) = drill.score();
    line(format!("**{}**, {met} of {all} targets in time.\n", drill.result.word()));
    line(format!("- **Exit code**: {}", drill.exit_code));
    line(format!("- **Began**: {} (UTC)", drill.started.strftime("%Y-%m-%d %H:%M:%S")));
    line(format!("- **Ended**: {} (UTC)", drill.ended.strftime("%Y-%m-%d %H:%M:%S")));
    let prepared = drill.prepared.as_ref();
    let prepared = prepared.map_or("the runbook says nothing for that".to_owned(), |run| {
        format!("run {}, {}", run.run, brief_ms(run.elapsed_ms))
    });
    line(format!("- **Broken by**: {}", escape(&prepared)));
    line(format!("- **Afterwards**: {}", escape(&restored(&drill.restored))));
    line(format!("- **Runbook**: `{}`", drill.runbook_sha256));
    line(format!("- **Environment**: `{}`", drill.environment_sha256));
    if !drill.targets.is_empty() {
        line("\n| target | limit | took | |\n|---|---|---|---|".to_owned());
        for target in &drill.targets {
            let took = target.took_ms.map_or_else(|| "–".to_owned(), brief_ms);
            let (name, limit) = (escape(&target.target), brief_ms(target.within_ms));
            line(format!("| {name} | {limit} | {took} | {} |", in_time(target)));
        }
    }
    if !drill.faults.is_empty() {
        line("\n| fault | calls that met it |\n|---|---|".to_owned());
        for fault in &drill.faults {
            line(format!("| {} | {} |", escape(&fault.fault), fault.met));
        }
    }
    out
}

fn style(result: DrillResult) -> Style {
    match result {
        DrillResult::Passed => GOOD,
        DrillResult::Late => DOUBT,
        DrillResult::Failed | DrillResult::NotBegun => BAD,
    }
}

/// `2 of 2 targets in time: ollama-emergency in sandbox`.
fn told_in_short(drill: &Drill) -> String {
    let (met, all) = drill.score();
    let (runbook, environment) = (&drill.runbook, &drill.environment);
    format!("{met} of {all} targets in time: {runbook} in {environment}")
}

fn against_limit(target: &DrillTarget) -> String {
    let took = target.took_ms.map_or_else(|| "–".to_owned(), brief_ms);
    format!("{took} of {}", brief_ms(target.within_ms))
}

fn in_time(target: &DrillTarget) -> &'static str {
    match (target.took_ms, target.in_time) {
        (None, _) => "not reached",
        (Some(_), true) => "in time",
        (Some(_), false) => "late",
    }
}

fn restored(restored: &Restored) -> String {
    match restored {
        Restored::Reset => "the sandbox was reset".to_owned(),
        Restored::Runbook { run } => {
            format!("brought back by run {}, {}", run.run, brief_ms(run.elapsed_ms))
        }
        Restored::Reverted { runs, left } => {
            let runs: Vec<&str> = runs.iter().map(|run| run.run.as_str()).collect();
            let by = match runs.as_slice() {
                [] => "nothing was changed that could be taken back".to_owned(),
                runs => format!("taken back by {}", runs.join(" and ")),
            };
            match left.as_slice() {
                [] => by,
                left => format!("{by}; STAYS as the drill left it: {}", left.join(", ")),
            }
        }
        Restored::Failed { because } => format!("NOT brought back: {because}"),
    }
}
