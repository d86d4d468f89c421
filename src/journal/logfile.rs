//! The journal's file: batches of lines, each on disk before it is acknowledged, with room kept for the end.
//!
//! Beyond the file's end some blocks are always allocated (without changing its size, so that `tail -f` and `jq` see only lines). When
//! no more can be had, the journal is *full*: records that announce a change are refused, and the kept room takes
//! what has happened and how the run stopped. A batch that was written in part is cut off again (a first record goes with its file); a
//! flush that failed is never tried again, because the kernel may have dropped the data.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::ack::Outcome;
use super::error::{JournalError, is_no_space};
use super::files;
use super::line::{Chain, Entry};
use crate::event::{Event, Record};
use crate::failpoint;

/// How much room is kept, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// For the end of a run whose disk is full.
    pub(super) reserve: u64,
    /// Allocated at a time.
    pub(super) chunk: u64,
}

impl Room {
    /// Enough for the outcomes of 131 items in flight at 1 KiB each, and the end of the run.
    pub(super) const USUAL: Self = Self { reserve: 192 * 1024, chunk: 128 * 1024 };
}

#[derive(Debug)]
enum Health {
    Good,
    /// Nothing may be announced any more.
    Full(JournalError),
    /// Nothing can be written any more.
    Lost(JournalError),
}

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    chain: Chain,
    /// The end of the last batch that was written.
    end: u64,
    /// The end of what is on disk.
    flushed: u64,
    /// Why that is where it stays.
    unflushable: Option<JournalError>,
    allocated: u64,
    can_allocate: bool,
    size_limit: Option<u64>,
    room: Room,
    health: Health,
}

impl LogFile {
    /// Creates the file. What is flushed is on disk, but its name is not durable before
    /// [`sync_parent`](files::sync_parent).
    pub(super) fn create(path: &Path, room: Room) -> Result<Self, JournalError> {
        let file = files::create(path)?;
        Ok(Self::at(path, file, Chain::START, 0, room))
    }

    /// Opens the file behind its last good record, and cuts off what is torn.
    pub(super) fn reopen(
        path: &Path,
        chain: Chain,
        good: u64,
        torn: u64,
        room: Room,
    ) -> Result<Self, JournalError> {
        let file = files::open_to_write(path)?;
        let failed = |source| JournalError::io("continue", path, source);
        if file.metadata().map_err(failed)?.len() != good + torn {
            return Err(JournalError::Changed { path: path.to_owned() });
        }
        if torn > 0 {
            file.set_len(good).map_err(failed)?;
            file.sync_all().map_err(|e| files::not_synced(path, e))?;
        }
        Ok(Self::at(path, file, chain, good, room))
    }

