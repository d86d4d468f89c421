//! Tests of the journal, by promise. Here: what they share.

#[cfg(feature = "failpoints")]
mod crash;
mod damage;
mod files;
mod golden;
mod lock;
mod pieces;
mod process;
mod space;
mod store;
mod writer;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::line::{Chain, Entry};
use super::{Holder, Journal, JournalError};
use crate::event::{Actor, Event, Header, Record, RunVerdict, StopReason};

/// A header of a run with one step.
fn header() -> Arc<Header> {
    header_of("emergency", "staging").into()
}

fn header_of(runbook: &str, environment: &str) -> Header {
    let value = json!({
        "run": "20261121-2015-k7qd",
        "program": "0.1.0",
        "runbook_path": "runbooks/emergency.yaml",
        "runbook_text": "rollback: 1\n",
        "runbook_sha256": "7d8c",
        "environment_path": "runbooks/environments/staging.yaml",
        "environment_sha256": "01ab",
        "plan": {
            "runbook": runbook, "title": "Emergency", "scenario": "emergency",
            "subject": "agents", "environment": environment, "inputs": {}, "targets": [],
            "phases": [],
        },
        "by": {"user": "ada", "host": "ops-1", "pid": 4711},
        "started": "2026-11-21T20:15:00Z",
        "boot": {"id": "b007", "elapsed_ms": 1_000_000},
    });
    serde_json::from_value(value).expect("the header has the form of this version")
}

/// One whose record is a third of a megabyte.
fn long_header() -> Arc<Header> {
    let mut header = header_of("emergency", "staging");
    header.runbook_text = "a line of a runbook\n".repeat(15_000).into();
    header.into()
}

fn event(value: serde_json::Value) -> Event {
    serde_json::from_value(value).expect("the event has the form of this version")
}

/// Announces a change.
fn apply_started(item: u64) -> Event {
    event(json!({
        "event": "apply-started", "step": "stop/agents",
        "item": format!("agent-{item:03}"), "attempt": 1,
    }))
}

/// Tells that a change was made.
fn applied(item: u64) -> Event {
    event(json!({
        "event": "applied", "step": "stop/agents", "item": format!("agent-{item:03}"),
        "evidence": {"summary": "stopped in 1.2s", "facts": {"state": "exited", "code": 0}},
    }))
}

fn journal_lost(error: &JournalError) -> Event {
    Event::StopRequested { reason: StopReason::JournalLost { error: error.to_string() } }
}

fn run_ended() -> Event {
    Event::RunEnded { verdict: RunVerdict::FailedPartial, exit_code: 7 }
}

fn entry(event: Event, elapsed_ms: u64) -> Entry {
    let at = "2026-11-21T20:15:01.5Z".parse().expect("a time stamp");
    Entry { at, elapsed_ms, event }
}

/// The lines of a journal with the run's start and `more` records behind it.
fn lines(more: u64) -> Vec<u8> {
    let started = Event::RunStarted { header: header() };
    let (mut chain, mut bytes) = (Chain::START, Vec::new());
    let events = std::iter::once(started)
        .chain((0..more).map(|n| if n % 2 == 0 { apply_started(n) } else { applied(n - 1) }));
    for (elapsed_ms, event) in (0..).zip(events) {
        let _record = chain.seal(entry(event, elapsed_ms), &mut bytes).expect("it can be sealed");
    }
    bytes
}

/// Where each line begins, and the end.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect()
}

fn holder(run: &str) -> Holder {
    Holder {
        run: run.into(),
        runbook: "ollama (emergency)".into(),
        by: Actor { user: "ada".into(), host: "ops-1".into(), pid: std::process::id() },
        since: "2026-11-21T20:15:00Z".parse().expect("a time stamp"),
        state_dir: "/home/ada/.local/state/rollback".into(),
    }
}

fn private_temp_dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A private file with this content, as the journal makes it.
fn write_private(path: &Path, bytes: &[u8]) {
    use std::io::Write;

    let mut file = super::files::create(path).expect("a new file");
    file.write_all(bytes).expect("room for the file");
}

async fn append(journal: &Journal, event: Event) -> Result<Arc<Record>, JournalError> {
    journal.append(event, 1).await
}
