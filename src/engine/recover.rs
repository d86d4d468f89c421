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
    let mut state = RunState::new(header.clone());
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

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::engine::testing::{header, plan};

    /// A run that the kernel's clock knows to have begun 90 s ago, whatever the wall clock says.
    fn begun(wall: SignedDuration, boot: &str) -> u64 {
        let mut header = header(plan(Vec::new()));
        let now = Boot::now();
        header.started = clock::now() - wall;
        header.boot = Boot {
            id: if boot.is_empty() { now.id } else { boot.to_owned() },
            elapsed_ms: now.elapsed_ms.saturating_sub(90_000),
        };
        let event = Event::RunStarted { header: header.clone().into() };
        let first = Record { seq: 0, at: header.started, elapsed_ms: 0, event };
        fold(&[first], false).expect("a run that has just begun").1
    }

    #[test]
    fn the_time_of_a_resumed_run_does_not_follow_the_wall_clock() {
        for hours in [-24 * 365, -1, 0, 1, 24 * 365] {
            let elapsed = begun(SignedDuration::from_hours(hours), "");
            assert!((90_000..150_000).contains(&elapsed), "{elapsed} ms after {hours} h");
        }
    }

    #[test]
    fn after_a_restart_of_the_machine_the_wall_clock_is_all_there_is() {
        let elapsed = begun(SignedDuration::from_secs(600), "another start");
        assert!((600_000..660_000).contains(&elapsed), "{elapsed} ms");
        assert_eq!(begun(SignedDuration::from_hours(-1), "another start"), 0);
    }
}
