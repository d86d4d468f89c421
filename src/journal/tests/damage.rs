//! A torn, cut or changed journal: nothing is silently accepted, nothing before the damage is lost.

use std::path::Path;

use super::super::reader::{History, Tail, parse};
use super::super::{Follower, JournalError, contains_head, read, salvage};
use super::{lines, private_temp_dir, starts, write_private};

fn parsed(bytes: &[u8]) -> Result<History, JournalError> {
    parse(Path::new("journal.jsonl"), bytes)
}

#[test]
fn a_cut_anywhere_behind_the_first_record_keeps_what_is_complete() {
    let bytes = lines(7);
    let starts = starts(&bytes);
    let whole = parsed(&bytes).expect("the journal is intact");
    assert_eq!(whole.records.len(), 8);
    assert_eq!(whole.tail, Tail::Clean);
    for end in starts[1]..bytes.len() {
        let complete = starts.iter().filter(|start| **start <= end).count() - 1;
        let history = parsed(&bytes[..end]).expect("the beginning is intact");
        assert_eq!(history.records, whole.records[..complete], "cut at byte {end}");
        let good = starts[complete];
        assert_eq!(history.good_bytes, good as u64, "cut at byte {end}");
        let torn = Tail::Torn { offset: good as u64, bytes: (end - good) as u64 };
        assert_eq!(history.tail, if end == good { Tail::Clean } else { torn }, "cut at byte {end}");
    }
}

