//! `rollback plan`, `--dry-run`, and the plan on one screen.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::error::{CliError, REFUSED, UNEXPECTED};
use super::open::{self, Opened, Which};
use super::output::Format;
use super::run::{DRY, Occasion, StartArgs, left_out, make_plan, without};
use crate::action::Window;
use crate::plan::budget::Schedule;
use crate::plan::explain::explain_drill;
use crate::plan::layers::layers;
use crate::plan::preview::{Finding, Known, PreviewItem, PreviewStep, PreviewVerdict};
use crate::plan::{Items, Plan, PlannedPhase, PlannedStep, Preview, PreviewContext, preview};
use crate::report::reverts;
use crate::report::style::{BAD, DOUBT, FAINT, GOOD, STRONG, paint};
use crate::report::text::{defuse, sanitize};
use crate::value::brief;

/// The most lines that one step may take on the screen; `--format json` has every item.
const MOST_LINES: usize = 12;

/// Show what a run would do, read-only: reads the live systems and changes nothing
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// The runbook: its name or its file
    runbook: String,
    #[command(flatten)]
    start: StartArgs,
    /// Print the runbook as the checklist that a person could follow by hand, in Markdown
    #[arg(long)]
    explain: bool,
}

pub(super) async fn run(cx: Context, args: PlanArgs) -> Result<u8, CliError> {
    let mut opened = open::open(&cx, &Which::Runbook(args.runbook), args.start.env()).await?;
    show(&cx, &mut opened, &args.start, args.explain).await
}

/// Makes the plan of a run and shows it, held against the live systems. Exit code 4 when it is bound to fail.
pub(super) async fn show(
    cx: &Context,
    opened: &mut Opened,
    args: &StartArgs,
    explain: bool,
) -> Result<u8, CliError> {
    let head_start = args.head_start()?;
    let built = make_plan(cx, opened, args, Occasion { run: DRY, drill: false }).await?;
    let left_out = left_out(&built.plan, args)?;
    let plan = without(&built.plan, &left_out);
    if explain {
        cx.output.data(defuse(crate::plan::explain(&plan).trim_end()));
        for phase in opened.loaded.runbook.drill_phases() {
            let mut part = opened.drill_part(phase);
            let built = make_plan(cx, &mut part, args, Occasion { run: DRY, drill: true }).await?;
            cx.output.data(defuse(&format!("\n{}", explain_drill(&built.plan).trim_end())));
        }
        return Ok(0);
    }
    let scratch = opened.store.dir().to_owned();
    let looked = PreviewContext { resolve: opened.resolve.clone(), scratch };
    let found = preview(&plan, &looked).await;
    if cx.output.format == Format::Human {
        review_of(&plan, &found, head_start).into_iter().for_each(|line| cx.output.data(line));
    } else {
        let document = serde_json::to_value(&found)
            .map(|preview| json!({"format": 1, "plan": plan, "preview": preview}))
            .map_err(|error| CliError::new(UNEXPECTED, "write the plan").caused_by(&error))?;
        cx.output.data(crate::secret::hide_markers(&document.to_string()));
    }
    Ok(if found.verdict == PreviewVerdict::WillFail { REFUSED } else { 0 })
}

/// The plan, step by step, with what was found.
pub(super) fn review_of(plan: &Plan, found: &Preview, head_start: Duration) -> Vec<String> {
    [head(plan, head_start), steps(plan, found), verdict(found)].concat()
}

/// The plan on one screen, before the question.
pub(super) fn screen(plan: &Plan, head_start: Duration) -> Vec<String> {
    let mut lines = head(plan, head_start);
    for phase in &plan.phases {
        let budget = phase.budget.map(|budget| format!("  budget {}", brief(budget)));
        lines.push(format!(
            "\n{}{}",
            paint(STRONG, sanitize(&phase.title)),
            paint(FAINT, budget.unwrap_or_default())
        ));
        lines.extend(arranged(phase).iter().map(|(mark, step)| step_line(*mark, step)));
    }
    lines.push(String::new());
    lines
}

fn head(plan: &Plan, head_start: Duration) -> Vec<String> {
    let projection = Schedule::of(plan).start();
    let mut lines = vec![
        paint(STRONG, sanitize(&plan.title)),
        format!(
            "{} · {} · environment {} · about {}",
            open::scenario_name(plan.scenario),
            sanitize(&plan.subject),
            paint(STRONG, sanitize(&plan.environment)),
            brief(projection.run.max(Duration::from_millis(1)))
        ),
    ];
    if !head_start.is_zero() {
        lines.push(format!("  the targets' clock has been running for {}", brief(head_start)));
    }
    lines.extend(left(plan));
    if let Some(approval) = &plan.approval {
        let (who, within) = (sanitize(&approval.who()), brief(approval.within));
        let text = format!("  first asks for the approval of {who}, within {within}");
        lines.push(paint(DOUBT, text));
    }
    for (target, projected) in plan.targets.iter().zip(&projection.targets) {
        let at = match target.from {
            None => head_start + projected.at,
            Some(_) => projected.takes(),
        };
        let word = if plan.step(&target.reached_by).is_some_and(|step| step.skip.is_some()) {
            paint(DOUBT, "will not be reached: its step is left out")
        } else if at > target.within {
            paint(BAD, "does not fit")
        } else {
            paint(GOOD, "fits")
        };
        lines.push(format!(
            "  target {} in {}: expected after {}, {word}",
            sanitize(&target.name),
            sanitize(&target.time()),
            brief(at)
        ));
    }
    lines
}

