//! Finding runs, saved states, requests, measured durations.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Journal, JournalError, LeftElsewhere, Request, Run, Store};
use super::{append, event, header_of, holder, private_temp_dir};
use crate::event::{Actor, Event, Place, PrivateRef, RunVerdict};

fn store() -> (tempfile::TempDir, Store) {
    let dir = private_temp_dir();
    let store = Store::open(Some(dir.path())).expect("a state folder");
    (dir, store)
}

/// A run whose one step took so long, started so many seconds into the hour.
async fn finished(store: &Store, second: i64, took_ms: u64, verdict: RunVerdict) -> Run {
    let run = store.create_run().expect("a run");
    let mut header = header_of("emergency", "staging");
    header.run = run.id().to_owned();
    header.started += jiff::SignedDuration::from_secs(second);
    let (journal, _) = Journal::create(&run.journal_path(), header.into()).expect("a journal");
    let step = |kind: &str, more: Value| {
        let mut value = json!({"event": kind, "step": "stop/agents"});
        value.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
        event(value)
    };
    journal.append_nowait(step("step-started", json!({})), 100);
    journal.append_nowait(step("step-ended", json!({"outcome": "done"})), 100 + took_ms);
    journal.append_nowait(Event::RunEnded { verdict, exit_code: 0 }, 200 + took_ms);
    journal.close().await;
    run
}

#[tokio::test]
async fn runs_are_found_by_id_by_its_beginning_and_as_the_latest() {
    let (_dir, store) = store();
    assert!(matches!(store.find("latest"), Err(JournalError::UnknownRun { .. })));
    let mut runs = Vec::new();
    // Not in the order of their starts.
    for second in [30, 10, 50, 20, 40] {
        runs.push(finished(&store, second, 5, RunVerdict::Recovered).await);
    }
    assert_eq!(store.find("latest").expect("there are runs"), runs[2]);
    for run in &runs {
        assert_eq!(store.find(run.id()).expect("it is there"), *run);
    }
    let minute = &runs[0].id()[..13];
    let ambiguous = store.find(&minute[..4]);
    assert!(matches!(ambiguous, Err(JournalError::AmbiguousRun { .. })), "{ambiguous:?}");
    for wrong in ["", ".", "..", "../runs", "2", "zzz", "/", "20261121-2015-K7QD"] {
        let found = store.find(wrong);
        let refused = matches!(
            found,
            Err(JournalError::UnknownRun { .. } | JournalError::AmbiguousRun { .. })
        );
        assert!(refused, "{wrong}: {found:?}");
    }
}

#[tokio::test]
async fn a_list_is_newest_first_and_an_unreadable_run_is_a_warning() {
    let (_dir, store) = store();
    let old = finished(&store, 10, 5, RunVerdict::Recovered).await;
    let new = finished(&store, 20, 7, RunVerdict::FailedClean).await;
    let bad = finished(&store, 30, 5, RunVerdict::Recovered).await;
    let text = std::fs::read_to_string(bad.journal_path()).expect("it is there");
    std::fs::write(bad.journal_path(), text.replace("stop/agents", "stop/AGENTS")).expect("room");
    let listing = store.list().expect("readable");
    let ids: Vec<&str> = listing.runs.iter().map(|summary| summary.run.id()).collect();
    assert_eq!(ids, [new.id(), old.id()]);
    assert_eq!(listing.runs[0].ended, Some((RunVerdict::FailedClean, 0)));
    assert_eq!(listing.runs[0].elapsed_ms, 207);
    assert!(listing.warnings[0].contains(bad.id()), "{:?}", listing.warnings);
    assert!(listing.warnings[0].contains("line 2"), "{:?}", listing.warnings);
}

#[test]
fn an_id_can_be_typed() {
    let (_dir, store) = store();
    let run = store.create_run().expect("a run");
    let (minute, suffix) = run.id().rsplit_once('-').expect("two parts");
    assert_eq!((minute.len(), suffix.len()), (13, 4));
    assert!(suffix.chars().all(|c| !"01ilo".contains(c)), "{suffix}");
}

#[tokio::test]
async fn durations_are_the_median_of_the_last_ten_successful_runs_of_the_same_kind() {
    let (_dir, store) = store();
    let measured = || store.measured("emergency", "staging").expect("readable");
    assert!(measured().is_empty());
    // Ten successful ones count: 1 to 10 seconds. The older one, the failed one and the other one do not.
    finished(&store, 1, 900_000, RunVerdict::Recovered).await;
    for second in 1..=10_u32 {
        let took = u64::from(second) * 1000;
        finished(&store, 10 + i64::from(second), took, RunVerdict::RecoveredLate).await;
    }
    finished(&store, 30, 800_000, RunVerdict::FailedPartial).await;
    assert_eq!(measured().get("stop/agents"), Some(&Duration::from_millis(5500)));
    assert!(store.measured("emergency", "production").expect("readable").is_empty());
    assert!(store.measured("other", "staging").expect("readable").is_empty());
}

