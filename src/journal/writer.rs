//! The writing end of a journal: appends from many tasks, one thread that commits them in groups.
//!
//! Whatever is queued while the disk is busy goes out with the next write and the next flush, so a run with a hundred items in flight
//! pays for a few flushes, not for hundreds. What nobody waits for is flushed a moment later, in company: the end of a step, the start of
//! the next and the announcement of its change become one flush. How a change ended and what a step has noted is *written* at once, so that a
//! killed process takes no knowledge with it. Records reach subscribers only after they are on disk, and after those who wait for them: what is
//! shown may come later than the change that it announces, and must not hold it up.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::ack::{Ack, Outcome};
use super::error::JournalError;
use super::files;
use super::line::Entry;
use super::logfile::{LogFile, Room, outlives_process};
use super::memory::MemoryLog;
use super::reader::{History, Tail};
use crate::clock;
use crate::event::{Event, Header, Record};
use crate::failpoint;

/// How long a record that nobody waits for may stay unflushed. The next step's announcement follows within a fraction of it.
const COMPANY: Duration = Duration::from_millis(2);

/// A journal that is being written. Clones write to the same journal; it ends when the last one is dropped,
/// or with [`close`](Self::close).
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    backend: Backend,
}

#[derive(Debug, Clone)]
enum Backend {
    File(Sender<Command>),
    Memory(MemoryLog),
}

#[derive(Debug, Default)]
struct Shared {
    subscribers: Mutex<Vec<UnboundedSender<Vec<Arc<Record>>>>>,
    trouble: OnceLock<JournalError>,
}

enum Command {
    /// With a sender, somebody waits until it is on disk.
    Append(Box<Entry>, Option<oneshot::Sender<Outcome>>),
    Close(oneshot::Sender<()>),
}

impl Journal {
    /// Creates the journal at `path`, whose folder must exist, and records [`Event::RunStarted`] durably.
    /// Returns the journal and that first record. Blocks for the time of a few flushes; on an error no file is left.
    pub fn create(path: &Path, header: Arc<Header>) -> Result<(Self, Arc<Record>), JournalError> {
        Self::create_with(path, header, Room::USUAL)
    }

    pub(super) fn create_with(
        path: &Path,
        header: Arc<Header>,
        room: Room,
    ) -> Result<(Self, Arc<Record>), JournalError> {
        let mut file = LogFile::create(path, room)?;
        match file
            .begin(first_entry(header))
            .and_then(|first| files::sync_parent(path).map(|()| first))
        {
            Ok(first) => Ok((Self::writing(file)?, first)),
            Err(error) => {
                // The first error counts; a file that stays is recognised as never begun.
                let _kept = std::fs::remove_file(path);
                Err(error)
            }
        }
    }

    /// Continues the journal at `path` behind what [`read`](super::read) found in it; a torn tail is cut off.
    /// Fails if the file has changed since. Whoever continues a run holds its lock.
    pub fn reopen(path: &Path, history: &History) -> Result<Self, JournalError> {
        Self::reopen_with(path, history, Room::USUAL)
    }

    pub(super) fn reopen_with(
        path: &Path,
        history: &History,
        room: Room,
    ) -> Result<Self, JournalError> {
        let torn = match history.tail {
            Tail::Clean => 0,
            Tail::Torn { bytes, .. } => bytes,
        };
        let chain = history.chain();
        Self::writing(LogFile::reopen(path, chain, history.good_bytes, torn, room)?)
    }

    /// A journal in memory, which acknowledges at once, and the log it writes to. For engine tests and rehearsals.
    pub fn in_memory(header: Arc<Header>) -> (Self, MemoryLog) {
        let log = MemoryLog::default();
        let (journal, log) = Self::continue_in_memory(log);
        let Entry { event, elapsed_ms, .. } = first_entry(header);
        journal.append_nowait(event, elapsed_ms);
        (journal, log)
    }

    /// Continues a log in memory, as [`reopen`](Self::reopen) does with a file.
    pub fn continue_in_memory(log: MemoryLog) -> (Self, MemoryLog) {
        let backend = Backend::Memory(log.clone());
        (Self { shared: Arc::default(), backend }, log)
    }

