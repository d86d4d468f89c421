//! `rollback confirm`: answers what a run asks, whether a process runs it or not.

use clap::Args;

use super::context::Context;
use super::error::{CliError, USAGE};
use super::ledger::{Ledger, no_start};
use super::lock::LockArgs;
use super::output::Format;
use super::{open, prompt, window};
use crate::action::Window;
use crate::engine::RunState;
use crate::engine::lifecycle::Stage;
use crate::event::{Actor, Event, Place};
use crate::journal::{self, LeftElsewhere, Request, Run};
use crate::report::View;
use crate::report::questions;
use crate::report::style::{BAD, DOUBT, FAINT, GOOD, paint};
use crate::report::text::sanitize;

/// Answer the open checklist items of a run, and whether it goes on after a failure
///
/// With `--window`, the validation after a run that has recovered: probes are asked, a person is asked about the rest, and in the long window
/// it watches until everything has held for its time. Exit code 0 when every item of the window holds, 7 when one does not.
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
    /// Go through the checks of a window after the recovery: 0 to 3, 3 to 15, or 15 to 60 minutes
    #[arg(long, value_enum, conflicts_with_all = ["item", "answer"])]
    window: Option<Window>,
    /// Do not wait for the window to open
    #[arg(long, requires = "window")]
    early: bool,
    #[command(flatten)]
    lock: LockArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Answer {
    Yes,
    No,
}

/// What a run waits to hear from a person.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    at: Place,
    text: String,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Whether to go on after a failure; the run stands still meanwhile.
    GoOn,
    /// An item of a checklist.
    Item,
    /// An item that is looked at in a window after the run. Somebody may answer it at any time, and again after a no.
    Windowed(Window),
}

impl Asked {
    /// What the answer means, for people.
    fn told(&self, yes: bool) -> String {
        let word = match (self.what, yes) {
            (What::GoOn, true) => paint(GOOD, "go on"),
            (What::GoOn, false) => paint(BAD, "stop"),
            (What::Item | What::Windowed(_), true) => paint(GOOD, "confirmed"),
            (What::Item | What::Windowed(_), false) => paint(BAD, "denied"),
        };
        format!("{word}: {}", sanitize(&self.text))
    }

    fn request(&self, by: Actor, yes: bool, remark: Option<String>) -> Request {
        let at = self.at.clone();
        match self.what {
            What::GoOn => Request::Decide { at, by, go_on: yes },
            What::Item | What::Windowed(_) => Request::Answer { at, by, confirmed: yes, remark },
        }
    }
}

pub(super) async fn run(cx: &Context, args: ConfirmArgs) -> Result<u8, CliError> {
    let run = open::store_to_read(cx)?.find(&args.run)?;
    let history = journal::read(&run.journal_path())?;
    let view = View::of(&history.records).ok_or_else(no_start)?;
    if let Some(window) = args.window {
        let left = args.lock.left_elsewhere();
        return window::confirm(cx, &run, window, args.early, left).await;
    }
    let open = open_in(&view, run.is_running()?);
    if open.is_empty() {
        cx.output.progress(format!("run {} has no open items", run.id()));
        return Ok(0);
    }
    let chosen = choose(&open, args.item.as_deref(), &run)?;
    if args.answer.is_none() {
        list(cx, &open);
    }
    let mut answers = Vec::new();
    for asked in chosen {
        let yes = match args.answer {
            Some(answer) => answer == Answer::Yes,
            None => ask(cx, &asked, &run).await?,
        };
        answers.push((asked, yes));
    }
    let answered: Vec<Place> = answers.iter().map(|(asked, _)| asked.at.clone()).collect();
    let left_elsewhere = args.lock.left_elsewhere();
    let (told, after) = record(&run, answers, args.remark, left_elsewhere).await?;
    told.into_iter().for_each(|line| cx.output.progress(line));
    // A process that runs it has got the answers as letters, and may not have read them yet.
    let view = after.unwrap_or(view);
    tell_what_is_left(cx, &view, &answered);
    Ok(0)
}

/// What is still open, with what to type; `answered` is not, even where the view does not know yet.
pub(super) fn tell_what_is_left(cx: &Context, view: &View, answered: &[Place]) {
    let open = || view.open_questions().filter(|question| !answered.contains(&question.at));
    if view.confirmed.is_some() {
        cx.output.progress(format!("{}: every item holds", paint(GOOD, "CONFIRMED")));
    } else if open().next().is_none() {
        cx.output.progress("no item is open any more");
    }
    for (count, command) in questions::commands(&view.header.run, open()) {
        let items = if count == 1 { "1 item is" } else { &format!("{count} items are") };
        cx.output.progress(format!("{items} still open: {command}"));
    }
}

/// What is open: first what holds up the run. A decision is one only while a process waits for it; who resumes the run
/// tries the step again.
fn open_in(view: &View, running: bool) -> Vec<Asked> {
    let undecided = view.undecided.iter().filter(|_| running).map(|step| Asked {
        at: Place { step: step.clone(), item: String::new() },
        text: format!("{step} failed: go on?"),
        what: What::GoOn,
    });
    let items = view.open_questions().map(|question| Asked {
        at: question.at.clone(),
        text: question.text.clone(),
        what: question.window.map_or(What::Item, What::Windowed),
    });
    undecided.chain(items).collect()
}