#[tokio::test]
async fn long_journals_are_read_in_bounded_time_and_others_only_at_their_beginning() {
    let (_dir, store) = store();
    let measured = |runbook: &str| store.measured(runbook, "staging").expect("readable");
    let ours = finished(&store, 10, 2000, RunVerdict::Recovered).await;
    let long = store.create_run().expect("a run");
    let mut header = header_of("another", "staging");
    header.run = long.id().to_owned();
    header.started += jiff::SignedDuration::from_secs(20);
    drop(Journal::create(&long.journal_path(), header.into()).expect("a journal"));
    grow(&long);
    assert_eq!(measured("emergency").get("stop/agents"), Some(&Duration::from_secs(2)));
    assert!(measured("another").is_empty());
    grow(&ours);
    assert!(measured("emergency").is_empty(), "its end is never read");
}

#[tokio::test]
async fn what_a_journal_has_told_is_kept_until_it_grows() {
    let (_dir, store) = store();
    let measured = |runbook: &str| {
        let measured = store.measured(runbook, "staging").expect("readable");
        measured.get("stop/agents").map(Duration::as_secs)
    };
    let run = finished(&store, 10, 2000, RunVerdict::Recovered).await;
    // For another runbook only the beginning is read.
    assert_eq!((measured("another"), measured("emergency")), (None, Some(2)));
    let journal = std::fs::read(run.journal_path()).expect("a journal");
    std::fs::write(run.journal_path(), vec![b'x'; journal.len()]).expect("room");
    assert_eq!(measured("emergency"), Some(2), "it is not read again");

    std::fs::write(run.dir().join("measured.json"), "{").expect("room");
    assert_eq!(measured("emergency"), None, "half a record is none, and the journal is no journal");
    std::fs::write(run.journal_path(), &journal).expect("room");
    assert_eq!(measured("emergency"), Some(2));
    let (first, _) =
        journal.split_at(journal.iter().position(|byte| *byte == b'\n').expect("a line") + 1);
    std::fs::write(run.journal_path(), first).expect("room");
    assert_eq!(measured("emergency"), None, "another length is another journal");
}

/// Makes a journal longer than any disk; a hole takes no room.
fn grow(run: &Run) {
    let journal = std::fs::File::options().write(true).open(run.journal_path());
    journal.expect("it is there").set_len(1 << 40).expect("a hole takes no room");
}

#[tokio::test]
async fn a_step_that_a_crash_interrupted_is_not_measured() {
    let (_dir, store) = store();
    let run = store.create_run().expect("a run");
    let header = header_of("emergency", "staging");
    let by = header.by.clone();
    let (journal, _) = Journal::create(&run.journal_path(), header.into()).expect("a journal");
    let started = json!({"event": "step-started", "step": "a/b"});
    let ended = json!({"event": "step-ended", "step": "a/b", "outcome": "done"});
    journal.append_nowait(event(started), 1);
    journal.append_nowait(Event::RunResumed { by, salvaged: None }, 60_000);
    journal.append_nowait(event(ended), 60_001);
    let recovered = Event::RunEnded { verdict: RunVerdict::Recovered, exit_code: 0 };
    append(&journal, recovered).await.expect("room");
    assert!(store.measured("emergency", "staging").expect("readable").is_empty());
}

fn place(item: &str) -> Place {
    Place {
        step: serde_json::from_value(json!("stop/agents")).expect("a step's name"),
        item: item.into(),
    }
}

