//! How long steps took in earlier runs, for the planner.
//!
//! This stands between Enter and the first request, so only the few lines that tell are parsed, and nothing is verified: a
//! changed journal would give a wrong estimate, not a wrong run.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::files;
use crate::event::{DrillPart, Outcome, RunVerdict};

/// As many runs count; older ones tell about an older system.
const RUNS: usize = 10;
/// As many are looked at, whatever they are of: a long history must not make the next run start later.
const LOOKED_AT: usize = 100;
/// As many bytes of them are read, of those of other runbooks only the beginning: nor must a few very long runs.
const READ: u64 = 32 * 1024 * 1024;

/// The median duration of each step in the newest successful runs among `journals`, which are newest first.
pub(super) fn medians(
    journals: impl Iterator<Item = PathBuf>,
    runbook: &str,
    environment: &str,
) -> BTreeMap<String, Duration> {
    let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut left = READ;
    let files = journals.take(LOOKED_AT).filter_map(|path| files::open_to_read(&path).ok());
    let successful = files.filter_map(|file| {
        let mut file = file.take(left);
        let successful = successful(&mut file, runbook, environment);
        left = file.limit();
        successful
    });
    for durations in successful.take(RUNS) {
        for (step, took) in durations {
            all.entry(step).or_default().push(took);
        }
    }
    all.into_iter().map(|(step, took)| (step, Duration::from_millis(median(took)))).collect()
}

/// What is read of the first line.
#[derive(Deserialize)]
struct First {
    header: HeaderPart,
}

#[derive(Deserialize)]
struct HeaderPart {
    plan: PlanPart,
    #[serde(default)]
    drill: Option<DrillPart>,
}

#[derive(Deserialize)]
struct PlanPart {
    runbook: String,
    environment: String,
}

/// What is read of the others.
#[derive(Deserialize)]
struct Line {
    elapsed_ms: u64,
    #[serde(flatten)]
    event: Telling,
}

/// The events that tell how long something took.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Telling {
    RunResumed,
    StepStarted { step: String },
    StepEnded { step: String, outcome: Outcome },
    RunEnded { verdict: RunVerdict },
}

/// How each of them is written.
const TELLING: [&str; 4] = [
    r#""event":"run-resumed""#,
    r#""event":"step-started""#,
    r#""event":"step-ended""#,
    r#""event":"run-ended""#,
];

/// The durations of a run's steps, if it is one of these and has recovered.
fn successful(
    journal: impl Read,
    runbook: &str,
    environment: &str,
) -> Option<BTreeMap<String, u64>> {
    let mut journal = BufReader::new(journal);
    // Of a first line that is megabytes long only these words are taken into memory.
    let mut first = serde_json::Deserializer::from_reader(&mut journal);
    let First { header: HeaderPart { plan, drill } } = First::deserialize(&mut first).ok()?;
    // What was disturbed on purpose tells nothing about what is not.
    let disturbed = drill.is_some_and(|drill| drill.is_disturbed());
    if plan.runbook != runbook || plan.environment != environment || disturbed {
        return None;
    }
    let telling = journal
        .lines()
        .map_while(Result::ok)
        .filter(|line| TELLING.iter().any(|event| line.contains(event)))
        // Another event may hold such words in its evidence.
        .filter_map(|line| serde_json::from_str(&line).ok());
    durations(telling)
}

/// The steps that were done from start to end by one process, in a run that has recovered. A crash in between would
/// count the time until the run was resumed.
fn durations(lines: impl Iterator<Item = Line>) -> Option<BTreeMap<String, u64>> {
    let (mut started, mut took) = (BTreeMap::new(), BTreeMap::new());
    let mut recovered = false;
    for Line { elapsed_ms, event } in lines {
        match event {
            Telling::RunResumed => started.clear(),
            Telling::StepStarted { step } => {
                let _earlier_start = started.insert(step, elapsed_ms);
            }
            Telling::StepEnded { step, outcome: Outcome::Done } => {
                if let Some(start) = started.remove(&step) {
                    let _earlier_end = took.insert(step, elapsed_ms.saturating_sub(start));
                }
            }
            Telling::StepEnded { .. } => {}
            Telling::RunEnded { verdict } => {
                recovered |= matches!(verdict, RunVerdict::Recovered | RunVerdict::RecoveredLate);
            }
        }
    }
    recovered.then_some(took)
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
