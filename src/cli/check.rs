//! `rollback check`

use std::path::{Path, PathBuf};

use clap::Args;

use super::context::Context;
use super::error::{CliError, INVALID, USAGE};
use super::output::Format;
use super::{decide, live_check};
use crate::action::Registry;
use crate::environment::{Config, EnvironmentFile, FoundRunbook, locate, runbooks};
use crate::plan::budget::Schedule;
use crate::plan::{Concern, StepId};
use crate::report::check::{
    CheckedFile, Extent, FileKind, Level, Problem, github, json, junit, sarif,
};
use crate::report::style::{BAD, DOUBT, FAINT, GOOD, paint};
use crate::report::text::sanitize;
use crate::runbook::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::runbook::load;
use crate::trigger;

/// Check runbooks, environments and decision tables offline: parse, validate, lint, fit the budget
///
/// Nothing is connected to and no secret is read, unless `--env` names an environment: then the runbooks are held against its
/// live systems, read-only, and those of the scenario `prevention` are asked whether a deployment may begin. `--format` knows three
/// more forms here: `junit` for test reports, `sarif` for code scanning, `github` for annotations in a pull request. Exit code 3 when
/// something is wrong.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Files or folders [default: the project's runbooks with their environments and decision tables]
    path: Vec<PathBuf>,
    /// Let warnings fail the check, too
    #[arg(long)]
    strict: bool,
    /// Hold the runbooks against the live systems of this environment: its name, or its file
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
}

/// What became of one file.
struct Checked {
    path: PathBuf,
    kind: FileKind,
    problems: Diagnostics,
    /// What is wrong with no place in the file: times that cannot fit, and what live systems say.
    beyond: Vec<Problem>,
    failed: bool,
}

pub(super) async fn run(cx: &Context, args: &CheckArgs) -> Result<u8, CliError> {
    let registry = crate::adapters::registry();
    let here = std::env::current_dir().unwrap_or_default();
    let files = files(cx, args, &here);
    if files.is_empty() {
        return Err(CliError::new(USAGE, "find a runbook to check")
            .hint("Name files or folders, or write a first runbook with `rollback init`."));
    }
    let mut checked = Vec::with_capacity(files.len());
    for (path, kind) in files {
        let path = near(&path, &here);
        let known = || decide::runbooks(&path, &here, &cx.config);
        let (found, mut beyond) = problems(&path, kind, &registry, known);
        if let (Some(env), FileKind::Runbook, false) = (&args.env, kind, found.has_errors()) {
            beyond.extend(live_check::problems(cx, &path, env).await?);
        }
        checked.push(check(path, kind, found, beyond, args.strict));
    }
    tell(cx, &checked);
    let failed = checked.iter().any(|file| file.failed);
    Ok(if failed { INVALID } else { 0 })
}

fn tell(cx: &Context, checked: &[Checked]) {
    let plain = || checked.iter().map(plain_data).collect::<Vec<_>>();
    let out = &cx.output;
    match out.format {
        Format::Human => {
            checked.iter().for_each(|file| tell_file(cx, file));
            out.data(total(checked));
        }
        Format::Json | Format::Jsonl => out.data(json(&plain()).to_string()),
        Format::Junit => out.data(junit(&plain())),
        Format::Sarif => out.data(format!("{:#}", sarif(&plain()))),
        Format::Github => github(&plain()).into_iter().for_each(|line| out.data(line)),
    }
}

/// What is to be checked: what was named, or the project's runbooks with the environments beside them.
fn files(cx: &Context, args: &CheckArgs, here: &Path) -> Vec<(PathBuf, FileKind)> {
    let config = cx.config.clone();
    let searched = |config: &Config| {
        let (found, unreadable) = runbooks::search(here, config);
        let found: Vec<PathBuf> = found.into_iter().map(|found| found.path).collect();
        let tables = runbooks::tables(here, config);
        let environments: Vec<PathBuf> =
            found.iter().flat_map(|path| locate::available(path, config).into_values()).collect();
        // A file that is no YAML may have been meant as a runbook, so its problem is told.
        found.into_iter().chain(unreadable).chain(tables).chain(environments).collect::<Vec<_>>()
    };
    let mut wanted = Vec::new();
    if args.path.is_empty() {
        wanted = searched(&config);
    } else {
        let (folders, named): (Vec<_>, Vec<_>) =
            args.path.iter().cloned().partition(|path| path.is_dir());
        wanted.extend(named);
        if !folders.is_empty() {
            wanted.extend(searched(&Config { runbooks: folders, ..config }));
        }
    }
    let mut files: Vec<(PathBuf, FileKind)> = Vec::new();
    for path in wanted {
        let path = std::path::absolute(&path).unwrap_or(path);
        let kind = kind_of(&path);
        if !files.contains(&(path.clone(), kind)) {
            files.push((path, kind));
        }
    }
    files
}

/// Environments live in folders of that name, and nothing else does; a decision table says by its triggers that it is one.
fn kind_of(path: &Path) -> FileKind {
    let folder = path.parent().and_then(Path::file_name);
    if folder.is_some_and(|name| name == "environments") {
        FileKind::Environment
    } else if runbooks::is_table(path) {
        FileKind::Decisions
    } else {
        FileKind::Runbook
    }
}

