//! The form of one line: a record's JSON, and a seal that shows every change to it.
//!
//! ```text
//! {"seq":7,"at":"…","elapsed_ms":812,"event":"undone","step":"stop/agents","prev":"<64>","hash":"<64>","crc":"<8>"}
//! ```
//! `hash` is SHA-256 over the previous line's hash (as text) and the record's JSON without the seal; `crc` is the CRC-32 of that
//! JSON. The seal has a fixed length and stands at the end, so a line is checked without parsing it,
//! and parsed once.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::JournalError;
use crate::event::{Event, FORMAT, Record};

/// A SHA-256 digest as hexadecimal text.
pub(super) type Hash = [u8; 64];

/// What stands in place of a previous hash in the first line.
const NO_HASH: Hash = [b'0'; 64];

const PREV: &[u8] = br#","prev":""#;
const HASH: &[u8] = br#"","hash":""#;
const CRC: &[u8] = br#"","crc":""#;
const END: &[u8] = br#""}"#;
const SEAL: usize = PREV.len() + 64 + HASH.len() + 64 + CRC.len() + 8 + END.len();

/// Deeper values could be written, but the parser would refuse to read them back.
const DEEPEST: u32 = 120;

/// An event on its way into the journal.
pub(super) struct Entry {
    pub(super) at: Timestamp,
    pub(super) elapsed_ms: u64,
    pub(super) event: Event,
}

impl From<Record> for Entry {
    /// What a record was before it had its place: it can get another one.
    fn from(record: Record) -> Self {
        Self { at: record.at, elapsed_ms: record.elapsed_ms, event: record.event }
    }
}

/// The end of the hash chain: where the next record belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) seq: u64,
    pub(super) head: Hash,
}

impl Chain {
    pub(super) const START: Self = Self { seq: 0, head: NO_HASH };

    /// Appends the entry's line to `out` and moves on. On an error both stay as they were.
    pub(super) fn seal(&mut self, entry: Entry, out: &mut Vec<u8>) -> Result<Record, JournalError> {
        let record = self.record(entry);
        let start = out.len();
        if let Err(why) = write_body(&record, out) {
            out.truncate(start);
            return Err(JournalError::Unrecordable { why });
        }
        let mut digest = Digest::after(&self.head);
        digest.update(&out[start..]);
        let _brace = out.pop();
        let Ok(()) = self.close(digest, |part| {
            out.extend_from_slice(part);
            Ok::<(), std::convert::Infallible>(())
        });
        Ok(record)
    }

    /// The entry with its place in the chain.
    pub(super) fn record(&self, entry: Entry) -> Record {
        let Entry { at, elapsed_ms, event } = entry;
        Record { seq: self.seq, at, elapsed_ms, event }
    }

    /// Ends a line, whose JSON has been written but for its closing brace, with its seal, and moves on.
    pub(super) fn close<E>(
        &mut self,
        digest: Digest,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (hash, crc) = digest.finish();
        for part in [PREV, &self.head, HASH, &hash, CRC, &crc, END, b"\n"] {
            write(part)?;
        }
        *self = Self { seq: self.seq + 1, head: hash };
        Ok(())
    }

    /// The record of an intact line, if it belongs here; moves on.
    pub(super) fn accept(&mut self, line: &[u8], seal: &Seal) -> Result<Record, String> {
        if seal.prev != self.head {
            return Err("it does not follow the record before it".into());
        }
        let record = parse(line)?;
        if record.seq != self.seq {
            return Err(format!("it has number {}, expected {}", record.seq, self.seq));
        }
        *self = Self { seq: self.seq + 1, head: seal.hash };
        Ok(record)
    }
}

/// Writes the record's JSON; the first record carries the format.
fn write_body(record: &Record, out: &mut Vec<u8>) -> Result<(), String> {
    let start = out.len();
    let written = match record.seq {
        0 => serde_json::to_writer(&mut *out, &First::of(record)),
        _ => serde_json::to_writer(&mut *out, record),
    };
    written.map_err(|error| error.to_string())?;
    let mut nesting = Nesting::default();
    nesting.update(&out[start..]);
    nesting.check()
}

