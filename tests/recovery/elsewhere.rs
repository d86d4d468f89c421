//! Promise P9 on one machine: what a run of another machine has left in a shared folder is respected until a person knows better.
//!
//! The other machine is a namespace with another host name; the state folder is the same, as on a network file system whose locks
//! do not reach the other side.

use std::process::Command;

use rustix::process::Signal;

use crate::support::desk::{Desk, PATIENT, touch};
use crate::support::world::{Running, finish};

const OTHER: &str = "ops-9";

/// The program of the desk on a machine of another name.
fn on_the_other_machine(desk: &Desk) -> Command {
    let mut command = desk.world.command("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--uts", "sh", "-c", &format!("hostname {OTHER}; exec \"$@\""), "sh"]);
    command.arg(env!("CARGO_BIN_EXE_rollback")).args(Desk::RUN_YES);
    command
}

#[test]
fn a_run_that_another_machine_has_left_is_for_a_person_to_take_up() {
    let desk = Desk::new(
        &(PATIENT.replace("undo: [\"true\"]", "undo: [\"true\"]\n          repeat: safe")
            + &touch("after")),
    );
    let there = Running::start(&mut on_the_other_machine(&desk));
    desk.wait_for("patient.begun");
    let id = desk.run_id();
    there.signal(Signal::KILL);
    assert_eq!(there.finish().signal(), Some(9));
    desk.world.write("home/patient.go", "");
    for refused in [desk.resume().expect_code(8), desk.run_another().expect_code(8)] {
        for wanted in [
            &format!("run {id}"),
            &format!("tester@{OTHER}"),
            "nothing here tells whether it still runs there",
            &format!("`rollback status {id}"),
            "--lock none",
        ] {
            assert!(refused.stderr.contains(wanted), "`{wanted}` is missing: {refused}");
        }
        assert!(!desk.has("after.done"), "{refused}");
    }
    let resumed = desk.world.rollback(["resume", "latest", "--lock", "none"]).expect_code(0);
    assert!(desk.has("after.done"), "{resumed}");
    // A lock that was given back says nothing about anybody.
    let _again = finish(desk.command().args(["--state-dir"]).arg(desk.world.path("state/another")))
        .expect_code(0);
}

#[test]
fn a_live_run_of_this_machine_is_respected_whatever_is_said_about_locks() {
    let desk = Desk::new(PATIENT);
    let here = Running::start(&mut desk.command());
    desk.wait_for("patient.begun");
    let refused = desk.world.rollback(["resume", "latest", "--lock", "none"]).expect_code(8);
    assert!(refused.stderr.contains("holds the subject"), "{refused}");
    desk.world.write("home/patient.go", "");
    let _recovered = here.finish().expect_code(0);
}
