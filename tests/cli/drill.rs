//! `rollback drill`: a world is broken on purpose, recovered with faults injected, measured and brought back, and the record says what
//! the journal says.

use std::path::PathBuf;

use serde_json::Value;

use super::stage::{Stage, crate_root};
use crate::support::wait_until;

const DRILLED: &str = "\
targets:
  traffic-on-blue: {within: 60s, reached_by: redirect/traffic-is-on-blue}
  green-is-stopped: {within: 2m, reached_by: redirect/stopped}
prepare:
  - id: green-serves
    http.expect: {url: \"{{ environment.load_balancer }}/health\", json: {version: \"2.0.0\"}}
  - id: break-one
    title: Stop an enhanced agent
    docker.stop: {project: ollama-optimized, services: [agent-001], grace: 1s}
phases:
  - id: redirect
    title: Traffic to blue
    steps:
      - id: blue-can-carry-it
        docker.expect: {project: legacy, healthy: 3}
      - id: shift-traffic
        loadbalancer.switch: {upstream: agents, to: blue}
      - id: traffic-is-on-blue
        http.expect: {url: \"{{ environment.load_balancer }}/health\", json: {version: \"1.0.0\"}}
      - id: drain-green
        docker.stop: {project: ollama-optimized, services: [agent-002], grace: 1s}
      - id: stopped
        docker.expect: {project: ollama-optimized, running: {at_most: 2}}
";

const ONLY_ASKS: &str = "\
targets:
  answered: {within: 60s, reached_by: redirect/answered}
phases:
  - id: redirect
    steps:
      - id: answered
        http.expect: {url: \"{{ environment.load_balancer }}/health\", status: 200}
";

/// The events of a run, read from its journal by nothing but their text.
fn journal(stage: &Stage, run: &str) -> Vec<Value> {
    let path = folder(stage, run).join("journal.jsonl");
    let text = std::fs::read_to_string(path).expect("a journal");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn folder(stage: &Stage, run: &str) -> PathBuf {
    stage.world.path("state/rollback/runs").join(run)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text `{key}` in {value}"))
}

/// The figures of a record against those of the journal of its rollback.
fn matches_the_journal(stage: &Stage, record: &Value) -> Vec<Value> {
    let run = text(&record["rollback"], "run");
    let events = journal(stage, run);
    let reached: Vec<&Value> =
        events.iter().filter(|event| event["event"] == "target-reached").collect();
    let targets = record["targets"].as_array().expect("targets");
    assert_eq!(reached.len(), targets.iter().filter(|one| !one["took_ms"].is_null()).count());
    for event in reached {
        let target = targets.iter().find(|one| one["target"] == event["target"]).expect("in it");
        assert_eq!(target["took_ms"], event["took_ms"], "{target}");
        assert_eq!(target["in_time"], event["in_time"], "{target}");
    }
    let ended = events.iter().rfind(|event| event["event"] == "run-ended").expect("it has ended");
    assert_eq!(record["rollback"]["elapsed_ms"], ended["elapsed_ms"]);
    assert_eq!(record["rollback"]["exit_code"], ended["exit_code"]);
    assert_eq!(record["rollback"]["verdict"], ended["verdict"]);
    let header = &events[0]["header"];
    assert_eq!(record["runbook_sha256"], header["runbook_sha256"]);
    assert_eq!(record["environment_sha256"], header["environment_sha256"]);
    let report = stage.rollback(&format!("report {run}")).expect_code(0).stdout;
    let head = text(&record["rollback"], "journal_head");
    assert!(report.contains(&format!("ends with `{head}`")), "{report}");
    events
}

#[test]
fn a_drill_with_latency_gives_a_record_that_matches_the_journal() {
    let stage = Stage::with(DRILLED);
    let before = stage.status();
    let line = "drill --env sandbox --scenario emergency --inject docker:latency=1s --yes";
    let drilled = stage.rollback(&format!("{line} --format json")).expect_code(0);
    let record = drilled.json();
    assert_eq!(
        (&record["result"], &record["exit_code"]),
        (&"passed".into(), &0.into()),
        "{record}"
    );
    assert_eq!(record["restored"]["by"], "reset");
    let events = matches_the_journal(&stage, &record);

    // What the clock says of the fault: every call of a docker step takes its second, and no step of others does.
    let started = |step: &str| elapsed(&events, "step-started", step);
    let ended = |step: &str| elapsed(&events, "step-ended", step);
    let took = |step: &str| ended(step) - started(step);
    assert!(took("redirect/blue-can-carry-it") >= 1000);
    assert!(took("redirect/drain-green") >= 2000, "it looks before it stops");
    let injected = &record["faults"][0];
    assert_eq!(injected["fault"], "docker:latency=1s");
    assert!(injected["met"].as_u64() >= Some(4), "{injected}");
    assert_eq!(events[0]["header"]["drill"]["faults"][0], "docker:latency=1s");

    // It lies beside the journal, for its owner alone, and is the same.
    let run = text(&record["rollback"], "run");
    let kept = std::fs::read_to_string(folder(&stage, run).join("drill.json")).expect("a record");
    assert_eq!(serde_json::from_str::<Value>(&kept).expect("JSON"), record);

    // The preparation is a run of its own, without the faults, and the world is as it was.
    let prepared = journal(&stage, text(&record["prepared"], "run"));
    assert_eq!(prepared[0]["header"]["drill"]["part"], "prepare");
    assert!(prepared.iter().any(|event| event["event"] == "applied"), "one agent was stopped");
    let after = stage.status();
    for part in ["containers", "images", "load_balancer"] {
        assert_eq!(before[part], after[part], "{part}");
    }
}

fn elapsed(events: &[Value], kind: &str, step: &str) -> u64 {
    let found = events.iter().find(|event| event["event"] == kind && event["step"] == step);
    found.and_then(|event| event["elapsed_ms"].as_u64()).unwrap_or_else(|| panic!("{kind} {step}"))
}

#[test]
fn a_drill_is_told_reported_and_listed() {
    let stage = Stage::with(DRILLED);
    let line = "drill --env sandbox --runbook small --inject docker.stop:error,step=redirect/drain-green --yes";
    let drilled = stage.rollback(line).expect_code(7);
    assert!(drilled.stdout.contains("DRILL FAILED 1 of 2 targets in time"), "{drilled}");
    assert!(drilled.stdout.contains("not reached"), "{drilled}");
    assert!(drilled.stderr.contains("the drill wants it so"), "nobody looks for it: {drilled}");
    assert!(drilled.stderr.contains("drill in sandbox: break the environment"), "{drilled}");
    let run = drilled.stdout.split_whitespace().last().expect("the run's id");

    let report = stage.rollback(&format!("report {run}")).expect_code(0).stdout;
    assert!(report.contains("## Drill\n\n**failed**, 1 of 2 targets in time."), "{report}");
    assert!(report.contains("| green-is-stopped | 2m | – | not reached |"), "{report}");
    let listed = stage.rollback("history --drills").expect_code(0).stdout;
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert!(listed.starts_with(run) && listed.contains("failed 1/2"), "{listed}");
    let history = stage.rollback("history").expect_code(0).stdout;
    assert!(history.contains("preparation of a drill"), "{history}");
    let found = stage.rollback("history --search 'drain-green ERROR' --format json").expect_code(0);
    assert_eq!(found.json()["hits"][0]["kind"], "drill", "{found}");
}

#[test]
fn every_fault_does_what_it_says() {
    let stage = Stage::with(DRILLED);
    for (fault, code, told) in [
        // The change is made and its answer lost: the engine looks, and finds it.
        ("docker.stop:unknown", 0, "drain-green"),
        ("docker.stop:timeout,step=redirect/drain-green,times=1", 7, "does not answer"),
        ("docker.expect:unreachable,times=2", 0, "shift-traffic"),
        ("notify:error", 0, "no call met it"),
    ] {
        let mut line = format!("drill --env sandbox --scenario emergency --inject {fault} --yes");
        if fault.contains("timeout") {
            // Otherwise it would wait for as long as a stop may take.
            let patient = DRILLED.replace(
                "      - id: drain-green\n",
                "      - id: drain-green\n        timeout: 1s\n        verify: {within: 500ms}\n",
            );
            stage.add("patient", "graceful", &patient);
            line = line.replace("emergency", "graceful");
        }
        let drilled = stage.rollback(&line);
        assert!(format!("{drilled}").contains(told), "{fault}: {drilled}");
        let drilled = drilled.expect_code(code);
        assert!(drilled.stdout.contains(fault), "{fault}: {drilled}");
    }
}

#[test]
fn nothing_is_broken_that_nobody_gave_away() {
    let stage = Stage::with(DRILLED);
    stage.add_elsewhere("runbooks", "");
    let before = stage.status();
    let line = "drill --env elsewhere --scenario emergency --yes";
    let refused = stage.rollback(line).expect_code(4);
    assert!(refused.stderr.contains("may not be broken on purpose"), "{refused}");
    assert!(refused.stderr.contains("write `drills: true` into"), "{refused}");
    assert_eq!(before["effects"], stage.status()["effects"]);

    // Once it says so, it is drilled, and what was changed is taken back: the recovery, and then what broke it.
    stage.add_elsewhere("runbooks", "drills: true\n");
    let drilled = stage.rollback(&format!("{line} --format json")).expect_code(0).json();
    let restored = &drilled["restored"];
    assert_eq!(restored["by"], "reverted", "{drilled}");
    assert_eq!(restored["runs"].as_array().map(Vec::len), Some(2), "{drilled}");
    assert_eq!(restored["left"].as_array().map(Vec::len), Some(0), "{drilled}");
    // What was started again is healthy a moment later.
    wait_until("the world as it was", || {
        let after = stage.status();
        ["load_balancer", "containers"].iter().all(|part| before[part] == after[part])
    });
    // What cannot be taken back is said, and a runbook that says how it is done is believed.
    let note =
        "      - id: note\n        irreversible: true\n        script.run: {argv: [\"true\"]}\n";
    stage.add("small", "emergency", &format!("{DRILLED}{note}"));
    let drilled = stage.rollback(line).expect_code(0);
    assert!(drilled.stdout.contains("STAYS as the drill left it: redirect/note"), "{drilled}");
    stage.add("small", "emergency", &format!("{ONLY_ASKS}{note}"));
    let drilled = stage.rollback(line).expect_code(0);
    let stays =
        "nothing was changed that could be taken back; STAYS as the drill left it: redirect/note";
    assert!(drilled.stdout.contains(stays), "{drilled}");
    // A run that takes a drill back is none.
    let listed = stage.rollback("history --drills --env elsewhere").expect_code(0);
    assert!(!listed.stdout.contains("not finished"), "{listed}");
    let _reset = stage.rollback("sandbox reset").expect_code(0);
    let restore = "restore:\n  - id: back\n    loadbalancer.switch: {upstream: agents, to: green}\n  \
                   - id: all\n    docker.start: {project: ollama-optimized}\n";
    stage.add("small", "emergency", &format!("{DRILLED}{restore}"));
    let drilled = stage.rollback(&format!("{line} --format json")).expect_code(0).json();
    assert_eq!(drilled["restored"]["by"], "runbook", "{drilled}");
    assert_eq!(stage.status()["load_balancer"]["colour"], "green");
    let failing = restore.replace("to: green", "to: red");
    stage.add("small", "emergency", &format!("{DRILLED}{failing}"));
    let drilled = stage.rollback(&format!("{line} --format json")).expect_code(7).json();
    assert_eq!(drilled["restored"]["by"], "failed", "{drilled}");
}

#[test]
fn what_cannot_be_drilled_is_told() {
    let stage = Stage::with(DRILLED);
    stage.add("asks", "validation", "phases:\n  - id: ask\n    steps:\n      - id: a\n        http.expect: {url: \"http://127.0.0.1:1/\"}\n");
    for (line, told) in [
        ("drill --env sandbox --yes", "--scenario"),
        ("drill --env sandbox --scenario emergncy --yes", "the scenarios are emergency, graceful"),
        ("drill --env sandbox --runbook asks --yes", "it only asks"),
        ("drill --env sandbox --runbook small --yes --inject docker", "has no `:`"),
        ("drill --env sandbox --runbook small --yes --inject docker:slow", "understand `slow`"),
        ("drill --env sandbox --runbook small --yes --inject docker:latency=4", "latency=4`"),
        (
            "drill --env sandbox --runbook small --yes --inject docekr:error",
            "Did you mean `docker`?",
        ),
        (
            "drill --env sandbox --runbook small --yes --inject docker.stpo:error",
            "Did you mean `docker.stop`?",
        ),
        (
            "drill --env sandbox --runbook small --yes --inject docker:error,step=drain-green",
            "Did you mean `step=redirect/drain-green`?",
        ),
    ] {
        let refused = stage.rollback(line).expect_code(2);
        assert!(refused.stderr.contains(told), "{line}: {refused}");
    }
    let asked = stage.rollback("drill --env sandbox --runbook small").expect_code(11);
    assert!(asked.stderr.contains("--yes"), "{asked}");
    let listed = stage.rollback("history --drills").expect_code(0);
    assert_eq!(listed.stderr, "no such drills\n");
}

#[test]
fn a_world_that_cannot_be_broken_is_no_drill() {
    let stage = Stage::with(
        &DRILLED
            .replace("version: \\\"2.0.0\\\"", "version: \\\"3.0.0\\\"")
            .replace("  - id: green-serves\n", "  - id: green-serves\n    timeout: 500ms\n")
            .replace("json: {version: \"2.0.0\"}", "json: {version: \"3.0.0\"}"),
    );
    let line = "drill --env sandbox --scenario emergency --yes --format json";
    let record = stage.rollback(line).expect_code(6).json();
    assert_eq!(record["result"], "not-begun", "{record}");
    assert!(record["rollback"].is_null() && record["targets"] == serde_json::json!([]), "{record}");
    let listed = stage.rollback("history --drills").expect_code(0).stdout;
    assert!(listed.contains("not begun 0/0"), "{listed}");
}

/// Killed in the middle of its rollback: what is left is a run like any other that was killed.
#[test]
fn a_drill_that_is_killed_is_resumed_as_a_run() {
    let stage = Stage::with(DRILLED);
    let counted = stage.world.path("points");
    let drill = |crash: Option<usize>| {
        let mut command = stage.world.program();
        command.args(["drill", "--env", "sandbox", "--runbook", "small", "--yes"]);
        command.args(["--inject", "docker:latency=100ms"]).env("ROLLBACK_CRASH_REPORT", &counted);
        crash.iter().for_each(|number| {
            command.env("ROLLBACK_CRASH_AT", number.to_string());
        });
        crate::support::world::finish(&mut command)
    };
    drill(None).expect_code(0);
    let points = std::fs::read_to_string(&counted).expect("points");
    let effects = |line: &(usize, &str)| line.1.ends_with("engine.after-effect");
    // The first one is the preparation's.
    let first = points.lines().enumerate().filter(effects).nth(1).expect("a change").0 + 1;
    assert_eq!(drill(Some(first)).signal(), Some(9));
    let listed = stage.rollback("history --drills").expect_code(0).stdout;
    assert!(listed.lines().next().expect("a line").contains("not finished"), "{listed}");
    stage.rollback("resume latest").expect_code(0);
    // It was no drill to the end, and the next one begins from the start.
    let listed = stage.rollback("history --drills").expect_code(0).stdout;
    assert!(listed.lines().next().expect("a line").contains("not finished"), "{listed}");
    drill(None).expect_code(0);
}

#[test]
fn an_ordinary_run_neither_prepares_nor_restores() {
    let stage = Stage::with(DRILLED);
    let run = stage.rollback("run small --env sandbox --yes --format json").expect_code(0).json();
    let steps: Vec<&String> = run["steps"].as_object().expect("steps").keys().collect();
    assert!(steps.iter().all(|step| step.starts_with("redirect/")), "{steps:?}");
    assert!(run["drill"].is_null());
    let explained = stage.rollback("plan small --env sandbox --explain").expect_code(0).stdout;
    assert!(explained.contains("## Before a drill: break the environment"), "{explained}");
    assert!(explained.contains("Stop an enhanced agent"), "{explained}");
}

/// The workflow for CI: its commands are what people will type, so they are typed here.
#[test]
fn the_workflow_for_ci_does_what_it_says() {
    let path = crate_root().join("examples/ci/rollback.yml");
    let workflow = std::fs::read_to_string(path).expect("it is shipped");
    let jobs = rollback::runbook::parse::parse(&rollback::runbook::diagnostic::Source::new(
        "rollback.yml",
        workflow.as_str(),
    ));
    let jobs = jobs.expect("it is YAML").to_json()["jobs"].clone();
    let commands: Vec<String> = jobs
        .as_object()
        .expect("jobs")
        .values()
        .flat_map(|job| job["steps"].as_array().expect("steps").iter())
        .filter_map(|step| step["run"].as_str())
        .flat_map(str::lines)
        .filter(|line| line.starts_with("rollback "))
        .map(|line| {
            line.split(" >").next().unwrap_or(line).trim_start_matches("rollback ").to_owned()
        })
        .collect();
    for wanted in ["check", "plan", "drill"] {
        assert!(commands.iter().any(|line| line.starts_with(wanted)), "{wanted}: {commands:?}");
    }
    let stage = Stage::shipped();
    for line in &commands {
        // The runner of the project reaches its staging; this one has only the sandbox.
        let here =
            line.replace("--env staging", "--env sandbox").replace("${{ github.run_id }}", "1");
        let done = stage.rollback(&here);
        assert_eq!(done.code(), Some(0), "{line}: {done}");
    }
}
