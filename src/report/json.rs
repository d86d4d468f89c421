//! Reports for programs: the whole run as one JSON document, or its events as a stream of lines.

use serde_json::{Value, json};

use super::state::View;
use crate::event::{FORMAT, Record};
use crate::secret::hide_markers;

/// The run as one JSON document.
pub fn document(view: &View) -> Value {
    let mut value = json!({
        "format": FORMAT,
        "run": view.header.run,
        "runbook": view.header.plan.runbook,
        "environment": view.header.plan.environment,
        "subject": view.header.plan.subject,
        "reason": view.header.reason,
        "by": view.header.by,
        "started": view.header.started,
        "since": view.header.since,
        "elapsed_ms": view.elapsed_ms,
        "verdict": view.verdict.map(|(verdict, _)| verdict),
        "exit_code": view.verdict.map(|(_, code)| code),
        "standing": view.standing,
        "confirmed": view.confirmed.as_ref().map(|(at, by)| json!({"at": at, "by": by})),
        "reverts": view.header.plan.reverts,
        "reverted_by": view.reverted_by,
        "stop": view.stop,
        "targets": view.targets,
        "steps": view.steps,
        "questions": view.questions,
        "approvals": view.approvals,
        "evidence": view.evidence,
        "escalation": view.rungs,
        "acknowledged": view.acknowledged.as_ref().map(|(at_ms, by, remark)| {
            json!({"at_ms": at_ms, "by": by, "remark": remark})
        }),
        "warnings": view.warnings,
        "resumed": view.resumed,
        "inputs": view.header.plan.inputs,
        "runbook_sha256": view.header.runbook_sha256,
    });
    hide(&mut value);
    value
}

/// One event as one line of the stream, without a line end.
pub fn line(record: &Record) -> String {
    let mut value = serde_json::to_value(record)
        .unwrap_or_else(|error| json!({"event": "unwritable", "error": error.to_string()}));
    hide(&mut value);
    value.to_string()
}

fn hide(value: &mut Value) {
    match value {
        Value::String(text) if crate::secret::has_marker(text) => *text = hide_markers(text),
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Object(entries) => entries.values_mut().for_each(hide),
        _ => {}
    }
}
