//! The walk over a file's tree beside the schemas.
//!
//! It understands the keywords that `schemars` writes for Rust types, and the marks of [`forms`](crate::runbook::forms). A value that is a
//! template is accepted wherever templates are allowed: its type is known only after evaluation.

mod choice;
mod scalar;
mod verb;

use serde_json::{Map, Value};

use crate::runbook::diagnostic::{Diagnostic, Source};
use crate::runbook::forms::MARK;
use crate::runbook::node::{Key, Node, NodeValue};
use crate::runbook::schema::Catalog;
use crate::runbook::{suggest, template};

pub(super) use verb::names_verb;

/// A schema that accepts everything.
static ANYTHING: Value = Value::Bool(true);

/// Every problem of form.
pub(super) fn form(root: &Node, source: &Source, catalog: &Catalog<'_>) -> Vec<Diagnostic> {
    let mut walk = Walk { catalog, source, problems: Vec::new() };
    walk.value(root, &catalog.runbook, Place { what: "a runbook", templates: Templates::NotHere });
    walk.problems
}

/// Every problem of form in a document with a schema of its own; `what` is how messages name it.
pub(super) fn document<'a>(
    root: &Node,
    source: &'a Source,
    schema: &'a Value,
    what: &str,
    catalog: &'a Catalog<'a>,
) -> Vec<Diagnostic> {
    let mut walk = Walk { catalog, source, problems: Vec::new() };
    walk.value(root, schema, Place { what, templates: Templates::NotHere });
    walk.problems
}

/// Every problem of form in a system's connection.
pub(super) fn connection(
    system: &str,
    node: &Node,
    source: &Source,
    catalog: &Catalog<'_>,
) -> Vec<Diagnostic> {
    let mut walk = Walk { catalog, source, problems: Vec::new() };
    let what = format!("the connection `{system}`");
    let schema = catalog.connection(system).unwrap_or(&ANYTHING);
    walk.value(node, schema, Place { what: &what, templates: Templates::Allowed });
    walk.problems
}

/// Whether a template may stand at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Templates {
    Allowed,
    /// The structure of a runbook is fixed.
    NotHere,
    /// Text that another language interprets: a value there would need that language's quoting.
    NeverInCode,
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    /// As it is named in messages, with back quotes where it is a key.
    what: &'a str,
    templates: Templates,
}