/// The first record, which carries the format.
#[derive(Serialize)]
pub(super) struct First<'a> {
    format: u32,
    #[serde(flatten)]
    record: &'a Record,
}

impl<'a> First<'a> {
    /// This record with the format that this program writes.
    pub(super) fn of(record: &'a Record) -> Self {
        Self { format: FORMAT, record }
    }
}

/// How deep the values of a JSON text are nested.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    depth: u32,
    deepest: u32,
    quoted: bool,
    escaped: bool,
}

impl Nesting {
    /// Takes the next part of the text in.
    pub(super) fn update(&mut self, json: &[u8]) {
        for byte in json {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' => self.quoted = !self.quoted,
                b'{' | b'[' if !self.quoted => {
                    self.depth += 1;
                    self.deepest = self.deepest.max(self.depth);
                }
                b'}' | b']' if !self.quoted => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Fails with the reason why the text must not be written, if there is one.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.deepest > DEEPEST {
            return Err(format!("its values are nested deeper than {DEEPEST} levels"));
        }
        Ok(())
    }
}

/// Hash and checksum of a line's JSON.
pub(super) struct Digest {
    sha: Sha256,
    crc: crc32fast::Hasher,
}

impl Digest {
    /// Nothing yet of the line behind the one with this hash.
    pub(super) fn after(prev: &Hash) -> Self {
        let mut sha = Sha256::new();
        sha.update(prev);
        Self { sha, crc: crc32fast::Hasher::new() }
    }

    /// Takes the next part of the JSON in.
    pub(super) fn update(&mut self, json: &[u8]) {
        self.sha.update(json);
        self.crc.update(json);
    }

    fn finish(self) -> (Hash, [u8; 8]) {
        (
            hexadecimal(self.sha.finalize().as_slice()),
            hexadecimal(&self.crc.finalize().to_be_bytes()),
        )
    }
}

fn hexadecimal<const N: usize>(bytes: &[u8]) -> [u8; N] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'0'; N];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// The checked end of a line.
pub(super) struct Seal {
    prev: Hash,
    hash: Hash,
}

/// Checks a line (without its newline) by itself: its form, its checksum and its hash.
pub(super) fn check(line: &[u8]) -> Result<Seal, &'static str> {
    let (body, seal) = split(line).ok_or("it is cut, or not a record")?;
    let mut digest = Digest::after(&seal.prev);
    digest.update(body);
    digest.update(b"}");
    let (hash, crc) = digest.finish();
    let written = &line[line.len() - END.len() - 8..line.len() - END.len()];
    if crc != written {
        return Err("its checksum does not match");
    }
    if hash != seal.hash {
        return Err("its hash does not match");
    }
    Ok(seal)
}

/// Whether the line has a seal of the form that this program writes.
pub(super) fn has_seal(line: &[u8]) -> bool {
    split(line).is_some()
}

fn split(line: &[u8]) -> Option<(&[u8], Seal)> {
    let (body, seal) = line.split_at_checked(line.len().checked_sub(SEAL)?)?;
    let (prev, rest) = seal.strip_prefix(PREV)?.split_first_chunk()?;
    let (hash, rest) = rest.strip_prefix(HASH)?.split_first_chunk()?;
    let (_crc, rest) = rest.strip_prefix(CRC)?.split_first_chunk::<8>()?;
    (rest == END).then_some((body, Seal { prev: *prev, hash: *hash }))
}

/// The record in a line; the seal's fields are passed over.
pub(super) fn parse(line: &[u8]) -> Result<Record, String> {
    serde_json::from_slice(line).map_err(|error| format!("it is not a known record: {error}"))
}

/// The format that a first line states, in whatever form the rest of it may be.
pub(super) fn stated_format(line: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct First {
        format: u32,
    }
    serde_json::from_slice::<First>(line).ok().map(|first| first.format)
}
