//! Finding children of a killed run again, and ending them.
//!
//! Between starting a child and writing down its process id the program may be killed. So a child is marked by what is
//! known without writing anything down: `ROLLBACK_STEP=<run>/<place>/<part>` in its environment, which whatever it
//! starts inherits. A later look reads `/proc/*/environ` (proc(5)) for the mark and compares the noted process id
//! with its start time (field 22 of `/proc/<pid>/stat`) and the machine's boot id, so that a reused process id is
//! never taken for the child. Without a `/proc` (not Linux) nothing is found, and the step stays unknown.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::action::{ActionError, ErrorKind, StepContext};
use crate::clock::Boot;

/// The variable that marks every child.
pub(super) const MARK_VARIABLE: &str = "ROLLBACK_STEP";

const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Kept back for ending the children of earlier attempts; on a busy machine a look takes a while.
const SETTLING: Duration = Duration::from_secs(1);

/// Which command of a step a child runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Part {
    /// The command that makes the change.
    Apply,
    /// The command that takes it back.
    Undo,
    /// A command that only asks something.
    Look,
}

impl Part {
    /// What marks the children of this part of a step, the same for each attempt.
    pub(super) fn mark(self, cx: &StepContext) -> String {
        let part = match self {
            Self::Apply => "apply",
            Self::Undo => "undo",
            Self::Look => "look",
        };
        // An item may be called anything, and a variable cannot hold everything.
        format!("{}/{}/{part}", cx.run(), cx.place().escape_default())
    }
}

/// What a step writes down about its children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "script", rename_all = "kebab-case")]
pub(super) enum Note {
    /// A child runs.
    Started { part: Part, pid: i32, start_time: Option<u64>, boot_id: String, program: String },
    /// The undo command has ended as expected.
    Undone,
}

impl Note {
    /// The notes of a step that can be read; those of other versions cannot and are left alone.
    pub(super) fn all(notes: &[Value]) -> Vec<Self> {
        notes.iter().filter_map(|note| serde_json::from_value(note.clone()).ok()).collect()
    }

    /// The note about a child that has just been started.
    pub(super) fn started(part: Part, pid: Pid, program: String) -> Self {
        Self::Started {
            part,
            pid: pid.as_raw_nonzero().get(),
            start_time: Process::of(pid).map(|process| process.start_time),
            boot_id: Boot::now().id,
            program,
        }
    }

    /// Writes it into the journal, and returns when it is on disk.
    pub(super) async fn write(&self, cx: &StepContext) -> Result<(), ActionError> {
        cx.note(self.to_value()?).await
    }

    /// Writes it into the journal without waiting: no child outlives a loss of power.
    pub(super) fn jot(&self, cx: &StepContext) -> Result<(), ActionError> {
        cx.jot(self.to_value()?);
        Ok(())
    }

    fn to_value(&self) -> Result<Value, ActionError> {
        serde_json::to_value(self).map_err(|error| {
            ActionError::new(ErrorKind::Invalid, "write down a child process").caused_by(&error)
        })
    }
}

/// A running process, told apart from a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pid: Pid,
    group: i32,
    start_time: u64,
}

impl Process {
    /// The process of this id, unless it has ended or is a zombie.
    fn of(pid: Pid) -> Option<Self> {
        // One read gives all of it, and it is shorter: 50 numbers, a state and a name.
        let mut stat = [0; 2048];
        let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
        let length = file.read(&mut stat).ok()?;
        let stat = String::from_utf8_lossy(&stat[..length]);
        // The second field is the command in parentheses and may itself hold parentheses and spaces.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, group, start_time) = (fields.first()?, fields.get(2)?, fields.get(19)?);
        if matches!(*state, "Z" | "X") {
            return None;
        }
        Some(Self { pid, group: group.parse().ok()?, start_time: start_time.parse().ok()? })
    }

    fn signal(self, signal: Signal) {
        // Looked at again right before, since the id may have been reused. That it ended in between is fine.
        if Self::of(self.pid) == Some(self) {
            rustix::process::kill_process(self.pid, signal).ok();
        }
    }
}

