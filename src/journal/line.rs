//! The form of one line: a record's JSON, and a seal that shows every change to it.
//!
//! ```text
//! {"seq":7,"at":"…","elapsed_ms":812,"event":"undone","step":"stop/agents","prev":"<64>","hash":"<64>","crc":"<8>"}
//! ```
//! `hash` is SHA-256 over the previous line's hash (as text) and the record's JSON without the seal; `crc` is the CRC-32 of that
//! JSON. The seal has a fixed length and stands at the end, so a line is checked without parsing it,
//! and parsed once.

use jiff::Timestamp;
use serde::Deserialize;
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

/// The end of the hash chain: where the next record belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) seq: u64,
    pub(super) head: Hash,
}

impl Chain {
    pub(super) const START: Self = Self { seq: 0, head: NO_HASH };

    /// Appends the entry's line to `out` and moves on. On an error both stay as they were.
    pub(super) fn seal(
        &mut self,
        entry: &Entry,
        out: &mut Vec<u8>,
    ) -> Result<Record, JournalError> {
        let record = Record {
            seq: self.seq,
            at: entry.at,
            elapsed_ms: entry.elapsed_ms,
            event: entry.event.clone(),
        };
        let start = out.len();
        if let Err(why) = write_body(&record, out) {
            out.truncate(start);
            return Err(JournalError::Unrecordable { why });
        }
        let (hash, crc) = digest(&self.head, &out[start..]);
        for part in [PREV, &self.head, HASH, &hash, CRC, &crc, END, b"\n"] {
            out.extend_from_slice(part);
        }
        *self = Self { seq: self.seq + 1, head: hash };
        Ok(record)
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

/// Writes the record's JSON without its closing brace; the first record carries the format.
fn write_body(record: &Record, out: &mut Vec<u8>) -> Result<(), String> {
    let start = out.len();
    serde_json::to_writer(&mut *out, record).map_err(|error| error.to_string())?;
    if nesting(&out[start..]) > DEEPEST {
        return Err(format!("its values are nested deeper than {DEEPEST} levels"));
    }
    if record.seq == 0 {
        let format = format!("{{\"format\":{FORMAT},");
        let _removed = out.splice(start..=start, format.into_bytes()).count();
    }
    let _brace = out.pop();
    Ok(())
}

fn nesting(json: &[u8]) -> u32 {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_u32, 0_u32, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Hash and checksum of a body that lacks its closing brace.
fn digest(prev: &Hash, body: &[u8]) -> (Hash, [u8; 8]) {
    let mut sha = Sha256::new();
    sha.update(prev);
    sha.update(body);
    sha.update(b"}");
    let mut crc = crc32fast::Hasher::new();
    crc.update(body);
    crc.update(b"}");
    (hexadecimal(sha.finalize().as_slice()), hexadecimal(&crc.finalize().to_be_bytes()))
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
    let (hash, crc) = digest(&seal.prev, body);
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
