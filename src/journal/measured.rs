//! How long steps took in earlier runs, for the planner.
//!
//! This stands between Enter and the first request, so only the few lines that tell are parsed, and nothing is verified: a
//! changed journal would give a wrong estimate, not a wrong run.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files;
use super::run::Run;
use crate::event::{DrillPart, Outcome, RunVerdict};

/// As many runs count; older ones tell about an older system.
const RUNS: usize = 10;
/// As many are looked at, whatever they are of: a long history must not make the next run start later.
const LOOKED_AT: usize = 100;
/// As many bytes of them are read, of those of other runbooks only the beginning: nor must a few very long runs.
const READ: u64 = 32 * 1024 * 1024;
/// The longest record of what a journal has told.
const LONGEST: u64 = 4 * 1024 * 1024;
/// The version of its form and of what it means; another one is read from the journal again.
const FORM: u32 = 1;
/// With less room than this on the disk, in bytes, none is left: the run that begins needs it.
const ROOM: u64 = 16 * 1024 * 1024;

/// The median duration of each step in the newest successful runs among `runs`, which are newest first.
pub(super) fn medians(
    runs: impl Iterator<Item = Run>,
    runbook: &str,
    environment: &str,
) -> BTreeMap<String, Duration> {
    let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut left = READ;
    let told = runs.take(LOOKED_AT).filter_map(|run| told(&run, (runbook, environment), &mut left));
    let of_these = told.filter(|told| told.is_of((runbook, environment)));
    let successful = of_these.filter_map(|told| told.took).filter(|took| !took.is_empty());
    for durations in successful.take(RUNS) {
        for (step, took) in durations {
            all.entry(step).or_default().push(took);
        }
    }
    all.into_iter().map(|(step, took)| (step, Duration::from_millis(median(took)))).collect()
}

/// What a journal has told, kept beside it: a hundred journals of big fleets would hold up the next start by half a second. It is
/// an estimate that can be read from the journal again, so it is not flushed, and nothing is lost with it.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    form: u32,
    /// How long the journal was: one that has grown may tell more.
    bytes: u64,
    runbook: String,
    environment: String,
    /// How many milliseconds each step took, nothing where the run tells nothing. `None` when only the journal's beginning was read.
    took: Option<BTreeMap<String, u64>>,
}

impl Told {
    fn is_of(&self, (runbook, environment): (&str, &str)) -> bool {
        self.runbook == runbook && self.environment == environment
    }

    /// What was kept of a run, as far as it can be read.
    fn kept(run: &Run) -> Option<Self> {
        let file = files::open_to_read(&run.measured_path()).ok()?;
        let mut text = Vec::new();
        let _length = file.take(LONGEST).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn keep(&self, run: &Run) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        let disk = rustix::fs::statvfs(run.dir())?;
        if text.len() as u64 > LONGEST || disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM {
            return Ok(());
        }
        let path = run.measured_path();
        let file = files::open_to_write(&path).or_else(|_| files::create(&path));
        let mut file = file.map_err(io::Error::other)?;
        file.set_len(0)?;
        file.write_all(&text)
    }
}

/// What a run tells. Of a journal that was not read before at most `left` bytes are, which become fewer, and of one of another kind only
/// the beginning.
fn told(run: &Run, kind: (&str, &str), left: &mut u64) -> Option<Told> {
    let journal = files::open_to_read(&run.journal_path()).ok()?;
    let bytes = journal.metadata().ok()?.len();
    let kept = Told::kept(run).filter(|told| told.form == FORM && told.bytes == bytes);
    if let Some(told) = kept.filter(|told| told.took.is_some() || !told.is_of(kind)) {
        return Some(told);
    }
    let mut journal = journal.take(*left);
    let told = read(&mut journal, bytes, kind);
    *left = journal.limit();
    if *left > 0
        && let Some(told) = &told
    {
        // Where it cannot be kept, it is read again.
        let _kept = told.keep(run);
    }
    told
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

/// Reads a journal: whose it is, and if it is of this kind how long its steps took.
fn read(journal: impl Read, bytes: u64, kind: (&str, &str)) -> Option<Told> {
    let mut journal = BufReader::new(journal);
    // Of a first line that is megabytes long only these words are taken into memory.
    let mut first = serde_json::Deserializer::from_reader(&mut journal);
    let First { header: HeaderPart { plan, drill } } = First::deserialize(&mut first).ok()?;
    let PlanPart { runbook, environment } = plan;
    let mut told = Told { form: FORM, bytes, runbook, environment, took: None };
    // What was disturbed on purpose tells nothing about what is not, and of what is never read whole the end is not known.
    if drill.is_some_and(|drill| drill.is_disturbed()) || bytes > READ {
        told.took = Some(BTreeMap::new());
    } else if told.is_of(kind) {
        let mut is_whole = true;
        let telling = journal
            .lines()
            .map_while(|line| line.inspect_err(|_| is_whole = false).ok())
            .filter(|line| TELLING.iter().any(|event| line.contains(event)))
            // Another event may hold such words in its evidence.
            .filter_map(|line| serde_json::from_str(&line).ok());
        let took = durations(telling).unwrap_or_default();
        told.took = is_whole.then_some(took);
    }
    Some(told)
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
