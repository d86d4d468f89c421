//! The schema as a document for editors.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Catalog;
use crate::action::{Registry, VerbKind};
use crate::runbook::forms::MARK;

/// The JSON Schema (draft 2020-12) of a runbook with the verbs of this registry, as `yaml-language-server` uses it.
pub fn runbook_schema(registry: &Registry) -> Value {
    let catalog = Catalog::new(registry);
    document(&catalog, catalog.runbook.clone(), "urn:rollback:runbook:1", "rollback runbook")
}

/// The JSON Schema (draft 2020-12) of a decision table, whose form is this, with the probes of this registry.
pub fn table_schema(registry: &Registry, form: Value) -> Value {
    let catalog = Catalog::new(registry);
    let mut schema =
        document(&catalog, form, "urn:rollback:decisions:1", "rollback decision table");
    keep_what_is_used(&mut schema);
    schema
}

/// Leaves out definitions that nothing leads to: a table has no steps.
fn keep_what_is_used(schema: &mut Value) {
    let Some(Value::Object(mut definitions)) = schema.get_mut("$defs").map(Value::take) else {
        return;
    };
    let mut used = Map::new();
    let mut open = referenced(schema);
    while let Some(name) = open.pop() {
        if let Some(definition) = definitions.remove(&name) {
            open.extend(referenced(&definition));
            let _none = used.insert(name, definition);
        }
    }
    used.sort_keys();
    schema["$defs"] = used.into();
}

/// The names of the definitions that a schema refers to.
fn referenced(schema: &Value) -> Vec<String> {
    match schema {
        Value::Array(schemas) => schemas.iter().flat_map(referenced).collect(),
        Value::Object(keywords) => {
            let target = keywords.get("$ref").and_then(Value::as_str);
            let name = target.and_then(|target| target.strip_prefix("#/$defs/"));
            name.map(str::to_owned)
                .into_iter()
                .chain(keywords.values().flat_map(referenced))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// A form with the verbs of a catalogue.
fn document(catalog: &Catalog<'_>, form: Value, id: &str, title: &str) -> Value {
    let mut definitions = catalog.definitions.clone();
    for definition in definitions.values_mut() {
        allow_templates(definition);
    }
    let _step = definitions.insert("Step".into(), step(catalog));
    let _probe =
        definitions.insert("ProbeCall".into(), call(catalog, &catalog.names(&[VerbKind::Probe])));
    let _inventory = definitions
        .insert("InventoryCall".into(), call(catalog, &catalog.names(&[VerbKind::Inventory])));
    let messages = catalog.messages();
    let _message = definitions.insert("MessageCall".into(), call(catalog, &messages));
    let _name = definitions.insert("MessageName".into(), json!({"enum": messages}));
    let _template = definitions.insert(
        "Template".into(),
        json!({
            "type": "string",
            "pattern": r"\{\{",
            "description": "A template: {{ inputs.… }}, {{ environment.… }}, {{ run.id }}, {{ item }}"
        }),
    );
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": id,
        "title": title,
    });
    if let (Some(to), Value::Object(form)) = (schema.as_object_mut(), form) {
        to.extend(form.into_iter().filter(|(key, _)| key != "title"));
        let _former = to.insert("$defs".into(), Value::Object(definitions));
    }
    point_to_definitions(&mut schema);
    schema
}

/// The JSON Schema (draft 2020-12) of an environment file, with the connections of this registry.
pub fn environment_schema(registry: &Registry) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut blocks = Map::new();
    for connection in registry.connections() {
        let mut block = (connection.schema)(&mut generator).to_value();
        allow_templates(&mut block);
        let _former = block
            .as_object_mut()
            .map(|block| block.insert("description".into(), connection.summary.into()));
        let _none = blocks.insert(connection.key.to_owned(), block);
    }
    let mut definitions = generator.take_definitions(true);
    definitions.values_mut().for_each(allow_templates);
    let _template = definitions.insert("Template".into(), template_or_secret());
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:rollback:environment:1",
        "title": "rollback environment",
        "type": "object",
        "required": ["version"],
        "additionalProperties": false,
        "properties": {
            "version": {"const": 1, "description": "The version of the form."},
            "name": {"type": "string", "description": "The environment's name; the file's name when it is missing."},
            "sandbox": {"type": "boolean", "description": "Whether it runs against the sandbox."},
            "connections": {
                "type": "object",
                "description": "How each system is reached.",
                "properties": blocks,
                "additionalProperties": false
            },
            "values": {"type": "object", "description": "What runbooks read as environment.…"},
            "inputs": {"type": "object", "description": "Values of inputs."},
            "drills": {"type": "boolean", "description": "Whether it may be broken on purpose: `rollback drill` runs here and in the sandbox, and nowhere else."},
            "log": {"type": "string", "description": "The Markdown file to which every run adds an entry."},
            "notifications": {"type": "object", "description": "How bad it has to be for a channel, such as `sms: critical`.", "additionalProperties": {"enum": ["low", "medium", "high", "critical"]}},
            "lock_dir": {"type": "string", "description": "Where the users of this machine meet for the lock."}
        },
        "$defs": definitions,
    });
    point_to_definitions(&mut schema);
    schema
}

