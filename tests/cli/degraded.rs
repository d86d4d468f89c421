//! Degraded by design: whoever only listens may be silent, and the rescue loses nothing by it.

use serde_json::Value;

use super::stage::Stage;

const EMERGENCY: &str = "--emergency --env sandbox --reason try --yes --format jsonl";

/// What happened, in its order: the name of each event, and the step or the target that it is about.
fn told(stage: &Stage) -> Vec<(String, String)> {
    let run = stage.rollback(EMERGENCY).expect_code(0);
    let events = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events
        .map(|event| {
            let about = [&event["target"], &event["step"], &event["at"]["step"]];
            let about = about.into_iter().find(|about| about.is_string());
            (text(&event["event"]), about.map(text).unwrap_or_default())
        })
        .collect()
}

/// Which changes were made, in the order of the steps that made them.
fn changes(events: &[(String, String)]) -> Vec<&str> {
    let applied = events.iter().filter(|(event, _)| event == "applied");
    let mut steps: Vec<&str> = applied.map(|(_, step)| step.as_str()).collect();
    steps.retain(|step| !step.contains("tell"));
    steps.dedup();
    steps.sort_unstable();
    steps.dedup();
    steps
}

/// Kubernetes may be what is ill: traffic and agents are brought back without it.
#[test]
fn a_dead_kubernetes_keeps_nobody_from_recovering() {
    for fault in ["kubernetes:error=403", "kubernetes:silence"] {
        let stage = Stage::shipped();
        let _ill = stage.rollback(&format!("sandbox fault {fault}")).expect_code(0);
        let events = told(&stage);
        let reached = events.iter().filter(|(event, _)| event == "target-reached").count();
        assert_eq!(reached, 2, "{fault}: {events:#?}");
    }
}

#[test]
fn silent_messengers_and_metrics_hold_nothing_up() {
    let well = Stage::shipped();
    let wanted = told(&well);
    let ill = Stage::shipped();
    let _silent = ill
        .rollback(
            "sandbox fault chat:latency=1h pager:latency=1h mail:latency=1h prometheus:latency=1h",
        )
        .expect_code(0);
    let events = told(&ill);
    assert_eq!(changes(&events), changes(&wanted), "the same is done");
    // Nobody has waited for an answer: traffic was back before the first of the silent ones was given up.
    let place = |event: &str, about: &str| {
        let at = events.iter().position(|(name, of)| name == event && of.contains(about));
        at.unwrap_or_else(|| panic!("no {event} of {about}: {events:#?}"))
    };
    let restored = place("target-reached", "traffic-on-blue");
    assert!(restored < place("step-ended", "stop/tell-the-team"), "{events:#?}");
    assert!(restored < place("step-ended", "stop/monitoring-reports"), "{events:#?}");
    assert!(
        place("target-reached", "recovered") < place("step-ended", "validate/performance"),
        "{events:#?}"
    );
}
