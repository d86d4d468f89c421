//! `rollback drill`: breaks an environment on purpose, rolls it back with faults injected, measures, brings it back, and writes the
//! record down.

mod course;
mod inject;

use std::sync::Arc;

use clap::{ArgGroup, Args};

use self::course::Course;
use super::context::Context;
use super::error::{CliError, REFUSED, USAGE};
use super::open::{self, Opened, Which, nobody_to_ask};
use super::output::Format;
use super::prompt;
use super::run::{DrillFlags, StartArgs};
use crate::engine::fault::Faults;
use crate::report::drill as report;
use crate::report::text::sanitize;
use crate::runbook::Scenario;

/// The scenarios that can be drilled.
const SCENARIOS: [Scenario; 4] =
    [Scenario::Emergency, Scenario::Graceful, Scenario::Partial, Scenario::KnowledgeBase];

/// Rehearse a rollback for real: break an environment, recover it with faults injected, measure, bring it back
///
/// It runs the runbook's `prepare`, then the runbook itself with the faults, then `restore`; without one, what was changed is taken back.
/// The sandbox is reset before and after.
/// The exit code is that of the rollback: 0 when every target was met. It refuses every environment that does not say `drills: true`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
pub(super) struct DrillArgs {
    /// The scenario: emergency, graceful, partial or knowledge-base
    #[arg(long, group = "what", value_parser = scenario)]
    scenario: Option<Scenario>,
    /// The runbook: its name or its file
    #[arg(long, group = "what", value_name = "NAME|PATH")]
    runbook: Option<String>,
    /// Inject a fault: `SYSTEM:KIND` or `SYSTEM.VERB:KIND` with latency=4s, error, unreachable, timeout or unknown; then perhaps
    /// `,step=phase/step,times=2`
    #[arg(long, value_name = "FAULT")]
    inject: Vec<String>,
    #[command(flatten)]
    flags: DrillFlags,
    /// Start without asking; answers nothing else
    #[arg(long, short)]
    yes: bool,
}

fn scenario(text: &str) -> Result<Scenario, String> {
    let known = SCENARIOS.into_iter().find(|scenario| open::scenario_name(*scenario) == text);
    let names = SCENARIOS.map(open::scenario_name).join(", ");
    known.ok_or_else(|| format!("the scenarios are {names}"))
}

impl DrillArgs {
    /// Which runbook is meant.
    fn which(&self) -> Which {
        match (self.scenario, &self.runbook) {
            (Some(scenario), runbook) => {
                Which::Scenario { scenario, name: None, runbook: runbook.clone() }
            }
            (None, runbook) => Which::Runbook(runbook.clone().unwrap_or_default()),
        }
    }
}

pub(super) async fn run(cx: Context, mut args: DrillArgs) -> Result<u8, CliError> {
    let faults = inject::read(&args.inject)?;
    let opened = open::open(&cx, &args.which(), args.flags.env()).await?;
    allowed(&opened)?;
    inject::check(&faults, &opened)?;
    let reason = args.flags.reason().to_owned();
    if !args.yes {
        agreed(&cx, &opened, args.inject.len()).await?;
    }
    // What happens on the way is told as progress: the data of a drill is its record.
    let aside = Context { output: cx.output.aside(), ..cx.clone() };
    let left = args.flags.lock().left_elsewhere();
    let course = Course {
        cx: aside,
        opened,
        args: StartArgs::of_drill(args.flags),
        reason,
        faults: Arc::new(Faults::new(faults)),
        left,
    };
    let drilled = course.go().await?;
    if let Some(run) = &drilled.kept_with {
        run.keep_drill(&drilled.record)?;
    }
    match cx.output.format {
        Format::Human => {
            let kept_with = drilled.kept_with.as_ref().map(crate::journal::Run::id);
            for line in report::lines(&drilled.record, kept_with) {
                cx.output.data(line);
            }
        }
        _ => cx.output.data(report::json(&drilled.record).to_string()),
    }
    Ok(drilled.record.exit_code)
}

/// Production is not broken on purpose, and neither is what nobody has thought about.
fn allowed(opened: &Opened) -> Result<(), CliError> {
    let runbook = &opened.loaded.runbook;
    if runbook.scenario.asks_only() {
        let text =
            format!("drill `{}`: it only asks, so there is nothing to recover", runbook.name);
        return Err(CliError::new(USAGE, text)
            .hint(format!("Run it as it is with `rollback run {}`.", runbook.name)));
    }
    let environment = &opened.environment;
    if environment.sandbox || environment.drills {
        return Ok(());
    }
    let name = &environment.name;
    Err(CliError::new(
        REFUSED,
        format!(
            "drill in {name}: this environment may not be broken on purpose; nothing was touched"
        ),
    )
    .hint("Drill in the sandbox: `--env sandbox`.")
    .hint(format!(
        "If nobody depends on {name}, write `drills: true` into {}.",
        environment.path.display()
    )))
}

/// Asks whether to start.
async fn agreed(cx: &Context, opened: &Opened, faults: usize) -> Result<(), CliError> {
    if !cx.output.interactive {
        return Err(
            nobody_to_ask("whether to start").hint("Add `--yes` to start without being asked.")
        );
    }
    let name = sanitize(&opened.environment.name);
    let runbook = sanitize(&opened.loaded.runbook.title);
    cx.output.progress(format!(
        "{runbook}: breaks {name}, recovers it with {faults} faults injected, and brings it back"
    ));
    if prompt::confirm(&cx.output, "Start the drill?").await? {
        return Ok(());
    }
    Err(CliError::new(USAGE, "start: you said no; nothing was touched"))
}
