//! The first record, which is written as it is made.

use std::sync::Arc;

use serde_json::json;

use super::super::line::Chain;
use super::super::pieces::PIECE;
use super::{entry, header_of};
use crate::event::Event;
use crate::plan::PlannedPhase;

/// With one of everything whose form the writer could get wrong.
fn phase() -> PlannedPhase {
    let step = |id: &str, items: serde_json::Value| {
        json!({
            "id": id, "verb": "script.run", "waits": [{"step": "stop/first", "until": "passed"}], "items": items,
            "policy": {
                "timeout": 60_000, "expected": 2000, "expected_from": "assumed", "on_failure": "stop",
                "retry": {"attempts": 1, "delay": 1000, "max_delay": 30_000},
                "verify": {"within": 10_000, "every": 250},
            },
        })
    };
    let item = json!({"name": "", "args": {"of": [1, 2.5, null, "\u{1}"]}, "does": "do it"});
    let deferred = json!({"deferred": {"args": [], "reason": "it was away"}});
    let steps = [step("stop/agents", json!({"resolved": [item]})), step("stop/late", deferred)];
    serde_json::from_value(json!({"id": "stop", "title": "Stop", "steps": steps}))
        .expect("the phase has the form of this version")
}

#[test]
fn a_line_in_pieces_is_the_line_as_a_whole() {
    for bytes in [0, PIECE / 2, PIECE, 2 * PIECE, 5 * PIECE + 7] {
        let mut header = header_of("emergency", "staging");
        header.runbook_text = "a \"quoted\" line\n".repeat(bytes / 16).into();
        header.runbook_path = "x".repeat(bytes);
        header.plan.phases.push(phase());
        let header = Arc::new(header);
        let first = || entry(Event::RunStarted { header: header.clone() }, 0);
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        let (mut chain, mut other) = (Chain::START, Chain::START);
        let record = chain.seal(first(), &mut whole).expect("it can be sealed");
        assert_eq!(other.seal_first(first(), &mut pieces).expect("it can be sealed"), record);
        assert_eq!(String::from_utf8(pieces), String::from_utf8(whole), "{bytes} bytes");
        assert_eq!(other, chain);
    }
}
