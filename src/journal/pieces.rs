//! A line that is written as it is made. The first record holds the whole plan, six megabytes of JSON for ten thousand steps, which nobody
//! needs to have in memory at once.

use std::io::{self, BufWriter, Write};

use serde::ser::Error as _;

use super::line::{Chain, Digest, Entry, First, Nesting};
use crate::event::Record;

/// The size of a piece, in bytes.
pub(super) const PIECE: usize = 64 * 1024;

/// Room in the buffer behind a piece for the seal, or before it for the brace that was held back, so that one of them makes no write more.
const SEAL_AND_BRACE: usize = 1024;

/// The JSON of a line on its way, without the closing brace behind which the seal comes.
struct Body<W> {
    out: W,
    digest: Digest,
    nesting: Nesting,
    brace: Option<u8>,
}

impl<W: Write> Write for Body<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some((last, rest)) = bytes.split_last() else { return Ok(0) };
        if let Some(held) = self.brace.replace(*last) {
            self.out.write_all(&[held])?;
        }
        self.out.write_all(rest)?;
        self.digest.update(bytes);
        self.nesting.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Chain {
    /// Writes a journal's first line to `out`, and moves on. On an error a part of it may have been written.
    ///
    /// # Errors
    /// Those of `out`, for which [`is_io`](serde_json::Error::is_io) holds; any other means that the record can be written nowhere.
    pub(super) fn seal_first(
        &mut self,
        entry: Entry,
        out: impl Write,
    ) -> serde_json::Result<Record> {
        let record = self.record(entry);
        let (digest, nesting) = (Digest::after(&self.head), Nesting::default());
        let out = BufWriter::with_capacity(PIECE + SEAL_AND_BRACE, out);
        let mut json = BufWriter::with_capacity(PIECE, Body { out, digest, nesting, brace: None });
        serde_json::to_writer(&mut json, &First::of(&record))?;
        let Body { mut out, digest, nesting, .. } =
            json.into_inner().map_err(|error| serde_json::Error::io(error.into_error()))?;
        if let Err(why) = nesting.check() {
            // What is still in the buffer must not be written on the way out.
            let (_out, _unwritten) = out.into_parts();
            return Err(serde_json::Error::custom(why));
        }
        self.close(digest, |part| out.write_all(part))
            .and_then(|()| out.flush())
            .map_err(serde_json::Error::io)?;
        Ok(record)
    }
}