fn list(cx: &Context, open: &[Asked]) {
    for (index, asked) in open.iter().enumerate() {
        let when = match asked.what {
            What::Windowed(window) => paint(FAINT, format!(" ({window} after the run)")),
            What::GoOn | What::Item => String::new(),
        };
        let mark = paint(DOUBT, "?");
        let line = format!("{:>3}  {mark} {}{when}", index + 1, sanitize(&asked.text));
        if cx.output.format == Format::Human {
            cx.output.data(line);
        } else {
            let item = serde_json::json!({"number": index + 1, "at": asked.at, "text": asked.text});
            cx.output.data(item.to_string());
        }
    }
}

fn choose(open: &[Asked], item: Option<&str>, run: &Run) -> Result<Vec<Asked>, CliError> {
    let Some(item) = item else {
        // What has its time later is not asked now, unless somebody names it.
        let now = open.iter().filter(|asked| !matches!(asked.what, What::Windowed(_)));
        return Ok(now.cloned().collect());
    };
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

async fn ask(cx: &Context, asked: &Asked, run: &Run) -> Result<bool, CliError> {
    if !cx.output.interactive {
        return Err(open::nobody_to_ask("about the open items").hint(format!(
            "Answer one with `rollback confirm {} --item 1 --answer yes`.",
            run.id()
        )));
    }
    prompt::confirm(&cx.output, &sanitize(&asked.text)).await
}

/// Hands the answers to the process that runs it, or writes them into the journal when nobody does. Returns what became
/// of each, and the run after that where it is known.
async fn record(
    run: &Run,
    answers: Vec<(Asked, bool)>,
    remark: Option<String>,
    left: LeftElsewhere,
) -> Result<(Vec<String>, Option<View>), CliError> {
    let by = super::actor::this_process();
    let Some(mut ledger) = Ledger::open(run, &by, left).await? else {
        for (asked, yes) in &answers {
            run.post(&asked.request(by.clone(), *yes, remark.clone()))?;
        }
        return Ok((answers.iter().map(|(asked, yes)| asked.told(*yes)).collect(), None));
    };
    let mut told = Vec::new();
    for (asked, yes) in answers {
        // Somebody else may have answered while this person was thinking.
        if let Some(why) = too_late(&ledger.state, &asked, run.id()) {
            told.push(format!("{} {}: {why}", paint(DOUBT, "!"), sanitize(&asked.text)));
            continue;
        }
        told.push(asked.told(yes));
        let (at, by, remark) = (asked.at, by.clone(), remark.clone());
        ledger.append(Event::QuestionAnswered { at, by, confirmed: yes, remark }).await?;
    }
    Ok((told, Some(ledger.close().await?)))
}

/// Why an answer must not be written, if it must not.
fn too_late(state: &RunState, asked: &Asked, run: &str) -> Option<String> {
    match asked.what {
        What::GoOn => Some(format!(
            "no process runs the run any more; `rollback resume {run}` tries the step again"
        )),
        What::Item | What::Windowed(_) => {
            let open = state.item(&asked.at).is_some_and(|item| item.stage == Stage::Open);
            (!open).then(|| "it is answered already; nothing was written".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::recover;
    use crate::journal::Store;
    use crate::report::testing::{begun, header, opened, place};

    fn item() -> Asked {
        Asked { at: place(), text: "Does it hold?".into(), what: What::Item }
    }

    #[tokio::test]
    async fn the_first_answer_counts_and_the_journal_can_be_followed() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(Some(&dir.path().join("state"))).expect("a store");
        let run = store.create_run().expect("a run");
        let (journal, _) =
            store.begin(&run, header(crate::clock::now()).into()).expect("a journal");
        let _record = journal.append(opened("Does it hold?"), 10).await.expect("it is written");
        journal.close().await;
        // Both saw the question before either answered.
        let (one, other) = tokio::join!(
            record(&run, vec![(item(), true)], None, LeftElsewhere::MayBeAlive),
            record(&run, vec![(item(), false)], None, LeftElsewhere::MayBeAlive)
        );
        let told = [one.expect("it is told").0, other.expect("it is told").0].concat();
        assert_eq!(told.iter().filter(|line| line.contains("answered already")).count(), 1);
        let records = journal::read(&run.journal_path()).expect("it can be read").records;
        let answers = records.iter().map(|record| &record.event);
        let answers = answers.filter(|event| matches!(event, Event::QuestionAnswered { .. }));
        assert_eq!(answers.count(), 1);
        recover::fold(&records, false).expect("the journal can be followed");
    }

    #[test]
    fn a_decision_comes_first_and_only_where_somebody_waits_for_it() {
        let (mut view, mut take) = begun();
        take(&mut view, opened("Does it hold?"));
        take(&mut view, Event::DecisionAsked { step: place().step });
        let open = open_in(&view, true);
        let by = crate::cli::actor::this_process();
        assert_eq!(open.len(), 2);
        assert_eq!(open[0].text, "p/a failed: go on?");
        let request = open[0].request(by.clone(), true, None);
        assert_eq!(request, Request::Decide { at: place(), by, go_on: true });
        assert_eq!(open_in(&view, false), [item()]);
    }
}
