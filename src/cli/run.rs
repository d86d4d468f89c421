//! `rollback --emergency` and its siblings, and `rollback run`: from the command line to a run.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indexmap::IndexMap;
use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedReceiver;

use super::approval::ApprovalArgs;
use super::context::Context;
use super::custody::{self, Subject};
use super::error::{ABORTED, CliError, REFUSED, UNEXPECTED, USAGE};
use super::lock::LockArgs;
use super::open::{self, Opened, nobody_to_ask};
use super::session::Session;
use super::{logbook, plan, prompt, since, takeover};
use crate::clock::{self, Boot};
use crate::event::{DrillPart, Header};
use crate::journal::{Holder, Lock, LockDir, LockError, Run, Store};
use crate::plan::budget::Schedule;
use crate::plan::inputs::{self, Given, Inputs};
use crate::plan::{Built, Concern, Plan, Request, StepId};
use crate::report::style::{DOUBT, paint};
use crate::report::text::sanitize;
use crate::runbook::Runbook;
use crate::signal::{self, Signal};

pub(super) use super::open::Which;

/// What a plan that is only looked at calls its run.
pub(super) const DRY: &str = "dry-run";

/// How a run starts.
#[derive(Debug, Clone, Args)]
pub(super) struct StartArgs {
    /// The environment to run against: its name, or its file
    #[arg(long, value_name = "NAME", help_heading = "Run")]
    env: Option<String>,
    /// Why: it goes into the journal and the report
    #[arg(long, value_name = "TEXT", help_heading = "Run")]
    reason: Option<String>,
    /// Give an input its value
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Run")]
    set: Vec<String>,
    /// A YAML file with values for inputs; `--set` wins over it
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    inputs: Option<PathBuf>,
    /// When the incident began: `14:05`, `4m` ago, or an RFC 3339 time; the targets' clock starts there
    #[arg(long, value_name = "TIME", help_heading = "Run")]
    since: Option<String>,
    /// Only show what would be done, read-only
    #[arg(long, help_heading = "Run")]
    dry_run: bool,
    /// Start without asking; answers nothing else
    #[arg(long, short, help_heading = "Run")]
    yes: bool,
    /// Run only this phase
    #[arg(long, value_name = "PHASE", conflicts_with = "from", help_heading = "Run")]
    only: Option<String>,
    /// Start at this step (`phase/step`)
    #[arg(long, value_name = "STEP", help_heading = "Run")]
    from: Option<String>,
    /// Let an emergency take the subject over from a lesser run
    #[arg(long, help_heading = "Run")]
    take_over: bool,
    #[command(flatten)]
    approval: ApprovalArgs,
    #[command(flatten)]
    lock: LockArgs,
}

impl StartArgs {
    /// Those of a run that nobody is asked about any more.
    pub(super) fn of_drill(flags: DrillFlags) -> Self {
        let DrillFlags { env, reason, set, inputs, approval, lock } = flags;
        Self {
            env,
            reason,
            set,
            inputs,
            since: None,
            dry_run: false,
            yes: true,
            only: None,
            from: None,
            take_over: false,
            approval,
            lock,
        }
    }

    /// `--env`.
    pub(super) fn env(&self) -> Option<&str> {
        self.env.as_deref()
    }

    /// `--reason`.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Who has approved.
    pub(super) fn approval(&self) -> &ApprovalArgs {
        &self.approval
    }

    /// What becomes of locks that another machine has left.
    pub(super) fn lock(&self) -> &LockArgs {
        &self.lock
    }

    /// How long the targets' clock has been running already: from `--since` until now.
    pub(super) fn head_start(&self) -> Result<Duration, CliError> {
        let since = self.since.as_deref().map(since::parse).transpose()?;
        let passed = since.map(|since| clock::now().duration_since(since));
        Ok(passed.and_then(|passed| Duration::try_from(passed).ok()).unwrap_or_default())
    }
}

/// The flags of a run that a drill has, too.
#[derive(Debug, Clone, Args)]
pub(super) struct DrillFlags {
    /// The environment to break and to recover: the sandbox, or one that says `drills: true`; its name, or its file
    #[arg(long, value_name = "NAME", help_heading = "Run")]
    env: Option<String>,
    /// Why: it goes into the journal and the record [default: drill]
    #[arg(long, value_name = "TEXT", help_heading = "Run")]
    reason: Option<String>,
    /// Give an input its value
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Run")]
    set: Vec<String>,
    /// A YAML file with values for inputs; `--set` wins over it
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    inputs: Option<PathBuf>,
    #[command(flatten)]
    approval: ApprovalArgs,
    #[command(flatten)]
    lock: LockArgs,
}