    fn at(path: &Path, file: File, chain: Chain, end: u64, room: Room) -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
        Self {
            path: path.to_owned(),
            file,
            chain,
            end,
            flushed: end,
            unflushable: None,
            allocated: end,
            can_allocate: true,
            size_limit: limit.current,
            room,
            health: Health::Good,
        }
    }

    /// As on a file system that cannot allocate ahead.
    #[cfg(test)]
    pub(super) fn without_allocation(mut self) -> Self {
        self.can_allocate = false;
        self
    }

    /// As under a limit on the size of files.
    #[cfg(test)]
    pub(super) fn limited_to(mut self, bytes: u64) -> Self {
        self.size_limit = Some(bytes);
        self
    }

    /// A file that is open already: a device that fails where a test wants it to.
    #[cfg(test)]
    pub(super) fn on_device(path: &str) -> Self {
        let path = Path::new(path);
        let device = File::options().write(true).open(path).expect("the device exists");
        Self::at(path, device, Chain::START, 0, Room::USUAL)
    }

    /// Why nothing new may be started, if that is so.
    pub(super) fn trouble(&self) -> Option<&JournalError> {
        match &self.health {
            Health::Good => None,
            Health::Full(error) | Health::Lost(error) => Some(error),
        }
    }

    /// Writes a journal's first record, whatever its size, and flushes it. After an error the file is of no use.
    pub(super) fn begin(&mut self, first: Entry) -> Outcome {
        let mut chain = self.chain;
        let sealed = chain.seal_first(first, End { log: &mut *self, broken: false });
        let record = sealed.map_err(|error| {
            if error.is_io() {
                self.not_written(error.into())
            } else {
                JournalError::Unrecordable { why: error.to_string() }
            }
        })?;
        self.chain = chain;
        self.flush(vec![Ok(Arc::new(record))]).remove(0)
    }

    /// Writes a batch and flushes it once, as the journal's thread does in two steps; one outcome per entry, in their order.
    #[cfg(test)]
    pub(super) fn commit(&mut self, entries: Vec<Entry>) -> Vec<Outcome> {
        let outcomes = self.append(entries);
        self.flush(outcomes)
    }

    /// Writes a batch, which outlives this process from then on, but not a loss of power. One outcome per entry, in their order, for
    /// [`flush`](Self::flush).
    pub(super) fn append(&mut self, entries: Vec<Entry>) -> Vec<Outcome> {
        if let Health::Lost(error) = &self.health {
            return refuse_all(entries.len(), error);
        }
        let mut batch = self.encode(entries.into_iter().map(Ok));
        if matches!(self.health, Health::Good)
            && let Err(error) = self.make_room(batch.bytes.len())
        {
            self.health = Health::Full(self.not_written(error));
            batch = self.encode(batch.records.into_iter().map(|record| record.map(Entry::from)));
        }
        match self.write(&batch.bytes) {
            Ok(()) => {
                self.chain = batch.chain;
                batch.records.into_iter().map(|record| record.map(Arc::new)).collect()
            }
            Err(error) => {
                let outcomes = refuse_all(batch.records.len(), &error);
                self.health = Health::Lost(error);
                outcomes
            }
        }
    }

    /// Flushes what was written. The outcomes of what was written since the last flush become those of what is on disk.
    pub(super) fn flush(&mut self, outcomes: Vec<Outcome>) -> Vec<Outcome> {
        if self.flushed == self.end {
            return outcomes;
        }
        failpoint::reach("journal.before-sync");
        let flushed = self.sync();
        failpoint::reach("journal.after-sync");
        match flushed {
            Ok(()) => outcomes,
            Err(error) => {
                self.health = Health::Lost(error.clone());
                outcomes.into_iter().map(|outcome| outcome.and(Err(error.clone()))).collect()
            }
        }
    }

    /// A flush that has failed is never tried again.
    fn sync(&mut self) -> Result<(), JournalError> {
        if let Some(error) = &self.unflushable {
            return Err(error.clone());
        }
        self.file.sync_data().map_err(|error| {
            let error = files::not_synced(&self.path, error);
            self.unflushable = Some(error.clone());
            error
        })?;
        self.flushed = self.end;
        Ok(())
    }

    /// Gives back the room beyond the end. It is only room: that it fails changes nothing.
    pub(super) fn release_room(&mut self) {
        let _unchanged = self.file.set_len(self.end);
    }

    /// The lines of those that may be written. An error is that of an entry which an encoding before this one refused: it keeps its place
    /// among the outcomes.
    fn encode(&self, entries: impl Iterator<Item = Result<Entry, JournalError>>) -> Batch {
        let (mut bytes, mut chain) = (Vec::new(), self.chain);
        let records = entries.map(|entry| match (entry, &self.health) {
            (Ok(entry), Health::Full(error)) if announces_change(&entry.event) => {
                Err(error.clone())
            }
            (entry, _) => chain.seal(entry?, &mut bytes),
        });
        let records = records.collect();
        Batch { bytes, records, chain }
    }

    /// Makes sure that `bytes` more fit, and the reserve behind them.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        let needed = self.end + bytes as u64 + self.room.reserve;
        if self.size_limit.is_some_and(|limit| needed > limit) {
            return Err(Errno::FBIG.into());
        }
        if needed <= self.allocated || !self.can_allocate {
            return Ok(());
        }
        match self
            .allocate(needed + self.room.chunk)
            .or_else(|error| if is_no_space(&error) { self.allocate(needed) } else { Err(error) })
        {
            Ok(()) => Ok(()),
            Err(error) if is_no_space(&error) => Err(error),
            // A file system that cannot allocate ahead: the write itself will tell.
            Err(_) => {
                self.can_allocate = false;
                Ok(())
            }
        }
    }

    fn allocate(&mut self, up_to: u64) -> io::Result<()> {
        let from = self.allocated;
        let keep_size = FallocateFlags::KEEP_SIZE;
        rustix::io::retry_on_intr(|| fallocate(&self.file, keep_size, from, up_to - from))?;
        self.allocated = up_to;
        Ok(())
    }

    /// Writes behind the end. After an error the end is where it was.
    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let limit = self.size_limit;
        // Past the limit the kernel would send SIGXFSZ.
        if limit.is_some_and(|limit| self.end + bytes.len() as u64 > limit) {
            return Err(self.not_written(Errno::FBIG.into()));
        }
        if let Err(error) = self.put(bytes) {
            self.cut_back()?;
            return Err(self.not_written(error));
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        failpoint::reach("journal.before-write");
        // Two halves where crashes are tested, so that they also leave torn records.
        let middle = if cfg!(feature = "failpoints") { bytes.len() / 2 } else { bytes.len() };
        let (first, second) = bytes.split_at(middle);
        self.file.write_all_at(first, self.end)?;
        failpoint::reach("journal.mid-record");
        self.file.write_all_at(second, self.end + first.len() as u64)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn cut_back(&mut self) -> Result<(), JournalError> {
        self.file
            .set_len(self.end)
            .map_err(|error| JournalError::io("cut a torn record off", &self.path, error))?;
        self.sync()
    }

    fn not_written(&self, source: io::Error) -> JournalError {
        JournalError::io("write to", &self.path, source)
    }
}

