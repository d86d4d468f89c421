//! `rollback revert` from the world's side: what a run has changed is as it was before, whatever the revert met on its way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::rig::Rig;
use crate::support::output::CommandOutput;
use crate::support::world::finish;

/// How many points of a revert are tried in the short form.
const SHORT: usize = 8;

fn emergency() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks/ollama/emergency.yaml")
}

/// The world as before the run and after its revert: what is parked or only counted does not matter, nor what was announced.
fn side(rig: &Rig) -> Value {
    let mut state = rig.state(&rig.run_ids());
    let files = state["files"].as_object_mut().expect("files by name");
    files.retain(|name, _| !name.contains(".rollback-RUN"));
    for deployment in state["deployments"].as_array_mut().expect("deployments") {
        let deployment = deployment.as_object_mut().expect("what is known of it");
        deployment.retain(|name, _| !["revision", "updated", "available"].contains(&&**name));
    }
    for states in state["containers"].as_object_mut().expect("projects by name").values_mut() {
        // A container that has run once is never merely created again.
        let stopped = ["created", "exited"].iter().filter_map(|name| states[name].as_u64());
        let stopped: u64 = stopped.sum();
        let states = states.as_object_mut().expect("states by name");
        states.retain(|name, _| name != "created" && name != "exited");
        states.insert("stopped".into(), stopped.into());
    }
    let redis = state["redis"].as_object_mut().expect("groups of keys");
    let _announced = redis.remove("metrics:base-agent-v2");
    state
}

fn revert(rig: &Rig, run: &str, flags: &[&str]) -> CommandOutput {
    finish(rig.rollback(&["revert", run]).args(flags))
}

/// A run of the shipped emergency, its id, and the world before it.
fn rolled_back(rig: &Rig) -> (String, Value) {
    rig.reset();
    let before = Rig::at_rest(|| side(rig));
    let _recovered = finish(&mut rig.run(&emergency())).expect_code(0);
    (rig.run_id(), before)
}

/// The id of the run that takes the other one back.
fn other_run(rig: &Rig, run: &str) -> String {
    let mut others = rig.run_ids().into_iter().filter(|id| id != run);
    others.next().expect("the revert is a run of its own")
}

#[test]
fn an_emergency_is_taken_back_and_the_world_is_as_before_but_for_what_was_announced() {
    let rig = Rig::start();
    let (run, before) = rolled_back(&rig);
    let after = Rig::at_rest(|| side(&rig));
    assert_ne!(after, before);

    let dry = revert(&rig, &run, &["--dry-run"]).expect_code(0).stdout;
    assert!(
        dry.contains("cannot be taken back: clean-up/clear-metrics, because deleted keys"),
        "{dry}"
    );
    assert!(
        dry.contains("2 messages stay sent: stop/tell-the-team, validate/tell-the-team-recovered"),
        "{dry}"
    );
    assert_eq!(side(&rig), after, "a look changes nothing");

    let done = revert(&rig, &run, &["--yes", "--reason", "it was blue"]).expect_code(0);
    assert!(done.stdout.contains("REVERTED in"), "{done}");
    Rig::becomes(&before, &done.to_string(), || side(&rig));

    let id = other_run(&rig, &run);
    let told = finish(&mut rig.rollback(&["report", &id, "--as", "json"])).expect_code(0).json();
    assert_eq!((&told["verdict"], &told["exit_code"]), (&json!("recovered"), &json!(0)));
    assert_eq!((&told["reverts"]["run"], &told["standing"]), (&json!(run), &Value::Null));
    let former = finish(&mut rig.rollback(&["report", &run, "--as", "json"])).expect_code(0).json();
    assert_eq!(former["reverted_by"], json!(id));
    // The link holds: the head that the revert names is a record of the former journal.
    let head = told["reverts"]["journal_head"].as_str().expect("a hash");
    let journal = rig.path(&format!("state/rollback/runs/{run}/journal.jsonl"));
    assert!(rollback::journal::contains_head(&journal, head).expect("it can be read"));

    let again = revert(&rig, &run, &["--yes"]).expect_code(0);
    assert!(again.stderr.contains(&format!("taken back already, by run {id}")), "{again}");
    let resumed = finish(&mut rig.rollback(&["resume", &run])).expect_code(2);
    assert!(resumed.stderr.contains(&format!("it was taken back, by run {id}")), "{resumed}");
    let itself = revert(&rig, &id, &["--yes"]).expect_code(2);
    assert!(itself.stderr.contains("rollback run ollama-emergency --env sandbox"), "{itself}");
    Rig::becomes(&before, "nothing of that changes anything", || side(&rig));

    // And forward again, by the runbook with its checks.
    let _recovered = finish(&mut rig.run(&emergency())).expect_code(0);
    Rig::becomes(&after, "forward again", || side(&rig));
}