impl DrillFlags {
    /// `--env`.
    pub(super) fn env(&self) -> Option<&str> {
        self.env.as_deref()
    }

    /// A drill has its reason in itself.
    pub(super) fn reason(&mut self) -> &str {
        self.reason.get_or_insert_with(|| "drill".to_owned())
    }

    /// `--lock`.
    pub(super) fn lock(&self) -> &LockArgs {
        &self.lock
    }
}

/// Run a runbook
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The runbook: its name or its file
    pub(super) runbook: String,
    #[command(flatten)]
    pub(super) start: StartArgs,
}

pub(super) async fn run(cx: Context, which: Which, args: StartArgs) -> Result<u8, CliError> {
    let _since = args.head_start()?;
    let mut opened = open::open(&cx, &which, args.env.as_deref()).await?;
    if args.dry_run {
        return plan::show(&cx, &mut opened, &args, false).await;
    }
    begin(&cx, opened, &args, None).await.map(|(code, _)| code)
}

/// A run of what was opened, to its end: the exit code, and the run. `drill` says what it is for in a drill.
pub(super) async fn begin(
    cx: &Context,
    mut opened: Opened,
    args: &StartArgs,
    drill: Option<DrillPart>,
) -> Result<(u8, Run), CliError> {
    let since = args.since.as_deref().map(since::parse).transpose()?;
    let mut signals = listen()?;
    let run = opened.store.create_run()?;
    let prepared = tokio::select! {
        prepared = prepare(cx, &mut opened, args, &run, drill.is_some()) => prepared,
        () = signal::asked_to_end(&mut signals) => {
            cx.output.raw_progress("\n");
            Err(CliError::new(ABORTED, "start: it was stopped; nothing was touched"))
        }
    };
    let (built, left_out, own, subject) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            // Nothing has begun, so nothing is left behind. A folder that cannot be removed is empty and does no harm,
            // and must not take the place of the reason why nothing began.
            let _discarded = run.discard_unbegun();
            return Err(error);
        }
    };
    let log = logbook::of_run(&opened, drill.is_some());
    let mut header = header(&opened, built.plan, args, since, left_out, &run);
    (header.drill, header.log) = (drill, log);
    if let Err(error) = subject.displace_owner(&opened.loaded.runbook) {
        // A rescue does not wait for a text. The other run's journal, or this one's, tells the same.
        let text = sanitize(&format!("failed to {error}"));
        cx.output.progress(format!("{} {text}", paint(DOUBT, "!")));
    }
    let (resolve, store) = opened.planned();
    let output = cx.output.clone();
    let subject = Arc::new(subject);
    let session =
        Session { output, resolve, store, run: run.clone(), past: None, signals, own, subject };
    session.start(Arc::new(header)).await.map(|code| (code, run))
}

/// The signals to this process, from now on.
pub(super) fn listen() -> Result<UnboundedReceiver<Signal>, CliError> {
    signal::listen()
        .map_err(|error| CliError::new(UNEXPECTED, "listen to signals").caused_by(&error))
}

type Prepared = (Built, BTreeMap<String, String>, Lock, Subject);

/// Everything before the first change: takes the subject, asks the systems, makes the plan, shows it, asks. The subject
/// comes first: what a run that is taken over still changes while it settles is changed before the systems are looked at.
async fn prepare(
    cx: &Context,
    opened: &mut Opened,
    args: &StartArgs,
    run: &Run,
    drill: bool,
) -> Result<Prepared, CliError> {
    let holder = holder(opened, run);
    let own = run.lock(&holder, args.lock.left_elsewhere())?;
    let subject = take_subject(cx, opened, (&holder, run), args).await?;
    let left_out = pre_flight(cx, opened, args, run).await?;
    let built = make_plan(cx, opened, args, Occasion { run: run.id(), drill }).await?;
    if cx.output.format == super::output::Format::Human {
        let head_start = args.head_start()?;
        plan::screen(&without(&built.plan, &left_out), head_start)
            .into_iter()
            .for_each(|line| cx.output.progress(line));
    }
    if !args.yes {
        if !cx.output.interactive {
            return Err(
                nobody_to_ask("whether to start").hint("Add `--yes` to start without being asked.")
            );
        }
        if !prompt::confirm(&cx.output, "Start?").await? {
            return Err(CliError::new(USAGE, "start: you said no; nothing was touched"));
        }
    }
    Ok((built, left_out, own.published()?, subject.published()?))
}

