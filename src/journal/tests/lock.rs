//! One winner, a dead holder's lock is free, a stopped holder's is not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::super::{LeftElsewhere, LockDir, LockError};
use super::process::{Helper, command, rounds, say, setting, wait_for_release};
use super::{holder, private_temp_dir};

const DIR: &str = "TEST_LOCK_DIR";

#[test]
#[ignore = "a part played in a helper process"]
fn contender() {
    let dir = LockDir::at(setting(DIR).as_ref()).expect("the test's folder");
    match dir.acquire("staging", "agents", &holder("contender"), LeftElsewhere::MayBeAlive) {
        Ok(_lock) => {
            say("won");
            wait_for_release();
        }
        Err(LockError::Held { holder: Some(holder), .. }) => {
            say(&format!("lost to {}", holder.by.pid));
        }
        Err(error) => say(&format!("failed: {error:?}")),
    }
}

fn contend(dir: &Path) -> Helper {
    let mut command = command("lock::contender");
    command.env(DIR, dir);
    Helper::start(command)
}

#[test]
fn of_eight_processes_at_once_one_wins_and_the_others_learn_who() {
    let dir = private_temp_dir();
    for round in 0..rounds(8, 200) {
        let mut all: Vec<Helper> = (0..8).map(|_| contend(dir.path())).collect();
        let said: Vec<String> =
            all.iter_mut().map(|helper| helper.hear().expect("an outcome")).collect();
        let winners: Vec<usize> = (0..8).filter(|n| said[*n] == "won").collect();
        assert_eq!(winners.len(), 1, "round {round}: {said:?}");
        let lost = format!("lost to {}", all[winners[0]].id());
        assert_eq!(said.iter().filter(|said| **said == lost).count(), 7, "round {round}: {said:?}");
        // Every other round ends by murder, so that the next one finds a dead holder's description.
        if round % 2 == 0 {
            all[winners[0]].kill();
        } else {
            all[winners[0]].release();
            assert_eq!(all[winners[0]].hear(), None, "it ends");
        }
    }
}

#[test]
fn a_killed_holder_is_followed_at_once() {
    let dir = private_temp_dir();
    for round in 0..rounds(40, 200) {
        let mut helper = contend(dir.path());
        assert_eq!(helper.hear().as_deref(), Some("won"), "round {round}");
        helper.kill();
    }
}

#[test]
fn a_stopped_holder_keeps_its_lock() {
    let dir = private_temp_dir();
    let mut stopped = contend(dir.path());
    assert_eq!(stopped.hear().as_deref(), Some("won"));
    let pid = Pid::from_raw(stopped.id().cast_signed()).expect("a process id");
    kill_process(pid, Signal::STOP).expect("it is our child");
    let mut other = contend(dir.path());
    assert_eq!(other.hear(), Some(format!("lost to {}", stopped.id())));
    kill_process(pid, Signal::CONT).expect("it is our child");
}

#[test]
fn a_dropped_lock_is_free_and_other_subjects_are_not_held() {
    let dir = private_temp_dir();
    let locks = LockDir::at(dir.path()).expect("a private folder");
    let first = locks
        .acquire("staging", "agents", &holder("a"), LeftElsewhere::MayBeAlive)
        .expect("it is free");
    let again = locks.acquire("staging", "agents", &holder("b"), LeftElsewhere::MayBeAlive);
    match again {
        Err(LockError::Held { holder: Some(held_by), .. }) => assert_eq!(*held_by, holder("a")),
        other => panic!("{other:?}"),
    }
    // Similar names must not meet in one file.
    for (environment, subject) in [
        ("production", "agents"),
        ("staging", "agent"),
        ("staginga", "gents"),
        ("staging", "AGENTS"),
    ] {
        drop(
            locks
                .acquire(environment, subject, &holder("c"), LeftElsewhere::MayBeAlive)
                .expect("it is another subject"),
        );
    }
    drop(first);
    drop(
        locks
            .acquire("staging", "agents", &holder("b"), LeftElsewhere::MayBeAlive)
            .expect("it is free again"),
    );
}

