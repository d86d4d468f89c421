//! The closing message: tells people how a run ended, with the head of its journal, after that is on disk and on the screen.
//!
//! It changes nothing any more, the exit code not either: what fails is told in one line.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::output::Output;
use crate::action::{
    ActionError, Ending, ErrorKind, Readiness, Repeat, ResolveContext, StepContext, Verb, Work,
};
use crate::journal::{self, JournalError, Run};
use crate::report::style::{DOUBT, paint};
use crate::report::text::sanitize;
use crate::report::{View, ending};

/// How long all messages together may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time before another attempt at a message that may come twice.
const PAUSE: Duration = Duration::from_millis(500);

/// Sends the closing messages by these verbs, all at the same time.
pub(super) async fn say(output: &Output, resolve: &ResolveContext, run: &Run, verbs: &[String]) {
    if verbs.is_empty() {
        return;
    }
    // A run whose journal cannot be read has said so before.
    let Ok(Some(ending)) = read(run) else { return };
    let deadline = Instant::now() + PATIENCE;
    let sent = join_all(verbs.iter().map(async |name| {
        let sending = send(resolve, name, &ending, deadline, run.scratch());
        let sent = timeout_at(deadline, sending)
            .await
            .unwrap_or_else(|_| Err(ActionError::new(ErrorKind::TimedOut, "send it in time")));
        sent.err().map(|error| format!("{name} (failed to {})", error.message))
    }))
    .await;
    let failed: Vec<String> = sent.into_iter().flatten().collect();
    if !failed.is_empty() {
        let text = sanitize(&format!("the end of the run was not told by {}", failed.join(", ")));
        output.progress(format!("{} {text}", paint(DOUBT, "!")));
    }
}

fn read(run: &Run) -> Result<Option<Ending>, JournalError> {
    let history = journal::read(&run.journal_path())?;
    let view = View::of(&history.records);
    Ok(view.map(|view| ending::of(&view, &history.head())))
}

async fn send(
    resolve: &ResolveContext,
    name: &str,
    ending: &Ending,
    deadline: Instant,
    scratch: PathBuf,
) -> Result<(), ActionError> {
    let told = resolve.registry.verb(name).and_then(|verb| Some((verb, verb.last_word?)));
    let Some((verb, last_word)) = told else {
        return Err(ActionError::new(ErrorKind::Invalid, "find a verb that carries messages"));
    };
    let cx = StepContext::new(deadline, CancellationToken::new(), scratch, ending.run.as_str());
    let cx = cx.at(format!("closing/{name}"));
    let items = verb.expand(last_word(ending), resolve).await?;
    let sent = join_all(items.iter().map(|item| deliver(verb, item, resolve, &cx))).await;
    sent.into_iter().collect()
}

async fn deliver(
    verb: &Verb,
    item: &crate::action::Item,
    resolve: &ResolveContext,
    cx: &StepContext,
) -> Result<(), ActionError> {
    let Work::Action(action) = verb.make(&item.args, resolve)? else {
        return Err(ActionError::new(ErrorKind::Invalid, "send what is no message"));
    };
    match action.inspect(cx).await? {
        Readiness::AlreadyDone { .. } => Ok(()),
        Readiness::Needed { saved, .. } => loop {
            let told = action.apply(cx, &saved).await.map(drop);
            let again = |error: &ActionError| {
                (error.retryable || error.outcome_unknown()) && action.repeat() == Repeat::Safe
            };
            if !told.as_ref().is_err_and(again) || cx.remaining() <= PAUSE {
                return told;
            }
            tokio::time::sleep(PAUSE).await;
        },
    }
}