/// What a plan is made for.
#[derive(Clone, Copy)]
pub(super) struct Occasion<'a> {
    /// The run's id.
    pub(super) run: &'a str,
    /// Whether it is part of a drill.
    pub(super) drill: bool,
}

/// Resolves the inputs (asking for what is missing) and makes the plan. It takes the phases of the runbook: nothing asks for them any more,
/// and those of a long one are as large as its plan.
pub(super) async fn make_plan(
    cx: &Context,
    opened: &mut Opened,
    args: &StartArgs,
    Occasion { run, drill }: Occasion<'_>,
) -> Result<Built, CliError> {
    let inputs = gather_inputs(cx, opened, args, run).await?;
    let phases = std::mem::take(&mut opened.loaded.runbook.phases);
    let runbook = &opened.loaded.runbook;
    // What earlier runs took is an estimate: without it the plan assumes.
    let measured =
        opened.store.measured(&runbook.name, &opened.environment.name).unwrap_or_default();
    let history = |step: &StepId| measured.get(step.as_str()).copied();
    let known = known_of(run, runbook, &opened.path, drill);
    let request = Request {
        runbook,
        environment: &opened.environment,
        inputs: &inputs,
        source: &opened.loaded.source,
        run: &known,
        cx: &opened.resolve,
        history: &history,
    };
    let built = crate::plan::build(request, phases).await;
    let mut built = built.map_err(|refused| refusal(run, &refused.reasons))?;
    args.approval.add_to(&mut built.plan, &opened.environment)?;
    built.warnings.extend(Schedule::slow_approvals(&built.plan).iter().map(Concern::slow_approval));
    for concern in &built.warnings {
        cx.output.progress(format!("{} {}", paint(DOUBT, "!"), sanitize(&concern.to_string())));
    }
    Ok(built)
}

/// What a run knows of itself, `run.…` in templates; `folder` is where the runbook lies with the files beside it.
pub(super) fn known_of(
    run: &str,
    runbook: &Runbook,
    path: &Path,
    drill: bool,
) -> serde_json::Value {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let severity = runbook.severity.word();
    serde_json::json!({"id": run, "severity": severity, "drill": drill, "folder": folder})
}

async fn gather_inputs(
    cx: &Context,
    opened: &Opened,
    args: &StartArgs,
    run: &str,
) -> Result<Inputs, CliError> {
    let runbook = &opened.loaded.runbook;
    let mut flags = Vec::new();
    if let Some(reason) = args.reason.as_ref().filter(|_| runbook.inputs.contains_key("reason")) {
        flags.push(("reason".to_owned(), reason.clone()));
    }
    flags.extend(opened.argument.clone());
    for flag in &args.set {
        flags.push(
            inputs::split_flag(flag)
                .map_err(|why| CliError::new(USAGE, format!("read --set: {why}")))?,
        );
    }
    let file = match &args.inputs {
        Some(path) => crate::environment::read_values(path)
            .map_err(|problems| super::error::invalid(&problems, cx.output.color))?,
        None => IndexMap::new(),
    };
    let given = Given {
        flags,
        environment: opened.environment.inputs.clone(),
        values: opened.environment.values.clone(),
        file,
    };
    let mut inputs = inputs::resolve(runbook, &given, &opened.resolve).await;
    if !inputs.problems.is_empty() {
        return Err(CliError { code: USAGE, ..refusal(run, &inputs.problems) });
    }
    for question in inputs.questions.clone() {
        if !cx.output.interactive {
            let flag = match question.input.as_str() {
                "reason" => "--reason TEXT".to_owned(),
                name if runbook.argument() == Some(name) => {
                    format!("--{} NAME", open::scenario_name(runbook.scenario))
                }
                name => format!("--set {name}=VALUE"),
            };
            return Err(
                nobody_to_ask(&format!("`{}`", question.prompt)).hint(format!("Add `{flag}`."))
            );
        }
        loop {
            let answer =
                prompt::ask(&cx.output, &format!("{} ", sanitize(&question.prompt))).await?;
            match inputs.answer(runbook, &question.input, &answer) {
                Ok(()) => break,
                Err(why) => cx.output.progress(sanitize(&why)),
            }
        }
    }
    Ok(inputs)
}

