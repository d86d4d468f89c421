//! `rollback check`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::args::Context;
use super::error::{CliError, INVALID, USAGE};
use super::output::Format;
use crate::environment::{Config, runbooks};
use crate::plan::StepId;
use crate::plan::budget::Schedule;
use crate::report::style::{BAD, DOUBT, GOOD, paint};
use crate::report::text::sanitize;
use crate::runbook::diagnostic::{Diagnostics, Severity};
use crate::runbook::load;

/// Check runbooks offline: parse, validate, lint, fit the budget
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Runbook files or folders [default: the project's runbooks]
    path: Vec<PathBuf>,
    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,
}

/// What became of one file.
struct Checked {
    path: PathBuf,
    problems: Diagnostics,
    /// Times that cannot fit, as sentences.
    misfits: Vec<String>,
}

pub(super) fn run(cx: &Context, args: &CheckArgs) -> Result<u8, CliError> {
    let registry = crate::adapters::registry();
    let files = files(cx, args)?;
    if files.is_empty() {
        return Err(CliError::new(USAGE, "find a runbook to check")
            .hint("Name files or folders, or write a first runbook with `rollback init`."));
    }
    let checked: Vec<_> = files.into_iter().map(|path| check(path, &registry)).collect();
    let bad = |file: &&Checked| {
        file.problems.has_errors()
            || !file.misfits.is_empty()
            || (args.strict && file.problems.count(Severity::Warning) > 0)
    };
    let failed = checked.iter().filter(bad).count();
    match cx.output.format {
        Format::Human => {
            checked.iter().for_each(|file| tell(cx, file));
            let word = if failed == 0 {
                paint(GOOD, "all good")
            } else {
                paint(BAD, format!("{failed} with problems"))
            };
            cx.output.data(format!("{} runbooks checked, {word}", checked.len()));
        }
        Format::Json | Format::Jsonl => {
            let files: Vec<_> = checked.iter().map(entry).collect();
            cx.output.data(json!({"format": 1, "files": files}).to_string());
        }
    }
    Ok(if failed == 0 { 0 } else { INVALID })
}

fn files(cx: &Context, args: &CheckArgs) -> Result<Vec<PathBuf>, CliError> {
    let config = cx.config.clone();
    let here = std::env::current_dir().unwrap_or_default();
    let searched = |config: &Config| {
        let (found, unreadable) = runbooks::search(&here, config);
        // A file that is no YAML may have been meant as a runbook, so its problem is told.
        found.into_iter().map(|found| found.path).chain(unreadable).collect::<Vec<_>>()
    };
    if args.path.is_empty() {
        return Ok(searched(&config));
    }
    let (folders, mut files): (Vec<_>, Vec<_>) =
        args.path.iter().cloned().partition(|path| path.is_dir());
    if !folders.is_empty() {
        files.extend(searched(&Config { runbooks: folders, ..config }));
    }
    Ok(files)
}

fn check(path: PathBuf, registry: &crate::action::Registry) -> Checked {
    match load(&path, registry) {
        Err(problems) => Checked { path, problems, misfits: Vec::new() },
        Ok(loaded) => {
            let assumed = |_: &StepId| None;
            let misfits = match crate::plan::build::outline(&loaded.runbook, registry, &assumed) {
                Ok(plan) => Schedule::of(&plan).misfits().iter().map(ToString::to_string).collect(),
                Err(refused) => refused.reasons.iter().map(ToString::to_string).collect(),
            };
            Checked { path, problems: loaded.warnings, misfits }
        }
    }
}

fn tell(cx: &Context, file: &Checked) {
    let shown = |path: &Path| sanitize(&path.display().to_string());
    if file.problems.count(Severity::Error) + file.problems.count(Severity::Warning) > 0 {
        cx.output.data(file.problems.render(cx.output.color).trim_end());
    }
    for misfit in &file.misfits {
        cx.output.data(format!(
            "{} {}: {}",
            paint(BAD, "does not fit:"),
            shown(&file.path),
            sanitize(misfit)
        ));
    }
    let sign = if file.problems.has_errors() || !file.misfits.is_empty() {
        paint(BAD, "✗")
    } else if file.problems.count(Severity::Warning) > 0 {
        paint(DOUBT, "!")
    } else {
        paint(GOOD, "✓")
    };
    cx.output.data(format!("{sign} {}", shown(&file.path)));
}

fn entry(file: &Checked) -> serde_json::Value {
    let problems: Vec<_> = file
        .problems
        .iter()
        .map(|problem| {
            let place = problem.span.map(|span| file.problems.source.location(span.start));
            json!({
                "severity": format!("{:?}", problem.severity).to_lowercase(),
                "code": problem.code,
                "message": problem.message,
                "line": place.map(|place| place.line),
                "column": place.map(|place| place.column),
                "hints": problem.hints,
            })
        })
        .collect();
    json!({"path": file.path, "problems": problems, "does_not_fit": file.misfits})
}
