//! `rollback status`

use std::time::Duration;

use clap::Args;

use super::context::Context;
use super::custody;
use super::error::{CliError, UNEXPECTED};
use super::open;
use super::output::Format;
use crate::journal::{Follower, Run, read};
use crate::report::style::{DOUBT, paint};
use crate::report::{View, json, lines, summary};

/// How often a followed run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Show what a run has done, what not, what is unknown, and the next command to type
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The run: its id, the beginning of it, or `latest`
    #[arg(default_value = "latest")]
    run: String,
    /// Watch it until it ends
    #[arg(long, short)]
    follow: bool,
}

pub(super) async fn run(cx: &Context, args: StatusArgs) -> Result<u8, CliError> {
    let run = open::store_to_read(cx)?.find(&args.run)?;
    if args.follow {
        return follow(cx, &run).await;
    }
    let history = read(&run.journal_path())?;
    let view = View::of(&history.records).ok_or_else(no_start)?;
    if cx.output.format == Format::Human {
        let mut known: Option<View> = None;
        for record in &history.records {
            tell(cx, record, &mut known);
        }
        let alone = !run.is_running()?;
        let last = if alone { summary::left_alone(&view) } else { summary::lines(&view) };
        last.into_iter().for_each(|line| cx.output.data(line));
        custody::told(&run, &view.header).into_iter().for_each(|line| cx.output.data(line));
    } else {
        cx.output.data(json::document(&view).to_string());
    }
    Ok(0)
}

fn no_start() -> CliError {
    CliError::new(UNEXPECTED, "find the start of the run in its journal")
}

fn tell(cx: &Context, record: &crate::event::Record, known: &mut Option<View>) {
    match known {
        None => *known = View::start(record),
        Some(view) => view.take(record),
    }
    if let Some(view) = known {
        for line in lines::tell(record, view) {
            cx.output.data(line);
        }
    }
}

/// Tells the events of a run as they appear in its journal, and the final word.
async fn follow(cx: &Context, run: &Run) -> Result<u8, CliError> {
    let mut follower = Follower::open(&run.journal_path())?;
    let mut known: Option<View> = None;
    loop {
        // Looked at before the journal is read: what the process wrote last is then seen below.
        let running = run.is_running()?;
        for record in follower.poll()? {
            if cx.output.format == Format::Human {
                tell(cx, &record, &mut known);
            } else {
                cx.output.data(json::line(&record));
                match &mut known {
                    None => known = View::start(&record),
                    Some(view) => view.take(&record),
                }
            }
        }
        if let Some(view) = known.as_ref().filter(|view| view.verdict.is_some()) {
            if cx.output.format == Format::Human {
                for line in summary::lines(view) {
                    cx.output.data(line);
                }
            }
            return Ok(0);
        }
        if !running {
            return gone(cx, run, known.as_ref());
        }
        // Whoever watched has gone: nothing else depends on this process.
        if cx.output.take_lost().is_some() {
            return Ok(0);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The end of a followed run that has no end: its process is gone, and nothing more will come.
fn gone(cx: &Context, run: &Run, known: Option<&View>) -> Result<u8, CliError> {
    let view = known.ok_or_else(no_start)?;
    if cx.output.format == Format::Human {
        summary::left_alone(view).into_iter().for_each(|line| cx.output.data(line));
    }
    cx.output.progress(paint(
        DOUBT,
        format!("the process of run {0} is gone; go on with it: rollback resume {0}", run.id()),
    ));
    Ok(0)
}