/// The error of a run that must not start.
fn refusal(run: &str, reasons: &[Concern]) -> CliError {
    refused(if run == DRY { "make the plan" } else { "start; nothing was touched" }, reasons)
}

/// The error of something that cannot be done for these reasons.
pub(super) fn refused(what: &str, reasons: &[Concern]) -> CliError {
    let mut error = CliError::new(REFUSED, what);
    for concern in reasons {
        error.causes.push(concern.to_string());
        error.causes.extend(concern.error.causes.iter().cloned());
        error.hints.extend(concern.error.hints.iter().cloned());
    }
    error.hints.dedup();
    error
}

/// Asks the systems that the run needs whether they are there. Returns the steps that are left out.
async fn pre_flight(
    cx: &Context,
    opened: &Opened,
    args: &StartArgs,
    run: &Run,
) -> Result<BTreeMap<String, String>, CliError> {
    // Which are needed is known without asking them, and one that is silent should cost its five seconds once.
    let (runbook, resolve) = (&opened.loaded.runbook, &opened.resolve);
    let mut outline = crate::plan::build::outline(runbook, &resolve.registry, &|_| None)
        .map_err(|refused| refusal(run.id(), &refused.reasons))?;
    outline.environment.clone_from(&opened.environment.name);
    let left_out = left_out(&outline, args)?;
    let plan = without(&outline, &left_out);
    let found = crate::plan::preflight(&plan, &resolve.registry, &resolve.connections).await;
    for concern in &found.warnings {
        cx.output.progress(format!("{} {}", paint(DOUBT, "!"), sanitize(&concern.to_string())));
    }
    if found.refusals.is_empty() { Ok(left_out) } else { Err(refusal("", &found.refusals)) }
}

/// The plan as it will be carried out: what is left out is skipped, and takes no time.
pub(super) fn without<'a>(plan: &'a Plan, left_out: &BTreeMap<String, String>) -> Cow<'a, Plan> {
    let mut plan = Cow::Borrowed(plan);
    if left_out.is_empty() {
        return plan;
    }
    for step in plan.to_mut().phases.iter_mut().flat_map(|phase| &mut phase.steps) {
        if let Some(because) = left_out.get(step.id.as_str()) {
            step.skip = Some(format!("left out by {because}").into());
        }
    }
    plan
}

/// The steps that `--only` and `--from` leave out, with the reason.
pub(super) fn left_out(
    plan: &Plan,
    args: &StartArgs,
) -> Result<BTreeMap<String, String>, CliError> {
    let mut out = BTreeMap::new();
    if let Some(only) = &args.only {
        if !plan.phases.iter().any(|phase| phase.id == *only) {
            let known: Vec<_> = plan.phases.iter().map(|phase| phase.id.as_str()).collect();
            return Err(CliError::new(USAGE, format!("run only `{only}`: no such phase"))
                .hints(meant("--only", only, &known))
                .hint(format!("The phases are {}.", known.join(", "))));
        }
        let others = plan.phases.iter().filter(|phase| phase.id != *only);
        for step in others.flat_map(|phase| &phase.steps) {
            let _new = out.insert(step.id.to_string(), format!("--only {only}"));
        }
    }
    if let Some(from) = &args.from {
        if plan.step(&StepId(from.as_str().into())).is_none() {
            let known: Vec<_> = plan.steps().map(|step| step.id.as_str()).collect();
            return Err(CliError::new(USAGE, format!("start at `{from}`: no such step"))
                .hints(meant("--from", from, &known))
                .hint(format!(
                    "Name it as `phase/step`; `rollback plan {} --env {}` lists them.",
                    plan.runbook, plan.environment
                )));
        }
        for step in plan.steps().take_while(|step| step.id.as_str() != from) {
            let _new = out.insert(step.id.to_string(), format!("--from {from}"));
        }
    }
    Ok(out)
}

