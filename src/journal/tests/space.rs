//! A full disk, a full quota, a size limit: nothing new is announced, nothing acknowledged is lost, the end is recorded.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::json;

use super::super::ack::Outcome;
use super::super::logfile::{LogFile, Room};
use super::super::{Journal, JournalError, Store, Tail, read};
use super::process::{Helper, arguments, command, say, setting};
use super::{
    append, applied, apply_started, entry, event, header, header_of, journal_lost, long_header,
    private_temp_dir, run_ended,
};
use crate::event::Event;

const DIR: &str = "TEST_SPACE_DIR";
const SMALL: Room = Room { reserve: 12 * 1024, chunk: 4096 };

/// Announces changes until one is refused; then records outcomes and the end, as the engine does.
async fn run_until_full(journal: &Journal) -> JournalError {
    let mut item = 0;
    let error = loop {
        match append(journal, apply_started(item)).await {
            Ok(_) => item += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_no_space(), "{error:?}");
    assert!(journal.trouble().is_some_and(|trouble| trouble.is_no_space()));
    for in_flight in 0..8 {
        append(journal, applied(in_flight)).await.expect("outcomes go into the reserve");
    }
    assert!(append(journal, apply_started(item)).await.is_err(), "and still no change");
    append(journal, journal_lost(&error)).await.expect("the reason goes into the reserve");
    append(journal, run_ended()).await.expect("the end goes into the reserve");
    error
}

fn assert_ended_cleanly(path: &Path) {
    let history = read(path).expect("intact");
    assert_eq!(history.tail, Tail::Clean);
    assert_eq!(history.good_bytes, std::fs::metadata(path).expect("it is there").len());
    let last: Vec<&Event> = history.records.iter().rev().take(2).map(|r| &r.event).collect();
    assert!(matches!(last[..], [Event::RunEnded { .. }, Event::StopRequested { .. }]), "{last:?}");
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(future);
}

#[test]
#[ignore = "a part played in a helper process"]
fn limited_writer() {
    let dir = PathBuf::from(setting(DIR));
    let limit = Rlimit { current: Some(64 * 1024), maximum: None };
    setrlimit(Resource::Fsize, limit).expect("lowering is allowed");
    let path = dir.join("journal.jsonl");
    let (journal, _) = Journal::create_with(&path, header(), SMALL).expect("there is room");
    block_on(async {
        run_until_full(&journal).await;
        // Then the reserve, too, until nothing fits.
        let mut item = 0;
        while append(&journal, applied(item)).await.is_ok() {
            item += 1;
        }
        assert!(item > 0, "the reserve holds more than the end");
        append(&journal, run_ended()).await.expect_err("lost for good");
        journal.close().await;
    });
    let history = read(&path).expect("intact");
    assert_eq!(history.tail, Tail::Clean);
    let length = std::fs::metadata(&path).expect("it is there").len();
    assert!(length <= 64 * 1024 && length == history.good_bytes);
    say("held");
}

#[test]
fn a_file_size_limit_stops_changes_but_not_the_end_and_never_kills() {
    let dir = super::private_temp_dir();
    let mut command = command("space::limited_writer");
    command.env(DIR, dir.path());
    let mut helper = Helper::start(command);
    assert_eq!(helper.hear().as_deref(), Some("held"));
}

#[test]
fn without_room_for_the_end_a_run_does_not_begin() {
    let dir = super::private_temp_dir();
    let mut command = command("space::hopeless_writer");
    command.env(DIR, dir.path());
    assert_eq!(Helper::start(command).hear().as_deref(), Some("refused"));
}

#[test]
#[ignore = "a part played in a helper process"]
fn hopeless_writer() {
    let state = PathBuf::from(setting(DIR)).join("state");
    let store = Store::open(Some(&state)).expect("there is no limit yet");
    let run = store.create_run().expect("a run");
    let limit = Rlimit { current: Some(64 * 1024), maximum: None };
    setrlimit(Resource::Fsize, limit).expect("lowering is allowed");
    let path = run.journal_path();
    let refused = Journal::create(&path, header()).expect_err("the usual reserve is larger");
    assert!(refused.is_no_space(), "{refused:?}");
    assert!(!path.exists(), "nothing is left");
    let refused = store.begin(&run, header()).expect_err("the same");
    assert!(refused.is_no_space(), "{refused:?}");
    // The limit is everywhere, so there is nothing to offer.
    assert!(matches!(refused, JournalError::Unwritable { instead: None, .. }), "{refused:?}");
    assert!(!run.dir().exists(), "nothing is left");
    assert!(Store::open(Some(&state)).expect_err("the same").is_no_space());
    say("refused");
}

/// Fills a file system of 64 KiB behind each of the first records, with and without blocks allocated ahead.
#[test]
#[ignore = "a part played in a helper process"]
fn writer_on_a_small_disk() {
    let disk = PathBuf::from(setting(DIR));
    let small = disk.join("too-small.jsonl");
    assert!(Journal::create(&small, header()).expect_err("192 KiB do not fit").is_no_space());
    assert!(!small.exists(), "nothing is left");
    for before in 0..12 {
        block_on(fill_behind(&disk, before));
        write_short(&disk, before);
    }
    say("held");
}

async fn fill_behind(disk: &Path, before: u64) {
    let path = disk.join(format!("journal-{before}.jsonl"));
    let (journal, _) = Journal::create_with(&path, header(), SMALL).expect("there is room");
    for item in 0..before {
        append(&journal, apply_started(item)).await.expect("there is room");
    }
    let ballast = fill(disk);
    run_until_full(&journal).await;
    journal.close().await;
    assert_ended_cleanly(&path);

    std::fs::remove_file(ballast).expect("it is there");
    let history = read(&path).expect("intact");
    let resumed = Journal::reopen_with(&path, &history, SMALL).expect("there is room again");
    append(&resumed, apply_started(99)).await.expect("changes can be announced again");
    resumed.close().await;
    std::fs::remove_file(path).expect("it is there");
}

#[test]
fn a_first_record_that_does_not_fit_is_an_error_and_leaves_nothing_behind() {
    let dir = private_temp_dir();
    // In the first piece, in a later one, and where only the reserve is missing.
    for limit in [1000, 200_000, 300_000] {
        let path = dir.path().join(format!("{limit}.jsonl"));
        let mut file = LogFile::create(&path, SMALL).expect("there is room").limited_to(limit);
        let error = file
            .begin(entry(Event::RunStarted { header: long_header() }, 0))
            .expect_err("it does not fit");
        assert!(error.is_no_space(), "{limit}: {error:?}");
        let written = std::fs::read(&path).expect("it is there");
        assert!(written.len() as u64 <= limit, "{limit}: {}", written.len());
        assert!(!written.ends_with(b"\n"), "{limit}: it must not be completed on the way out");
    }
}

#[test]
fn a_first_record_that_could_not_be_read_back_is_refused() {
    let dir = private_temp_dir();
    let mut file =
        LogFile::create(&dir.path().join("journal.jsonl"), SMALL).expect("there is room");
    let deep = (0..200).fold(serde_json::Value::Null, |inner, _| json!([inner]));
    let mut header = header_of("emergency", "staging");
    let _new = header.plan.inputs.insert("deep".into(), deep);
    let start = entry(Event::RunStarted { header: header.into() }, 0);
    let error = file.begin(start).expect_err("too deep");
    assert!(matches!(error, JournalError::Unrecordable { .. }), "{error:?}");
    let written = std::fs::read(dir.path().join("journal.jsonl")).expect("it is there");
    assert!(written.is_empty(), "what must not be written is not written on the way out");
}

#[test]
fn a_batch_that_fills_the_journal_keeps_one_outcome_for_each_entry() {
    let dir = private_temp_dir();
    let path = dir.path().join("journal.jsonl");
    let mut file = LogFile::create(&path, SMALL).expect("there is room");
    assert!(file.begin(entry(Event::RunStarted { header: header() }, 0)).is_ok());
    let begun = std::fs::metadata(&path).expect("it is there").len();
    let mut file = file.limited_to(begun + SMALL.reserve + 1);
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let deep = event(json!({"event": "noted", "step": "a/b", "note": deep}));
    let batch = [applied(1), apply_started(2), deep, applied(3)];
    let outcomes = file.commit(batch.into_iter().map(|event| entry(event, 1)).collect());
    let written = |outcome: &Outcome| outcome.as_ref().map(|record| record.seq).ok();
    assert_eq!(outcomes.iter().map(written).collect::<Vec<_>>(), [Some(1), None, None, Some(2)]);
    assert!(outcomes[1].as_ref().is_err_and(JournalError::is_no_space), "{outcomes:?}");
    assert!(matches!(outcomes[2], Err(JournalError::Unrecordable { .. })), "{outcomes:?}");
    let history = read(&path).expect("intact");
    assert_eq!((history.tail, history.records.len()), (Tail::Clean, 3));
}

/// Where blocks cannot be allocated ahead a write can be cut short: then it is cut off again.
fn write_short(disk: &Path, before: u64) {
    let path = disk.join(format!("short-{before}.jsonl"));
    let mut file = LogFile::create(&path, SMALL).expect("there is room").without_allocation();
    let start = entry(Event::RunStarted { header: header() }, 0);
    assert!(file.begin(start).is_ok());
    for item in 0..before {
        assert!(file.commit(vec![entry(applied(item), 1)])[0].is_ok());
    }
    let ballast = fill(disk);
    let mut written = before + 1;
    let error = loop {
        match file.commit(vec![entry(applied(written), 1)]).remove(0) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_no_space(), "{error:?}");
    assert!(file.commit(vec![entry(run_ended(), 1)])[0].is_err(), "lost for good");
    let history = read(&path).expect("intact");
    assert_eq!((history.tail, history.records.len() as u64), (Tail::Clean, written));
    for path in [ballast, path] {
        std::fs::remove_file(path).expect("it is there");
    }
}

/// Takes all that is left of a file system.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("ballast");
    let mut file = std::fs::File::create(&path).expect("a name still fits");
    while file.write_all(&[0; 512]).is_ok() {}
    path
}

#[test]
fn a_full_disk_stops_changes_but_not_the_end() {
    let dir = super::private_temp_dir();
    // The mount is seen by the helper alone and goes away with it. Other users than root get it in a user
    // namespace of their own, where the kernel allows that.
    let root = rustix::process::geteuid().is_root();
    let script = r#"mount -t tmpfs -o size=64k,mode=700 none "$1" || exit 77; shift; exec "$@""#;
    let mut command = Command::new("unshare");
    command.arg(if root { "-m" } else { "-Urm" }).args(["sh", "-c", script, "sh"]).arg(dir.path());
    command.arg(std::env::current_exe().expect("the test binary"));
    command.args(arguments("space::writer_on_a_small_disk")).env(DIR, dir.path());
    let output = command.output().expect("`unshare` (package util-linux) can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !errors.contains("unshare: ") && output.status.code() != Some(77),
        "this test needs to mount a tmpfs: run it as root, or permit user namespaces: {errors}"
    );
    assert!(said.contains("@held"), "{said}\n{errors}");
}
