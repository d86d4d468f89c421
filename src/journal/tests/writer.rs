//! Appending: order, durability, failures that stay.

use std::sync::Arc;

use super::super::line::Chain;
use super::super::logfile::{LogFile, Room};
use super::super::{Journal, JournalError, Tail, read};
use super::{
    append, applied, apply_started, entry, event, header, lines, private_temp_dir, run_ended,
    starts, write_private,
};
use crate::event::{Event, Record};

#[tokio::test]
async fn many_tasks_append_and_each_record_is_readable_when_it_is_acknowledged() {
    let dir = private_temp_dir();
    let path = dir.path().join("journal.jsonl");
    let (journal, first) = Journal::create(&path, header()).expect("a new journal");
    assert_eq!(first.seq, 0);
    let mut tasks = tokio::task::JoinSet::new();
    for item in 0..50 {
        let (journal, path) = (journal.clone(), path.clone());
        tasks.spawn(async move {
            let record = append(&journal, apply_started(item)).await.expect("room");
            let history = read(&path).expect("intact at any time");
            assert_eq!(history.records[usize::try_from(record.seq).expect("small")], *record);
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("the task's assertions hold");
    }
    journal.close().await;
    let history = read(&path).expect("intact");
    assert_eq!(history.records.len(), 51);
    assert_eq!(history.tail, Tail::Clean);
}

#[tokio::test]
async fn order_of_appends_is_order_of_records_and_subscribers_get_them_durable() {
    let dir = private_temp_dir();
    let path = dir.path().join("journal.jsonl");
    let (journal, _) = Journal::create(&path, header()).expect("a new journal");
    let mut records = journal.subscribe();
    for item in 0..200 {
        journal.append_nowait(applied(item), item);
    }
    append(&journal, run_ended()).await.expect("room");
    let mut seen = Vec::new();
    while seen.len() < 201 {
        seen.extend(records.recv().await.expect("the journal is open"));
        let on_disk = read(&path).expect("intact").records;
        for ((seq, written), seen) in (1_u64..).zip(&on_disk[1..]).zip(&seen) {
            assert_eq!((seen.seq, &**seen), (seq, written));
        }
        assert!(
            seen.len() < on_disk.len(),
            "what is shown is in the file, behind its first record"
        );
    }
    assert_eq!(seen.len(), 201);
    journal.close().await;
    assert!(records.recv().await.is_none(), "the end of the journal is the end of the stream");
}

#[tokio::test]
async fn appends_after_the_close_fail() {
    let dir = private_temp_dir();
    let (journal, _) =
        Journal::create(&dir.path().join("journal.jsonl"), header()).expect("a new journal");
    let other = journal.clone();
    journal.close().await;
    assert!(matches!(append(&other, run_ended()).await, Err(JournalError::Closed)));
}

#[tokio::test]
async fn a_reopened_journal_cuts_a_torn_tail_and_continues_the_chain() {
    let dir = private_temp_dir();
    let path = dir.path().join("journal.jsonl");
    let bytes = lines(4);
    write_private(&path, &bytes[..starts(&bytes)[4] + 30]);
    let history = read(&path).expect("the beginning is intact");
    let journal = Journal::reopen(&path, &history).expect("it is as it was read");
    let record = append(&journal, applied(9)).await.expect("room");
    assert_eq!(record.seq, 4);
    let again = read(&path).expect("intact");
    assert_eq!((again.records.len(), again.tail), (5, Tail::Clean));

    let changed = Journal::reopen(&path, &history);
    assert!(matches!(changed, Err(JournalError::Changed { .. })), "it has grown since");
}

#[tokio::test]
async fn a_journal_is_never_created_over_another() {
    let dir = private_temp_dir();
    let path = dir.path().join("journal.jsonl");
    write_private(&path, b"precious\n");
    assert!(Journal::create(&path, header()).is_err());
    assert_eq!(std::fs::read(&path).expect("it is still there"), b"precious\n");
}

#[test]
fn a_failed_flush_is_never_tried_again() {
    // Flushing a character device fails, writing to this one does not.
    let mut file = LogFile::on_device("/dev/null");
    let first = file.commit(vec![entry(run_ended(), 1)]);
    assert!(matches!(&first[..], [Err(JournalError::NotSynced { .. })]), "{first:?}");
    let second = file.commit(vec![entry(run_ended(), 2), entry(apply_started(1), 3)]);
    let text = |outcome: &Result<Arc<Record>, JournalError>| {
        outcome.as_ref().map_err(ToString::to_string).map(|record| record.seq)
    };
    assert!(second.iter().all(|outcome| text(outcome) == text(&first[0])), "{second:?}");
    assert!(file.trouble().is_some());
}

#[test]
fn what_was_written_before_a_failed_write_counts_once_it_is_flushed() {
    // The process's limit on the size of files, which only this file reads: writing past it fails.
    let dir = private_temp_dir();
    let path = dir.path().join("journal.jsonl");
    let start = || entry(Event::RunStarted { header: header() }, 0);
    let room = Room { reserve: 0, chunk: 0 };
    let measure = LogFile::create(&dir.path().join("measure"), room)
        .expect("a new file")
        .append(vec![start()]);
    assert!(measure[0].is_ok());
    let length = std::fs::metadata(dir.path().join("measure")).expect("it is there").len();
    let mut file = LogFile::create(&path, room).expect("a new file").limited_to(length);
    let mut outcomes = file.append(vec![start()]);
    outcomes.extend(file.append(vec![entry(applied(1), 1)]));
    let outcomes = file.flush(outcomes);
    assert!(matches!(&outcomes[..], [Ok(_), Err(_)]), "{outcomes:?}");
    assert!(file.trouble().is_some(), "nothing more is announced");
    assert_eq!(read(&path).expect("intact").records.len(), 1);
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let dir = private_temp_dir();
    let path = dir.path().join("journal.jsonl");
    let mut file = LogFile::create(&path, Room::USUAL).expect("a new file");
    let deep = (0..200).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    let noted = event(serde_json::json!({"event": "noted", "step": "a/b", "note": deep}));
    let start = Event::RunStarted { header: header() };
    let outcomes = file.commit(vec![entry(start, 0), entry(noted, 1), entry(applied(1), 2)]);
    assert!(matches!(outcomes[1], Err(JournalError::Unrecordable { .. })), "{outcomes:?}");
    let history = read(&path).expect("intact");
    assert_eq!(history.records.len(), 2, "its neighbours are written");
}

#[test]
fn any_text_and_number_comes_back_as_it_went_in() {
    let text = "line\n\r\t\"quote\" \\ \u{0} \u{7f} \u{2028} 字 🦀 {\"seq\":1,\"prev\":\"";
    let numbers = serde_json::json!([u64::MAX, i64::MIN, 0.1, 1e300, -0.0, null, true]);
    let noted = event(serde_json::json!({
        "event": "noted", "step": "a/b", "item": text, "note": {text: numbers},
    }));
    let mut bytes = lines(0);
    let history = super::super::reader::parse("j".as_ref(), &bytes).expect("intact");
    let mut chain: Chain = history.chain();
    let record = chain.seal(entry(noted, 1), &mut bytes).expect("it can be sealed");
    let history = super::super::reader::parse("j".as_ref(), &bytes).expect("intact");
    assert_eq!(history.records[1], record);
}

#[tokio::test(start_paused = true)]
async fn the_memory_journal_acknowledges_at_once_and_fails_where_it_is_told_to() {
    let (journal, log) = Journal::in_memory(header());
    let mut records = journal.subscribe();
    append(&journal, apply_started(1)).await.expect("no failure yet");
    log.fail_from(3, JournalError::Closed);
    append(&journal, applied(1)).await.expect("number 2");
    assert!(journal.trouble().is_none());
    assert!(append(&journal, apply_started(2)).await.is_err());
    assert!(append(&journal, run_ended()).await.is_err(), "and stays failed");
    assert!(journal.trouble().is_some());
    let seqs = |group: Vec<Arc<Record>>| group.iter().map(|record| record.seq).collect::<Vec<_>>();
    assert_eq!(records.try_recv().map(seqs), Ok(vec![1]));
    assert_eq!(records.try_recv().map(seqs), Ok(vec![2]));
    assert!(records.try_recv().is_err(), "what is not recorded is not published");
    let history = log.history().expect("intact");
    assert_eq!(history.records.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_memory_log_can_be_cut_and_continued() {
    let (journal, log) = Journal::in_memory(header());
    for item in 0..5 {
        append(&journal, apply_started(item)).await.expect("memory");
    }
    let (resumed, cut) = Journal::continue_in_memory(log.cut_after(3));
    append(&resumed, run_ended()).await.expect("memory");
    let history = cut.history().expect("intact");
    assert_eq!(history.records.len(), 4);
    assert_eq!(history.records[..3], log.history().expect("intact").records[..3]);
    assert_eq!(log.records().len(), 6, "the original is untouched");
}
