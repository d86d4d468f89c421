//! The page of all verbs, made from the registry.

use std::fmt::Write as _;

use rollback::action::{Registry, System, Verb, VerbKind};
use rollback::value::brief;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// What undo does after a message.
const MESSAGE: &str = "nothing: a message cannot be unsent; `irreversible` need not be declared";

/// What undo does, for every verb that changes something. What an undo does cannot be read from a schema.
const UNDO: [(&str, &str); 40] = [
    ("digitalocean.pause", "deploys the former specification"),
    ("digitalocean.resume", "archives the apps again, in their former specification"),
    (
        "digitalocean.rollback",
        "reverts the rollback; with `pin: false`, deploys what served before",
    ),
    ("digitalocean.commit", "nothing: a committed rollback is no longer known as one"),
    ("digitalocean.revert", "rolls back again"),
    ("digitalocean.restart", "nothing: the new containers are of the same version"),
    ("digitalocean.deploy", "rolls back to the deployment that served before"),
    ("digitalocean.detach", "gives the route or the function back as it was"),
    ("digitalocean.attach", "takes it away again, or makes the route what it was"),
    ("digitalocean.instruct", "gives the former instruction back"),
    ("dns.point", "brings the former records and their ttl back, or removes what was not there"),
    ("docker.stop", "starts the containers that it stopped"),
    ("docker.start", "stops the containers that it started"),
    ("docker.scale", "brings the parked containers back and removes the new ones"),
    ("docker.swap", "brings the parked container back and removes the new one"),
    ("file.lock", "removes the lock"),
    ("file.unlock", "takes the lock again"),
    ("file.write", "brings the former file back, or removes it if there was none"),
    ("file.copy-tree", "brings the former folder back"),
    ("file.remove", "moves it back"),
    ("http.call", "sends the request under `undo`; without one it cannot be undone"),
    ("kubernetes.pause", "resumes what it paused"),
    ("kubernetes.resume", "pauses what it resumed"),
    (
        "kubernetes.undo",
        "puts the pod template back that it replaced, and pauses again what was paused",
    ),
    ("kubernetes.scale", "scales back to the former number"),
    ("kubernetes.restart", "nothing: the new pods are of the same pod template"),
    ("kubernetes.abort", "retries the rollout that it aborted"),
    ("loadbalancer.switch", "puts the former file back and reloads nginx"),
    ("loadbalancer.render", "puts the former file back and reloads nginx"),
    ("notify.slack", MESSAGE),
    ("notify.pagerduty", MESSAGE),
    ("notify.email", MESSAGE),
    ("notify.sms", MESSAGE),
    ("notify.webhook", MESSAGE),
    ("redis.delete", "nothing: deleted keys cannot be brought back"),
    (
        "postgres.run",
        "puts the replaced rows of `changes` back; without `changes` it cannot be undone",
    ),
    ("postgres.snapshot", "removes the snapshot"),
    ("postgres.restore", "puts the rows back that it replaced"),
    ("script.run", "runs the program under `undo`; without one it cannot be undone"),
    ("script.shell", "runs the command under `undo`; without one it cannot be undone"),
];

const INTRODUCTION: &str = "\
# Verbs

What a step can do. This page is made from the program's own schemas by `make docs`; `rollback schema` prints the same for editors.

A verb **changes** something, **asks** a question and waits for the expected answer, or **lists** something as the source of an
input. A verb's *timeout* is the time of one attempt when the step does not say `timeout`. A verb that changes something looks
first, where there is a state to look at: what is so already counts as done. Undo is what `on_failure: undo` does after a failure of the step.

