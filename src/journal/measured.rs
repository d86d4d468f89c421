//! How long steps took in earlier runs, for the planner.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader;
use crate::event::{Event, Outcome, Record, RunVerdict};

/// As many runs count; older ones tell about an older system.
const RUNS: usize = 10;

/// The median duration of each step in the newest successful runs among `journals`, which are newest first.
pub(super) fn medians(
    journals: impl Iterator<Item = PathBuf>,
    runbook: &str,
    environment: &str,
) -> BTreeMap<String, Duration> {
    let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let successful = journals.filter_map(|path| successful(&path, runbook, environment));
    for records in successful.take(RUNS) {
        for (step, took) in durations(&records) {
            all.entry(step).or_default().push(took);
        }
    }
    all.into_iter().map(|(step, took)| (step, Duration::from_millis(median(took)))).collect()
}

fn successful(path: &Path, runbook: &str, environment: &str) -> Option<Vec<Record>> {
    let history = reader::read(path).ok()?;
    let plan = &history.header()?.plan;
    let recovered = history.records.iter().any(|record| {
        matches!(
            record.event,
            Event::RunEnded { verdict: RunVerdict::Recovered | RunVerdict::RecoveredLate, .. }
        )
    });
    (plan.runbook == runbook && plan.environment == environment && recovered)
        .then_some(history.records)
}

/// The steps that were done from start to end by one process. A crash in between would count the time until the run
/// was resumed.
fn durations(records: &[Record]) -> BTreeMap<String, u64> {
    let (mut started, mut took) = (BTreeMap::new(), BTreeMap::new());
    for record in records {
        match &record.event {
            Event::RunResumed { .. } => started.clear(),
            Event::StepStarted { step, .. } => {
                let _earlier_start = started.insert(step.to_string(), record.elapsed_ms);
            }
            Event::StepEnded { step, outcome: Outcome::Done, .. } => {
                let step = step.to_string();
                if let Some(start) = started.remove(&step) {
                    let _earlier_end = took.insert(step, record.elapsed_ms.saturating_sub(start));
                }
            }
            _ => {}
        }
    }
    took
}

/// The middle value, or the mean of the two middle ones. Zero for none.
fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    let middle = values.len() / 2;
    match values.get(middle) {
        None => 0,
        Some(upper) if values.len() % 2 == 1 => *upper,
        Some(upper) => values[middle - 1].midpoint(*upper),
    }
}
