//! Evidence as the readers of a run see it: which archive, what is missing in it, what failures it shows.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::event::{Actor, Event, Record};

/// An archive that was made after the run.
#[derive(Debug, Clone, Serialize)]
pub struct EvidenceView {
    /// When.
    pub at: Timestamp,
    /// Who made it.
    pub by: Actor,
    /// Where it lay then.
    pub archive: String,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
    /// How many pieces it holds.
    pub pieces: usize,
    /// What could not be had, and why.
    pub missing: BTreeMap<String, String>,
    /// How often each pattern of a failure was found, by piece.
    pub failures: BTreeMap<String, BTreeMap<String, u64>>,
    /// What was measured: its mean before and after the rollback.
    pub compared: BTreeMap<String, (Option<f64>, Option<f64>)>,
}

impl EvidenceView {
    /// The archive that a record tells of.
    pub(super) fn of(record: &Record) -> Option<Self> {
        let Event::EvidenceGathered { by, archive, sha256, pieces, missing, failures, compared } =
            &record.event
        else {
            return None;
        };
        Some(Self {
            at: record.at,
            by: by.clone(),
            archive: archive.clone(),
            sha256: sha256.clone(),
            pieces: *pieces,
            missing: missing.clone(),
            failures: failures.clone(),
            compared: compared.clone(),
        })
    }
}