#[test]
fn a_saved_state_comes_back_unless_it_was_changed() {
    let (_dir, store) = store();
    let run = store.create_run().expect("a run");
    let value = json!({"env": ["TOKEN=s3cret"], "n": 1});
    let reference = run.save(&place("../../etc/passwd"), &value).expect("room");
    assert_eq!(run.load(&reference).expect("it is there"), value);
    assert_eq!(run.save(&place("../../etc/passwd"), &value).expect("again"), reference);
    let other = run.save(&place("..-..-etc-passwd"), &value).expect("room");
    assert_ne!(other.file, reference.file, "items with similar names stay apart");
    let path = run.dir().join("saved").join(&reference.file);
    let names = std::fs::read_dir(run.dir().join("saved")).expect("a folder").count();
    assert_eq!(names, 2, "nothing else is left");

    std::fs::write(&path, r#"{"env":["TOKEN=other"],"n":1}"#).expect("room");
    let changed = run.load(&reference).expect_err("it is not what was saved");
    assert!(matches!(changed, JournalError::Untrusted { .. }), "{changed:?}");
    assert!(!format!("{changed:?} {changed}").contains("TOKEN"), "{changed:?}");
    for file in ["../run.lock", "/etc/passwd", ".new-1", "a/b"] {
        let outside = PrivateRef { file: file.into(), sha256: reference.sha256.clone() };
        assert!(matches!(run.load(&outside), Err(JournalError::Untrusted { .. })), "{file}");
    }
}

#[test]
fn requests_arrive_once_in_their_order_and_rubbish_is_named() {
    let (_dir, store) = store();
    let run = store.create_run().expect("a run");
    let by = Actor { user: "ada".into(), host: "ops-1".into(), pid: 1 };
    let requests = [
        Request::Answer { at: place("a"), by: by.clone(), confirmed: true, remark: None },
        Request::Decide { at: place(""), by: by.clone(), go_on: false },
        Request::Abort { by, reason: Some("wrong runbook".into()) },
    ];
    for request in &requests {
        run.post(request).expect("room");
    }
    std::fs::write(run.dir().join("control/z.json"), "{}").expect("room");
    std::os::unix::fs::symlink("/etc/passwd", run.dir().join("control/y.json")).expect("a link");
    let taken = run.take().expect("readable");
    assert_eq!(taken.requests, requests);
    assert_eq!(taken.refused.len(), 2, "{:?}", taken.refused);
    let again = run.take().expect("readable");
    assert!(again.requests.is_empty() && again.refused.is_empty());
}

#[test]
fn an_abort_of_a_dead_run_is_forgotten_and_nothing_else() {
    let (_dir, store) = store();
    let run = store.create_run().expect("a run");
    let by = Actor { user: "ada".into(), host: "ops-1".into(), pid: 1 };
    let answer = Request::Answer { at: place("a"), by: by.clone(), confirmed: true, remark: None };
    let over = Request::TakeOver { by: by.clone(), run: "other".into(), runbook: "rescue".into() };
    let abort = Request::Abort { by, reason: None };
    for request in [&abort, &answer, &over] {
        run.post(request).expect("room");
    }
    assert_eq!(run.forget_aborts().expect("readable"), [abort]);
    assert_eq!(run.take().expect("readable").requests, [answer, over]);
}

#[test]
fn two_resumes_of_one_run_exclude_each_other() {
    let (_dir, store) = store();
    let run = store.create_run().expect("a run");
    let lock = run.lock(&holder(run.id()), LeftElsewhere::MayBeAlive).expect("it is free");
    assert!(run.lock(&holder(run.id()), LeftElsewhere::MayBeAlive).is_err());
    drop(lock);
    drop(run.lock(&holder(run.id()), LeftElsewhere::MayBeAlive).expect("it is free again"));
}

#[test]
fn a_folder_that_cannot_be_written_is_answered_with_one_that_can() {
    // Nobody, not even root, can create files here.
    let error = Store::open(Some("/proc/rollback".as_ref())).expect_err("not writable");
    let JournalError::Unwritable { instead: Some(instead), .. } = &error else {
        panic!("{error:?}");
    };
    assert!(!instead.starts_with("/tmp"));
    assert!(error.hints()[0].contains("--state-dir"), "{:?}", error.hints());
    let existed = instead.exists();
    Store::open(Some(instead)).expect("the offer holds");
    if !existed {
        std::fs::remove_dir_all(instead).expect("it is ours");
    }
}

#[test]
fn a_run_that_cannot_begin_leaves_no_folder_but_an_existing_journal_stays() {
    let (_dir, store) = store();
    let run = store.create_run().expect("a run");
    drop(store.begin(&run, header_of("emergency", "staging").into()).expect("room"));
    assert!(store.begin(&run, header_of("emergency", "staging").into()).is_err(), "it has begun");
    assert_eq!(store.list().expect("readable").runs.len(), 1);
}

#[test]
fn looking_at_a_missing_state_folder_creates_nothing() {
    let dir = private_temp_dir();
    let missing = dir.path().join("missing");
    let store = Store::open_to_read(Some(&missing)).expect("nothing to refuse");
    assert!(store.list().expect("empty").runs.is_empty());
    assert!(!missing.exists());
}
