//! `rollback schema`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::context::Context;
use super::error::CliError;
use crate::runbook::schema::{runbook_schema, table_schema};
use crate::trigger;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A runbook.
    Runbook,
    /// A decision table.
    Decisions,
}

/// Print the JSON Schema of runbooks or of decision tables, for editors
#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Of which files
    #[arg(value_enum, default_value = "runbook")]
    of: Kind,
    /// Write it into this file instead
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

pub(super) fn run(cx: &Context, args: &SchemaArgs) -> Result<u8, CliError> {
    let registry = crate::adapters::registry();
    let schema = match args.of {
        Kind::Runbook => runbook_schema(&registry),
        Kind::Decisions => table_schema(&registry, trigger::form()),
    };
    let schema = format!("{schema:#}");
    match &args.write {
        None => cx.output.data(schema),
        Some(path) => {
            std::fs::write(path, schema + "\n")
                .with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(0)
}
