//! Follows a journal that another process is writing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::files;
use super::line::Chain;
use super::reader::{Next, Scan};
use crate::event::Record;

/// Looks at most this far ahead per poll, so that a long journal arrives in parts.
const WINDOW: usize = 8 * 1024 * 1024;

/// A reader that remembers how far it has come. Records are seen once they are written, which is up to 2 ms and a flush
/// earlier than their durability: what it shows may be lost if the machine dies now.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: File,
    offset: usize,
    chain: Chain,
}

impl Follower {
    /// Starts at the beginning of the journal at `path`.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let file = files::open_to_read(path)?;
        Ok(Self { path: path.to_owned(), file, offset: 0, chain: Chain::START })
    }

    /// The records that have been completed since the last call; none if there are none. Does not wait.
    /// An incomplete last line is left for the next call.
    pub fn poll(&mut self) -> Result<Vec<Record>, JournalError> {
        let mut records = Vec::new();
        loop {
            let window = self.window()?;
            let mut scan = Scan::resume(&self.path, self.offset, self.chain);
            let before = records.len();
            loop {
                match scan.next(&window[scan.offset - self.offset..])? {
                    Next::Record(record) => records.push(*record),
                    Next::End | Next::Incomplete => break,
                    Next::Bad(why) => return Err(scan.damaged(why)),
                }
            }
            (self.offset, self.chain) = (scan.offset, scan.chain);
            if records.len() == before {
                return Ok(records);
            }
        }
    }

    /// What is in the file behind the present place. A line that is longer than the usual window gets all of it.
    fn window(&self) -> Result<Vec<u8>, JournalError> {
        let failed = |source| JournalError::io("follow", &self.path, source);
        let length =
            usize::try_from(self.file.metadata().map_err(failed)?.len()).unwrap_or(usize::MAX);
        let ahead = length.saturating_sub(self.offset);
        let part = self.read_at_most(ahead.min(WINDOW)).map_err(failed)?;
        if part.contains(&b'\n') || ahead <= WINDOW {
            return Ok(part);
        }
        self.read_at_most(ahead).map_err(failed)
    }

    fn read_at_most(&self, length: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.file.read_at(&mut bytes[filled..], (self.offset + filled) as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}
