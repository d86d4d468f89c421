//! What the shipped runbook cleans up: the metrics go once the rollback is proved, and neither a dead Redis nor a broken service
//! discovery holds up the rescue.

use super::stage::Stage;

const RUN: &str = "--emergency --env sandbox --reason try --yes";

#[test]
fn the_enhanced_agents_metrics_go_last_and_nothing_else_does() {
    let stage = Stage::shipped();
    let before = stage.status()["redis"].clone();
    assert_eq!(before["metrics:base-agent-v2"], 15, "three agents, five each");
    let plan =
        stage.rollback("plan ollama-emergency --env sandbox --reason try").expect_code(0).stdout;
    assert!(plan.contains("metrics:base-agent-v2:* (at most 100000): 15 keys"), "{plan}");

    let run = stage.rollback(RUN).expect_code(0).stderr;
    let place = |text: &str| run.find(text).unwrap_or_else(|| panic!("{text} is missing: {run}"));
    assert!(place("system-health") < place("clear-metrics"), "{run}");
    let after = stage.status();
    let mut wanted = before;
    wanted.as_object_mut().expect("groups").remove("metrics:base-agent-v2");
    assert_eq!(after["redis"], wanted);
    let unlinked = after["effects"].as_object().expect("effects").iter();
    let unlinked: Vec<_> = unlinked.filter(|(effect, _)| effect.starts_with("unlink ")).collect();
    assert_eq!(unlinked.len(), 15);
    assert!(unlinked.iter().all(|(_, count)| *count == 1), "{unlinked:?}");

    assert_eq!(
        stage.rollback("sandbox reset --format json").expect_code(0).json()["redis"]["metrics:base-agent-v2"],
        15
    );
}

#[test]
fn a_dead_redis_stops_nothing() {
    let stage = Stage::shipped();
    for fault in ["reset", "silence"] {
        stage.rollback("sandbox reset").expect_code(0);
        stage.rollback(&format!("sandbox fault redis:{fault}")).expect_code(0);
        let run = stage.rollback(RUN).expect_code(0);
        assert!(run.stderr.contains("TARGET MET: recovered"), "{run}");
        let status = stage.status();
        assert_eq!(status["load_balancer"]["colour"], "blue", "{fault}");
        assert_eq!(status["redis"]["metrics:base-agent-v2"], 15, "{fault}");
    }
}

#[test]
fn a_broken_discovery_file_does_not_keep_the_ill_agents_running() {
    let stage = Stage::shipped();
    let template = "sandbox/root/etc/nginx/templates/agent-discovery.conf.tpl";
    let _path = stage
        .world
        .write(format!("state/rollback/{template}"), "upstream agent-services { nonsense\n");
    let run = stage.rollback(RUN).expect_code(0).stderr;
    let place = |text: &str| run.find(text).unwrap_or_else(|| panic!("{text} is missing: {run}"));
    assert!(place("✓ traffic-is-on-blue") < place("✗ update-discovery"), "{run}");
    assert!(place("✗ update-discovery") < place("✓ drain-green"), "{run}");
    assert!(run.contains("TARGET MET: recovered"), "{run}");
}
