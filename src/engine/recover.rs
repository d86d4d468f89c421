//! From a journal's records back to the state of the run.

use crate::clock::{self, Boot};
use crate::event::{Event, Header, Record};

use super::state::{IllegalEvent, RunState};

/// Why a journal cannot be taken up again.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The journal is empty, or does not begin with a run's start.
    #[error("find the start of the run in its journal")]
    NoStart,
    /// A record that cannot follow on those before it.
    #[error("follow the journal at record {seq}")]
    Illegal {
        /// The record's number.
        seq: u64,
        /// What is wrong with it.
        source: IllegalEvent,
    },
}

/// Folds the records of a run. Returns its state and the time since its first start in milliseconds, the time in which nobody
/// was running it included.
///
/// `salvaging` says that records are missing anywhere.
pub fn fold(records: &[Record], salvaging: bool) -> Result<(RunState, u64), RecoverError> {
    let first = records.first().ok_or(RecoverError::NoStart)?;
    let Event::RunStarted { header } = &first.event else { return Err(RecoverError::NoStart) };
    let mut state = RunState::new((**header).clone());
    let damaged = if salvaging { records.len() } else { damaged_until(records) };
    for (index, record) in records.iter().enumerate().skip(1) {
        match state.apply(record.elapsed_ms, &record.event) {
            // What does not follow in a damaged part is what its lost records would have explained. Every step
            // is looked at anew when such a run is taken up.
            Err(_) if index < damaged => {}
            Err(source) => return Err(RecoverError::Illegal { seq: record.seq, source }),
            Ok(()) => {}
        }
    }
    let last_ms = records.last().map_or(0, |record| record.elapsed_ms);
    Ok((state, since_start_ms(header).max(last_ms)))
}

/// The records before the last salvage have gaps.
fn damaged_until(records: &[Record]) -> usize {
    let salvaged =
        |record: &Record| matches!(record.event, Event::RunResumed { salvaged: Some(_), .. });
    records.iter().rposition(salvaged).unwrap_or(0)
}

/// The time since a run's start. The kernel's clock knows it exactly while the machine has not been restarted, whatever
/// happened to the wall clock meanwhile.
fn since_start_ms(header: &Header) -> u64 {
    Boot::now().since(&header.boot).unwrap_or_else(|| {
        let passed = clock::now().as_millisecond().saturating_sub(header.started.as_millisecond());
        u64::try_from(passed).unwrap_or(0)
    })
}