#[test]
fn a_revert_that_is_killed_at_any_point_is_resumed_to_its_end() {
    let rig = Rig::start();
    let all = std::env::var("ROLLBACK_CRASH_ROUNDS").is_ok_and(|rounds| rounds == "all");
    let (run, before) = rolled_back(&rig);
    let report = rig.path("points");
    let _done =
        finish(rig.rollback(&["revert", &run, "--yes"]).env("ROLLBACK_CRASH_REPORT", &report))
            .expect_code(0);
    let points = std::fs::read_to_string(report).expect("points were passed").lines().count();
    let rounds = if all { points } else { SHORT };
    let mut killed = BTreeMap::new();
    for round in 0..rounds {
        let point = 1 + round * points / rounds;
        let (run, _) = rolled_back(&rig);
        let ended = Rig::ended_before(&mut rig.rollback(&["revert", &run, "--yes"]), point);
        if let Some(output) = ended {
            let _done = output.expect_code(0);
            continue;
        }
        let context = |output: &CommandOutput| format!("killed at point {point}:\n{output}");
        let again = revert(&rig, &run, &["--yes"]);
        let begun = again.code() == Some(2);
        if begun {
            let id = again.stderr.split("rollback resume ").nth(1).expect("how to go on");
            let id = id.split('`').next().expect("an id").to_owned();
            let refused = finish(&mut rig.rollback(&["resume", &run]));
            assert_eq!(refused.code(), Some(2), "{}", context(&refused));
            let resumed = finish(&mut rig.rollback(&["resume", &id]));
            assert_eq!(resumed.code(), Some(0), "{}", context(&resumed));
        } else {
            assert_eq!(again.code(), Some(0), "{}", context(&again));
        }
        Rig::becomes(&before, &context(&again), || side(&rig));
        *killed.entry(begun).or_insert(0) += 1;
    }
    assert!(killed.get(&true).is_some_and(|count| *count > rounds / 2), "{killed:?} of {points}");
}

#[test]
fn what_somebody_has_changed_since_is_refused_before_anything_starts_and_named() {
    let rig = Rig::start();
    let (run, _) = rolled_back(&rig);
    let root = rig.path("state/rollback/sandbox/root/opt/sutazaiapp/agents/configs");
    std::fs::write(root.join("somebody-was-here.yaml"), "by hand\n").expect("it can be written");
    let after = Rig::at_rest(|| side(&rig));
    let effects = rig.status()["effects_total"].clone();
    for flags in [["--dry-run"].as_slice(), &["--yes"]] {
        let refused = revert(&rig, &run, flags).expect_code(4);
        let told = format!("{}{}", refused.stdout, refused.stderr);
        assert!(told.contains("restore-configuration"), "{refused}");
    }
    assert_eq!(side(&rig), after);
    assert_eq!(rig.status()["effects_total"], effects);
    assert_eq!(
        rig.run_ids(),
        std::slice::from_ref(&run),
        "a run that did not begin leaves nothing behind"
    );
    std::fs::remove_file(root.join("somebody-was-here.yaml")).expect("it is there");
    let _done = revert(&rig, &run, &["--yes"]).expect_code(0);
}