/// What may stand in place of any setting of a connection.
fn template_or_secret() -> Value {
    let reference = |key: &str, value: Value, description: &str| {
        json!({
            "type": "object",
            "properties": {key: value},
            "required": [key],
            "additionalProperties": false,
            "description": description,
        })
    };
    json!({
        "anyOf": [
            {"type": "string", "pattern": r"\{\{", "description": "A template: {{ sandbox.… }}"},
            reference("variable", json!({"type": "string"}), "A secret from an environment variable."),
            reference("file", json!({"type": "string"}), "A secret from a file."),
            reference(
                "command",
                json!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
                "A secret from the standard output of a program, without a shell."
            ),
        ]
    })
}

/// The policy keys and exactly one verb.
fn step(catalog: &Catalog<'_>) -> Value {
    let mut step = catalog.step.clone();
    let names = catalog.names(&[VerbKind::Action, VerbKind::Probe]);
    if let Some(properties) = step.get_mut("properties").and_then(Value::as_object_mut) {
        for name in &names {
            if let Some(arguments) = described(catalog, name) {
                let _former = properties.insert((*name).to_owned(), arguments);
            }
        }
    }
    exactly_one(&mut step, &names);
    step
}

fn call(catalog: &Catalog<'_>, names: &[&str]) -> Value {
    let properties: Map<String, Value> = names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), described(catalog, name)?)))
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    })
}

fn exactly_one(schema: &mut Value, names: &[&str]) {
    let choices: Vec<Value> = names.iter().map(|name| json!({"required": [name]})).collect();
    if let (Some(schema), false) = (schema.as_object_mut(), choices.is_empty()) {
        let _former = schema.insert("oneOf".into(), Value::Array(choices));
    }
}

/// A verb's arguments with its summary as the description.
fn described(catalog: &Catalog<'_>, name: &str) -> Option<Value> {
    let verb = catalog.verb(name)?;
    let mut arguments = catalog.arguments(name)?.clone();
    allow_templates(&mut arguments);
    let mut description =
        format!("{}. {} at most by default.", verb.summary, crate::value::brief(verb.timeout));
    if let Some(reason) = verb.irreversible {
        description = format!("{description} Needs `irreversible: true`: {reason}.");
    }
    let object = arguments.as_object_mut()?;
    let _former = object.insert("description".into(), Value::String(description));
    Some(arguments)
}

/// Inside a verb's arguments every value may be a template instead.
fn allow_templates(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(allow_templates),
        Value::Object(keywords) => {
            for key in ["items", "additionalProperties", "anyOf", "oneOf", "allOf", "prefixItems"] {
                if let Some(inner) = keywords.get_mut(key) {
                    allow_templates(inner);
                }
            }
            if let Some(properties) = keywords.get_mut("properties").and_then(Value::as_object_mut)
            {
                for property in properties.values_mut() {
                    allow_templates(property);
                    or_template(property);
                }
            }
            if let Some(items) = keywords.get_mut("items") {
                or_template(items);
            }
        }
        _ => {}
    }
}

fn or_template(schema: &mut Value) {
    let free_text = schema.get("type") == Some(&json!("string"))
        && ["enum", "const", "pattern", "format"].iter().all(|key| schema.get(key).is_none());
    if schema.is_boolean() || free_text || schema.get(MARK).is_some() {
        return;
    }
    let mut outer = json!({});
    if let Some(description) = schema.get("description") {
        outer["description"] = description.clone();
    }
    outer["anyOf"] = json!([schema.take(), {"$ref": "#/$defs/Template"}]);
    *schema = outer;
}

/// Replaces the marked places by the definitions that they stand for.
fn point_to_definitions(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(point_to_definitions),
        Value::Object(keywords) => {
            let target = match keywords.get(MARK).and_then(Value::as_str) {
                Some("step") => Some("#/$defs/Step"),
                Some("probe-call") => Some("#/$defs/ProbeCall"),
                Some("inventory-call") => Some("#/$defs/InventoryCall"),
                Some("message-call") => Some("#/$defs/MessageCall"),
                Some("message-name") => Some("#/$defs/MessageName"),
                _ => None,
            };
            let _mark = keywords.remove(MARK);
            if let Some(target) = target {
                keywords.retain(|key, _| key == "description");
                let _former = keywords.insert("$ref".into(), target.into());
            }
            keywords.values_mut().for_each(point_to_definitions);
        }
        _ => {}
    }
}
