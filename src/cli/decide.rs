//! `rollback decide`

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::context::Context;
use super::error::{
    self, CliError, EVALUATE, NO_DATA, OPTIMIZE, PREPARE, ROLL_BACK, UNEXPECTED, USAGE,
};
use super::open;
use super::output::Format;
use crate::environment::{Config, Environment, FoundRunbook, locate, runbooks as found};
use crate::report::style::{BAD, DOUBT, FAINT, GOOD, STRONG, paint};
use crate::report::text::sanitize;
use crate::runbook::Scenario;
use crate::runbook::diagnostic::Severity as Grade;
use crate::trigger::{
    self, Approval, Decision, LoadedTable, Reading, Response, State, Table, Trigger,
};
use crate::value::{Lasting, brief};

/// The time for all conditions of a table together.
const PATIENCE: Duration = Duration::from_secs(15);

/// Ask the decision table once whether to roll back; read-only
///
/// Every condition is asked at the same time. It says what fires with the values that show it, then what to do, the
/// command to type, who has to approve, and how soon. It starts nothing. Exit code 0: nothing to do; 30: roll back;
/// 31: pause deployments and evaluate; 32: monitor and prepare; 33: nothing fires, and some conditions have no data;
/// 34: improve it, no rollback.
#[derive(Debug, Args)]
pub(super) struct DecideArgs {
    /// The file of the table [default: the project's only one]
    table: Option<PathBuf>,
    /// The environment to ask
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
}

pub(super) async fn run(cx: &Context, args: DecideArgs) -> Result<u8, CliError> {
    let here = std::env::current_dir()
        .map_err(|error| CliError::new(UNEXPECTED, "find the current folder").caused_by(&error))?;
    let path = match args.table {
        Some(path) => path,
        None => only_table(&here, args.env.as_deref(), &cx.config)?,
    };
    let registry = Arc::new(crate::adapters::registry());
    let known = runbooks(&path, &here, &cx.config);
    let LoadedTable { table, warnings, .. } = trigger::load(&path, &registry, &known)
        .map_err(|problems| error::invalid(&problems, cx.output.color))?;
    if warnings.count(Grade::Warning) > 0 {
        cx.output.progress(warnings.render(cx.output.color).trim_end());
    }
    let choice = locate::locate(args.env.as_deref(), &path, &cx.config)
        .map_err(|error| CliError::new(USAGE, error.to_string()).hints(error.hints()))?;
    let (environment, resolve) = open::enter(cx, &choice.path, registry, &cx.config).await?;
    let readings = trigger::evaluate(&table, &environment.values, &resolve, PATIENCE).await;
    let decision = trigger::decide(&table, &readings);
    let told =
        Told { table: &table, environment: &environment, known: &known, readings: &readings };
    match cx.output.format {
        Format::Human => told.lines(decision).into_iter().for_each(|line| cx.output.data(line)),
        _ => cx.output.data(crate::secret::hide_markers(&told.document(decision).to_string())),
    }
    Ok(code(decision))
}

/// The table of a project that has just one, or just one for this environment.
fn only_table(here: &Path, env: Option<&str>, config: &Config) -> Result<PathBuf, CliError> {
    let mut tables = found::tables(here, config);
    let has = |table: &Path| locate::locate(env, table, config).is_ok();
    if tables.iter().any(|table| has(table)) {
        tables.retain(|table| has(table));
    }
    match (tables.pop(), tables.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            tables.push(last);
            let names: Vec<String> = tables.iter().map(|path| path.display().to_string()).collect();
            Err(CliError::new(USAGE, "choose a decision table: there are several")
                .hint(format!("Name one of: {}.", names.join(", "))))
        }
        (None, _) => Err(CliError::new(USAGE, "find a decision table")
            .hint("Name its file; in a project it lies beside the runbooks.")),
    }
}

/// The runbooks that a table may name: the project's, and those beside it.
pub(super) fn runbooks(table: &Path, here: &Path, config: &Config) -> Vec<FoundRunbook> {
    let (mut known, _) = found::search(here, config);
    let absolute = std::path::absolute(table).unwrap_or_else(|_| table.to_owned());
    let beside: Vec<PathBuf> = absolute.parent().map(Path::to_owned).into_iter().collect();
    let (beside, _) = found::search(here, &Config { runbooks: beside, ..config.clone() });
    let others: Vec<_> = beside
        .into_iter()
        .filter(|one| !known.iter().any(|other| other.name == one.name))
        .collect();
    known.extend(others);
    known
}

