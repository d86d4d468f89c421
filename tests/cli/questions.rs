//! Runbooks that only ask: whether a rollback holds, and whether a deployment may begin.

use std::time::Duration;

use super::stage::Stage;
use crate::support::{HANG, install_tls};

const EMERGENCY: &str = "--emergency --env sandbox --reason try --yes";

#[test]
fn the_validation_alone_tells_whether_the_rollback_holds() {
    let stage = Stage::shipped();
    let before = stage.rollback("run ollama-validation --env sandbox --yes").expect_code(6);
    assert!(before.stderr.contains("traffic-is-on-blue"), "{before}");
    let _recovered = stage.rollback(EMERGENCY).expect_code(0);
    let after = stage.rollback("run ollama-validation --env sandbox --yes").expect_code(0);
    for step in ["task-rate", "response-times", "memory", "processors", "availability", "alerts"] {
        assert!(after.stderr.contains(&format!("✓ {step}")), "{step}: {after}");
    }
    let _worse = stage.rollback("sandbox metric 'ollama_availability_ratio 0.99'").expect_code(0);
    let worse = stage.rollback("run ollama-validation --env sandbox --yes").expect_code(6);
    assert!(worse.stderr.contains("✗ availability"), "{worse}");
}

#[test]
fn a_check_of_an_environment_asks_its_live_systems() {
    let stage = Stage::shipped();
    let fine = stage.rollback("check --env sandbox").expect_code(0);
    assert!(fine.stdout.contains("note[for-a-person]"), "{fine}");
    let _worse = stage.rollback("sandbox metric 'ollama_memory_usage_ratio 0.8'").expect_code(0);
    let worse = stage.rollback("check --env sandbox").expect_code(3);
    let told = "error[does-not-hold]: runbooks/ollama/prevention.yaml: step before/capacity";
    assert!(worse.stdout.contains(told), "{worse}");
    let offline = stage.rollback("check").expect_code(0);
    assert!(!offline.stdout.contains("prevention.yaml: step"), "{offline}");
    let unknown = stage.rollback("check --env nowhere").expect_code(3);
    assert!(unknown.stdout.contains("error[no-environment]"), "{unknown}");
}

#[test]
fn a_check_of_an_environment_whose_systems_are_silent_fails() {
    let stage = Stage::shipped();
    let _broken = stage.rollback("sandbox fault docker:error=503").expect_code(0);
    let silent = stage.rollback("check --env sandbox").expect_code(3);
    assert!(
        silent.stdout.contains("error[not-reached]") || silent.stdout.contains("error[refused]"),
        "{silent}"
    );
}

#[test]
fn a_runbook_that_asks_may_not_change_anything() {
    let stage = Stage::empty();
    stage.add(
        "asks",
        "validation",
        "phases:\n  - id: a\n    steps:\n      - id: b\n        docker.stop: {project: legacy}\n",
    );
    let checked = stage.rollback("check").expect_code(3);
    assert!(checked.stdout.contains("error[change-among-questions]"), "{checked}");
}

#[test]
fn a_task_that_the_enhanced_agents_work_on_is_done_before_they_stop() {
    let stage = Stage::shipped();
    let green = stage.green();
    install_tls();
    let task = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let url = format!("http://{green}/api/tasks?ms=2500");
            let work = reqwest::Client::new().post(url).timeout(HANG).send();
            work.await.expect("it answers").status().as_u16()
        })
    });
    std::thread::sleep(Duration::from_millis(200));
    let _recovered = stage.rollback(EMERGENCY).expect_code(0);
    assert_eq!(task.join().expect("it has ended"), 200, "no task is lost");
}

/// Each bound of the procedure: met by a hair everywhere, and then missed by a hair everywhere.
#[test]
fn the_validation_keeps_to_the_bounds_of_the_procedure() {
    let stage = Stage::shipped();
    let look = |finding: &str| {
        let plan = "plan ollama-validation --env sandbox --only baseline --format json";
        let plan = stage.rollback(plan).stdout;
        let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
        let steps = plan["preview"]["steps"].as_array().expect("steps").iter();
        let found = steps.filter(|step| step["items"][0]["finding"]["finding"] == finding);
        found.map(|step| step["id"].to_string()).collect::<String>()
    };
    let bounds = [
        ("task-rate", "ollama_tasks_per_second", 12.4 * 0.951, 12.4 * 0.949),
        (
            "response-times",
            "ollama_agent_response_seconds{agent_type=\"coder\"}",
            0.81 * 1.099,
            0.81 * 1.101,
        ),
        ("memory", "ollama_memory_usage_ratio", 0.699, 0.7),
        ("processors", "ollama_cpu_usage_ratio", 0.799, 0.8),
        ("backlog", "ollama_failed_tasks_waiting", 0.0, 1.0),
        ("availability", "ollama_availability_ratio", 0.999, 0.998_9),
    ];
    for missed in [false, true] {
        for (_, series, met, over) in bounds {
            let value = if missed { over } else { met };
            let sample = shell_words::quote(&format!("{series} {value}")).into_owned();
            stage.rollback(&format!("sandbox metric {sample}")).expect_code(0);
        }
        let found = look(if missed { "does-not-hold" } else { "holds" });
        for (step, ..) in bounds {
            assert!(found.contains(&format!("baseline/{step}\"")), "{step}, {missed}: {found}");
        }
    }
}
