//! `rollback revert` as people meet it, and a whole emergency with its database taken back.

use serde_json::Value;

use super::stage::Stage;

const BOTH: &str = "\
targets:
  traffic-on-blue: {within: 60s, reached_by: redirect/traffic-is-on-blue}
phases:
  - id: redirect
    title: Traffic to blue
    steps:
      - id: shift-traffic
        loadbalancer.switch: {upstream: agents, to: blue}
      - id: traffic-is-on-blue
        http.expect: {url: \"{{ environment.load_balancer }}/health\", status: 200}
      - id: tell
        notify.slack: {text: blue now}
  - id: drain
    title: Green away
    steps:
      - id: stop-green
        docker.stop: {project: ollama-optimized, services: [agent-001], grace: 1s}
      - id: for-ever
        irreversible: true
        redis.delete: {pattern: \"metrics:base-agent-v2:*\", at_most: 100}
";

/// The id of the newest run.
fn latest(stage: &Stage) -> String {
    let runs = stage.rollback("history --format json").expect_code(0).json();
    runs["runs"][0]["run"].as_str().expect("an id").to_owned()
}

#[test]
fn a_revert_says_what_it_takes_back_and_what_stays() {
    let stage = Stage::with(BOTH);
    let _recovered = stage.rollback("run small --env sandbox --yes").expect_code(0);
    let run = latest(&stage);
    let _redacted = stage.redacted();
    insta::assert_snapshot!(
        "revert-plan",
        stage.rollback("revert latest --dry-run").expect_code(0)
    );
    let document = stage.rollback("revert latest --dry-run --format json").expect_code(0).json();
    assert_eq!(document["plan"]["reverts"]["run"], Value::String(run.clone()));
    let left = document["plan"]["reverts"]["left"].as_array().expect("what stays");
    assert_eq!(left.len(), 2);
    assert!(stage.rollback("revert latest").expect_code(11).stderr.contains("--yes"));

    let done = stage.rollback("revert latest --yes --reason 'it was blue'").expect_code(0);
    insta::assert_snapshot!("revert", done);
    insta::assert_snapshot!("revert-report", stage.rollback("report").expect_code(0));
    insta::assert_snapshot!("revert-history", stage.rollback("history").expect_code(0));
    let former = stage.rollback(&format!("status {run}")).expect_code(0).stdout;
    assert!(former.contains(&format!("taken back by run {}", latest(&stage))), "{former}");
}

#[test]
fn what_is_not_as_the_run_left_it_is_refused_and_later_runs_are_told_of() {
    let stage = Stage::with(BOTH);
    let _recovered = stage.rollback("run small --env sandbox --yes").expect_code(0);
    let run = latest(&stage);
    // Somebody shifts back to a green that lacks an agent, and then writes the file by hand.
    let text = BOTH.replace("to: blue", "to: green");
    stage.add("small", "emergency", &text);
    let shifted = stage.rollback("run small --env sandbox --yes --only redirect");
    assert!(matches!(shifted.code(), Some(0 | 7)), "{shifted}");
    let later = latest(&stage);
    let before = stage.status();
    let path = "state/rollback/sandbox/root/etc/nginx/conf.d/agents.conf";
    let file = stage.world.path(path);
    let config = std::fs::read_to_string(&file).expect("nginx has it");
    std::fs::write(&file, format!("{config}# by hand\n")).expect("it can be written");
    let refused = stage.rollback(&format!("revert {run} --yes")).expect_code(4);
    assert!(refused.stderr.contains("step redirect/shift-traffic"), "{refused}");
    assert!(refused.stderr.contains(&format!("run {later} came later")), "{refused}");
    assert_eq!(stage.status()["effects"], before["effects"], "{refused}");
    assert_eq!(latest(&stage), later, "a run that did not begin leaves nothing behind");
}

#[test]
fn there_may_be_nothing_to_take_back() {
    let stage = Stage::with(
        "phases:\n  - id: look\n    steps:\n      - {id: only, docker.expect: {project: legacy, running: 3}}\n",
    );
    let _recovered = stage.rollback("run small --env sandbox --yes").expect_code(0);
    let said = stage.rollback("revert latest --yes").expect_code(0);
    assert!(said.stderr.contains("has changed nothing that could be taken back"), "{said}");
    let unknown = stage.rollback("revert nope --yes").expect_code(2);
    assert!(unknown.stderr.contains("nope"), "{unknown}");
}

/// Everything of the world but messages, counts, parked files, and what was announced to stay.
fn side(stage: &Stage) -> Value {
    let mut status = stage.status();
    let groups = status.as_object_mut().expect("a status is an object");
    for counted in ["effects", "effects_total", "chat", "pages", "texts", "mails", "tracker"] {
        let _removed = groups.remove(counted);
    }
    let files = status["files"].as_object_mut().expect("files by name");
    files.retain(|name, _| !name.contains(".rollback-"));
    for deployment in status["deployments"].as_array_mut().expect("deployments") {
        let known = deployment.as_object_mut().expect("what is known of it");
        known.retain(|name, _| !["revision", "updated", "available"].contains(&&**name));
    }
    let keys = status["redis"].as_object_mut().expect("groups of keys");
    let _announced = keys.remove("metrics:base-agent-v2");
    status
}

#[test]
fn an_emergency_with_its_database_is_taken_back() {
    let stage = Stage::shipped_with("auto");
    let before = side(&stage);
    let _recovered = stage.rollback("--emergency --env sandbox --reason try --yes").expect_code(0);
    let after = side(&stage);
    for group in ["containers", "load_balancer", "files", "database", "deployments"] {
        assert_ne!(after[group], before[group], "the emergency changes {group}: {after:#}");
    }
    let done = stage.rollback("revert latest --yes").expect_code(0);
    assert!(done.stderr.contains("✓ restore-registration"), "{done}");
    crate::support::wait_until("the world as before", || side(&stage) == before);
}