#[test]
fn every_flipped_bit_of_the_last_record_is_found_and_the_others_are_kept() {
    let bytes = lines(5);
    let last = starts(&bytes)[5];
    for at in last..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let history = parsed(&flipped).expect("the earlier records are intact");
            assert_eq!(history.records.len(), 5, "bit {bit} of byte {at}");
            let torn = Tail::Torn { offset: last as u64, bytes: (bytes.len() - last) as u64 };
            assert_eq!(history.tail, torn, "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn every_changed_byte_before_the_last_record_is_an_error_with_its_place() {
    let bytes = lines(5);
    let starts = starts(&bytes);
    for at in 0..starts[5] {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let line = starts.iter().filter(|start| **start <= at).count();
        match parsed(&changed) {
            Err(JournalError::Damaged { line: found, offset, .. }) => {
                assert_eq!(found, line as u64, "byte {at}");
                assert_eq!(offset, starts[line - 1] as u64, "byte {at}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
    }
}

#[test]
fn deleted_moved_doubled_and_foreign_records_are_errors() {
    let bytes = lines(5);
    let records: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let longer = lines(9);
    let foreign: Vec<&[u8]> = longer.split_inclusive(|byte| *byte == b'\n').collect();
    let orders: [Vec<&[u8]>; 6] = [
        vec![records[0], records[1], records[3], records[4], records[5]],
        vec![records[0], records[1], records[2], records[3], records[5]],
        vec![records[0], records[2], records[1], records[3], records[4], records[5]],
        vec![records[0], records[1], records[1], records[2]],
        vec![records[1], records[2], records[3]],
        vec![records[0], records[1], foreign[8]],
    ];
    for (number, order) in orders.iter().enumerate() {
        let result = parsed(&order.concat());
        assert!(matches!(result, Err(JournalError::Damaged { .. })), "{number}: {result:?}");
    }
}

#[test]
fn a_journal_cut_between_records_is_shown_by_a_head_published_elsewhere() {
    let dir = private_temp_dir();
    let bytes = lines(5);
    let head = parsed(&bytes).expect("intact").head();
    let (whole, cut) = (dir.path().join("whole.jsonl"), dir.path().join("cut.jsonl"));
    write_private(&whole, &bytes);
    write_private(&cut, &bytes[..starts(&bytes)[5]]);
    assert_eq!(read(&cut).expect("it looks complete").tail, Tail::Clean);
    assert!(contains_head(&whole, &head).expect("readable"));
    assert!(!contains_head(&cut, &head).expect("readable"));
    assert!(!contains_head(&whole, "").expect("readable"));
}

#[test]
fn without_a_complete_first_record_the_run_never_began() {
    let bytes = lines(0);
    for end in 0..bytes.len() {
        let result = parsed(&bytes[..end]);
        assert!(matches!(result, Err(JournalError::NeverStarted { .. })), "{end}: {result:?}");
    }
}

#[test]
fn another_format_is_refused_whatever_else_its_lines_look_like() {
    let newer = b"{\"format\":2,\"kind\":\"start\"}\n";
    assert!(matches!(parsed(newer), Err(JournalError::NewerFormat { found: 2, .. })));
    // The same form, with a valid seal: as a program of format 2 that kept the seal would write it.
    let mut sealed = lines(1);
    let at =
        sealed.windows(11).position(|part| part == b"{\"format\":1").expect("it is there") + 10;
    sealed[at] = b'3';
    let damaged = parsed(&sealed);
    assert!(matches!(damaged, Err(JournalError::Damaged { line: 1, .. })), "{damaged:?}");
}

#[test]
fn arbitrary_bytes_never_panic() {
    proptest::proptest!(|(bytes: Vec<u8>, at in 0_usize..2000)| {
        let _refused = parsed(&bytes);
        let mut mixed = lines(3);
        let at = at.min(mixed.len());
        let _removed = mixed.splice(at..at, bytes).count();
        let _either = parsed(&mixed);
    });
}

#[test]
fn salvage_keeps_what_verifies_and_the_rebuilt_journal_reads_cleanly() {
    let dir = private_temp_dir();
    let path = dir.path().join("journal.jsonl");
    let mut bytes = lines(6);
    let starts = starts(&bytes);
    bytes[starts[2] + 40] ^= 1;
    // A lost newline joins records 3 and 4; the second of them is intact inside.
    bytes[starts[4] - 1] = b' ';
    write_private(&path, &bytes);
    assert!(matches!(read(&path), Err(JournalError::Damaged { line: 3, .. })));

    let salvaged = salvage(&path).expect("the start is intact");
    let kept: Vec<u64> = salvaged.records.iter().map(|record| record.seq).collect();
    assert_eq!(kept, [0, 1, 4, 5, 6]);
    assert!(salvaged.report().contains("line 3"), "{}", salvaged.report());
    assert!(salvaged.report().ends_with("missing records: 2"), "{}", salvaged.report());

    let (history, aside) = salvaged.rebuild(&path).expect("there is room");
    assert_eq!(history.records.len(), 5);
    assert_eq!(read(&path).expect("it is intact now"), history);
    assert_eq!(std::fs::read(aside).expect("the damaged one stays"), bytes);
}

#[test]
fn salvage_without_the_start_says_so() {
    let dir = private_temp_dir();
    let path = dir.path().join("journal.jsonl");
    let mut bytes = lines(3);
    bytes[50] ^= 1;
    write_private(&path, &bytes);
    assert!(matches!(salvage(&path), Err(JournalError::NeverStarted { .. })));
}

#[test]
fn a_follower_sees_each_record_once_and_only_when_it_is_complete() {
    use std::io::Write;

    let dir = private_temp_dir();
    let path = dir.path().join("journal.jsonl");
    let bytes = lines(4);
    write_private(&path, b"");
    let mut file = std::fs::File::options().append(true).open(&path).expect("the file");
    let mut follower = Follower::open(&path).expect("the file");
    let mut seen = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        file.write_all(&[*byte]).expect("room");
        let new = follower.poll().expect("intact so far");
        assert_eq!(new.len(), usize::from(*byte == b'\n'), "byte {at}");
        seen.extend(new);
    }
    assert_eq!(seen, parsed(&bytes).expect("intact").records);
    assert!(follower.poll().expect("intact").is_empty());
    file.write_all(b"{\"seq\":5,\"at\":\"x\"}\n").expect("room");
    assert!(matches!(follower.poll(), Err(JournalError::Damaged { line: 6, .. })));
}

#[test]
fn a_long_journal_is_read_and_followed_alike() {
    let dir = private_temp_dir();
    let path = dir.path().join("journal.jsonl");
    let bytes = lines(3000);
    write_private(&path, &bytes);
    let history = read(&path).expect("intact");
    assert_eq!(history.records.len(), 3001);
    assert_eq!(history.good_bytes, bytes.len() as u64);
    let followed = Follower::open(&path).and_then(|mut follower| follower.poll());
    assert_eq!(followed.expect("intact"), history.records);
}
