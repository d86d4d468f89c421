//! `rollback completions`

use clap::Args;
use clap_complete::Shell;

use super::context::Context;
use super::error::CliError;

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[expect(clippy::unnecessary_wraps, reason = "every command has this form")]
pub(super) fn run(
    cx: &Context,
    args: &CompletionsArgs,
    mut command: clap::Command,
) -> Result<u8, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "rollback", &mut script);
    cx.output.data(String::from_utf8_lossy(&script).trim_end());
    Ok(0)
}
