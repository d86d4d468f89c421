//! State files that somebody else could have made are refused, and ours are private under any umask.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use super::super::{Follower, Journal, JournalError, Store, read};
use super::process::{Helper, command, say, setting};
use super::{header, lines, private_temp_dir, write_private};
use crate::event::Place;

const DIR: &str = "TEST_FILES_DIR";
const UMASK: &str = "TEST_UMASK";

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().expect("it is there").permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("it is ours");
}

/// A store with a run that has a journal and a private saved state.
fn store_with_a_run(dir: &Path) -> (Store, PathBuf) {
    let store = Store::open(Some(dir)).expect("a state folder");
    let run = store.create_run().expect("a run");
    drop(Journal::create(&run.journal_path(), header()).expect("a journal"));
    let step = serde_json::from_value(serde_json::json!("a/b")).expect("a step's name");
    run.save(&Place { step, item: String::new() }, &serde_json::json!({"secret": 1}))
        .expect("room");
    (store, run.dir().to_owned())
}

#[test]
#[ignore = "a part played in a helper process"]
fn maker_of_files() {
    let mask = setting(UMASK).parse().expect("a number");
    let _former = rustix::process::umask(Mode::from_raw_mode(mask));
    let dir = PathBuf::from(setting(DIR)).join("new/state");
    drop(store_with_a_run(&dir));
    say("made");
}

#[test]
fn files_are_private_under_any_umask() {
    for mask in [0o000_u32, 0o022, 0o077, 0o777] {
        let dir = private_temp_dir();
        let mut command = command("files::maker_of_files");
        command.env(DIR, dir.path()).env(UMASK, mask.to_string());
        assert_eq!(Helper::start(command).hear().as_deref(), Some("made"), "umask {mask:o}");
        let mut waiting = vec![dir.path().join("new")];
        let (mut files, mut folders) = (0, 0);
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                folders += 1;
                assert_eq!(mode(&path), 0o700, "umask {mask:o}: {}", path.display());
                let entries = std::fs::read_dir(&path).expect("a folder");
                waiting.extend(entries.map(|entry| entry.expect("an entry").path()));
            } else {
                files += 1;
                assert_eq!(mode(&path), 0o600, "umask {mask:o}: {}", path.display());
            }
        }
        assert_eq!((files, folders), (2, 7), "umask {mask:o}");
    }
}

fn assert_untrusted(path: &Path, why: &str) {
    for result in [read(path).map(drop), Follower::open(path).map(drop)] {
        match result {
            Err(error @ JournalError::Untrusted { .. }) => {
                assert!(error.to_string().contains(why), "{error}");
            }
            other => panic!("{}: {other:?}", path.display()),
        }
    }
}

#[test]
fn a_journal_that_others_could_have_made_is_refused() {
    let dir = private_temp_dir();
    let good = dir.path().join("good.jsonl");
    write_private(&good, &lines(2));
    let history = read(&good).expect("it is private");

    let link = dir.path().join("link.jsonl");
    symlink(&good, &link).expect("a link");
    assert_untrusted(&link, "symbolic link");
    assert!(Journal::reopen(&link, &history).is_err());

    let second = dir.path().join("second.jsonl");
    std::fs::hard_link(&good, &second).expect("a link");
    assert_untrusted(&good, "hard link");
    assert!(Journal::reopen(&good, &history).is_err());
    std::fs::remove_file(second).expect("it is there");

    for open in [0o620, 0o602, 0o666] {
        set_mode(&good, open);
        assert_untrusted(&good, "other users can write");
        assert!(Journal::reopen(&good, &history).is_err());
    }
    set_mode(&good, 0o600);
    drop(Journal::reopen(&good, &history).expect("it is private again"));

    let fifo = dir.path().join("fifo.jsonl");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, Mode::RUSR | Mode::WUSR, 0).expect("a fifo");
    assert_untrusted(&fifo, "regular file");
    assert_untrusted(Path::new("/dev/null"), "regular file");
    assert!(read(Path::new("a\0b")).is_err());
}

#[test]
fn a_foreign_journal_is_refused() {
    if !rustix::process::geteuid().is_root() {
        // Only root can give a file away, but root has files that everybody can read.
        assert_untrusted(Path::new("/etc/passwd"), "another user");
        return;
    }
    let dir = private_temp_dir();
    let path = dir.path().join("journal.jsonl");
    write_private(&path, &lines(2));
    std::os::unix::fs::chown(&path, Some(65534), None).expect("root may");
    assert_untrusted(&path, "another user");
    std::os::unix::fs::chown(dir.path(), Some(65534), None).expect("root may");
    assert!(matches!(Store::open(Some(dir.path())), Err(JournalError::Untrusted { .. })));
}

#[test]
fn links_in_the_place_of_a_new_journal_are_refused() {
    let dir = private_temp_dir();
    let victim = dir.path().join("victim");
    for path in [dir.path().join("dangling.jsonl"), dir.path().join("link.jsonl")] {
        symlink(&victim, &path).expect("a link");
        assert!(Journal::create(&path, header()).is_err());
        std::fs::write(&victim, "precious").expect("room");
    }
    assert_eq!(std::fs::read_to_string(&victim).expect("it is there"), "precious");
}

#[test]
fn a_state_folder_that_others_can_change_is_refused() {
    let dir = private_temp_dir();
    let state = dir.path().join("state");
    let (_, run) = store_with_a_run(&state);
    for open in [0o770, 0o702, 0o1777] {
        set_mode(&state, open);
        assert!(matches!(Store::open(Some(&state)), Err(JournalError::Untrusted { .. })));
        assert!(matches!(Store::open_to_read(Some(&state)), Err(JournalError::Untrusted { .. })));
    }
    set_mode(&state, 0o700);
    let link = dir.path().join("link");
    symlink(&state, &link).expect("a link");
    assert!(matches!(Store::open(Some(&link)), Err(JournalError::Untrusted { .. })));
    assert!(run.starts_with(&state));
    Store::open(Some(&state)).expect("it is private again");
}
