//! `rollback decide`: the reason first, then what to do; one exit code for each verdict.

use super::stage::{Stage, crate_root};
use crate::support::world::World;

/// The shipped project with its table.
fn stage() -> Stage {
    let stage = Stage::shipped();
    let table = std::fs::read_to_string(crate_root().join("runbooks/ollama/decisions.yaml"));
    let _path = stage.world.write("home/runbooks/ollama/decisions.yaml", &table.expect("shipped"));
    stage
}

impl Stage {
    fn metric(&self, sample: &str) {
        let quoted = shell_words::quote(sample).into_owned();
        self.rollback(&format!("sandbox metric {quoted}")).expect_code(0);
    }
}

/// The world without the messages that people got: they are told of a run that nobody has approved, too.
fn untold(stage: &Stage) -> serde_json::Value {
    let mut status = stage.status();
    let world = status.as_object_mut().expect("the world by its parts");
    for told in ["chat", "pages", "mails", "tracker", "effects", "effects_total"] {
        world.remove(told).expect(told);
    }
    status
}

#[test]
fn a_decision_gives_its_reason_first_and_then_what_to_do() {
    let stage = stage();
    let _redacted = stage.redacted();
    let quiet = stage.rollback("decide --env sandbox").expect_code(0);
    insta::assert_snapshot!("decide-quiet", quiet);

    stage.metric("ollama_query_success_ratio 0.9");
    let prepare = stage.rollback("decide --env sandbox").expect_code(32);
    insta::assert_snapshot!("decide-prepare", prepare);

    stage.metric("ollama_task_failure_ratio 0.02");
    stage.metric("ollama_memory_usage_ratio NaN");
    let evaluate = stage.rollback("decide --env sandbox").expect_code(31);
    insta::assert_snapshot!("decide-evaluate", evaluate);

    // What a person has to judge starts a run that asks for that judgement, and changes nothing without it.
    let json = stage.rollback("decide --env sandbox --format json").expect_code(31).json();
    let command = json["respond"]["command"].as_str().expect("a command").to_owned();
    let (before, role) = (untold(&stage), "--approval-role lead-engineer --approval-within");
    let hasty = command.replacen(&format!("{role} 2m"), &format!("{role} 1s"), 1);
    assert_ne!(hasty, command, "it names the role and the time of the table");
    let words = hasty.strip_prefix("rollback ").expect("this program");
    let unapproved = stage.rollback(&format!("{words} --yes")).expect_code(9);
    assert!(unapproved.stderr.contains("nobody approved it as lead-engineer"), "{unapproved}");
    assert_eq!(untold(&stage), before, "{unapproved}");

    stage.metric("ollama_agent_error_ratio{agent_type=\"coder\"} 0.08");
    let roll_back = stage.rollback("decide --env sandbox").expect_code(30);
    insta::assert_snapshot!("decide-roll-back", roll_back);
    let json = stage.rollback("decide --env sandbox --format json").expect_code(30);
    insta::assert_snapshot!("decide-json", format!("{:#}", json.json()));

    // The command that it names is one that starts the rollback.
    let command = json.json()["respond"]["command"].as_str().expect("a command").to_owned();
    let words = command.strip_prefix("rollback ").expect("this program");
    stage.rollback(&format!("{words} --yes")).expect_code(0);
}

#[test]
fn what_cannot_be_asked_is_no_data_and_never_quiet() {
    let stage = stage();
    let _redacted = stage.redacted();
    stage.rollback("sandbox fault prometheus:error=503,path=/api").expect_code(0);
    let unknown = stage.rollback("decide --env sandbox").expect_code(33);
    assert!(!unknown.stdout.contains("NOTHING TO DO"), "{unknown}");
    assert_eq!(unknown.stdout.matches("no data: ").count(), 11, "{unknown}");
    insta::assert_snapshot!("decide-no-data", unknown);
    // An environment that knows no Prometheus at all.
    let _path = stage
        .world
        .write("home/runbooks/environments/bare.yaml", "version: 1\nvalues: {metrics: {}}\n");
    let typo = stage.rollback("sandbox metric ollama_memory_usage_ratio").expect_code(2);
    assert!(typo.stderr.contains("read the sample `ollama_memory_usage_ratio`"), "{typo}");
    let bare = stage.rollback("decide --env bare").expect_code(33);
    assert_eq!(
        bare.stdout.matches("no data: failed to evaluate the condition").count(),
        11,
        "{bare}"
    );
    assert_eq!(bare.stdout.matches("hint: The environment file has").count(), 1, "{bare}");
    let before = stage.status();
    let _again = stage.rollback("decide --env sandbox").expect_code(33);
    assert_eq!(stage.status(), before, "it only asks");
}

/// As a step of a runbook: what is wrong is told with its values, and missing data as missing.
#[test]
fn a_step_without_data_fails_and_says_that_there_were_none() {
    let stage = Stage::with(
        "phases:\n  - id: look\n    title: Look\n    steps:\n      - id: errors\n        timeout: 2s\n        \
         prometheus.expect: {query: ollama_agent_error_ratio, at_most: 0.05, fresh: 1m}\n",
    );
    let run = |code| stage.rollback("run small --env sandbox --yes").expect_code(code).to_string();
    let good = run(0);
    assert!(good.contains("all 2 series at most 0.05, from 0.002 to 0.004"), "{good}");
    stage.metric("ollama_agent_error_ratio{agent_type=\"coder\"} NaN");
    let unknown = run(6);
    assert!(unknown.contains("no data: {agent_type=\"coder\"} is not a number"), "{unknown}");
    assert!(!unknown.contains("not at most"), "it is not said to be false: {unknown}");
    stage.metric("ollama_agent_error_ratio{agent_type=\"coder\"} 0.5");
    let bad = run(6);
    let told = "1 of 2 series not at most 0.05: {agent_type=\"coder\"} 0.5";
    assert!(bad.contains(told) && !bad.contains("no data"), "{bad}");
}

#[test]
fn a_table_and_an_environment_have_to_be_found() {
    let empty = World::new();
    let none = empty.rollback(["decide"]).expect_code(2);
    assert!(none.stderr.contains("failed to find a decision table"), "{none}");
    let table = std::fs::read_to_string(crate_root().join("runbooks/ollama/decisions.yaml"))
        .expect("it is shipped");
    let _path = empty.write("home/runbooks/one.yaml", &table);
    // The runbook that it names is missing.
    let unknown = empty.rollback(["decide", "--env", "sandbox"]).expect_code(3);
    assert!(unknown.stderr.contains("error[unknown-runbook]"), "{unknown}");
    let checked = empty.rollback(["check"]).expect_code(3);
    assert!(checked.stdout.contains("error[unknown-runbook]"), "{checked}");
    let book = std::fs::read_to_string(crate_root().join("runbooks/ollama/emergency.yaml"));
    let _path = empty.write("home/runbooks/emergency.yaml", &book.expect("it is shipped"));
    let nowhere = empty.rollback(["decide"]).expect_code(2);
    assert!(nowhere.stderr.contains("choose an environment"), "{nowhere}");
    let _path = empty.write("home/runbooks/two.yaml", &table);
    let several = empty.rollback(["decide", "--env", "sandbox"]).expect_code(2);
    assert!(several.stderr.contains("there are several"), "{several}");
    empty.rollback(["check"]).expect_code(0);
}
