//! Journals of every released format stay readable.

use serde_json::json;

use super::super::line::{Chain, Entry};
use super::super::reader::{Tail, parse};
use super::{event, header};
use crate::event::{Event, Record};

const FORMAT_1: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/journals/format-1.jsonl");

/// One record of each kind.
fn one_of_each() -> Vec<Event> {
    let at = |kind: &str| json!({"event": kind, "step": "stop/agents", "item": "agent-001"});
    let with = |kind: &str, more: serde_json::Value| {
        let mut value = at(kind);
        value.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
        event(value)
    };
    let error = json!({"error": {
        "kind": "unreachable", "retryable": true, "message": "reach docker at unix:///run/docker.sock",
        "causes": ["connection refused"], "hints": ["Start it with `systemctl start docker`."],
    }});
    let evidence = json!({"evidence": {"summary": "stopped in 1.2s", "facts": {"code": 0}}});
    let by = json!({"user": "ada", "host": "ops-1", "pid": 4711});
    vec![
        Event::RunStarted { header: header() },
        event(
            json!({"event": "run-resumed", "by": by, "salvaged": "line 3 (byte 812): it is cut"}),
        ),
        event(json!({"event": "phase-started", "phase": "stop"})),
        event(json!({"event": "step-started", "step": "stop/agents", "left_ms": -120})),
        event(json!({"event": "step-resolved", "step": "stop/agents", "items": [
            {"name": "agent-001", "args": {"container": "c1"}, "does": "stop c1", "undo": "start c1"},
        ]})),
        event(json!({"event": "step-skipped", "step": "stop/cache",
            "reason": {"no-spare-time": {"needs_ms": 900, "left_ms": 200}}})),
        with(
            "inspected",
            json!({
                "saved": {"state": {"image": "a:1"}, "private": {"file": "x.json", "sha256": "00"}},
                "predicted": [{"resource": "docker:c1", "state": "exited"}],
            }),
        ),
        with("found-done", evidence.clone()),
        with("apply-started", json!({"attempt": 1})),
        with("noted", json!({"note": {"pid": 77}})),
        with("applied", evidence.clone()),
        with("apply-failed", error.clone()),
        with("apply-unknown", error.clone()),
        with("verified", evidence),
        with("verify-failed", error.clone()),
        with("inspect-failed", error.clone()),
        with("retry-scheduled", {
            let mut value = error.clone();
            value["attempt"] = json!(1);
            value["delay_ms"] = json!(500);
            value
        }),
        with("undo-started", json!({})),
        with("undone", json!({})),
        with("undo-failed", error.clone()),
        with("question-opened", json!({"text": "Is the site up?", "required": false})),
        with("question-answered", json!({"by": by, "confirmed": true, "remark": "seen it"})),
        event(json!({"event": "failure-decided", "step": "stop/agents", "by": by, "go_on": true})),
        event(json!({"event": "approval-asked", "step": "stop/agents", "role": "lead",
            "within": 120_000, "reason": "it hurts", "approvers": ["ada"]})),
        event(
            json!({"event": "approval-answered", "step": "stop/agents", "role": "lead", "listed": true,
            "name": "ada", "by": by, "how": "command", "approved": true, "reason": "seen it"}),
        ),
        event(json!({"event": "approval-expired", "role": "team"})),
        event(
            json!({"event": "rung-raised", "level": "L1", "who": "ada", "phone": "+1 415 555 0100"}),
        ),
        event({
            let mut value = error.clone();
            let more = json!({"event": "rung-told", "level": "L1", "message": "notify.slack"});
            value
                .as_object_mut()
                .expect("an object")
                .extend(more.as_object().expect("one").clone());
            value
        }),
        event(json!({"event": "acknowledged", "by": by, "remark": "on it"})),
        event(json!({"event": "target-reached", "target": "rto", "took_ms": 900, "in_time": true})),
        event(json!({"event": "target-late", "target": "full", "within_ms": 60_000})),
        event(json!({"event": "budget-passed", "phase": "stop", "budget_ms": 10_000})),
        event(
            json!({"event": "stop-requested", "reason": {"step-failed": {"step": "stop/agents"}}}),
        ),
        event(json!({"event": "kill-requested"})),
        event(json!({"event": "output-lost", "what": "broken pipe"})),
        event(json!({"event": "warned", "message": "the clock was set back by 3s"})),
        event(json!({"event": "step-ended", "step": "stop/agents", "outcome": "done"})),
        event(json!({"event": "phase-ended", "phase": "stop"})),
        with("question-probed", json!({"by": by, "held": true, "seen": "200"})),
        event(
            json!({"event": "evidence-gathered", "by": by, "archive": "/srv/a.tar.gz", "sha256": "00", "pieces": 7,
            "missing": {"prometheus": "failed to reach it"}, "failures": {"oom": {"docker/a.log": 2}},
            "compared": {"errors": [0.5, null]}}),
        ),
        event(json!({"event": "revert-started", "by": by, "run": "20261121-2130-x4mp"})),
        event(json!({"event": "run-confirmed", "by": by})),
        event(json!({"event": "run-ended", "verdict": "recovered", "exit_code": 0})),
    ]
}

fn seal(records: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let (mut chain, mut bytes) = (Chain::START, Vec::new());
    for entry in records {
        let _record: Record = chain.seal(entry, &mut bytes).expect("it can be sealed");
    }
    bytes
}

/// Set, the fixture is written anew: for the first release of a format only.
const UPDATE: &str = "ROLLBACK_UPDATE_FIXTURES";

#[test]
fn a_journal_of_format_1_is_read_and_written() {
    let entries = (0_u64..).zip(one_of_each()).map(|(elapsed_ms, event)| Entry {
        at: header().started + std::time::Duration::from_millis(elapsed_ms),
        elapsed_ms,
        event,
    });
    let written = seal(entries);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(FORMAT_1, &written).expect("the source can be written");
    }
    let bytes = std::fs::read(FORMAT_1).expect("the fixture is part of the source");
    let history = parse(FORMAT_1.as_ref(), &bytes).expect("it is intact");
    assert_eq!(history.tail, Tail::Clean);
    let events: Vec<Event> = history.records.iter().map(|record| record.event.clone()).collect();
    assert_eq!(events, one_of_each());
    assert_eq!(history.records[2].at.to_string(), "2026-11-21T20:15:00.002Z");
    // Within a format nothing that was written before may be written otherwise: others read it, too.
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&bytes));
}