    fn writing(file: LogFile) -> Result<Self, JournalError> {
        let shared = Arc::new(Shared::default());
        let (sender, inbox) = channel();
        let thread_shared = Arc::clone(&shared);
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || write_until_closed(file, &inbox, &thread_shared))
            .map_err(|e| JournalError::io("start the writer of", Path::new("the journal"), e))?;
        Ok(Self { shared, backend: Backend::File(sender) })
    }

    /// Appends an event that happened `elapsed_ms` after the run's start. It is queued when this returns; the
    /// acknowledgement resolves when it is on disk. Order of calls is order of records.
    ///
    /// Once space is used up, events that announce a change fail with [`JournalError::NoSpace`] while the others
    /// still go into the room kept for them. Once a flush has failed, every append fails with that error.
    pub fn append(&self, event: Event, elapsed_ms: u64) -> Ack {
        let entry = Entry { at: clock::now(), elapsed_ms, event };
        match &self.backend {
            Backend::File(queue) => {
                let (sender, ack) = Ack::pair();
                // If the thread is gone the sender is dropped, which the acknowledgement reports as closed.
                let _unsent = queue.send(Command::Append(Box::new(entry), Some(sender)));
                ack
            }
            Backend::Memory(log) => Ack::ready(self.remember(log, entry)),
        }
    }

    /// Appends an event that nothing waits for. How a change ended and what a step has noted is written at once; all of it is flushed a few
    /// milliseconds later, or with the next event that somebody waits for. If it fails, [`trouble`](Self::trouble) and the next append tell.
    pub fn append_nowait(&self, event: Event, elapsed_ms: u64) {
        let entry = Entry { at: clock::now(), elapsed_ms, event };
        match &self.backend {
            Backend::File(queue) => {
                // If the thread is gone, the next append tells.
                let _unsent = queue.send(Command::Append(Box::new(entry), None));
            }
            Backend::Memory(log) => {
                let _not_awaited = self.remember(log, entry);
            }
        }
    }

    fn remember(&self, log: &MemoryLog, entry: Entry) -> Outcome {
        let outcome = log.append(entry);
        match &outcome {
            Ok(record) => self.shared.publish(&[Arc::clone(record)]),
            Err(error) => self.shared.note_trouble(error),
        }
        outcome
    }

    /// Every record from now on, each after it is on disk, in the groups in which they were written.
    pub fn subscribe(&self) -> UnboundedReceiver<Vec<Arc<Record>>> {
        let (sender, receiver) = unbounded_channel();
        self.shared.subscribers().push(sender);
        receiver
    }

    /// The reason why no change may be announced any more, if there is one. It never goes away.
    pub fn trouble(&self) -> Option<JournalError> {
        self.shared.trouble.get().cloned()
    }

    /// Returns once everything that was appended before is on disk (or has failed) and the file is closed.
    /// Appends to other clones fail from then on.
    pub async fn close(self) {
        if let Backend::File(queue) = &self.backend {
            let (sender, closed) = oneshot::channel();
            let _unsent = queue.send(Command::Close(sender));
            // An error means that it was closed before.
            let _closed = closed.await;
        }
        self.shared.subscribers().clear();
    }
}

impl Shared {
    fn subscribers(&self) -> std::sync::MutexGuard<'_, Vec<UnboundedSender<Vec<Arc<Record>>>>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, records: &[Arc<Record>]) {
        self.subscribers().retain(|subscriber| subscriber.send(records.to_vec()).is_ok());
    }

    fn note_trouble(&self, error: &JournalError) {
        let _first_one_stays = self.trouble.set(error.clone());
    }
}

fn first_entry(header: Arc<Header>) -> Entry {
    Entry { at: header.started, elapsed_ms: 0, event: Event::RunStarted { header } }
}

fn write_until_closed(mut file: LogFile, inbox: &Receiver<Command>, shared: &Shared) {
    let mut closing = None;
    while closing.is_none() {
        let Ok(first) = inbox.recv() else { break };
        let (mut entries, mut waiting, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
        let mut company = Company::until_somebody_waits();
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Append(entry, sender) => {
                    company.is_over |= sender.is_some();
                    let at_once = outlives_process(&entry.event);
                    entries.push(*entry);
                    waiting.push(sender);
                    if at_once {
                        outcomes.extend(file.append(std::mem::take(&mut entries)));
                        failpoint::reach("journal.unflushed");
                    }
                }
                Command::Close(sender) => {
                    closing = Some(sender);
                    break;
                }
            }
            next = company.next(inbox);
        }
        outcomes.extend(file.append(std::mem::take(&mut entries)));
        let outcomes = file.flush(outcomes);
        if let Some(error) = file.trouble() {
            shared.note_trouble(error);
        }
        let durable: Vec<_> = outcomes.iter().flatten().cloned().collect();
        for (sender, outcome) in waiting.into_iter().zip(outcomes) {
            if let Some(sender) = sender {
                // Whoever waited may have been cut off meanwhile.
                let _cut_off = sender.send(outcome);
            }
        }
        if !durable.is_empty() {
            shared.publish(&durable);
        }
    }
    file.release_room();
    drop(file);
    if let Some(sender) = closing {
        let _not_awaited = sender.send(());
    }
}

/// How long a batch may still grow.
struct Company {
    since: Instant,
    is_over: bool,
}

impl Company {
    #[expect(clippy::disallowed_methods, reason = "the disk's thread knows no virtual time")]
    fn until_somebody_waits() -> Self {
        Self { since: Instant::now(), is_over: false }
    }

    /// What is queued already, or comes while nobody waits and the time is not up.
    fn next(&self, inbox: &Receiver<Command>) -> Option<Command> {
        let left = COMPANY.saturating_sub(self.since.elapsed());
        if self.is_over || left.is_zero() {
            inbox.try_recv().ok()
        } else {
            inbox.recv_timeout(left).ok()
        }
    }
}