/// Which run a plan takes back, and what stays.
pub(super) fn left(plan: &Plan) -> Vec<String> {
    let told = plan.reverts.iter().flat_map(reverts::lines);
    told.map(|line| format!("  {line}")).collect()
}

/// The steps of a phase in layers: those that run at the same time stand in one bracket.
fn arranged(phase: &PlannedPhase) -> Vec<(char, &PlannedStep)> {
    let marked = |layer: Vec<_>| {
        let last = layer.len() - 1;
        layer.into_iter().enumerate().map(move |(index, step)| match index {
            _ if last == 0 => (' ', step),
            0 => ('┌', step),
            _ if index == last => ('└', step),
            _ => ('│', step),
        })
    };
    layers(phase).into_iter().filter(|layer| !layer.is_empty()).flat_map(marked).collect()
}

fn step_line(mark: char, step: &PlannedStep) -> String {
    let what = match (&step.skip, &step.items) {
        (Some(because), _) => paint(FAINT, format!("skipped: {}", sanitize(because))),
        (None, Items::Deferred(deferred)) => {
            let reason = sanitize(&deferred.reason);
            paint(DOUBT, format!("{}, worked out later: {reason}", step.verb))
        }
        (None, Items::Resolved(items)) => match items.as_slice() {
            [] => step.verb.to_string(),
            [only] => sanitize(&only.does),
            [first, rest @ ..] => {
                format!(
                    "{} {}",
                    sanitize(&first.does),
                    paint(FAINT, format!("and {} more", rest.len()))
                )
            }
        },
    };
    let optional = if step.policy.optional { paint(FAINT, " (optional)") } else { String::new() };
    let forever =
        if step.policy.irreversible { paint(DOUBT, " (cannot be undone)") } else { String::new() };
    format!("{mark} {:<24} {what}{optional}{forever}{}", name(step), asks(step))
}

/// Who is asked before the step begins.
fn asks(step: &PlannedStep) -> String {
    let needed = step.policy.approval.as_ref().filter(|_| step.skip.is_none());
    let told = needed.map(|approval| {
        let (who, within) = (sanitize(&approval.who()), brief(approval.within));
        paint(DOUBT, format!(" (asks {who} first, within {within})"))
    });
    told.unwrap_or_default()
}

fn name(step: &PlannedStep) -> String {
    sanitize(step.id.0.split_once('/').map_or(step.id.as_str(), |(_, name)| name))
}

fn steps(plan: &Plan, found: &Preview) -> Vec<String> {
    let mut lines = Vec::new();
    for phase in &plan.phases {
        let budget = phase.budget.map(|budget| format!("  budget {}", brief(budget)));
        lines.push(format!(
            "\n{}{}",
            paint(STRONG, sanitize(&phase.title)),
            paint(FAINT, budget.unwrap_or_default())
        ));
        let seen = |step: &PlannedStep| found.steps.iter().find(|seen| seen.id == step.id);
        let told = arranged(phase).into_iter();
        let told: Vec<_> =
            told.filter_map(|(mark, step)| Some((mark, step, seen(step)?))).collect();
        match review(told.iter().flat_map(|(_, _, seen)| &seen.items)) {
            Some(line) => lines.push(line),
            None => lines
                .extend(told.iter().flat_map(|(mark, step, seen)| seen_lines(*mark, step, seen))),
        }
    }
    lines
}

/// A phase of nothing but the review's questions is one line: it is no part of the run.
fn review<'a>(mut items: impl Iterator<Item = &'a PreviewItem> + Clone) -> Option<String> {
    let questions = items.clone().count();
    let of_review = |item: &PreviewItem| {
        matches!(item.finding, Finding::AsksPerson { window: Some(Window::Review), .. })
    };
    (questions > 0 && items.all(of_review)).then(|| {
        let text = format!("{questions} questions, asked after the run: {}", Window::Review);
        format!("  {} {text} {}", paint(DOUBT, "?"), paint(FAINT, how(Known::Rendered)))
    })
}

fn seen_lines(mark: char, step: &PlannedStep, seen: &PreviewStep) -> Vec<String> {
    let mut lines = Vec::new();
    let label = name(step);
    // Items that come to the same are told together: 131 stops are one line, and the one that differs is another.
    let mut told = grouped(seen, same);
    if told.len() > MOST_LINES {
        told = grouped(seen, |one, other| {
            std::mem::discriminant(&one.finding) == std::mem::discriminant(&other.finding)
        });
    }
    for (index, (item, count)) in told.iter().enumerate() {
        let (mark, label) = match (index, mark) {
            (0, mark) => (mark, label.as_str()),
            (_, '┌' | '│') => ('│', ""),
            _ => (' ', ""),
        };
        let more = if *count > 1 {
            paint(FAINT, format!(" and {} more", count - 1))
        } else {
            String::new()
        };
        let (sign, text) = finding(item);
        let asks = if index == 0 { asks(step) } else { String::new() };
        lines.push(format!(
            "{mark} {label:<24} {sign} {text}{more}{asks} {}",
            paint(FAINT, how(item.known))
        ));
    }
    lines
}

