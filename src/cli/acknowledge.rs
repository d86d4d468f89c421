//! `rollback acknowledge`

use clap::Args;

use super::context::Context;
use super::error::{CliError, USAGE};
use super::open;
use crate::journal::Request;

/// Take notice of a run: nobody further up is told
#[derive(Debug, Args)]
pub(super) struct AcknowledgeArgs {
    /// The run: its id, the beginning of it, or `latest`
    run: String,
    /// What is worth adding
    #[arg(long, value_name = "TEXT")]
    remark: Option<String>,
}

pub(super) fn run(cx: &Context, args: &AcknowledgeArgs) -> Result<u8, CliError> {
    let run = open::store_to_read(cx)?.find(&args.run)?;
    let by = super::actor::this_process();
    if !run.is_running()? {
        let what = format!("acknowledge run {}: no process is running it", run.id());
        return Err(CliError::new(USAGE, what)
            .hint(format!("See how it ended: `rollback status {}`.", run.id())));
    }
    run.post(&Request::Acknowledge { by, remark: args.remark.clone() })?;
    cx.output.progress(format!("acknowledged run {}: nobody further up is told", run.id()));
    Ok(0)
}
