//! For code scanning: SARIF 2.1.0 (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>).

use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use super::{CheckedFile, Problem};

/// What may not stand for itself in the path of a URI (RFC 3986), but for `/`.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b':')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A log with one run.
pub fn sarif(files: &[CheckedFile]) -> Value {
    let mut codes: Vec<&str> =
        files.iter().flat_map(|file| &file.problems).map(|found| found.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    let rules: Vec<Value> = codes.iter().map(|code| json!({"id": code})).collect();
    let results: Vec<Value> = files
        .iter()
        .flat_map(|file| file.problems.iter().map(|found| result(file, found, &codes)))
        .collect();
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "rollback",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(file: &CheckedFile, problem: &Problem, codes: &[&str]) -> Value {
    let mut place = json!({"artifactLocation": {"uri": uri(&file.path)}});
    if let Some(at) = problem.place {
        place["region"] = json!({
            "startLine": at.line,
            "startColumn": at.column,
            "endLine": at.end_line,
            "endColumn": at.end_column,
        });
    }
    json!({
        "ruleId": problem.code,
        "ruleIndex": codes.binary_search(&problem.code.as_str()).ok(),
        "level": problem.severity.word(),
        "message": {"text": problem.text()},
        "locations": [{"physicalLocation": place}],
    })
}

/// A relative path stays relative, to the root of the checkout; an absolute one becomes a `file:` URI.
fn uri(path: &str) -> String {
    let encoded = utf8_percent_encode(path, ENCODED);
    if Path::new(path).is_absolute() { format!("file://{encoded}") } else { encoded.to_string() }
}