/// All live processes that carry one of these marks.
pub(super) fn marked_with(marks: &[String]) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let own = rustix::process::getpid();
    let marked = |pid: Pid| {
        std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
            environ.split(|byte| *byte == 0).any(|entry| {
                std::str::from_utf8(entry)
                    .ok()
                    .and_then(|entry| entry.strip_prefix(MARK_VARIABLE)?.strip_prefix('='))
                    .is_some_and(|mark| marks.iter().any(|wanted| wanted == mark))
            })
        })
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|pid| *pid != own && marked(*pid))
        .filter_map(Process::of)
        .collect()
}

/// Kills whatever still carries the mark, also outside the child's process group.
pub(super) fn kill_marked(mark: String) {
    for process in marked_with(&[mark]) {
        process.signal(Signal::KILL);
    }
}

/// What became of the children of earlier attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orphans {
    /// There were none.
    None,
    /// They ended by themselves.
    Ended,
    /// They had to be killed.
    Killed,
}

/// Waits for the children of earlier attempts, until `patience` is over; then ends them.
pub(super) async fn settle(
    cx: &StepContext,
    patience: Instant,
    grace: Duration,
) -> Result<Orphans, ActionError> {
    if !cx.was_attempted() && cx.notes().is_empty() {
        return Ok(Orphans::None);
    }
    let traces = Traces::left_by(cx);
    if traces.alive().await?.is_empty() {
        return Ok(Orphans::None);
    }
    let left = patience.saturating_duration_since(Instant::now());
    let grace = grace.min(left / 5);
    // Signals take effect, and are seen to, in time of their own.
    let patience = patience - grace - SETTLING.min(left / 5);
    if traces.gone(patience, cx).await? {
        return Ok(Orphans::Ended);
    }
    traces.signal(Signal::TERM).await?;
    let end = Instant::now() + grace;
    while Instant::now() < end && !traces.alive().await?.is_empty() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    traces.signal(Signal::KILL).await?;
    for _ in 0..20 {
        if traces.alive().await?.is_empty() {
            return Ok(Orphans::Killed);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let pids: Vec<String> =
        traces.alive().await?.iter().map(|process| process.pid.to_string()).collect();
    Err(ActionError::new(
        ErrorKind::Conflict,
        format!(
            "end the command that an earlier attempt left running (process {})",
            pids.join(", ")
        ),
    )
    .hint(format!("Look at it with `ps -fp {}`.", pids.join(","))))
}

/// What the children of earlier attempts can be told by.
struct Traces {
    notes: Vec<Note>,
    marks: Vec<String>,
}

impl Traces {
    fn left_by(cx: &StepContext) -> Self {
        let marks = [Part::Apply, Part::Undo].map(|part| part.mark(cx));
        Self { notes: Note::all(cx.notes()), marks: marks.into() }
    }

    /// Waits until no child is left (true), or time is up or the run is told to stop (false).
    async fn gone(&self, until: Instant, cx: &StepContext) -> Result<bool, ActionError> {
        while Instant::now() < until && !cx.cancelled().is_cancelled() {
            if self.alive().await?.is_empty() {
                return Ok(true);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(false)
    }

    async fn signal(&self, signal: Signal) -> Result<(), ActionError> {
        for process in self.alive().await? {
            process.signal(signal);
        }
        Ok(())
    }

    /// The live processes that the notes are about, and whoever carries the mark.
    async fn alive(&self) -> Result<HashSet<Process>, ActionError> {
        let (notes, marks) = (self.notes.clone(), self.marks.clone());
        let found = tokio::task::spawn_blocking(move || {
            let boot = Boot::now().id;
            let mut found = HashSet::new();
            for note in notes {
                match note {
                    Note::Started { pid, start_time: Some(began), boot_id, .. }
                        if boot_id == boot =>
                    {
                        let process = Pid::from_raw(pid).and_then(Process::of);
                        found.extend(process.filter(|process| process.start_time == began));
                    }
                    Note::Started { .. } | Note::Undone => {}
                }
            }
            found.extend(marked_with(&marks));
            found
        });
        found.await.map_err(|error| {
            ActionError::new(ErrorKind::Failed, "look for the commands of an earlier attempt")
                .caused_by(&error)
        })
    }
}