/// The exit code of a decision.
fn code(decision: Decision<'_>) -> u8 {
    match decision {
        Decision::Quiet => 0,
        Decision::NoData => NO_DATA,
        Decision::Respond(trigger) => match trigger.response {
            Response::ImmediateRollback | Response::PlannedRollback => ROLL_BACK,
            Response::Optimize => OPTIMIZE,
            Response::PauseAndEvaluate => EVALUATE,
            Response::MonitorAndPrepare => PREPARE,
        },
    }
}

/// What is told of a decision.
struct Told<'a> {
    table: &'a Table,
    environment: &'a Environment,
    known: &'a [FoundRunbook],
    readings: &'a [Reading],
}

impl Told<'_> {
    fn read(&self) -> impl Iterator<Item = (&Trigger, &State)> {
        self.table
            .triggers
            .iter()
            .zip(self.readings)
            .map(|(trigger, reading)| (trigger, &reading.state))
    }

    /// What fires first, then what is not known, then what to do.
    fn lines(&self, decision: Decision<'_>) -> Vec<String> {
        let width = self.table.triggers.iter().map(|trigger| trigger.id.len()).max().unwrap_or(0);
        let line = |sign: String, trigger: &Trigger, text: &str| {
            let (id, severity) = (&trigger.id, trigger.severity.word());
            format!("{sign} {id:<width$}  {severity:<8}  {}", sanitize(text))
        };
        let mut firing: Vec<(&Trigger, &String)> = self
            .read()
            .filter_map(|(trigger, state)| match state {
                State::Firing { observed, .. } => Some((trigger, observed)),
                _ => None,
            })
            .collect();
        firing.sort_by_key(|(trigger, _)| std::cmp::Reverse((trigger.response, trigger.severity)));
        let mut lines: Vec<String> = Vec::new();
        for (trigger, observed) in firing {
            lines.push(line(paint(BAD, "✗"), trigger, &format!("{}: {observed}", trigger.title)));
        }
        // What is missing for one trigger is often missing for all.
        let mut hints: Vec<&String> = Vec::new();
        for (trigger, state) in self.read() {
            if let State::NoData { reason, hints: more } = state {
                lines.push(line(paint(DOUBT, "?"), trigger, &format!("no data: {reason}")));
                hints.extend(more);
            }
        }
        let mut told = HashSet::new();
        let hints = hints.into_iter().filter(|hint| told.insert(*hint));
        lines.extend(hints.map(|hint| format!("  hint: {}", sanitize(hint))));
        let quiet = self.read().filter(|(_, state)| matches!(state, State::Quiet { .. })).count();
        if quiet > 0 {
            let all = if quiet == self.readings.len() { "all " } else { "" };
            let triggers = if quiet == 1 { "trigger is" } else { "triggers are" };
            let text = format!("{all}{quiet} {triggers} quiet");
            lines.push(format!("{} {}", paint(GOOD, "✓"), paint(FAINT, text)));
        }
        lines.push(String::new());
        lines.extend(self.advice(decision));
        lines
    }

    fn advice(&self, decision: Decision<'_>) -> Vec<String> {
        let trigger = match decision {
            Decision::Quiet => return vec![paint(GOOD, "NOTHING TO DO")],
            Decision::NoData => {
                let unknown =
                    self.read().filter(|(_, state)| matches!(state, State::NoData { .. }));
                let text = format!(
                    "NO DATA: no trigger is known to fire, and of {} nobody knows",
                    unknown.count()
                );
                return vec![
                    paint(DOUBT, text),
                    "Find out why before you take this for \"all is well\".".to_owned(),
                ];
            }
            Decision::Respond(trigger) => trigger,
        };
        let within = brief(trigger.within);
        let command = paint(STRONG, sanitize(&self.command(trigger)));
        let look = sanitize(&format!(
            "rollback plan {} --env {} --reason {}",
            shell_words::quote(&trigger.runbook),
            shell_words::quote(&self.environment.name),
            shell_words::quote(&reason(trigger))
        ));
        let approval = match self.table.approver(trigger) {
            None => "no approval needed".to_owned(),
            Some(who) => format!("needs the approval of {}", sanitize(who)),
        };
        let (head, lead) = match trigger.response {
            Response::ImmediateRollback => (paint(BAD, "ROLL BACK NOW"), "type"),
            Response::PlannedRollback => (paint(BAD, "ROLL BACK"), "type"),
            Response::Optimize => (paint(DOUBT, "IMPROVE IT, NO ROLLBACK"), "if it gets worse"),
            Response::PauseAndEvaluate => {
                (paint(DOUBT, "PAUSE DEPLOYMENTS AND EVALUATE"), "if it has to be rolled back")
            }
            Response::MonitorAndPrepare => {
                (paint(DOUBT, "MONITOR AND PREPARE"), "if it gets worse")
            }
        };
        let mut lines =
            vec![format!("{head} within {within}, {approval}: {}", sanitize(&trigger.title))];
        if trigger.response < Response::PlannedRollback {
            lines.push(format!("  see what it would change: {look}"));
        }
        lines.push(format!("  {lead}: {command}"));
        if let Some(time) = trigger.cool_down {
            lines.push(format!(
                "  then leave it {} before you act on this table again",
                brief(time)
            ));
        }
        lines
    }

    /// What the runbook of a trigger is for, where the answer says it.
    fn argument(&self, trigger: &Trigger) -> Option<&str> {
        self.read().filter(|(one, _)| one.id == trigger.id).find_map(|(_, state)| match state {
            State::Firing { argument, .. } => argument.as_deref(),
            _ => None,
        })
    }

    /// The command that starts the runbook of a trigger.
    fn command(&self, trigger: &Trigger) -> String {
        let scenario = self.known.iter().find(|known| known.name == trigger.runbook);
        let scenario = scenario.and_then(|known| known.scenario);
        let argument = self.argument(trigger);
        let start = match scenario {
            Some(Scenario::Emergency) => "--emergency".to_owned(),
            Some(Scenario::Graceful) => "--graceful".to_owned(),
            Some(Scenario::Partial) => {
                format!("--partial {}", shell_words::quote(argument.unwrap_or(&trigger.runbook)))
            }
            Some(Scenario::KnowledgeBase) => {
                let name = shell_words::quote(argument.unwrap_or(&trigger.runbook));
                format!("--knowledge-base {name}")
            }
            Some(Scenario::Validation | Scenario::Prevention) | None => {
                format!("run {}", shell_words::quote(&trigger.runbook))
            }
        };
        let named = matches!(scenario, Some(Scenario::Emergency | Scenario::Graceful));
        let several = self.known.iter().filter(|known| known.scenario == scenario).count() > 1;
        let runbook = if named && several || argument.is_some() {
            format!(" --runbook {}", shell_words::quote(&trigger.runbook))
        } else {
            String::new()
        };
        let approval = match &trigger.approval {
            Approval::Automated => String::new(),
            Approval::Role(role) => {
                format!(" --approval-role {role} --approval-within {}", Lasting(trigger.within))
            }
        };
        format!(
            "rollback {start}{runbook} --env {}{approval} --reason {}",
            shell_words::quote(&self.environment.name),
            shell_words::quote(&reason(trigger))
        )
    }

    fn document(&self, decision: Decision<'_>) -> Value {
        let triggers = self.table.triggers.iter().zip(self.readings).map(|(trigger, reading)| {
            let mut entry = serde_json::to_value(reading).unwrap_or_default();
            entry["title"] = trigger.title.as_str().into();
            entry["severity"] = trigger.severity.word().into();
            entry["action"] = trigger.response.word().into();
            entry
        });
        let (verdict, respond) = match decision {
            Decision::Quiet => ("quiet", Value::Null),
            Decision::NoData => ("no-data", Value::Null),
            Decision::Respond(trigger) => (trigger.response.word(), self.response(trigger)),
        };
        json!({
            "format": 1,
            "table": self.table.name,
            "environment": self.environment.name,
            "verdict": verdict,
            "respond": respond,
            "triggers": triggers.collect::<Vec<_>>(),
        })
    }

    fn response(&self, trigger: &Trigger) -> Value {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        json!({
            "trigger": trigger.id,
            "runbook": trigger.runbook,
            "argument": self.argument(trigger),
            "within_ms": millis(trigger.within),
            "cool_down_ms": trigger.cool_down.map(millis),
            "approval": trigger.approval,
            "approver": self.table.approver(trigger),
            "command": self.command(trigger),
        })
    }
}

/// The reason that a run is given: nothing that a remote system said, since it is pasted into a shell.
fn reason(trigger: &Trigger) -> String {
    format!("{}: {}", trigger.id, trigger.title)
}
