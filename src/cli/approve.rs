//! `rollback approve`

use clap::Args;

use super::context::Context;
use super::error::{CliError, UNEXPECTED, USAGE};
use super::open;
use crate::journal::{Request, Run, read};
use crate::report::View;
use crate::report::approvals::{ApprovalView, command, subject};
use crate::report::style::{BAD, GOOD, paint};
use crate::report::text::sanitize;

/// Approve what a run asks for, from another terminal, or deny it
///
/// Where the environment lists who holds the role, nobody else may answer. The journal keeps the name and the login.
#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// The run: its id, the beginning of it, or `latest`
    run: String,
    /// The step (`phase/step`), when several wait
    #[arg(long, value_name = "PHASE/STEP")]
    step: Option<String>,
    /// Say no: the step does not begin, and the run stops
    #[arg(long)]
    deny: bool,
    /// Who you are, where several people share a login [default: the login]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Why; goes into the journal and the report
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) fn run(cx: &Context, args: &ApproveArgs) -> Result<u8, CliError> {
    let run = open::store_to_read(cx)?.find(&args.run)?;
    let view = View::of(&read(&run.journal_path())?.records)
        .ok_or_else(|| CliError::new(UNEXPECTED, "find the start of the run in its journal"))?;
    if !run.is_running()? {
        return Err(CliError::new(
            USAGE,
            format!("approve run {}: no process is running it", run.id()),
        )
        .hint(format!("See how it ended: `rollback status {}`.", run.id()))
        .hint(format!("Go on with it: `rollback resume {}`.", run.id())));
    }
    let asked = choose(&view, args.step.as_deref(), &run)?;
    let by = super::actor::this_process();
    let name = args.name.clone().unwrap_or_else(|| by.user.clone());
    if !asked.approval.may_answer(&name) {
        let subject = subject(asked.step.as_ref());
        let text = format!("answer as {name}: {subject} needs the approval of another");
        return Err(CliError::new(USAGE, text)
            .hint(format!("Who may: {}.", asked.approval.who()))
            .hint("The environment lists them under `approvers`; `--name` says who you are where a login is shared."));
    }
    let (step, approved, reason) = (asked.step.clone(), !args.deny, args.reason.clone());
    let shown = sanitize(&name);
    run.post(&Request::Approve { step, name, by, approved, reason })?;
    let word = if approved { paint(GOOD, "approved") } else { paint(BAD, "denied") };
    let (subject, role) = (subject(asked.step.as_ref()), sanitize(&asked.approval.role));
    cx.output.progress(format!("{word}: {subject}, by {shown} as {role}"));
    cx.output.progress(format!("watch it: rollback status {} --follow", run.id()));
    Ok(0)
}

/// What is to be answered: what was named, or the only thing that waits.
fn choose<'a>(view: &'a View, step: Option<&str>, run: &Run) -> Result<&'a ApprovalView, CliError> {
    let waiting: Vec<_> = view.open_approvals().collect();
    let named = |asked: &&&ApprovalView| match step {
        Some(wanted) => asked.step.as_ref().is_some_and(|step| step.as_str() == wanted),
        None => true,
    };
    let mut chosen = waiting.iter().filter(named);
    let commands = waiting.iter().map(|asked| {
        let who = sanitize(&asked.approval.who());
        format!("For {who}: `{}`.", command(run.id(), asked.step.as_ref()))
    });
    match (chosen.next(), chosen.next(), step) {
        (Some(only), None, _) => Ok(only),
        (Some(_), Some(_), _) => Err(CliError::new(
            USAGE,
            format!("choose what to approve: several steps of run {} wait", run.id()),
        )
        .hints(commands)),
        (None, _, Some(step)) if !waiting.is_empty() => Err(CliError::new(
            USAGE,
            format!("approve {}: it waits for no approval", sanitize(step)),
        )
        .hints(commands)),
        (None, ..) => {
            Err(CliError::new(USAGE, format!("approve run {}: it waits for no approval", run.id()))
                .hint(format!("See where it stands: `rollback status {}`.", run.id())))
        }
    }
}
