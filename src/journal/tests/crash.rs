//! Killed at every point of every append: what was acknowledged is there, the rest is torn at most.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::{Journal, JournalError, Tail, read};
use super::process::{Helper, command, say, setting};
use super::{
    append, applied, apply_started, event, header, long_header, private_temp_dir, run_ended,
};
use crate::event::Event;

const DIR: &str = "TEST_CRASH_DIR";
/// The record that is written and not flushed.
const RECORD: &str = "TEST_CRASH_RECORD";

#[tokio::test]
#[ignore = "a part played in a helper process"]
async fn doomed_writer() {
    let path = PathBuf::from(setting(DIR)).join("journal.jsonl");
    let (journal, _) = Journal::create(&path, header()).expect("a new journal");
    say("recorded 0");
    for event in [apply_started(1), applied(1), run_ended()] {
        let record = append(&journal, event).await.expect("room");
        say(&format!("recorded {}", record.seq));
    }
    say("ended");
}

#[tokio::test]
async fn a_kill_at_any_point_loses_nothing_that_was_acknowledged() {
    let mut torn = 0;
    for point in 1.. {
        assert!(point < 1000, "the run must end by itself at last");
        let dir = private_temp_dir();
        let report = dir.path().join("points");
        let mut command = command("crash::doomed_writer");
        command.env(DIR, dir.path());
        command.env("ROLLBACK_CRASH_AT", point.to_string()).env("ROLLBACK_CRASH_REPORT", &report);
        let mut helper = Helper::start(command);
        let said: Vec<String> = std::iter::from_fn(|| helper.hear()).collect();
        if said.last().is_some_and(|last| last == "ended") {
            let passed = std::fs::read_to_string(report).expect("a report").lines().count();
            assert_eq!(passed, point - 1, "the loop covered every point");
            assert_eq!(
                passed, 17,
                "four points in each of four appends, and one before the flush of an outcome"
            );
            assert!(torn > 0, "some kills must leave a torn record, or the test shows nothing");
            return;
        }
        torn += u32::from(recovers(&dir.path().join("journal.jsonl"), said.len(), point).await);
    }
}

#[tokio::test]
#[ignore = "a part played in a helper process"]
async fn doomed_writer_of_a_long_header() {
    let path = PathBuf::from(setting(DIR)).join("journal.jsonl");
    let (journal, _) = Journal::create(&path, long_header()).expect("a new journal");
    say("begun");
    journal.close().await;
}

#[test]
fn a_kill_at_any_point_of_a_long_first_record_leaves_a_run_that_never_began() {
    let mut torn = 0;
    for point in 1.. {
        assert!(point < 1000, "the record must be written at last");
        let dir = private_temp_dir();
        let mut command = command("crash::doomed_writer_of_a_long_header");
        command.env(DIR, dir.path()).env("ROLLBACK_CRASH_AT", point.to_string());
        let mut helper = Helper::start(command);
        if std::iter::from_fn(|| helper.hear()).any(|said| said == "begun") {
            break;
        }
        // Between the last write and the acknowledgement it is whole.
        match read(&dir.path().join("journal.jsonl")) {
            Ok(history) => assert_eq!(history.tail, Tail::Clean, "point {point}"),
            Err(JournalError::NeverStarted { .. }) => torn += 1,
            Err(error) => panic!("point {point}: {error}"),
        }
    }
    assert!(torn > 4, "{torn}: the record has several pieces, and each can be cut off and torn");
}

#[tokio::test]
#[ignore = "a part played in a helper process"]
async fn writer_that_waits_for_nothing() {
    let path = PathBuf::from(setting(DIR)).join("journal.jsonl");
    let (journal, _) = Journal::create(&path, header()).expect("a new journal");
    append(&journal, apply_started(1)).await.expect("room");
    journal.append_nowait(unflushed(&setting(RECORD)), 2);
    journal.close().await;
    say("ended");
}

/// What is written before it is flushed.
fn unflushed(named: &str) -> Event {
    match named {
        "applied" => applied(1),
        "noted" => event(json!({
            "event": "noted", "step": "stop/agents", "item": "agent-001", "note": {"pid": 4711},
        })),
        other => panic!("nothing is called {other}"),
    }
}

#[tokio::test]
async fn what_a_resume_needs_outlives_a_kill_before_its_flush() {
    for named in ["applied", "noted"] {
        outlives_a_kill(named);
    }
}

fn outlives_a_kill(named: &str) {
    let dir = private_temp_dir();
    let report = dir.path().join("points");
    let start = |at: &str| {
        let mut command = command("crash::writer_that_waits_for_nothing");
        command.env(DIR, dir.path()).env(RECORD, named);
        command.env("ROLLBACK_CRASH_AT", at).env("ROLLBACK_CRASH_REPORT", &report);
        let mut helper = Helper::start(command);
        std::iter::from_fn(|| helper.hear()).count()
    };
    let path = dir.path().join("journal.jsonl");
    assert_eq!(start("0"), 1, "it ends by itself");
    std::fs::remove_file(&path).expect("a journal");
    let points = std::fs::read_to_string(&report).expect("a report");
    let point = points.lines().find_map(|line| line.strip_suffix(" journal.unflushed"));
    assert_eq!(start(point.expect("an outcome is written before it is flushed")), 0, "killed");
    let history = read(&path).expect("a kill is no damage");
    assert_eq!(
        history.records.last().map(|record| &record.event),
        Some(&unflushed(named)),
        "{named}"
    );
}

/// Reads the journal of a killed run and continues it. Tells whether its end was torn.
async fn recovers(path: &Path, acknowledged: usize, point: usize) -> bool {
    if acknowledged == 0 {
        return path.metadata().is_ok_and(|meta| meta.len() > 0);
    }
    let history = read(path).expect("a kill is no damage");
    let kept = history.records.len();
    // Written but not yet acknowledged is possible, too.
    assert!(kept == acknowledged || kept == acknowledged + 1, "point {point}: {kept} records");
    let journal = Journal::reopen(path, &history).expect("it can be continued");
    append(&journal, applied(2)).await.expect("room");
    journal.close().await;
    let after = read(path).expect("intact");
    assert_eq!((after.records.len(), after.tail), (kept + 1, Tail::Clean), "point {point}");
    history.tail != Tail::Clean
}
