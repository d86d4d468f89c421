//! `rollback report`

use clap::{Args, ValueEnum};

use super::context::Context;
use super::error::{CliError, UNEXPECTED};
use super::open;
use super::output::Format;
use crate::journal::read;
use crate::report::{View, drill, incident, json, log, markdown, postmortem};

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
    /// The post-mortem of the procedure, in Markdown, filled in as far as the journal knows
    #[arg(long, conflicts_with_all = ["form", "incident"])]
    post_mortem: bool,
    /// The entry of the rollback log, in Markdown
    #[arg(long, conflicts_with_all = ["form", "incident", "post_mortem"])]
    log: bool,
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
    let head = history.head();
    let text = match (args.incident, args.post_mortem, args.log) {
        (true, ..) => Some(incident::document(&view, &head)),
        (_, true, _) => Some(postmortem::document(&view, &head)),
        (.., true) => Some(logged(&view, &head)?),
        _ => None,
    };
    if let Some(text) = text {
        cx.output.data(text.trim());
        return Ok(0);
    }
    let drilled = run.drill()?;
    match (args.form, cx.output.format) {
        (Form::Markdown, Format::Human) => {
            let section = drilled.as_ref().map(drill::section).unwrap_or_default();
            let document = format!("{}{section}", markdown::document(&view, &head));
            cx.output.data(document.trim_end());
        }
        (_, format) => {
            let mut document = json::document(&view);
            if let Some(drilled) = &drilled {
                document["drill"] = drill::json(drilled);
            }
            match format {
                Format::Human => cx.output.data(format!("{document:#}")),
                _ => cx.output.data(document.to_string()),
            }
        }
    }
    Ok(0)
}

/// The entry of the rollback log.
fn logged(view: &View, head: &str) -> Result<String, CliError> {
    let run = &view.header.run;
    let entry = log::entry(view, head).ok_or_else(|| {
        CliError::new(UNEXPECTED, format!("write the log entry of run {run}: it has not ended"))
            .hint(format!("See where it stands: `rollback status {run}`."))
    })?;
    Ok(entry.text)
}