/// The items by what is told about them: the first of each group, and how many there are.
fn grouped(
    seen: &PreviewStep,
    together: impl Fn(&PreviewItem, &PreviewItem) -> bool,
) -> Vec<(&PreviewItem, usize)> {
    let mut told: Vec<(&PreviewItem, usize)> = Vec::new();
    for item in &seen.items {
        match told.iter_mut().find(|(first, _)| together(first, item)) {
            Some((_, count)) => *count += 1,
            None => told.push((item, 1)),
        }
    }
    told
}

/// Whether two items do the same to different things, and the same was found out about them.
fn same(one: &PreviewItem, other: &PreviewItem) -> bool {
    std::mem::discriminant(&one.finding) == std::mem::discriminant(&other.finding)
        && !matches!(
            one.finding,
            Finding::CannotTell { .. } | Finding::AsksPerson { .. } | Finding::AsksLater { .. }
        )
        && pattern(one) == pattern(other)
}

/// What an item does, with its own name left open.
fn pattern(item: &PreviewItem) -> String {
    let parts = item.name.split('/').filter(|part| !part.is_empty());
    parts.fold(item.does.clone(), |does, part| does.replace(part, "…"))
}

fn finding(item: &PreviewItem) -> (String, String) {
    let does = sanitize(&item.does);
    match &item.finding {
        Finding::WouldChange { found: None, .. } => (paint(STRONG, "→"), does),
        Finding::WouldChange { found: Some(found), .. } => {
            (paint(STRONG, "→"), format!("{does}: {}", sanitize(found)))
        }
        Finding::AlreadyDone { evidence } => {
            (paint(GOOD, "="), format!("already done: {}", sanitize(evidence)))
        }
        Finding::Holds { evidence } if evidence.is_empty() => (paint(GOOD, "✓"), does),
        Finding::Holds { evidence } => (paint(GOOD, "✓"), sanitize(evidence)),
        Finding::WillHold { .. } => {
            (paint(GOOD, "✓"), format!("{does}: will hold after the steps above"))
        }
        Finding::MayHold { observed } => (
            paint(DOUBT, "~"),
            format!("{does}: not now ({}), to be seen after the steps above", sanitize(observed)),
        ),
        Finding::DoesNotHold { observed } => {
            (paint(BAD, "✗"), format!("{does}: does not hold: {}", sanitize(observed)))
        }
        Finding::AsksPerson { required, window } => {
            let word = match window {
                _ if *required => "the run waits for the answer".to_owned(),
                None => "recorded as open".to_owned(),
                Some(window) => format!("recorded as open, asked after the run: {window}"),
            };
            (paint(DOUBT, "?"), format!("{does} ({word})"))
        }
        Finding::AsksLater { window } => {
            (paint(DOUBT, "?"), format!("{does} (a probe answers after the run: {window})"))
        }
        Finding::Skipped { because } => {
            (paint(FAINT, "–"), format!("skipped: {}", sanitize(because)))
        }
        Finding::CannotTell { error } => {
            (paint(DOUBT, "?"), format!("{does}: failed to {}", sanitize(&error.message)))
        }
    }
}

fn how(known: Known) -> &'static str {
    match known {
        Known::Rendered => "[from the runbook]",
        Known::ReadLive => "[read live]",
        Known::Predicted => "[read live, then predicted]",
        Known::DryRun => "[tried by the server, dry run]",
    }
}

fn verdict(found: &Preview) -> Vec<String> {
    let weakest: Vec<_> = found.weakest.iter().map(|id| sanitize(&id.0)).collect();
    let text = match found.verdict {
        PreviewVerdict::NothingToDo => paint(GOOD, "nothing to do: everything is there already"),
        PreviewVerdict::Ready => paint(GOOD, "ready: everything was read live"),
        PreviewVerdict::Likely => {
            paint(GOOD, "likely: some answers depend on what earlier steps change")
        }
        PreviewVerdict::CannotTell => paint(DOUBT, "cannot tell: some things could not be read"),
        PreviewVerdict::WillFail => {
            paint(BAD, "will fail: a required answer is wrong, and nothing before it changes that")
        }
    };
    let mut lines = vec![String::new(), text];
    if !weakest.is_empty() {
        lines.push(paint(FAINT, format!("weakest: {}", weakest.join(", "))));
    }
    for late in &found.late {
        lines.push(paint(DOUBT, format!("warning: {}", sanitize(&late.to_string()))));
        lines.push(format!("  {}", late.hint()));
    }
    lines.push(paint(FAINT, "nothing was changed"));
    lines
}
