//! `rollback history`

mod search;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::open;
use super::output::Format;
use crate::event::{Drill, DrillPart, RunVerdict, Standing};
use crate::journal::Summary;
use crate::report::style::{BAD, DOUBT, FAINT, GOOD, STRONG, brief_ms, paint};
use crate::report::text::sanitize;

/// Show earlier runs, newest first
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Only runs of this runbook
    #[arg(long, value_name = "NAME")]
    runbook: Option<String>,
    /// Only runs in this environment
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// The most runs to show
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Only drills: each target's time against its limit, and the faults
    #[arg(long)]
    drills: bool,
    /// Find these words, all of them, in runs, drills and the rollback log, and tell where
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// A rollback log to search in, too: a Markdown file
    #[arg(long, value_name = "FILE", requires = "search")]
    log: Vec<PathBuf>,
}

pub(super) fn run(cx: &Context, args: &HistoryArgs) -> Result<u8, CliError> {
    let listing = open::store_to_read(cx)?.list()?;
    for warning in &listing.warnings {
        cx.output.progress(format!("{} {}", paint(DOUBT, "!"), sanitize(warning)));
    }
    let wanted = |summary: &&Summary| {
        let plan = &summary.header.plan;
        args.runbook.as_ref().is_none_or(|name| *name == plan.runbook)
            && args.env.as_ref().is_none_or(|name| *name == plan.environment)
            && (!args.drills || is_drill(summary))
    };
    let wanted = listing.runs.iter().filter(wanted);
    if let Some(text) = &args.search {
        return search::run(cx, args, text, wanted);
    }
    let runs: Vec<_> = wanted.take(args.limit).collect();
    match cx.output.format {
        Format::Human if runs.is_empty() => {
            let none = match (listing.runs.is_empty(), args.drills) {
                (_, true) => "no such drills",
                (true, _) => "no runs yet",
                (false, _) => "no such runs",
            };
            cx.output.progress(none);
        }
        Format::Human if args.drills => runs.iter().for_each(|run| cx.output.data(drill_line(run))),
        Format::Human => runs.iter().for_each(|run| cx.output.data(line(run))),
        Format::Jsonl => runs.iter().for_each(|run| cx.output.data(entry(run).to_string())),
        _ => {
            let runs: Vec<_> = runs.iter().map(|run| entry(run)).collect();
            cx.output.data(json!({"format": 1, "runs": runs}).to_string());
        }
    }
    Ok(0)
}

fn entry(summary: &Summary) -> serde_json::Value {
    json!({
        "run": summary.header.run,
        "runbook": summary.header.plan.runbook,
        "environment": summary.header.plan.environment,
        "subject": summary.header.plan.subject,
        "reason": summary.header.reason,
        "by": summary.header.by,
        "started": summary.header.started,
        "verdict": summary.ended.map(|(verdict, _)| verdict),
        "standing": summary.standing,
        "reverts": header_reverts(summary),
        "reverted_by": summary.reverted_by,
        "exit_code": summary.ended.map(|(_, code)| code),
        "elapsed_ms": summary.elapsed_ms,
        "part_of_drill": summary.header.drill,
        "drill": drilled(summary).as_ref().map(crate::report::drill::json),
    })
}

/// The run that a run takes back.
fn header_reverts(summary: &Summary) -> Option<&str> {
    summary.header.plan.reverts.as_ref().map(|former| former.run.as_str())
}

/// The record of the drill that a run was the rollback of. One that cannot be read is as good as none.
fn drilled(summary: &Summary) -> Option<Drill> {
    summary.header.drill.as_ref()?;
    summary.run.drill().ok().flatten()
}

/// Whether a run stands for its drill in a list: as the rollback, or as the preparation when it never came to that.
fn is_drill(summary: &Summary) -> bool {
    match &summary.header.drill {
        Some(DrillPart::Rollback { .. }) => true,
        Some(DrillPart::Prepare) => drilled(summary).is_some(),
        Some(DrillPart::Restore) | None => false,
    }
}

fn drill_line(summary: &Summary) -> String {
    let header = &summary.header;
    let told = drilled(summary)
        .map_or_else(|| paint(DOUBT, "not finished"), |drill| crate::report::drill::entry(&drill));
    format!(
        "{}  {}  {:<24} {:<12} {told}",
        paint(STRONG, &header.run),
        header.started.strftime("%Y-%m-%d %H:%M UTC"),
        sanitize(&header.plan.runbook),
        sanitize(&header.plan.environment),
    )
}

fn line(summary: &Summary) -> String {
    let header = &summary.header;
    let verdict = match summary.ended.map(|(verdict, _)| verdict) {
        Some(RunVerdict::Recovered | RunVerdict::RecoveredLate)
            if header.plan.reverts.is_some() =>
        {
            paint(GOOD, "reverted")
        }
        Some(RunVerdict::Recovered) => paint(GOOD, "recovered"),
        Some(RunVerdict::RecoveredLate) => paint(DOUBT, "recovered late"),
        Some(RunVerdict::FailedClean | RunVerdict::FailedPartial) => paint(BAD, "failed"),
        Some(RunVerdict::Aborted) => paint(DOUBT, "stopped"),
        Some(RunVerdict::NotApproved) => paint(BAD, "not approved"),
        Some(RunVerdict::InternalError) => paint(BAD, "internal error"),
        None => paint(DOUBT, "not finished"),
    };
    let linked = match (header_reverts(summary), &summary.reverted_by) {
        (Some(former), _) => paint(FAINT, format!(", takes back {}", sanitize(former))),
        (None, Some(other)) => paint(DOUBT, format!(", taken back by {}", sanitize(other))),
        (None, None) => String::new(),
    };
    let standing = match (summary.standing, summary.ended) {
        (Some(Standing::Confirmed), _) => paint(GOOD, ", confirmed"),
        // That it recovered is the verdict; that users are served again is news where it did not.
        (Some(Standing::TrafficRestored), _) => paint(DOUBT, ", traffic restored"),
        _ => String::new(),
    };
    let kind = header.drill.as_ref().map(|part| paint(FAINT, format!(", {}", part.words())));
    let kind = kind.unwrap_or_default();
    format!(
        "{}  {}  {:<24} {:<12} {verdict} in {}{standing}{kind}{linked}{}",
        paint(STRONG, &header.run),
        header.started.strftime("%Y-%m-%d %H:%M UTC"),
        sanitize(&header.plan.runbook),
        sanitize(&header.plan.environment),
        brief_ms(summary.elapsed_ms),
        header
            .reason
            .as_deref()
            .map(|reason| paint(FAINT, format!("  {}", sanitize(reason))))
            .unwrap_or_default()
    )
}
