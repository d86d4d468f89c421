//! Reads a journal back, and tells a torn end from damage.
//!
//! A crash can leave the last write incomplete: that tail is reported and the records before it count. Anything else that does not
//! verify (a record in the middle, a missing or moved one) is an error with its place, because a run must not
//! be continued on a history that somebody or something has changed.

use std::path::Path;
use std::sync::Arc;

use super::error::JournalError;
use super::files;
use super::line::{self, Chain, Hash};
use crate::event::{Event, FORMAT, Header, Record};

/// What a journal holds.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The records; the first is always [`Event::RunStarted`].
    pub records: Vec<Record>,
    /// How the file ends.
    pub tail: Tail,
    /// The length of the part that verifies.
    pub good_bytes: u64,
    head: Hash,
}

/// How a journal's file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// With a complete record.
    Clean,
    /// With something that is not a record: the last write was cut short, or was changed.
    Torn {
        /// Where it begins.
        offset: u64,
        /// How long it is.
        bytes: u64,
    },
}

impl History {
    pub(super) fn new(records: Vec<Record>, tail: Tail, good_bytes: u64, chain: Chain) -> Self {
        Self { records, tail, good_bytes, head: chain.head }
    }

    /// The hash of the last record, 64 hexadecimal digits. Published elsewhere, it shows a cut journal.
    pub fn head(&self) -> String {
        self.head.iter().map(|digit| char::from(*digit)).collect()
    }

    /// What the run started from; `None` only for a history that was put together by hand.
    pub fn header(&self) -> Option<&Arc<Header>> {
        match self.records.first().map(|record| &record.event) {
            Some(Event::RunStarted { header }) => Some(header),
            _ => None,
        }
    }

    pub(super) fn chain(&self) -> Chain {
        Chain { seq: self.records.len() as u64, head: self.head }
    }
}

/// Reads the journal at `path`.
///
/// Fails with [`JournalError::Damaged`] for a bad record that is not the last, [`JournalError::NewerFormat`],
/// [`JournalError::NeverStarted`] when not even the first record is complete, and [`JournalError::Untrusted`].
pub fn read(path: &Path) -> Result<History, JournalError> {
    parse(path, &files::read(path)?)
}

/// Whether the journal at `path` holds the record with this hash: if the hash was published
/// elsewhere and is not in the journal, records were cut off or replaced.
pub fn contains_head(path: &Path, head: &str) -> Result<bool, JournalError> {
    let bytes = files::read(path)?;
    let _verified = parse(path, &bytes)?;
    let needle = format!("\"hash\":\"{head}\"");
    Ok(head.len() == 64 && bytes.windows(needle.len()).any(|part| part == needle.as_bytes()))
}

/// [`read`] for bytes that are there already; `path` is for messages.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<History, JournalError> {
    let mut scan = Scan::new(path);
    let mut records = Vec::new();
    let tail = loop {
        let rest = &bytes[scan.offset..];
        match scan.next(rest)? {
            Next::Record(record) => records.push(*record),
            Next::End => break Tail::Clean,
            Next::Incomplete => break scan.torn(rest),
            Next::Bad(why) => {
                if holds_record(rest) {
                    return Err(scan.damaged(why));
                }
                break scan.torn(rest);
            }
        }
    };
    if records.is_empty() {
        return Err(JournalError::NeverStarted { path: path.to_owned() });
    }
    Ok(History::new(records, tail, scan.offset as u64, scan.chain))
}

/// A position in a journal that is being read line by line.
pub(super) struct Scan<'a> {
    path: &'a Path,
    pub(super) offset: usize,
    line: u64,
    pub(super) chain: Chain,
}

/// What stands at a position.
pub(super) enum Next {
    Record(Box<Record>),
    End,
    /// A line without its end.
    Incomplete,
    /// A line that does not verify by itself.
    Bad(&'static str),
}

impl<'a> Scan<'a> {
    pub(super) fn new(path: &'a Path) -> Self {
        Self::resume(path, 0, Chain::START)
    }

    pub(super) fn resume(path: &'a Path, offset: usize, chain: Chain) -> Self {
        Self { path, offset, line: chain.seq + 1, chain }
    }

    /// Looks at the first line of `rest` and moves behind it if it is the next record. A line that is intact but
    /// does not belong here is an error at once: a torn write cannot leave one.
    pub(super) fn next(&mut self, rest: &[u8]) -> Result<Next, JournalError> {
        if rest.is_empty() {
            return Ok(Next::End);
        }
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            return Ok(Next::Incomplete);
        };
        let text = &rest[..length];
        if self.chain.seq == 0 {
            check_format(self.path, text)?;
        }
        let seal = match line::check(text) {
            Ok(seal) => seal,
            Err(why) => return Ok(Next::Bad(why)),
        };
        let record = self.chain.accept(text, &seal).map_err(|why| self.damaged(why))?;
        if record.seq == 0 && !matches!(record.event, Event::RunStarted { .. }) {
            return Err(self.damaged("the first record is not the start of a run"));
        }
        self.offset += length + 1;
        self.line += 1;
        Ok(Next::Record(Box::new(record)))
    }

    pub(super) fn damaged(&self, why: impl Into<String>) -> JournalError {
        JournalError::Damaged {
            path: self.path.to_owned(),
            line: self.line,
            offset: self.offset as u64,
            why: why.into(),
        }
    }

    fn torn(&self, rest: &[u8]) -> Tail {
        Tail::Torn { offset: self.offset as u64, bytes: rest.len() as u64 }
    }
}

/// Refuses another format, unless the line is of our form and merely damaged.
pub(super) fn check_format(path: &Path, first: &[u8]) -> Result<(), JournalError> {
    match line::stated_format(first) {
        Some(found) if found > FORMAT && (line::check(first).is_ok() || !line::has_seal(first)) => {
            Err(JournalError::NewerFormat { path: path.to_owned(), found })
        }
        _ => Ok(()),
    }
}

/// Whether an intact record stands anywhere behind a bad beginning: then the bad part is not the end of the journal.
fn holds_record(rest: &[u8]) -> bool {
    rest.split(|byte| *byte == b'\n').any(|text| intact_part(text).is_some())
}

/// How every line but the first begins.
const START: &[u8] = b"{\"seq\":";

/// Where an intact record begins in a line: 0 if the line is one. (A lost newline joins two lines.)
pub(super) fn intact_part(text: &[u8]) -> Option<usize> {
    if line::check(text).is_ok() {
        return Some(0);
    }
    // From the end, since the seal at the end belongs to the last record.
    let starts = text.windows(START.len()).enumerate().skip(1).rev();
    let mut starts = starts.filter(|(_, part)| *part == START).map(|(at, _)| at);
    starts.find(|at| line::check(&text[*at..]).is_ok())
}
