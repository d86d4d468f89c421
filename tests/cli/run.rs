//! Runs from the command line to the last word, one for each way in which they end.

use serde_json::Value;

use super::stage::Stage;

const GOOD: &str = "\
targets:
  traffic-on-blue: {within: 60s, reached_by: redirect/traffic-is-on-blue}
phases:
  - id: redirect
    title: Traffic to blue
    budget: 30s
    steps:
      - id: blue-can-carry-it
        docker.expect: {project: legacy, healthy: 3}
      - id: shift-traffic
        loadbalancer.switch: {upstream: agents, to: blue}
      - id: traffic-is-on-blue
        http.expect: {url: \"{{ environment.load_balancer }}/health\", json: {version: \"1.0.0\"}}
      - id: drain-green
        docker.stop: {project: ollama-optimized, grace: 1s}
      - id: checklist
        manual.confirm:
          - {item: Nobody complains any more}
";

/// The same, but the proof never comes.
fn broken(before: &str) -> String {
    format!(
        "phases:\n  - id: redirect\n    title: Traffic to blue\n    steps:\n{before}      - id: proof\n        timeout: 500ms\n        \
         http.expect: {{url: \"{{{{ environment.load_balancer }}}}/health\", json: {{version: \"9.9.9\"}}}}\n      \
         - id: drain-green\n        docker.stop: {{project: ollama-optimized, grace: 1s}}\n"
    )
}

const SHIFT: &str =
    "      - id: shift-traffic\n        loadbalancer.switch: {upstream: agents, to: blue}\n";

#[test]
fn a_run_is_told_line_by_line_and_leaves_a_report() {
    let stage = Stage::with(GOOD);
    let _redacted = stage.redacted();
    let run =
        stage.rollback("--emergency --env sandbox --reason 'more errors' --yes").expect_code(0);
    insta::assert_snapshot!("run", run);
    let report = stage.rollback("report").expect_code(0);
    insta::assert_snapshot!("report", report);
    let status = stage.rollback("status").expect_code(0);
    insta::assert_snapshot!("status", status);
    let history = stage.rollback("history").expect_code(0);
    insta::assert_snapshot!("history", history);
    let document = stage.rollback("report --as json").expect_code(0).json();
    assert_eq!(document["verdict"], "recovered");
    assert_eq!(document["targets"]["traffic-on-blue"]["late"], false);
    let entries = stage.rollback("history --format json").expect_code(0).json();
    assert_eq!(entries["runs"][0]["run"], document["run"]);
    let none = stage.rollback("history --env production").expect_code(0);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "no such runs\n"));
}

#[test]
fn programs_get_pure_data() {
    let stage = Stage::with(GOOD);
    let lines = stage.rollback("run small --env sandbox --yes --format jsonl").expect_code(0);
    let events: Vec<Value> =
        lines.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.first().expect("events")["event"], "run-started");
    assert_eq!(events.last().expect("events")["event"], "run-ended");
    assert!(events.iter().enumerate().all(|(index, event)| event["seq"] == index));
    let again = stage.rollback("run small --env sandbox --yes --format json").expect_code(0).json();
    assert_eq!(again["exit_code"], 0);
    assert_eq!(again["steps"]["redirect/shift-traffic"]["outcome"], "already-done");
    let status = stage.rollback("status --format json").expect_code(0).json();
    assert_eq!(status["run"], again["run"]);
}

#[test]
fn a_run_that_fails_before_any_change_ends_with_6() {
    let stage = Stage::with(&broken(""));
    let _redacted = stage.redacted();
    let run = stage.rollback("run small --env sandbox --yes").expect_code(6);
    insta::assert_snapshot!("run-failed-clean", run);
}

#[test]
fn a_run_that_fails_after_a_change_ends_with_7() {
    let stage = Stage::with(&broken(SHIFT));
    let _redacted = stage.redacted();
    let run = stage.rollback("run small --env sandbox --yes").expect_code(7);
    insta::assert_snapshot!("run-failed-partial", run);
    let report = stage.rollback("report").expect_code(0);
    insta::assert_snapshot!("report-failed", report);
}

#[test]
fn a_run_that_is_late_recovers_and_ends_with_5() {
    let stage = Stage::with(&GOOD.replace("within: 60s", "within: 1ms"));
    let _redacted = stage.redacted();
    let run = stage.rollback("run small --env sandbox --yes").expect_code(5);
    insta::assert_snapshot!("run-late", run);
}

#[test]
fn what_stands_in_the_way_is_told_before_anything_is_touched() {
    let stage = Stage::with(GOOD);
    let _redacted = stage.redacted();
    let _faults = stage.rollback("sandbox fault docker:error=503").expect_code(0);
    let before = stage.status();
    let refused = stage.rollback("run small --env sandbox --yes").expect_code(4);
    insta::assert_snapshot!("run-refused", refused);
    assert_eq!(before["effects"], stage.status()["effects"]);
    let none = stage.rollback("history").expect_code(0);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "no runs yet\n"));
}

#[test]
fn what_a_person_must_choose_is_told_before_anything_starts() {
    let stage = Stage::with(GOOD);
    stage.add("other", "emergency", GOOD);
    stage.add("wrong", "graceful", "phases: []\nphasis: []\n");
    let mut said = String::new();
    for (line, code) in [
        ("", 2),
        ("--emergency --env sandbox", 2),
        ("--emergency --runbook small", 2),
        ("--emergency --runbook wrong --env sandbox", 3),
        ("--graceful --env sandbox", 3),
        ("--partial smal --env sandbox", 2),
        ("--emergency --graceful", 2),
        ("run small --env sandbox", 11),
        ("run small --env sandbox --yes --format junit", 2),
        ("statsu", 2),
        ("run small --evn sandbox", 2),
        ("status nope", 2),
        ("abort latest", 2),
    ] {
        let output = stage.rollback(line).expect_code(code);
        said.push_str(&format!("$ rollback {line}\n{output}\n\n"));
    }
    let _redacted = stage.redacted();
    insta::assert_snapshot!("choices", said);
}