struct Walk<'a> {
    catalog: &'a Catalog<'a>,
    source: &'a Source,
    problems: Vec<Diagnostic>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, node: &Node, schema: &'a Value, place: Place<'_>) {
        let outer_mark = schema.get(MARK);
        let schema = self.catalog.resolve(schema);
        let mut place = place;
        match outer_mark.or_else(|| schema.get(MARK)).and_then(Value::as_str) {
            Some("step") => return self.step(node),
            Some("probe-call") => return self.probe_call(node, place.what),
            Some("message-call") => return self.message_call(node, place.what),
            Some("message-name") => return self.message_name(node, place.what),
            Some("inventory-call") => return self.inventory_call(node, place.what),
            Some("templates" | "condition") => place.templates = Templates::Allowed,
            Some("no-template") => place.templates = Templates::NeverInCode,
            _ => {}
        }
        if node.as_text().is_some_and(template::is_template) {
            self.template(node, place);
            return;
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            for part in all {
                self.value(node, part, place);
            }
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(choices) = schema.get(keyword).and_then(Value::as_array) {
                return self.choice(node, choices, place);
            }
        }
        if !scalar::has_type(node, schema) {
            self.wrong_type(node, schema, place);
            return;
        }
        match &node.value {
            NodeValue::List(items) => self.list(node, items, schema, place),
            NodeValue::Map(entries) => self.map(node, entries, schema, place),
            _ => self.scalar(node, schema, place),
        }
    }

    fn template(&mut self, node: &Node, place: Place<'_>) {
        let what = place.what;
        let problem = match place.templates {
            Templates::Allowed => return,
            Templates::NotHere => {
                Diagnostic::error("template-not-allowed", format!("{what} cannot be a template"))
                    .hint("Templates stand in the arguments of a verb, in `when`, `for_each` and `default`.")
            }
            Templates::NeverInCode => {
                Diagnostic::error("template-in-code", format!("{what} cannot hold a template"))
                    .hint("A value inside code would need that code's own quoting: pass it as an argument, a parameter or a variable.")
            }
        };
        self.problems.push(problem.at(node.span));
    }

    fn list(&mut self, node: &Node, items: &[Node], schema: &'a Value, place: Place<'_>) {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        let most = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let count = items.len() as u64;
        let what = place.what;
        if count == 0 && least > 0 {
            let message = format!("{what} must not be empty");
            self.problems.push(Diagnostic::error("empty-list", message).at(node.span));
        } else if count < least || count > most {
            let message = format!("{what} has {count} elements, which is not allowed");
            self.problems.push(Diagnostic::error("wrong-length", message).at(node.span));
        }
        let element = match what {
            "`phases`" => "a phase".to_owned(),
            "`steps`" | "`prepare`" | "`restore`" => "a step".to_owned(),
            "`escalation`" => "a rung".to_owned(),
            "`tell`" => "a message".to_owned(),
            "`triggers`" => "a trigger".to_owned(),
            _ => format!("an element of {what}"),
        };
        let inner = schema.get("items").unwrap_or(&ANYTHING);
        for item in items {
            self.value(item, inner, Place { what: &element, ..place });
        }
    }

    fn map(&mut self, node: &Node, entries: &[(Key, Node)], schema: &'a Value, place: Place<'_>) {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let additional = schema.get("additionalProperties");
        for (key, value) in entries {
            if template::is_template(&key.name) {
                self.problems.push(
                    Diagnostic::error("template-in-key", "a key cannot be a template").at(key.span),
                );
                continue;
            }
            let what = format!("`{}`", key.name);
            let inner = Place { what: &what, ..place };
            match (properties.and_then(|known| known.get(&key.name)), additional) {
                (Some(schema), _) => self.property(key, value, schema, inner),
                (None, Some(Value::Object(_))) => {
                    self.value(value, additional.unwrap_or(&ANYTHING), inner);
                }
                (None, Some(Value::Bool(true))) => self.value(value, &ANYTHING, inner),
                (None, None) if properties.is_none() => {
                    self.value(value, &ANYTHING, inner);
                }
                (None, _) => self.unknown_key(key, properties.unwrap_or(&empty), place),
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        let missing: Vec<String> = required
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|name| node.get(name).is_none())
            .map(|name| format!("`{name}`"))
            .collect();
        if !missing.is_empty() {
            let (what, names) = (place.what, missing.join(" and "));
            let verb = if missing.len() == 1 { "is" } else { "are" };
            self.problems.push(
                Diagnostic::error("missing-key", format!("{what} needs {names}"))
                    .at(node.span)
                    .label(format!("{names} {verb} missing")),
            );
        }
    }

    fn property(&mut self, key: &Key, value: &Node, schema: &'a Value, place: Place<'_>) {
        let anything = self.catalog.resolve(schema).as_object().is_none_or(|keywords| {
            !keywords
                .keys()
                .any(|key| ["type", "anyOf", "oneOf", "enum", MARK].contains(&key.as_str()))
        });
        if value.value == NodeValue::Null && !anything {
            self.problems.push(
                Diagnostic::error("empty-value", format!("{} has no value", place.what))
                    .at(key.span)
                    .hint("Give it one, or leave the key out."),
            );
            return;
        }
        self.value(value, schema, place);
    }

    fn unknown_key(&mut self, key: &Key, known: &Map<String, Value>, place: Place<'_>) {
        let message = format!("`{}` is not a key of {}", suggest::visible(&key.name), place.what);
        let mut problem = Diagnostic::error("unknown-key", message).at(key.span);
        problem.hints.extend(suggest::hint(&key.name, known.keys().map(String::as_str)));
        self.problems.push(problem);
    }
}
