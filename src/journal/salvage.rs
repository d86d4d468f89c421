//! Keeps what verifies of a damaged journal, and says what is missing.
//!
//! Each line carries its own checksum and hash, so records behind the damage can be believed one by one; what the
//! damage hid cannot. A run that is continued on a salvaged journal must look at every step anew.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::files;
use super::line::{self, Chain};
use super::reader::{self, History};
use crate::event::{Event, Record};

/// What is left of a damaged journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Salvaged {
    /// The records that verify by themselves, in their order, each once; the first is the run's start.
    pub records: Vec<Record>,
    /// What does not.
    pub damage: Vec<Damage>,
    /// How many records there must have been between those that verify.
    pub missing: u64,
}

/// A damaged place in a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Counted from 1.
    pub line: u64,
    /// Where the line begins, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub why: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} (byte {}): {}", self.line, self.offset, self.why)
    }
}

/// Reads what verifies of the journal at `path`. Fails with [`JournalError::NeverStarted`] when the run's start is not
/// among it, because then nobody knows what was planned.
pub fn salvage(path: &Path) -> Result<Salvaged, JournalError> {
    let bytes = files::read(path)?;
    let mut found = Salvaged { records: Vec::new(), damage: Vec::new(), missing: 0 };
    let mut offset = 0_usize;
    for (number, text) in (1_u64..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        found.look_at(path, text, number, offset as u64)?;
        offset += text.len();
    }
    found.settle();
    let starts = |record: &Record| matches!(record.event, Event::RunStarted { .. });
    if !found.records.first().is_some_and(starts) {
        return Err(JournalError::NeverStarted { path: path.to_owned() });
    }
    Ok(found)
}

impl Salvaged {
    fn look_at(
        &mut self,
        path: &Path,
        text: &[u8],
        line: u64,
        offset: u64,
    ) -> Result<(), JournalError> {
        let Some(text) = text.strip_suffix(b"\n") else {
            self.damage.push(Damage { line, offset, why: "it is cut".into() });
            return Ok(());
        };
        if line == 1 {
            reader::check_format(path, text)?;
        }
        // A lost newline joins two lines: the second can be intact inside the first.
        let (record, why) = match reader::intact_part(text) {
            Some(0) => (Some(text), None),
            Some(at) => (Some(&text[at..]), Some("its beginning is not a record".to_owned())),
            None => (None, line::check(text).err().map(str::to_owned)),
        };
        let parsed = record.map(line::parse).transpose();
        if let Some(why) = why.or_else(|| parsed.as_ref().err().cloned()) {
            self.damage.push(Damage { line, offset, why });
        }
        self.records.extend(parsed.ok().flatten());
        Ok(())
    }

    /// Brings moved records back into order, and counts what is missing between them.
    fn settle(&mut self) {
        self.records.sort_by_key(|record| record.seq);
        self.records.dedup_by_key(|record| record.seq);
        self.missing = self.records.windows(2).map(|pair| pair[1].seq - pair[0].seq - 1).sum();
    }

    /// The damage in one text, for [`Event::RunResumed`].
    pub fn report(&self) -> String {
        let damage = self.damage.iter().map(ToString::to_string);
        let missing = (self.missing > 0).then(|| format!("missing records: {}", self.missing));
        damage.chain(missing).collect::<Vec<_>>().join("; ")
    }

    /// Puts a new journal with these records (numbered and sealed anew) into the place of the damaged one, which stays
    /// beside it. Returns where it stays. Whoever does this holds the run's lock.
    pub fn rebuild(&self, path: &Path) -> Result<(History, PathBuf), JournalError> {
        let (mut chain, mut bytes) = (Chain::START, Vec::new());
        for record in &self.records {
            let _renumbered = chain.seal(record.clone().into(), &mut bytes)?;
        }
        let kept = keep_aside(path)?;
        let new = path.with_extension("jsonl.new");
        // Left over by a rebuild that was killed.
        let _left_over = std::fs::remove_file(&new);
        let mut file = files::create(&new)?;
        file.write_all(&bytes).map_err(|e| JournalError::io("write", &new, e))?;
        files::sync_new(&file, &new)?;
        std::fs::rename(&new, path).map_err(|e| JournalError::io("replace", path, e))?;
        files::sync_parent(path)?;
        Ok((reader::parse(path, &bytes)?, kept))
    }
}

/// Gives the damaged file a second name, which it keeps when the new journal takes its first one.
fn keep_aside(path: &Path) -> Result<PathBuf, JournalError> {
    let mut number = 1_u32;
    loop {
        let kept = path.with_file_name(format!("journal.damaged-{number}.jsonl"));
        match std::fs::hard_link(path, &kept) {
            Ok(()) => return Ok(kept),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(JournalError::io("keep a copy of", path, error)),
        }
    }
}