#[test]
fn a_subject_of_any_text_has_its_file_in_the_folder() {
    let dir = private_temp_dir();
    let locks = LockDir::at(dir.path()).expect("a private folder");
    let long = "x".repeat(5000);
    for subject in ["", "..", "../../etc/passwd", "/etc/passwd", "a\0b", "字", "\n", long.as_str()]
    {
        let lock = locks
            .acquire("e", subject, &holder("a"), LeftElsewhere::MayBeAlive)
            .expect("any text is a subject");
        assert_eq!(lock.path().parent(), Some(dir.path()), "{subject:?}");
    }
}

#[test]
fn links_in_the_place_of_a_lock_are_refused() {
    let dir = private_temp_dir();
    let locks = LockDir::at(dir.path()).expect("a private folder");
    let path = locks
        .acquire("e", "s", &holder("a"), LeftElsewhere::MayBeAlive)
        .expect("free")
        .path()
        .to_owned();
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "precious").expect("room");
    std::fs::remove_file(&path).expect("it is there");
    std::os::unix::fs::symlink(&victim, &path).expect("a link");
    assert!(matches!(
        locks.acquire("e", "s", &holder("a"), LeftElsewhere::MayBeAlive),
        Err(LockError::Failed(_))
    ));
    std::fs::remove_file(&path).expect("it is there");
    std::fs::hard_link(&victim, &path).expect("a link");
    assert!(matches!(
        locks.acquire("e", "s", &holder("a"), LeftElsewhere::MayBeAlive),
        Err(LockError::Failed(_))
    ));
    assert_eq!(std::fs::read_to_string(&victim).expect("it is there"), "precious");
}

#[test]
fn the_shared_folder_is_open_to_all_users_and_its_failure_is_a_warning() {
    let dir = private_temp_dir();
    let (shared, state) = (dir.path().join("shared"), dir.path().join("state"));
    let (locks, warning) = LockDir::shared_or(&shared, &state).expect("it can be created");
    assert_eq!(warning, None);
    let mode =
        |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    assert_eq!(mode(&shared), 0o1777);
    let lock = locks.acquire("e", "s", &holder("a"), LeftElsewhere::MayBeAlive).expect("free");
    assert_eq!(mode(lock.path()), 0o666);

    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&shared, &link).expect("a link");
    let (_, warning) = LockDir::shared_or(&link, &state).expect("the state folder works");
    assert!(warning.expect("a warning").contains("not a folder"));
    let impossible = Path::new("/proc/rollback/locks");
    let (own, warning) = LockDir::shared_or(impossible, &state).expect("the state folder works");
    assert!(warning.expect("a warning").contains("/proc/rollback/locks"));
    let lock = own.acquire("e", "s", &holder("a"), LeftElsewhere::MayBeAlive).expect("free");
    assert!(lock.path().starts_with(state.join("locks")));
    assert_eq!(mode(lock.path()), 0o600);
}

#[test]
fn what_another_machine_has_left_is_respected_until_somebody_knows_better() {
    let dir = private_temp_dir();
    let locks = LockDir::at(dir.path()).expect("a private folder");
    let take = |left| locks.acquire("staging", "agents", &holder("mine"), left);
    let path = take(LeftElsewhere::MayBeAlive).expect("it is free").path().to_owned();
    let mut other = holder("theirs");
    other.by.host = "ops-9".into();
    let description = serde_json::to_string(&other).expect("a description");
    std::fs::write(&path, &description).expect("the lock's file");
    for _ in 0..2 {
        match take(LeftElsewhere::MayBeAlive) {
            Err(LockError::Elsewhere { holder, .. }) => assert_eq!(*holder, other),
            taken => panic!("{taken:?}"),
        }
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), description);
    }
    let lock = take(LeftElsewhere::IsOver).expect("somebody knows better");
    assert!(
        matches!(take(LeftElsewhere::IsOver), Err(LockError::Held { .. })),
        "not of a live one"
    );
    drop(lock);
    drop(take(LeftElsewhere::MayBeAlive).expect("nothing is left of them"));
}
