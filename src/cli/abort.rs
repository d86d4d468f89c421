//! `rollback abort`

use clap::Args;

use super::context::Context;
use super::error::{CliError, USAGE};
use super::open;
use crate::journal::Request;

/// Ask a run to stop: it starts nothing new and settles what is in flight. One that was interrupted in a wait of hours gives its
/// subject up
#[derive(Debug, Args)]
pub(super) struct AbortArgs {
    /// The run: its id, the beginning of it, or `latest`
    run: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) fn run(cx: &Context, args: &AbortArgs) -> Result<u8, CliError> {
    let run = open::store_to_read(cx)?.find(&args.run)?;
    let by = super::actor::this_process();
    if !run.is_running()? {
        let owned = run.ownership().map(|file| file.give_up(run.id())).transpose()?;
        if owned == Some(true) {
            let id = run.id();
            cx.output
                .progress(format!("no process is running run {id}; it owns its subject no more"));
            cx.output.progress(format!("go on with it all the same: rollback resume {id}"));
            return Ok(0);
        }
        return Err(CliError::new(
            USAGE,
            format!("stop run {}: no process is running it", run.id()),
        )
        .hint(format!("See how it ended: `rollback status {}`.", run.id()))
        .hint(format!("Go on with it: `rollback resume {}`.", run.id())));
    }
    run.post(&Request::Abort { by, reason: args.reason.clone() })?;
    cx.output.progress(format!("asked run {} to stop; it settles what is in flight", run.id()));
    cx.output.progress(format!("watch it: rollback status {} --follow", run.id()));
    Ok(0)
}