/// The path as people (and code hosts) know it: relative to the current folder where it lies below.
fn near(path: &Path, here: &Path) -> PathBuf {
    path.strip_prefix(here).unwrap_or(path).to_owned()
}

/// What is wrong with a file, and what cannot fit; `known` gives the runbooks that a decision table may name.
fn problems(
    path: &Path,
    kind: FileKind,
    registry: &Registry,
    known: impl FnOnce() -> Vec<FoundRunbook>,
) -> (Diagnostics, Vec<Problem>) {
    match kind {
        FileKind::Environment => match EnvironmentFile::read(path, registry) {
            Ok(file) => (Diagnostics::new(file.source, Vec::new()), Vec::new()),
            Err(problems) => (problems, Vec::new()),
        },
        FileKind::Decisions => match trigger::load(path, registry, &known()) {
            Ok(loaded) => (loaded.warnings, Vec::new()),
            Err(problems) => (problems, Vec::new()),
        },
        FileKind::Runbook => match load(path, registry) {
            Ok(loaded) => (loaded.warnings, misfits(&loaded.runbook, registry)),
            Err(problems) => (problems, Vec::new()),
        },
    }
}

fn check(
    path: PathBuf,
    kind: FileKind,
    problems: Diagnostics,
    beyond: Vec<Problem>,
    strict: bool,
) -> Checked {
    let warned = || {
        problems.count(Severity::Warning) > 0
            || beyond.iter().any(|problem| problem.severity == Level::Warning)
    };
    let failed = problems.has_errors()
        || beyond.iter().any(|problem| problem.severity == Level::Error)
        || (strict && warned());
    Checked { path, kind, problems, beyond, failed }
}

/// What cannot fit into its time even if everything goes as expected; and, as warnings, what fits unless approvals take all of theirs.
fn misfits(runbook: &crate::runbook::Runbook, registry: &Registry) -> Vec<Problem> {
    let assumed = |_: &StepId| None;
    let late = |message| Problem::beyond(Level::Error, "does-not-fit", message, Vec::new());
    let plan = match crate::plan::build::outline(runbook, registry, &assumed) {
        Ok(plan) => plan,
        Err(refused) => return refused.reasons.iter().map(|why| late(why.to_string())).collect(),
    };
    let misfits = Schedule::of(&plan).misfits().into_iter().map(|misfit| late(misfit.to_string()));
    let slow = Schedule::slow_approvals(&plan).into_iter().map(|misfit| {
        let message = Concern::slow_approval(&misfit).to_string();
        let hint = "Shorten `within`, or put the approval behind the target.".to_owned();
        Problem::beyond(Level::Warning, "slow-approval", message, vec![hint])
    });
    misfits.chain(slow).collect()
}

fn tell_file(cx: &Context, file: &Checked) {
    let path = sanitize(&file.path.display().to_string());
    if file.problems.count(Severity::Error) + file.problems.count(Severity::Warning) > 0 {
        cx.output.data(file.problems.render(cx.output.color).trim_end());
        cx.output.data("");
    }
    for Problem { severity, code, message, hints, .. } in &file.beyond {
        let (style, word) = match severity {
            Level::Error => (BAD, "error"),
            Level::Warning => (DOUBT, "warning"),
            Level::Note => (FAINT, "note"),
        };
        let word = paint(style, format!("{word}[{code}]:"));
        cx.output.data(format!("{word} {path}: {}", sanitize(message)));
        hints.iter().for_each(|hint| cx.output.data(format!("  {}", sanitize(hint))));
    }
    let sign = if file.failed {
        paint(BAD, "✗")
    } else if file.problems.count(Severity::Warning) > 0
        || file.beyond.iter().any(|problem| problem.severity == Level::Warning)
    {
        paint(DOUBT, "!")
    } else {
        paint(GOOD, "✓")
    };
    cx.output.data(format!("{sign} {path}"));
}

fn total(checked: &[Checked]) -> String {
    let files = if checked.len() == 1 { "1 file" } else { &format!("{} files", checked.len()) };
    match checked.iter().filter(|file| file.failed).count() {
        0 => format!("{files} checked, {}", paint(GOOD, "all good")),
        bad => format!("{files} checked, {}", paint(BAD, format!("{bad} with problems"))),
    }
}

/// What was found as the report's renderers know it.
fn plain_data(file: &Checked) -> CheckedFile {
    let found = file.problems.iter().map(|problem| plain_problem(problem, &file.problems));
    CheckedFile {
        path: file.path.display().to_string(),
        kind: file.kind,
        failed: file.failed,
        problems: found.chain(file.beyond.iter().cloned()).collect(),
    }
}

fn plain_problem(problem: &Diagnostic, all: &Diagnostics) -> Problem {
    let place = problem.span.map(|span| {
        let (start, end) = (all.source.location(span.start), all.source.location(span.end));
        Extent {
            line: start.line,
            column: start.column,
            end_line: end.line,
            end_column: end.column,
        }
    });
    Problem {
        severity: match problem.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
            Severity::Note => Level::Note,
        },
        code: problem.code.to_owned(),
        message: problem.message.clone(),
        place,
        hints: problem.hints.clone(),
    }
}