In the tables a *duration* has its unit (`30s`, `5m`), and a *count* is a number or `{at_least: N, at_most: N}`. A template may stand for
every value but the first level of keys ([the language](language.md#templates)).
";

/// The whole page.
pub(super) fn page(registry: &Registry) -> String {
    let mut page = INTRODUCTION.to_owned();
    for system in registry.systems().iter().filter(|system| !system.verbs.is_empty()) {
        section(&mut page, system).expect("a String can be written");
    }
    page
}

fn section(page: &mut String, system: &System) -> std::fmt::Result {
    writeln!(page, "\n## {}\n\n{}.", system.name, sentence(system.summary))?;
    for verb in &system.verbs {
        writeln!(page, "\n### {}\n\n{}.", verb.name, sentence(verb.summary))?;
        writeln!(page, "\n{}\n", policy(verb))?;
        arguments(page, &schema(verb.schema))?;
    }
    Ok(())
}

/// A summary as the beginning of a sentence.
fn sentence(summary: &str) -> String {
    let mut letters = summary.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The schema without references.
pub(super) fn schema(make: fn(&mut schemars::SchemaGenerator) -> schemars::Schema) -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    make(&mut settings.into_generator()).to_value()
}

fn policy(verb: &Verb) -> String {
    let timeout = brief(verb.timeout);
    match verb.kind {
        VerbKind::Action => {
            let undo = UNDO.iter().find(|(name, _)| *name == verb.name);
            let (_, undo) = undo.unwrap_or_else(|| {
                panic!("say in tests/docs/verbs.rs what undo of {} does", verb.name)
            });
            format!("Changes; timeout {timeout}. Undo: {undo}.")
        }
        VerbKind::Probe => format!("Asks; timeout {timeout}."),
        VerbKind::Inventory => "Lists.".to_owned(),
    }
}

fn arguments(page: &mut String, schema: &Value) -> std::fmt::Result {
    let (schema, of) = match schema.get("items") {
        Some(items) => (items, "A list; each entry has:\n\n"),
        None => (schema, ""),
    };
    let Some(properties) = schema["properties"].as_object().filter(|keys| !keys.is_empty()) else {
        return writeln!(page, "No arguments.");
    };
    writeln!(page, "{of}| argument | value | when missing | meaning |\n|---|---|---|---|")?;
    for (name, argument) in properties {
        let required = schema["required"]
            .as_array()
            .is_some_and(|all| all.contains(&Value::from(name.as_str())));
        let missing = match &argument["default"] {
            _ if required => "**required**".to_owned(),
            Value::Null => "–".to_owned(),
            default => format!("`{}`", shown(default)),
        };
        let meaning = argument["description"].as_str().unwrap_or_default().replace('\n', " ");
        writeln!(
            page,
            "| `{name}` | {} | {missing} | {meaning} |",
            value(argument).replace('|', "\\|")
        )?;
    }
    Ok(())
}

fn shown(default: &Value) -> String {
    let text = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
    // Durations are written in milliseconds by the schema.
    match text.strip_suffix("ms").and_then(|millis| millis.parse().ok()) {
        Some(millis) => brief(std::time::Duration::from_millis(millis)),
        None => text,
    }
}

/// The kind of a value in a few words.
fn value(schema: &Value) -> String {
    if schema.get("x-rollback").and_then(Value::as_str) == Some("probe-call") {
        return "one verb that asks".to_owned();
    }
    if let Some(choices) = schema.get("anyOf").or(schema.get("oneOf")).and_then(Value::as_array) {
        let mut words: Vec<String> = Vec::new();
        for word in choices.iter().map(value).filter(|word| !word.is_empty()) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        return words.join(" or ");
    }
    if let Some(one) = schema.get("const") {
        return format!("`{}`", shown(one));
    }
    if let Some(all) = schema.get("enum").and_then(Value::as_array) {
        let all: Vec<_> = all
            .iter()
            .filter(|one| !one.is_null())
            .map(|one| format!("`{}`", shown(one)))
            .collect();
        return all.join(" or ");
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return "anything".to_owned(),
    };
    let words = kinds.into_iter().filter(|kind| *kind != "null").map(|kind| simple(kind, schema));
    words.collect::<Vec<_>>().join(" or ")
}

fn simple(kind: &str, schema: &Value) -> String {
    match kind {
        "integer" | "number" => "number".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "array" => match schema.get("items") {
            Some(items) => format!("list of {}", value(items)),
            None => "list".to_owned(),
        },
        "object" => match schema["properties"].as_object() {
            Some(keys) => {
                let keys: Vec<_> = keys.keys().map(|key| format!("`{key}`")).collect();
                format!("mapping with {}", keys.join(", "))
            }
            None => "mapping".to_owned(),
        },
        "string" if is_duration(schema) => "duration".to_owned(),
        "string" => "text".to_owned(),
        "null" => String::new(),
        other => other.to_owned(),
    }
}

fn is_duration(schema: &Value) -> bool {
    schema["format"] == "duration-with-unit"
}
