//! A run in this process: the engine, the signals, the requests of others, and the screen.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::custody::Subject;
use super::error::CliError;
use super::output::{Format, Output};
use super::watch::{Begin, Pulse, Screen, watch};
use super::{farewell, logbook, panic};
use crate::action::{ActionError, ErrorKind, ResolveContext};
use crate::engine::lifecycle::Stage;
use crate::engine::{ApprovalAnswer, Ended, Engine, Request, RunState, Vault};
use crate::event::{Actor, Channel, Event, Header, Place, PrivateRef, Record, RunVerdict};
use crate::journal::{self, Journal, Lock, Run, Store};
use crate::report::{json, summary};
use crate::signal::Signal;

/// How often the run's letter box is emptied.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a stream may take nothing, after the end of the run, until it is left without the last word.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Everything that a run needs from this process.
pub(super) struct Session {
    pub(super) output: Output,
    pub(super) resolve: Arc<ResolveContext>,
    pub(super) store: Store,
    pub(super) run: Run,
    /// The run that this one takes back: its saved states and what it parked are what this one works with.
    pub(super) past: Option<Run>,
    /// Listened to since before the run begins, so that none is missed.
    pub(super) signals: mpsc::UnboundedReceiver<Signal>,
    /// The run's own lock, held until the engine has ended.
    pub(super) own: Lock,
    /// What the run holds alone, or owns while it waits.
    pub(super) subject: Arc<Subject>,
}

impl Session {
    /// Starts a run and goes with it to its end.
    pub(super) async fn start(self, header: Arc<Header>) -> Result<u8, CliError> {
        let (journal, first) = self.store.begin(&self.run, header.clone())?;
        let screen = Screen::new(self.output.clone(), std::iter::once(&*first))?;
        let begin = Begin { first: Some(first), open: Vec::new() };
        self.go(journal, screen, begin, |engine| engine.run(header)).await
    }

    /// Goes on with a run whose records are `records`.
    pub(super) async fn resume(
        self,
        journal: Journal,
        records: &[Record],
        state: RunState,
        elapsed_ms: u64,
        by: Actor,
        salvaged: Option<String>,
    ) -> Result<u8, CliError> {
        let screen = Screen::new(self.output.clone(), records)?;
        let begin = Begin { first: None, open: still_open(records, &state) };
        self.go(journal, screen, begin, |engine| engine.resume(state, elapsed_ms, by, salvaged))
            .await
    }

    async fn go<F: Future<Output = Ended> + Send + 'static>(
        self,
        journal: Journal,
        screen: Screen,
        begin: Begin,
        run: impl FnOnce(Engine) -> F,
    ) -> Result<u8, CliError> {
        panic::working_on(self.run.id());
        let (to_engine, requests) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let pulse = screen.pulse();
        // In a thread of its own: a stream that takes nothing (Ctrl-S, a full pipe) must hold up no step.
        let watched = watch(screen, begin, journal.subscribe(), to_engine.clone());
        let runtime = tokio::runtime::Handle::current();
        let output = self.output.clone();
        let watching = tokio::task::spawn_blocking(move || {
            finish(&output, runtime.block_on(watched), ended);
        });
        let reading = tokio::spawn(read_letters(self.run.clone(), to_engine));
        let kept = self.past.as_ref().unwrap_or(&self.run);
        let engine = Engine {
            resolve: self.resolve.clone(),
            journal,
            vault: Arc::new(RunVault(kept.clone())),
            scratch: kept.scratch(),
            signals: self.signals,
            requests,
            attended: self.output.interactive,
            custody: self.subject.clone(),
        };
        // On a worker, where its steps are: a word between them then wakes no other thread.
        let ended = match tokio::spawn(run(engine)).await {
            Ok(ended) => ended,
            Err(bug) => std::panic::resume_unwind(bug.into_panic()),
        };
        reading.abort();
        // The next run may begin, whether or not anybody reads the last word of this one.
        self.subject.release(gives_up(&ended.state));
        drop(self.own);
        // When the screen is gone, it has told why.
        let _gone = end.send(ended.unrecorded);
        let told = shown(watching, &pulse).await;
        let closing = &ended.state.plan().closing;
        if ended.state.ended.is_some() {
            let said = farewell::say(&self.output, &self.resolve, &self.run, closing);
            let logged = async {
                // It reads the whole journal, which a run without a log need not pay for.
                if ended.state.header.log.is_some() {
                    logbook::write(&self.output, &self.run).await;
                }
            };
            let ((), ()) = tokio::join!(said, logged);
        }
        let code = ended.state.ended.filter(|_| told).map(|(_, code)| code);
        Ok(code.unwrap_or(super::error::INTERNAL))
    }
}

/// Whether a run that has come to its end owns its subject no more: it has finished, or it never began to hold, so that nobody
/// has to wait for it.
fn gives_up(state: &RunState) -> bool {
    use RunVerdict::{FailedClean, Recovered, RecoveredLate};
    let finished = matches!(state.ended, Some((Recovered | RecoveredLate | FailedClean, _)));
    let mut items = state.steps.values().flat_map(|step| step.items.values());
    finished || !items.any(|item| item.hold_ms.is_some())
}

