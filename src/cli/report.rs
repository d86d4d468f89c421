//! `rollback report`

use clap::{Args, ValueEnum};

use super::context::Context;
use super::error::{CliError, UNEXPECTED};
use super::open;
use super::output::Format;
use crate::journal::read;
use crate::report::{View, incident, json, markdown};

/// Write the report of a run
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The run: its id, the beginning of it, or `latest`
    #[arg(default_value = "latest")]
    run: String,
    /// The form of the report; `--format json` means `json`, too
    #[arg(long = "as", value_enum, default_value_t)]
    form: Form,
    /// The incident report, in Markdown: what is known, and what people have answered or have not yet
    #[arg(long, conflicts_with = "form")]
    incident: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    #[default]
    Markdown,
    Json,
}

pub(super) fn run(cx: &Context, args: &ReportArgs) -> Result<u8, CliError> {
    let run = open::store_to_read(cx)?.find(&args.run)?;
    let history = read(&run.journal_path())?;
    let view = View::of(&history.records)
        .ok_or_else(|| CliError::new(UNEXPECTED, "find the start of the run in its journal"))?;
    if args.incident {
        cx.output.data(incident::document(&view, &history.head()).trim_end());
        return Ok(0);
    }
    match (args.form, cx.output.format) {
        (Form::Markdown, Format::Human) => {
            cx.output.data(markdown::document(&view, &history.head()).trim_end());
        }
        (Form::Json, Format::Human) => cx.output.data(format!("{:#}", json::document(&view))),
        (_, _) => cx.output.data(json::document(&view).to_string()),
    }
    Ok(0)
}
