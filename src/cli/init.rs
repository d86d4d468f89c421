//! `rollback init`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::context::Context;
use super::error::{CliError, USAGE};
use crate::runbook::schema::runbook_schema;

/// The files of a first project: a runbook that runs in the sandbox, its environment, the project's configuration.
const FILES: [(&str, &str); 3] = [
    ("runbooks/first.yaml", include_str!("../../examples/first/runbooks/first.yaml")),
    (
        "runbooks/environments/sandbox.yaml",
        include_str!("../../examples/first/runbooks/environments/sandbox.yaml"),
    ),
    ("rollback.yaml", include_str!("../../examples/first/rollback.yaml")),
];

/// Write a first runbook that runs in the sandbox, with its environment and its schema
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The folder
    #[arg(default_value = ".")]
    dir: PathBuf,
}

pub(super) fn run(cx: &Context, args: &InitArgs) -> Result<u8, CliError> {
    let schema = format!("{:#}\n", runbook_schema(&crate::adapters::registry()));
    let schema = ("runbooks/rollback.schema.json", schema.as_str());
    let files: Vec<_> = FILES.into_iter().chain([schema]).collect();
    let there: Vec<_> = files
        .iter()
        .map(|(name, _)| args.dir.join(name))
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if !there.is_empty() {
        return Err(CliError::new(
            USAGE,
            format!("write a first project: there is {} already", there.join(", ")),
        )
        .hint("Nothing was written. Choose another folder: `rollback init DIR`."));
    }
    for (name, text) in files {
        write(&args.dir.join(name), text)?;
        cx.output.progress(format!("wrote {}", args.dir.join(name).display()));
    }
    cx.output.progress("try it: rollback run first --env sandbox --yes");
    Ok(0)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("make the folder {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