/// The required questions and the approvals of a run that still wait for an answer, as they were asked last.
fn still_open(records: &[Record], state: &RunState) -> Vec<Record> {
    let mut open = Vec::new();
    for record in records {
        if let Event::QuestionOpened { at, required: true, .. } = &record.event
            && state.item(at).is_some_and(|item| item.stage == Stage::Open)
        {
            open.retain(|earlier: &Record| {
                !matches!(&earlier.event, Event::QuestionOpened { at: asked, .. } if asked == at)
            });
            open.push(record.clone());
        } else if let Event::ApprovalAsked { step, .. } = &record.event
            && state
                .approvals
                .get(step)
                .is_some_and(|known| known.given.is_none() && known.asked_ms == record.elapsed_ms)
        {
            open.push(record.clone());
        }
    }
    open
}

/// Returns when everything is shown, or when the streams have taken nothing for a while; `false` when a bug has ended the screen.
async fn shown(mut watching: JoinHandle<()>, pulse: &Pulse) -> bool {
    loop {
        let before = pulse.count();
        match timeout(LAST_WORD, &mut watching).await {
            // Only a panic ends it early, and the hook has told that; its message may hold what the hook hides.
            Ok(ended) => return ended.is_ok(),
            Err(_) if pulse.count() == before => return true,
            Err(_) => {}
        }
    }
}

/// Shows what could not be recorded, and the last word. Without an end of the run there is none: a bug ended it.
fn finish(output: &Output, mut screen: Screen, ended: oneshot::Receiver<Vec<Record>>) {
    let Ok(unrecorded) = ended.blocking_recv() else { return };
    for record in &unrecorded {
        screen.show(record);
    }
    last_word(output, &screen);
}

/// The last word. With `--format json` it is the whole report.
fn last_word(output: &Output, screen: &Screen) {
    match output.format {
        Format::Json => output.data(json::document(screen.view()).to_string()),
        Format::Human => {
            for line in summary::lines(screen.view()) {
                output.data(line);
            }
        }
        // Told as it happened; the last three belong to `rollback check`.
        Format::Jsonl | Format::Junit | Format::Sarif | Format::Github => {}
    }
}

/// Brings what other processes ask (`rollback abort`, `approve`, `confirm`) to the engine.
async fn read_letters(run: Run, to_engine: mpsc::UnboundedSender<Request>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Ok(taken) = run.take() else { continue };
        let refused =
            taken.refused.into_iter().map(|message| Request::Tell(Event::Warned { message }));
        let requests = taken.requests.into_iter().map(understand).chain(refused);
        for request in requests {
            if to_engine.send(request).is_err() {
                return;
            }
        }
    }
}

/// What a letter asks of the engine.
pub(super) fn understand(letter: journal::Request) -> Request {
    match letter {
        journal::Request::Abort { by, reason } => {
            let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            Request::Stop { by: format!("{}@{} asked to stop{why}", by.user, by.host) }
        }
        journal::Request::TakeOver { run, runbook, .. } => Request::TakeOver { run, runbook },
        journal::Request::Acknowledge { by, remark } => Request::Acknowledge { by, remark },
        journal::Request::Answer { at, by, confirmed, remark } => {
            Request::Answer { at, by, confirmed, remark }
        }
        journal::Request::Approve { step, name, by, approved, reason } => {
            let how = Channel::Command;
            Request::Approve(ApprovalAnswer { step, name, by, how, approved, reason })
        }
        journal::Request::Decide { at, by, go_on } => Request::Decide { step: at.step, by, go_on },
    }
}

/// The run's folder as the place for private saved states.
pub(super) struct RunVault(pub(super) Run);

#[async_trait]
impl Vault for RunVault {
    async fn put(&self, at: &Place, value: &Value) -> Result<PrivateRef, ActionError> {
        let (run, at, value) = (self.0.clone(), at.clone(), value.clone());
        in_background(move || run.save(&at, &value)).await
    }

    async fn get(&self, reference: &PrivateRef) -> Result<Value, ActionError> {
        let (run, reference) = (self.0.clone(), reference.clone());
        in_background(move || run.load(&reference)).await
    }
}

/// Runs disk work where it holds up no other step.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, journal::JournalError> + Send + 'static,
) -> Result<T, ActionError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(ActionError::from),
        Err(error) => {
            Err(ActionError::new(ErrorKind::Failed, "keep the saved state").caused_by(&error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_screen_that_nobody_reads_is_left_and_one_that_is_read_slowly_is_not() {
        let stalled = tokio::spawn(std::future::pending());
        assert!(shown(stalled, &Pulse::default()).await, "it is left");

        let pulse = Pulse::default();
        let beats = pulse.clone();
        let read_slowly = tokio::spawn(async move {
            for _ in 0..60 {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                beats.beat();
            }
        });
        let reading = read_slowly.abort_handle();
        assert!(shown(read_slowly, &pulse).await);
        assert!(reading.is_finished(), "it is shown to its end");
        let broken = tokio::spawn(async { panic!("a bug") });
        assert!(!shown(broken, &pulse).await);
    }
}
