//! The arguments of the program, and which command they mean.

use std::path::PathBuf;

use clap::{ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::context::Context;
use super::error::{self, CliError, UNEXPECTED, USAGE};
use super::output::{Color, Format, Output};
use super::{
    abort, acknowledge, approve, check, completions, confirm, decide, doctor, evidence, history,
    init, log, man, panic, plan, report, resume, run, sandbox, schema, status,
};
use crate::environment::Config;
use crate::failpoint;
use crate::runbook::Scenario;
use crate::signal;

/// Runs rollback runbooks against hard recovery targets, and survives being killed.
#[derive(Debug, Parser)]
#[command(name = "rollback", version, args_conflicts_with_subcommands = true)]
#[command(after_help = "At 3 a.m.: rollback --emergency --env NAME --reason TEXT")]
pub struct Cli {
    #[command(flatten)]
    scenario: ScenarioArgs,
    #[command(flatten)]
    start: run::StartArgs,
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Which scenario's runbook to run.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scenario"))]
struct ScenarioArgs {
    /// Run the emergency runbook: everything back, as fast as possible
    #[arg(long, group = "scenario", help_heading = "Scenarios")]
    emergency: bool,
    /// Run the graceful runbook: in stages, over hours
    #[arg(long, group = "scenario", help_heading = "Scenarios")]
    graceful: bool,
    /// Run the partial runbook for this part of the system (or the partial runbook of this name)
    #[arg(long, group = "scenario", value_name = "NAME", help_heading = "Scenarios")]
    partial: Option<String>,
    /// Run the knowledge-base runbook (for this part, or of this name)
    #[arg(long, group = "scenario", value_name = "NAME", num_args = 0..=1, help_heading = "Scenarios")]
    #[expect(clippy::option_option, reason = "clap's form of a flag whose value may be left out")]
    knowledge_base: Option<Option<String>>,
    /// The runbook, when several would do: its name or its file
    #[arg(long, value_name = "NAME|PATH", requires = "scenario", help_heading = "Scenarios")]
    runbook: Option<String>,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
struct CommonArgs {
    /// The form of the data on standard output [default: human]
    #[arg(long, value_enum, global = true, env = "ROLLBACK_FORMAT", help_heading = "Output")]
    format: Option<Format>,
    /// When to colour [default: auto]
    #[arg(long, value_enum, global = true, env = "ROLLBACK_COLOR", help_heading = "Output")]
    color: Option<Color>,
    /// Where runs are kept [default: `$XDG_STATE_HOME/rollback`]
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        env = "ROLLBACK_STATE_DIR",
        help_heading = "Output"
    )]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Plan(plan::PlanArgs),
    Check(check::CheckArgs),
    Decide(decide::DecideArgs),
    Status(status::StatusArgs),
    Resume(resume::ResumeArgs),
    Approve(approve::ApproveArgs),
    Abort(abort::AbortArgs),
    Acknowledge(acknowledge::AcknowledgeArgs),
    Confirm(confirm::ConfirmArgs),
    Report(report::ReportArgs),
    Evidence(evidence::EvidenceArgs),
    History(history::HistoryArgs),
    Sandbox(sandbox::SandboxArgs),
    Init(init::InitArgs),
    Doctor(doctor::DoctorArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Parses the command line of this process, does what it says, and returns the exit code.
pub async fn main() -> u8 {
    panic::install();
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => return tell_usage(&error),
    };
    log::init();
    let common = cli.common.clone();
    let plain = Output::new(common.format.unwrap_or_default(), common.color.unwrap_or_default());
    let config = match Config::load() {
        Ok(config) => config,
        Err(problems) => return tell_error(&plain, &error::invalid(&problems, plain.color)),
    };
    let output = Output::new(
        common.format.or_else(|| configured(config.format.as_deref())).unwrap_or_default(),
        common.color.or_else(|| configured(config.color.as_deref())).unwrap_or_default(),
    );
    if let Err(error) = check_format(&cli, output.format) {
        return tell_error(&output, &error);
    }
    let cx = Context { output: output.clone(), config, state_dir: common.state_dir };
    match panic::caught(Box::pin(dispatch(cli, cx))).await {
        Ok(code) => code,
        Err(error) => tell_error(&output, &error),
    }
}

/// A value from a configuration file, which has been checked when it was read.
fn configured<T: ValueEnum>(value: Option<&str>) -> Option<T> {
    T::from_str(value?, false).ok()
}

fn tell_error(output: &Output, error: &CliError) -> u8 {
    error.lines().into_iter().for_each(|line| output.progress(line));
    error.code
}

/// The command as clap knows it: for completions and manual pages, too.
fn command() -> clap::Command {
    Cli::command()
}

fn parse() -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches()?;
    Cli::from_arg_matches(&matches)
}

/// Three forms are those of `rollback check` alone.
fn check_format(cli: &Cli, format: Format) -> Result<(), CliError> {
    if !format.is_for_check_only() || matches!(cli.command, Some(Command::Check(_))) {
        return Ok(());
    }
    let name = format.to_possible_value().map(|value| value.get_name().to_owned());
    let name = name.unwrap_or_default();
    Err(CliError::new(USAGE, format!("use `--format {name}`: only `rollback check` writes it"))
        .hint("Here `--format` is human, json or jsonl."))
}

/// Help and version are data; everything else about the usage is an error.
fn tell_usage(error: &clap::Error) -> u8 {
    let output = Output::new(Format::Human, Color::Auto);
    let text = error.render();
    if error.use_stderr() {
        output.progress(text.ansi().to_string().trim_end());
        USAGE
    } else {
        output.data(text.ansi().to_string().trim_end());
        0
    }
}

async fn dispatch(cli: Cli, cx: Context) -> Result<u8, CliError> {
    signal::survive_file_limit()
        .map_err(|error| CliError::new(UNEXPECTED, "listen to signals").caused_by(&error))?;
    failpoint::fall_over("cli.main");
    let Some(chosen) = cli.command else {
        let Some((scenario, name)) = cli.scenario.chosen() else {
            return Err(CliError::new(USAGE, "tell what to do: no scenario and no command")
                .hint("At 3 a.m. type `rollback --emergency --env NAME --reason TEXT`.")
                .hint("Everything else: `rollback --help`."));
        };
        let which = run::Which::Scenario { scenario, name, runbook: cli.scenario.runbook };
        return run::run(cx, which, cli.start).await;
    };
    match chosen {
        Command::Run(args) => run::run(cx, run::Which::Runbook(args.runbook), args.start).await,
        Command::Plan(args) => plan::run(cx, args).await,
        Command::Check(args) => check::run(&cx, &args).await,
        Command::Decide(args) => decide::run(&cx, args).await,
        Command::Status(args) => status::run(&cx, args).await,
        Command::Resume(args) => resume::run(cx, args).await,
        Command::Approve(args) => approve::run(&cx, &args),
        Command::Abort(args) => abort::run(&cx, &args),
        Command::Acknowledge(args) => acknowledge::run(&cx, &args),
        Command::Confirm(args) => confirm::run(&cx, args).await,
        Command::Evidence(args) => evidence::run(&cx, args).await,
        Command::Report(args) => report::run(&cx, &args),
        Command::History(args) => history::run(&cx, &args),
        Command::Sandbox(args) => sandbox::run(&cx, args).await,
        Command::Init(args) => init::run(&cx, &args),
        Command::Doctor(args) => doctor::run(&cx, args).await,
        Command::Schema(args) => schema::run(&cx, &args),
        Command::Completions(args) => completions::run(&cx, &args, command()),
        Command::Man(args) => man::run(&cx, &args, command()),
    }
}

impl ScenarioArgs {
    /// The scenario, and the runbook's name where the flag carries one.
    fn chosen(&self) -> Option<(Scenario, Option<String>)> {
        if self.emergency {
            Some((Scenario::Emergency, None))
        } else if self.graceful {
            Some((Scenario::Graceful, None))
        } else if let Some(name) = &self.partial {
            Some((Scenario::Partial, Some(name.clone())))
        } else {
            self.knowledge_base.clone().map(|name| (Scenario::KnowledgeBase, name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn scenarios_exclude_each_other() {
        assert!(command().try_get_matches_from(["rollback", "--emergency", "--graceful"]).is_err());
    }
}
