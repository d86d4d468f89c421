//! Promises P7 and P8: one run at a time on a subject. A live holder keeps it, a dead one does not; who only watches
//! notices either.

use std::path::PathBuf;

use rustix::process::Signal;

use super::rig::Rig;
use crate::support::wait_until;
use crate::support::world::{Running, finish};

fn runbook(rig: &Rig, name: &str, scenario: &str, script: &str) -> PathBuf {
    rig.runbook(
        name,
        &format!(
            "version: 1
name: {name}
scenario: {scenario}
subject: shared
phases:
  - id: only
    steps:
      - id: works
        script.run: {{argv: [\"[ROOT]/{script}\", {name}], check: [\"[ROOT]/check.sh\", {name}], undo: [\"[ROOT]/undo.sh\", {name}]}}
"
        ),
    )
}

/// A run that holds the subject until the test says `go`.
fn holding(rig: &Rig) -> Running {
    let runbook = runbook(rig, "holder", "partial", "wait.sh");
    let run = Running::start(&mut rig.run(&runbook));
    rig.wait_for("began holder");
    run
}

#[test]
fn a_second_run_is_told_who_holds_the_subject_and_gets_it_when_the_holder_is_dead() {
    let rig = Rig::start();
    rig.reset();
    let holder = holding(&rig);
    let held_by = rig.run_id();
    let second = runbook(&rig, "second", "emergency", "once.sh");
    let refused = finish(&mut rig.run(&second)).expect_code(8);
    assert!(refused.stderr.contains(&held_by), "{refused}");
    assert!(refused.stderr.contains("tester@"), "{refused}");
    assert!(refused.stderr.contains(&format!("(process {})", holder.id())), "{refused}");
    assert_eq!(rig.effects().get("did second"), None);
    assert_eq!(rig.run_ids(), [held_by], "a run that did not begin leaves nothing behind");
    holder.signal(Signal::KILL);
    assert_eq!(holder.finish().signal(), Some(9));
    let _recovered = finish(&mut rig.run(&second)).expect_code(0);
    rig.go();
}

#[test]
fn an_emergency_takes_the_subject_over_from_a_lesser_run_that_settles_first() {
    let rig = Rig::start();
    rig.reset();
    let holder = holding(&rig);
    let journal = rig.journal();
    let second = runbook(&rig, "second", "emergency", "once.sh");
    let second = Running::start(rig.run(&second).arg("--take-over"));
    wait_until("the request to stop", || {
        let journal = std::fs::read_to_string(&journal).unwrap_or_default();
        journal.contains("\"event\":\"stop-requested\"")
    });
    assert_eq!(rig.effects().get("did second"), None, "the holder has not settled yet");
    rig.go();
    let settled = holder.finish().expect_code(10);
    assert!(settled.stderr.contains("taken over by run"), "{settled}");
    let _recovered = second.finish().expect_code(0);
    let effects = rig.effects();
    assert_eq!((effects["did holder"], effects["did second"]), (1, 1));
}

#[test]
fn an_aborted_run_settles_what_is_in_flight_and_can_be_resumed() {
    let rig = Rig::start();
    rig.reset();
    let holder = holding(&rig);
    let id = rig.run_id();
    let asked =
        finish(&mut rig.rollback(&["abort", &id, "--reason", "wrong button"])).expect_code(0);
    assert!(asked.stderr.contains("asked run"), "{asked}");
    wait_until("the request to stop", || {
        let journal = std::fs::read_to_string(rig.journal()).unwrap_or_default();
        journal.contains("wrong button")
    });
    rig.go();
    let _aborted = holder.finish().expect_code(10);
    assert_eq!(rig.effects()["did holder"], 1);
    let over = finish(&mut rig.rollback(&["abort", &id])).expect_code(2);
    assert!(over.stderr.contains("no process is running it"), "{over}");
    let _recovered = rig.resume(&[]).expect_code(0);
    assert_eq!(rig.effects()["did holder"], 1);
}

#[test]
fn who_follows_a_run_is_told_when_its_process_is_gone() {
    let rig = Rig::start();
    rig.reset();
    let holder = holding(&rig);
    let id = rig.run_id();
    let follower = Running::start(&mut rig.rollback(&["status", &id, "--follow"]));
    holder.signal(Signal::KILL);
    assert_eq!(holder.finish().signal(), Some(9));
    let told = follower.finish().expect_code(0);
    assert!(told.stdout.contains("NOT FINISHED"), "{told}");
    assert!(told.stderr.contains("is gone"), "{told}");
    assert!(told.stderr.contains(&format!("rollback resume {id}")), "{told}");
    rig.go();
}
