//! What a resumed run accepts of its journal and its runbook: promises P2, P6, P28 and P29 of the whole program.

use std::path::PathBuf;

use super::rig::Rig;
use super::runbooks::mixed;
use crate::support::world::finish;

/// A runbook without steps that must not be repeated: whatever is lost of its journal, it recovers.
const REPEATABLE: &str = "version: 1
name: repeatable
scenario: partial
subject: repeatable
inputs:
  reason: {type: string, default: none}
targets:
  proved: {within: 1h, reached_by: proof/on-blue}
phases:
  - id: change
    steps:
      - id: switch
        loadbalancer.switch: {upstream: agents, to: blue}
      - id: stop
        docker.stop: {project: ollama-optimized, grace: 1s}
      - id: copy
        file.copy-tree: {from: /opt/sutazaiapp/backup/agent-configs, to: /opt/sutazaiapp/agents/configs}
      - id: checked
        script.run: {argv: [\"[ROOT]/once.sh\", it], check: [\"[ROOT]/check.sh\", it], undo: [\"[ROOT]/undo.sh\", it]}
  - id: proof
    steps:
      - id: on-blue
        http.expect: {url: \"{{ environment.load_balancer }}/health\", json: {version: \"1.0.0\"}}
      - id: ask
        manual.confirm:
          - {item: It is quiet}
";

/// A rig and the runbook of a run on it that was killed half-way.
fn interrupted() -> (Rig, PathBuf) {
    let rig = Rig::start();
    rig.reset();
    let runbook = rig.runbook("repeatable", REPEATABLE);
    let ended = Rig::ended_before(&mut rig.run(&runbook), 60);
    assert!(ended.is_none(), "the run has more points than that: {ended:?}");
    (rig, runbook)
}

#[test]
fn a_changed_runbook_is_not_what_was_approved() {
    let (rig, runbook) = interrupted();
    let text = std::fs::read_to_string(&runbook).expect("the runbook is there");
    std::fs::write(&runbook, text.replacen("grace: 1s", "grace: 2s", 1))
        .expect("it can be changed");
    let before = rig.status();
    let refused = rig.resume(&[]).expect_code(2);
    assert!(
        refused.stderr.contains("-        docker.stop: {project: ollama-optimized, grace: 1s}"),
        "{refused}"
    );
    assert!(
        refused.stderr.contains("+        docker.stop: {project: ollama-optimized, grace: 2s}"),
        "{refused}"
    );
    assert!(refused.stderr.contains("--as-approved"), "{refused}");
    assert_eq!(rig.status(), before, "a refused run changes nothing");
    let _recovered = rig.resume(&["--as-approved"]).expect_code(0);
}

#[test]
fn a_changed_environment_is_not_what_was_approved() {
    let (rig, _) = interrupted();
    let environment = rig.path("home/environments/sandbox.yaml");
    let text = std::fs::read_to_string(&environment).expect("the environment is there");
    std::fs::write(&environment, format!("{text}# moved\n")).expect("it can be changed");
    let before = rig.status();
    let refused = rig.resume(&[]).expect_code(2);
    assert!(refused.stderr.contains("sandbox.yaml has changed since"), "{refused}");
    assert!(refused.stderr.contains("--as-approved"), "{refused}");
    assert_eq!(rig.status(), before, "a refused run changes nothing");
    let resumed = rig.resume(&["--as-approved"]).expect_code(0);
    assert!(resumed.stderr.contains("new connections"), "{resumed}");
}

#[test]
fn damage_in_the_middle_of_a_journal_stops_and_can_be_salvaged() {
    let (rig, _) = interrupted();
    let path = rig.journal();
    let mut journal = std::fs::read(&path).expect("the journal is there");
    let ends: Vec<_> =
        journal.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
    let (start, end) = (ends[ends.len() / 2 - 1] + 1, ends[ends.len() / 2]);
    journal[start + (end - start) / 2] ^= 1;
    std::fs::write(&path, journal).expect("the journal can be changed");
    let refused = rig.resume(&[]).expect_code(1);
    assert!(refused.stderr.contains(&format!("byte {start}")), "{refused}");
    assert!(refused.stderr.contains("--salvage"), "{refused}");
    let _recovered = rig.resume(&["--salvage"]).expect_code(0);
    assert_eq!(rig.effects()["did it"], 1, "what was done is seen and not repeated");
    assert_eq!(rig.status()["load_balancer"]["colour"], "blue");
}

#[test]
fn a_journal_that_is_cut_anywhere_is_resumed_in_the_world_that_went_on() {
    let rig = Rig::start();
    rig.reset();
    let runbook = rig.runbook("repeatable", REPEATABLE);
    let _recovered = finish(&mut rig.run(&runbook)).expect_code(0);
    let (state, path) = (rig.settled_state(), rig.journal());
    let whole = std::fs::read(&path).expect("the journal is there");
    let ends: Vec<_> = whole
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1)
        .collect();
    // After every fifth record, and in the middle of the one behind it.
    for pair in ends.windows(2).step_by(5) {
        for cut in [pair[0], usize::midpoint(pair[0], pair[1])] {
            std::fs::write(&path, &whole[..cut]).expect("the journal can be cut");
            let _recovered = rig.resume(&[]).expect_code(0);
            Rig::becomes(&state, &format!("cut at byte {cut}"), || rig.state(&rig.run_ids()));
            assert_eq!(rig.effects()["did it"], 1, "cut at byte {cut}");
        }
    }
}

#[test]
fn a_finished_run_has_nothing_left_to_resume() {
    let rig = Rig::start();
    rig.reset();
    let runbook = rig.runbook("mixed-9", &mixed(9));
    let _recovered = finish(&mut rig.run(&runbook)).expect_code(0);
    let before = (rig.status(), std::fs::read(rig.journal()).expect("the journal is there"));
    let nothing = rig.resume(&[]).expect_code(0);
    assert!(nothing.stderr.contains("nothing is left to do"), "{nothing}");
    assert_eq!((rig.status(), std::fs::read(rig.journal()).expect("it is there")), before);
}
