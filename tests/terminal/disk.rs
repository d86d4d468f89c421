//! A disk that is full, limited or read-only: nothing more is changed, the journal stays readable, and resume goes on when there is room.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::as_root;
use crate::support::desk::{Desk, touch};
use crate::support::output::CommandOutput;
use crate::support::world::finish;

/// Steps whose output fills a journal: each leaves 20 kB of evidence.
fn talkative(count: usize) -> String {
    let step = |number: usize| {
        format!(
            "\n      - id: s{number:02}\n        script.shell:\n          undo: [\"true\"]\n          repeat: safe\n          run: |\n            yes 0123456789abcdef | head -c 20000\n            touch s{number:02}.done\n          cwd: \"{{{{ environment.dir }}}}\"\n"
        )
    };
    (0..count).map(step).collect::<Vec<_>>().concat()
}

/// The program under a limit on the size of files, in blocks of 1 KiB.
fn limited(desk: &Desk, blocks: u32) -> Command {
    let mut command = desk.world.command("bash");
    command.args(["-c", &format!("ulimit -f {blocks}; exec \"$@\""), "bash"]);
    command.arg(env!("CARGO_BIN_EXE_rollback")).args(Desk::RUN_YES);
    command
}

/// Asserts that exactly the steps of the journal were made, then ends the run.
#[track_caller]
fn ends_after_room_was_made(desk: &Desk, stopped: &CommandOutput) {
    assert!(stopped.stderr.contains("stopping: the journal cannot be written"), "{stopped}");
    let made = (0..40).filter(|number| desk.has(&format!("s{number:02}.done"))).count();
    assert!(made < 40, "the limit was reached: {stopped}");
    let begun = desk.events("apply-started").len();
    // The step whose record found no room may have been on its way.
    assert!((made..=made + 1).contains(&begun), "{begun} begun, {made} made: {stopped}");
    assert_eq!(desk.events("run-ended").remove(0)["exit_code"], 7, "{stopped}");
    desk.world.rollback(["status", "latest"]).expect_code(0);
    let resumed = desk.resume().expect_code(0);
    assert!(desk.has("s39.done"), "{resumed}");
    let repeated = desk.events("apply-started").len() - 40;
    assert!(repeated <= 1, "only what was in flight is repeated: {resumed}");
}

#[test]
fn a_limit_on_the_size_of_files_stops_the_run_and_loses_nothing() {
    let desk = Desk::new(&talkative(40));
    let stopped = finish(&mut limited(&desk, 512)).expect_code(7);
    ends_after_room_was_made(&desk, &stopped);
}

#[test]
fn a_limit_that_holds_no_journal_is_refused_before_anything_begins() {
    for blocks in [0, 1, 16] {
        let desk = Desk::new(&touch("before"));
        let refused = finish(&mut limited(&desk, blocks)).expect_code(1);
        assert!(refused.stderr.contains("failed to prepare"), "{blocks}: {refused}");
        assert!(!desk.has("before.done"), "{refused}");
        assert_eq!(refused.signal(), None, "{refused}");
    }
}

/// A small file system of its own in memory; needs the rights of root, or `sudo` that does not ask.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, kib: u32) -> Self {
        std::fs::create_dir_all(at).expect("the world is writable");
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let options = format!("size={kib}k,mode=0700,uid={},gid={}", owner.0, owner.1);
        let mounted =
            as_root("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(at).status();
        let mounted = mounted.expect("there is mount, and sudo for whoever is not root");
        assert!(
            mounted.success(),
            "a small disk is mounted by root, or by `sudo` that does not ask"
        );
        Self(at.to_owned())
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = as_root("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(status.expect("there is mount").success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _gone = as_root("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_fills_up_stops_the_run_and_room_lets_it_go_on() {
    let desk = Desk::new(&talkative(40));
    let disk = Small::mount(&desk.world.path("state"), 512);
    let stopped = desk.run().expect_code(7);
    disk.remount("size=64m");
    ends_after_room_was_made(&desk, &stopped);
}

#[test]
fn a_state_folder_that_takes_nothing_is_refused_with_one_that_works() {
    let desk = Desk::new(&touch("before"));
    let at = desk.world.path("state");
    let disk = Small::mount(&at, 64);
    let full = desk.run().expect_code(1);
    disk.remount("ro");
    let read_only = desk.run().expect_code(1);
    for refused in [full, read_only] {
        assert!(!desk.has("before.done"), "{refused}");
        let offered = refused
            .stderr
            .split_once("--state-dir ")
            .and_then(|(_, rest)| rest.split(['`', ' ', '\n']).next())
            .unwrap_or_else(|| panic!("another folder is offered: {refused}"))
            .to_owned();
        let mut again = desk.command();
        finish(again.arg("--state-dir").arg(&offered)).expect_code(0);
        assert!(desk.has("before.done"), "{offered} works");
        std::fs::remove_dir_all(&offered).expect("the offered folder was made");
        std::fs::remove_file(desk.world.path("home/before.done")).expect("it was made");
    }
}

#[test]
fn a_flush_that_fails_stops_the_run_before_the_next_change() {
    let names: Vec<String> = (0..10).map(|number| format!("s{number}")).collect();
    let steps = names.iter().map(|name| touch(name).replace("undo:", "repeat: safe, undo:"));
    let desk = Desk::new(&steps.collect::<String>());
    let made = || names.iter().filter(|name| desk.has(&format!("{name}.done"))).count();
    // From its fourth flush on, the journal's thread is told by the kernel that the disk has failed.
    let mut strace = desk.world.command("strace");
    strace.args(["-f", "-o", "/dev/null", "-e", "signal=none", "-e", "trace=fdatasync"]);
    strace.args(["-e", "inject=fdatasync:error=EIO:when=4+"]);
    strace.arg(env!("CARGO_BIN_EXE_rollback")).args(Desk::RUN_YES);
    let stopped = finish(&mut strace).expect_code(7);
    assert!(stopped.stderr.contains("stopping: the journal cannot be written"), "{stopped}");
    let before = made();
    assert!((1..names.len()).contains(&before), "{before} steps were made: {stopped}");
    let begun = desk.events("apply-started").len();
    // The record whose flush failed may be in the file all the same; its change was not made.
    assert!((before..=before + 1).contains(&begun), "{begun} begun, {before} made: {stopped}");
    let resumed = desk.resume().expect_code(0);
    assert_eq!(made(), names.len(), "{resumed}");
}
