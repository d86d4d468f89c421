//! The version comes first: nothing else of a file in another version can be judged.

use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::forms::VERSION;
use crate::runbook::node::{Node, NodeValue};

/// What is wrong with the version of a file of this kind, such as `runbook`, if anything.
pub(super) fn check(root: &Node, kind: &str) -> Option<Diagnostic> {
    let NodeValue::Map(entries) = &root.value else {
        return Some(
            Diagnostic::error(
                "wrong-type",
                format!("a {kind} is a mapping that begins with `version: 1`"),
            )
            .at(root.span)
            .hint("`rollback init` writes a first one."),
        );
    };
    let Some(version) = root.get("version") else {
        let place = entries.first().map_or(root.span, |(key, _)| key.span);
        return Some(
            Diagnostic::error("missing-version", "the version of the language is missing")
                .at(place)
                .hint(format!("Begin the file with `version: {VERSION}`.")),
        );
    };
    let number = match &version.value {
        NodeValue::Number(number) => number.as_u64(),
        _ => None,
    };
    let problem = match number {
        Some(number) if number == u64::from(VERSION) => return None,
        Some(number) if number > u64::from(VERSION) => Diagnostic::error(
            "newer-version",
            format!("this {kind} needs version {number} of the language, and this program reads version {VERSION}"),
        )
        .hint("Use a newer release of rollback."),
        _ => Diagnostic::error("unknown-version", "there is no such version of the language")
            .hint(format!("Write `version: {VERSION}`.")),
    };
    Some(problem.at(version.span))
}
