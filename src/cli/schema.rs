//! `rollback schema`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::context::Context;
use super::error::CliError;
use crate::runbook::schema::runbook_schema;

/// Print the JSON Schema of runbooks, for editors
#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Write it into this file instead
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

pub(super) fn run(cx: &Context, args: &SchemaArgs) -> Result<u8, CliError> {
    let schema = format!("{:#}", runbook_schema(&crate::adapters::registry()));
    match &args.write {
        None => cx.output.data(schema),
        Some(path) => {
            std::fs::write(path, schema + "\n")
                .with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(0)
}
