//! `rollback history`

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::open;
use super::output::Format;
use crate::event::{RunVerdict, Standing};
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
    };
    let runs: Vec<_> = listing.runs.iter().filter(wanted).take(args.limit).collect();
    match cx.output.format {
        Format::Human if runs.is_empty() => {
            let none = if listing.runs.is_empty() { "no runs yet" } else { "no such runs" };
            cx.output.progress(none);
        }
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
    })
}

/// The run that a run takes back.
fn header_reverts(summary: &Summary) -> Option<&str> {
    summary.header.plan.reverts.as_ref().map(|former| former.run.as_str())
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
    format!(
        "{}  {}  {:<24} {:<12} {verdict} in {}{standing}{linked}{}",
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
