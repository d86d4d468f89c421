//! `rollback man`

use std::path::PathBuf;

use clap::Args;

use super::args::{Context, command};
use super::error::{CliError, UNEXPECTED};

/// Print the manual page, or write one page per command into a folder
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The folder for the pages of all commands
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(cx: &Context, args: &ManArgs) -> Result<u8, CliError> {
    let failed = |error: std::io::Error| {
        CliError::new(UNEXPECTED, "write the manual pages").caused_by(&error)
    };
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).map_err(failed)?;
        clap_mangen::generate_to(command(), dir).map_err(failed)?;
        return Ok(0);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command()).render(&mut page).map_err(failed)?;
    cx.output.data(String::from_utf8_lossy(&page).trim_end());
    Ok(0)
}
