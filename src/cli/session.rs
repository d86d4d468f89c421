//! A run in this process: the engine, the signals, the requests of others, and the screen.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::mpsc;

use super::error::CliError;
use super::output::{Format, Output};
use super::panic;
use super::watch::{Screen, watch};
use crate::action::{ActionError, ErrorKind, ResolveContext};
use crate::engine::{Ended, Engine, Request, RunState, Vault};
use crate::event::{Actor, Event, Header, Place, PrivateRef, Record};
use crate::journal::{self, Journal, Lock, Run, Store};
use crate::report::{json, summary};
use crate::signal::Signal;

/// How often the run's letter box is emptied.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Everything that a run needs from this process.
pub(super) struct Session {
    pub(super) output: Output,
    pub(super) resolve: Arc<ResolveContext>,
    pub(super) store: Store,
    pub(super) run: Run,
    /// Listened to since before the run begins, so that none is missed.
    pub(super) signals: mpsc::UnboundedReceiver<Signal>,
    /// Held until the end.
    pub(super) _locks: Vec<Lock>,
}

impl Session {
    /// Starts a run and goes with it to its end.
    pub(super) async fn start(self, header: Header) -> Result<u8, CliError> {
        let (journal, first) = self.store.begin(&self.run, header.clone())?;
        let screen = Screen::new(self.output.clone(), &[(*first).clone()], true)?;
        self.go(journal, screen, |engine| engine.run(header)).await
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
        let screen = Screen::new(self.output.clone(), records, false)?;
        self.go(journal, screen, |engine| engine.resume(state, elapsed_ms, by, salvaged)).await
    }

    async fn go<F: Future<Output = Ended>>(
        self,
        journal: Journal,
        screen: Screen,
        run: impl FnOnce(Engine) -> F,
    ) -> Result<u8, CliError> {
        panic::working_on(self.run.id());
        let (to_engine, requests) = mpsc::unbounded_channel();
        // In a thread of its own: a terminal that takes nothing (Ctrl-S) must hold up no step.
        let watched = watch(screen, journal.subscribe(), to_engine.clone());
        let runtime = tokio::runtime::Handle::current();
        let watching = tokio::task::spawn_blocking(move || runtime.block_on(watched));
        let reading = tokio::spawn(read_letters(self.run.clone(), to_engine));
        let engine = Engine {
            resolve: self.resolve,
            journal,
            vault: Arc::new(RunVault(self.run.clone())),
            scratch: self.run.scratch(),
            signals: self.signals,
            requests,
            attended: self.output.interactive,
        };
        let ended = run(engine).await;
        reading.abort();
        // Only a panic ends it early, and the hook has told that; its message may hold what the hook hides.
        let Ok(mut screen) = watching.await else {
            return Err(CliError::new(super::error::INTERNAL, "show the run to its end"));
        };
        for record in &ended.unrecorded {
            screen.show(record);
        }
        finish(&self.output, &screen);
        Ok(ended.state.ended.map_or(super::error::INTERNAL, |(_, code)| code))
    }
}

/// The last word. With `--format json` it is the whole report.
fn finish(output: &Output, screen: &Screen) {
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

/// Brings what other processes ask (`rollback abort`, `rollback confirm`) to the engine.
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

fn understand(letter: journal::Request) -> Request {
    match letter {
        journal::Request::Abort { by, reason } => {
            let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            Request::Stop { by: format!("{}@{} asked to stop{why}", by.user, by.host) }
        }
        journal::Request::Answer { at, by, confirmed, remark } => {
            Request::Answer { at, by, confirmed, remark }
        }
        journal::Request::Decide { at, by, go_on } => Request::Decide { step: at.step, by, go_on },
    }
}

/// The run's folder as the place for private saved states.
struct RunVault(Run);

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