#[test]
fn a_run_that_came_half_the_way_is_taken_back_and_not_resumed_afterwards() {
    let rig = Rig::start();
    rig.reset();
    let before = Rig::at_rest(|| side(&rig));
    let text = "version: 1
name: half
scenario: partial
subject: half
phases:
  - id: only
    steps:
      - {id: lock, file.lock: {path: /opt/half.lock}}
      - {id: shift, loadbalancer.switch: {upstream: agents, to: blue}}
      - {id: stop, docker.stop: {project: ollama-optimized, grace: 1s}}
      - {id: proof, timeout: 300ms, file.expect: {path: /nowhere, exists: true}}
";
    let runbook = rig.runbook("half", text);
    let failed = finish(&mut rig.run(&runbook)).expect_code(7);
    let run = rig.run_id();
    assert!(failed.stdout.contains(&format!("rollback revert {run}")), "{failed}");
    let _done = revert(&rig, &run, &["--yes"]).expect_code(0);
    Rig::becomes(&before, "taken back", || side(&rig));
    let refused = finish(&mut rig.rollback(&["resume", &run])).expect_code(2);
    assert!(refused.stderr.contains("it was taken back, by run"), "{refused}");
    Rig::becomes(&before, "and not resumed", || side(&rig));
}

#[test]
fn an_undo_that_fails_stops_the_revert_which_goes_on_when_it_is_mended() {
    let rig = Rig::start();
    rig.reset();
    let text = "version: 1
name: scripts
scenario: partial
subject: scripts
phases:
  - id: only
    steps:
      - {id: one, script.run: {argv: [\"[ROOT]/once.sh\", one], undo: [\"[ROOT]/undo.sh\", one]}}
      - {id: two, script.run: {argv: [\"[ROOT]/once.sh\", two], undo: [sh, -c, \"test -e '[ROOT]/go' && '[ROOT]/undo.sh' two\"]}}
      - {id: three, script.run: {argv: [\"[ROOT]/once.sh\", three], undo: [\"[ROOT]/undo.sh\", three]}}
";
    let runbook = rig.runbook("scripts", text);
    let _recovered = finish(&mut rig.run(&runbook)).expect_code(0);
    let run = rig.run_id();
    let stuck = revert(&rig, &run, &["--yes"]).expect_code(7);
    let id = other_run(&rig, &run);
    assert!(stuck.stdout.contains("revert-only/two"), "{stuck}");
    assert!(stuck.stdout.contains(&format!("rollback resume {id}")), "{stuck}");
    let undone = |name: &str| rig.effects().get(&format!("undid {name}")).copied();
    assert_eq!((undone("three"), undone("two"), undone("one")), (Some(1), None, None));
    rig.go();
    let _done = finish(&mut rig.rollback(&["resume", &id])).expect_code(0);
    assert_eq!((undone("three"), undone("two"), undone("one")), (Some(1), Some(1), Some(1)));
}

#[test]
fn a_run_that_still_runs_is_not_taken_back() {
    let rig = Rig::start();
    rig.reset();
    let text = "version: 1
name: patient
scenario: partial
subject: patient
phases:
  - id: only
    steps:
      - {id: works, script.run: {argv: [\"[ROOT]/wait.sh\", it], undo: [\"[ROOT]/undo.sh\", it]}}
";
    let runbook = rig.runbook("patient", text);
    let running = crate::support::world::Running::start(&mut rig.run(&runbook));
    rig.wait_for("began it");
    let run = rig.run_id();
    let refused = revert(&rig, &run, &["--yes"]).expect_code(8);
    assert!(refused.stderr.contains(&format!("rollback abort {run}")), "{refused}");
    rig.go();
    let _recovered = running.finish().expect_code(0);
    let _done = revert(&rig, &run, &["--yes"]).expect_code(0);
    assert_eq!(rig.effects()["undid it"], 1);
}
