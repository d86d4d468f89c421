//! `rollback man`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::context::Context;
use super::error::CliError;

/// Print the manual page, or write one page per command into a folder
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The folder for the pages of all commands
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(cx: &Context, args: &ManArgs, command: clap::Command) -> Result<u8, CliError> {
    if let Some(dir) = &args.dir {
        write_all(dir, command)
            .with_context(|| format!("write the manual pages to {}", dir.display()))?;
        return Ok(0);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).context("write the manual page")?;
    cx.output.data(String::from_utf8_lossy(&page).trim_end());
    Ok(0)
}

fn write_all(dir: &Path, command: clap::Command) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command, dir)
}