/// What is written goes behind the file's end, and has the reserve behind it. After an error nothing more is written: a buffer on its way
/// out would try again, and might complete what was told to have failed.
struct End<'a> {
    log: &'a mut LogFile,
    broken: bool,
}

impl Write for End<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let written = self.log.make_room(bytes.len()).and_then(|()| self.log.put(bytes));
        self.broken = written.is_err();
        written.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Batch {
    bytes: Vec<u8>,
    records: Vec<Result<Record, JournalError>>,
    chain: Chain,
}

fn refuse_all(entries: usize, error: &JournalError) -> Vec<Outcome> {
    (0..entries).map(|_| Err(error.clone())).collect()
}

/// Fails if an empty file has no room for the beginning of a journal and its reserve.
pub(super) fn has_room(file: &File) -> io::Result<()> {
    let wanted = Room::USUAL.reserve + Room::USUAL.chunk;
    if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Fsize).current
        && limit < wanted
    {
        return Err(Errno::FBIG.into());
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, wanted).map_err(io::Error::from) {
        Err(error) if is_no_space(&error) => Err(error),
        // Where nothing can be allocated ahead the first write will tell.
        _ => Ok(()),
    }
}

/// Whether a change follows the record. Everything else tells what is so already.
pub(super) fn announces_change(event: &Event) -> bool {
    matches!(
        event,
        Event::RunStarted { .. }
            | Event::RunResumed { .. }
            | Event::ApplyStarted { .. }
            | Event::UndoStarted { .. }
    )
}

/// Whether a resume would know less without the record, even if only this process dies: how a change ended, which would be in doubt,
/// and what a step has noted, such as the child that may still be at work.
pub(super) fn outlives_process(event: &Event) -> bool {
    matches!(
        event,
        Event::Noted { .. }
            | Event::Applied { .. }
            | Event::ApplyFailed { .. }
            | Event::Undone { .. }
            | Event::UndoFailed { .. }
    )
}