/// The flag with what was probably meant; a step may have been named without its phase.
fn meant(flag: &str, word: &str, known: &[&str]) -> Option<String> {
    let ends = |id: &&&str| id.split_once('/').is_some_and(|(_, step)| step == word);
    let meant = known.iter().find(ends).copied();
    let meant = meant.or_else(|| crate::runbook::suggest::closest(word, known.iter().copied()))?;
    Some(format!("Did you mean `{flag} {meant}`?"))
}

fn holder(opened: &Opened, run: &Run) -> Holder {
    let runbook = &opened.loaded.runbook;
    Holder {
        run: run.id().to_owned(),
        runbook: open::holder_name(&runbook.name, runbook.scenario),
        by: super::actor::this_process(),
        since: clock::now(),
        state_dir: opened.store.dir().display().to_string(),
    }
}

/// Takes the lock of the runbook's subject, unless another run owns the subject without it.
async fn take_subject(
    cx: &Context,
    opened: &Opened,
    (holder, run): (&Holder, &Run),
    args: &StartArgs,
) -> Result<Subject, CliError> {
    let dir = lock_dir(cx, opened)?;
    let runbook = &opened.loaded.runbook;
    let left = args.lock.left_elsewhere();
    let place = (opened.environment.name.as_str(), runbook.subject.as_str());
    let acquire = || dir.acquire(place.0, place.1, holder, left);
    // Asked before the lock is taken: who may not have it must not stand in the owner's way.
    let owner = custody::owned_by_another(&dir, place, run.id());
    if let Some(owner) = &owner {
        custody::may_pass(cx, runbook, owner, args.take_over)?;
    }
    let lock = match acquire() {
        Err(LockError::Held { holder: Some(other), .. }) if args.take_over => {
            takeover::take_over(cx, runbook, (&other, run.id()), acquire).await?
        }
        taken => taken?,
    };
    // And with it: who held it until now may have begun to wait meanwhile.
    if owner.is_none()
        && let Some(owner) = custody::owned_by_another(&dir, place, run.id())
    {
        custody::may_pass(cx, runbook, &owner, args.take_over)?;
    }
    Ok(Subject::of(dir, place, (holder.clone(), left), lock, run.clone()))
}

/// Where the locks of subjects lie. A sandbox belongs to one state folder, and so do its locks.
pub(super) fn lock_dir(cx: &Context, opened: &Opened) -> Result<LockDir, CliError> {
    let configured = opened.environment.lock_dir.clone().or(opened.config.lock_dir.clone());
    lock_dir_of(cx, configured, opened.environment.sandbox, &opened.store)
}

/// The same, where an environment and its configuration name `configured`.
pub(super) fn lock_dir_of(
    cx: &Context,
    configured: Option<PathBuf>,
    sandbox: bool,
    store: &Store,
) -> Result<LockDir, CliError> {
    let state = store.dir();
    let own = sandbox.then(|| state.join("locks"));
    if let Some(dir) = configured.or(own) {
        return Ok(LockDir::at(&dir)?);
    }
    let (dir, warning) = LockDir::usual(state)?;
    if let Some(warning) = warning {
        cx.output.progress(format!("{} {}", paint(DOUBT, "!"), sanitize(&warning)));
    }
    Ok(dir)
}

fn header(
    opened: &Opened,
    plan: Plan,
    args: &StartArgs,
    since: Option<Timestamp>,
    left_out: BTreeMap<String, String>,
    run: &Run,
) -> Header {
    Header {
        run: run.id().to_owned(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        runbook_path: absolute(&opened.path),
        runbook_text: opened.loaded.source.text.clone(),
        runbook_sha256: opened.loaded.sha256.clone(),
        environment_path: absolute(&opened.environment.path),
        environment_sha256: crate::digest::sha256(opened.environment.source.text.as_bytes()),
        reason: args.reason.clone().or_else(|| {
            plan.inputs.get("reason").and_then(|reason| reason.as_str().map(str::to_owned))
        }),
        plan,
        by: super::actor::this_process(),
        since,
        started: clock::now(),
        boot: Boot::now(),
        left_out,
        drill: None,
        log: None,
    }
}

/// A path that holds wherever the program is called from next.
pub(super) fn absolute(path: &std::path::Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
