//! `rollback confirm`

use clap::Args;

use super::args::Context;
use super::error::{CliError, UNEXPECTED, USAGE};
use super::output::Format;
use super::{open, prompt};
use crate::engine::recover;
use crate::event::{Event, Place};
use crate::journal::{self, Holder, Journal, LockError, Request, Run};
use crate::report::View;
use crate::report::state::QuestionView;
use crate::report::style::{BAD, DOUBT, GOOD, paint};
use crate::report::text::sanitize;

/// Answer the open checklist items of a run
#[derive(Debug, Args)]
pub(super) struct ConfirmArgs {
    /// The run: its id, the beginning of it, or `latest`
    #[arg(default_value = "latest")]
    run: String,
    /// Answer only the item with this number, or whose text contains this
    #[arg(long, value_name = "N|TEXT")]
    item: Option<String>,
    /// The answer to `--item`, instead of asking
    #[arg(long, value_enum, requires = "item")]
    answer: Option<Answer>,
    /// What you saw
    #[arg(long, value_name = "TEXT", requires = "item")]
    remark: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Answer {
    Yes,
    No,
}

pub(super) async fn run(cx: &Context, args: ConfirmArgs) -> Result<u8, CliError> {
    let run = open::store_to_read(cx)?.find(&args.run)?;
    let history = journal::read(&run.journal_path())?;
    let view = View::of(&history.records)
        .ok_or_else(|| CliError::new(UNEXPECTED, "find the start of the run in its journal"))?;
    let open: Vec<_> = view.open_questions().cloned().collect();
    if open.is_empty() {
        cx.output.progress(format!("run {} has no open items", run.id()));
        return Ok(0);
    }
    let chosen = choose(&open, args.item.as_deref(), &run)?;
    if args.answer.is_none() {
        list(cx, &open);
    }
    let mut answers = Vec::new();
    let mut told = Vec::new();
    for question in chosen {
        let confirmed = match args.answer {
            Some(answer) => answer == Answer::Yes,
            None => ask(cx, &question, &run).await?,
        };
        let word = if confirmed { paint(GOOD, "confirmed") } else { paint(BAD, "denied") };
        told.push(format!("{word}: {}", sanitize(&question.text)));
        answers.push((question.at, confirmed));
    }
    let left = open.len() - answers.len();
    record(&run, answers, args.remark).await?;
    told.into_iter().for_each(|line| cx.output.progress(line));
    cx.output.progress(match left {
        0 => "no item is open any more".to_owned(),
        1 => format!("1 item is still open: rollback confirm {}", run.id()),
        many => format!("{many} items are still open: rollback confirm {}", run.id()),
    });
    Ok(0)
}

fn list(cx: &Context, open: &[QuestionView]) {
    for (index, question) in open.iter().enumerate() {
        let line = format!("{:>3}  {} {}", index + 1, paint(DOUBT, "?"), sanitize(&question.text));
        if cx.output.format == Format::Human {
            cx.output.data(line);
        } else {
            let item =
                serde_json::json!({"number": index + 1, "at": question.at, "text": question.text});
            cx.output.data(item.to_string());
        }
    }
}

fn choose(
    open: &[QuestionView],
    item: Option<&str>,
    run: &Run,
) -> Result<Vec<QuestionView>, CliError> {
    let Some(item) = item else { return Ok(open.to_vec()) };
    if let Some(question) = item.parse().ok().and_then(|n: usize| open.get(n.checked_sub(1)?)) {
        return Ok(vec![question.clone()]);
    }
    let wanted = item.to_lowercase();
    let matching: Vec<_> =
        open.iter().filter(|open| open.text.to_lowercase().contains(&wanted)).cloned().collect();
    match matching.len() {
        1 => Ok(matching),
        0 => Err(CliError::new(USAGE, format!("find an open item `{item}`"))
            .hint(format!("`rollback confirm {}` lists them.", run.id()))),
        _ => Err(CliError::new(USAGE, format!("choose: several open items contain `{item}`"))
            .hint(format!("Use the item's number; `rollback confirm {}` lists them.", run.id()))),
    }
}

async fn ask(cx: &Context, question: &QuestionView, run: &Run) -> Result<bool, CliError> {
    if !cx.output.interactive {
        return Err(open::nobody_to_ask("about the open items").hint(format!(
            "Answer one with `rollback confirm {} --item 1 --answer yes`.",
            run.id()
        )));
    }
    prompt::confirm(&cx.output, &sanitize(&question.text)).await
}

/// Hands the answers to the process that runs it, or writes them into the journal when nobody does.
async fn record(
    run: &Run,
    answers: Vec<(Place, bool)>,
    remark: Option<String>,
) -> Result<(), CliError> {
    let by = super::actor::this_process();
    let holder = Holder {
        run: run.id().to_owned(),
        runbook: "confirm".to_owned(),
        by: by.clone(),
        since: crate::clock::now(),
        state_dir: String::new(),
    };
    let _lock = match run.lock(&holder) {
        Ok(lock) => lock,
        Err(LockError::Held { .. }) => {
            for (at, confirmed) in answers {
                let (by, remark) = (by.clone(), remark.clone());
                run.post(&Request::Answer { at, by, confirmed, remark })?;
            }
            return Ok(());
        }
        Err(LockError::Failed(error)) => return Err(error.into()),
    };
    let history = journal::read(&run.journal_path())?;
    let (_, elapsed_ms) = recover::fold(&history.records, false)
        .map_err(|error| CliError::new(UNEXPECTED, error.to_string()).caused_by(&error))?;
    let journal = Journal::reopen(&run.journal_path(), &history)?;
    for (at, confirmed) in answers {
        let (by, remark) = (by.clone(), remark.clone());
        let event = Event::QuestionAnswered { at, by, confirmed, remark };
        let _record = journal.append(event, elapsed_ms).await?;
    }
    journal.close().await;
    Ok(())
}
