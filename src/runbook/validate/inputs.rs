//! Inputs: names that templates can use, and values of the declared type.

use std::str::FromStr as _;

use serde_json::Value;

use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::model::{Input, InputType, Runbook, Scenario};
use crate::runbook::node::{Node, NodeValue};
use crate::runbook::{suggest, template};
use crate::value::Lasting;

/// Longer texts in defaults and samples would let small templates grow large.
const LONGEST_TEXT: usize = 64 * 1024;

/// Checks every input.
pub(super) fn check(runbook: &Runbook, problems: &mut Vec<Diagnostic>) {
    for (name, input) in &runbook.inputs {
        if !is_name(name) {
            let shown = suggest::visible(name);
            problems.push(
                Diagnostic::error("malformed-id", format!("`{shown}` cannot be the name of an input"))
                    .at(input.span)
                    .hint("Use lower-case letters, digits and `_`, beginning with a letter: templates read it as `inputs.name`."),
            );
        }
        combination(name, input, problems);
        for (what, node) in [("default", &input.default), ("sample", &input.sample)] {
            if let Some(node) = node {
                value(name, what, input, node, problems);
            }
        }
        for allowed in input.one_of.iter().flatten() {
            if !fits(input.kind, allowed) {
                let message = format!("`{name}` is {}, and {allowed} is not", noun(input.kind));
                problems.push(Diagnostic::error("wrong-type", message).at(input.span));
            }
        }
    }
    argument(runbook, problems);
}

/// A flag carries one name, and only some scenarios' flags do.
fn argument(runbook: &Runbook, problems: &mut Vec<Diagnostic>) {
    let mut carried = runbook.inputs.iter().filter(|(_, input)| input.argument);
    let Some((name, first)) = carried.next() else { return };
    for (other, again) in carried {
        let message = format!("`{name}` and `{other}` are both the NAME of the flag");
        problems.push(
            Diagnostic::error("two-arguments", message)
                .at(again.span)
                .also(first.span, "the first")
                .hint("Leave `argument` out of all but one: the others are given by `--set`."),
        );
    }
    if first.kind != InputType::String {
        let message = format!("`{name}` is {}, and the flag carries a name", noun(first.kind));
        problems.push(
            Diagnostic::error("argument-not-text", message)
                .at(first.span)
                .hint("Write `type: string`."),
        );
    }
    if !matches!(runbook.scenario, Scenario::Partial | Scenario::KnowledgeBase) {
        let message =
            format!("`{name}` is the NAME of the flag, and this scenario's flag has none");
        problems.push(Diagnostic::error("argument-without-flag", message).at(first.span).hint(
            "Leave `argument` out, or write `scenario: partial` or `scenario: knowledge-base`.",
        ));
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn combination(name: &str, input: &Input, problems: &mut Vec<Diagnostic>) {
    let mut push = |code, message: String, hint: &str| {
        problems.push(Diagnostic::error(code, message).at(input.span).hint(hint));
    };
    if input.kind != InputType::List {
        if input.from.is_some() {
            push(
                "input-not-list",
                format!("`{name}` is read from an inventory, which gives a list"),
                "Write `type: list`.",
            );
        }
        if input.at_least.is_some() {
            push(
                "input-not-list",
                format!("`{name}` is not a list, and has no length"),
                "Leave `at_least` out.",
            );
        }
    }
    if input.required && (input.default.is_some() || input.from.is_some()) {
        problems.push(
            Diagnostic::warning(
                "required-with-default",
                format!("`{name}` always has a value: `required` says nothing"),
            )
            .at(input.span)
            .hint("Leave `required` or the default out."),
        );
    }
}

fn value(name: &str, what: &str, input: &Input, node: &Node, problems: &mut Vec<Diagnostic>) {
    if holds_template(node) {
        return;
    }
    let json = node.to_json();
    if longest_text(&json) > LONGEST_TEXT {
        let message = format!("the {what} of `{name}` is longer than 64 KiB");
        problems.push(Diagnostic::error("text-too-long", message).at(node.span));
        return;
    }
    if !fits(input.kind, &json) {
        let message = format!(
            "the {what} of `{name}` must be {}, not {}",
            noun(input.kind),
            template::kind_of(&json)
        );
        problems.push(
            Diagnostic::error("wrong-type", message)
                .at(node.span)
                .also(input.span, "declared here"),
        );
        return;
    }
    if input.one_of.as_ref().is_some_and(|allowed| !allowed.contains(&json)) {
        let message = format!("the {what} of `{name}` is not among `one_of`");
        problems.push(Diagnostic::error("unknown-value", message).at(node.span));
    }
    if let (Some(least), Value::Array(list)) = (input.at_least, &json)
        && list.len() < least
    {
        let message = format!(
            "the {what} of `{name}` has {} elements, and `at_least` wants {least}",
            list.len()
        );
        problems.push(Diagnostic::error("wrong-length", message).at(node.span));
    }
}

fn holds_template(node: &Node) -> bool {
    match &node.value {
        NodeValue::Text(text) => template::is_template(text),
        NodeValue::List(items) => items.iter().any(holds_template),
        NodeValue::Map(entries) => entries.iter().any(|(_, value)| holds_template(value)),
        _ => false,
    }
}

fn longest_text(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(longest_text).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether a value has the type of an input.
pub(in crate::runbook) fn fits(kind: InputType, value: &Value) -> bool {
    match kind {
        InputType::String => value.is_string(),
        InputType::Integer => value.is_i64() || value.is_u64(),
        InputType::Number => value.is_number(),
        InputType::Boolean => value.is_boolean(),
        InputType::List => value.as_array().is_some_and(|list| {
            list.iter().all(|item| item.is_string() || item.is_number() || item.is_boolean())
        }),
        InputType::Duration => value.as_str().is_some_and(|text| Lasting::from_str(text).is_ok()),
    }
}

fn noun(kind: InputType) -> &'static str {
    match kind {
        InputType::String => "a text",
        InputType::Integer => "a whole number",
        InputType::Number => "a number",
        InputType::Boolean => "true or false",
        InputType::List => "a list of single values",
        InputType::Duration => "a duration such as `30s`",
    }
}
