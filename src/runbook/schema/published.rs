//! The schema as a document for editors.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Catalog;
use crate::action::{Registry, System, VerbKind};
use crate::runbook::forms::MARK;

/// The JSON Schema (draft 2020-12) of a runbook with the verbs of this registry, as `yaml-language-server` uses it.
pub fn runbook_schema(registry: &Registry) -> Value {
    let catalog = Catalog::new(registry);
    let mut definitions = catalog.definitions.clone();
    for definition in definitions.values_mut() {
        allow_templates(definition);
    }
    let _step = definitions.insert("Step".into(), step(&catalog));
    let _probe = definitions.insert("ProbeCall".into(), call(&catalog, VerbKind::Probe));
    let _inventory =
        definitions.insert("InventoryCall".into(), call(&catalog, VerbKind::Inventory));
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
        "$id": "urn:rollback:runbook:1",
        "title": "rollback runbook",
    });
    if let (Some(to), Value::Object(form)) = (schema.as_object_mut(), catalog.runbook.clone()) {
        to.extend(form.into_iter().filter(|(key, _)| key != "title"));
        let _former = to.insert("$defs".into(), Value::Object(definitions));
    }
    point_to_definitions(&mut schema);
    schema
}

/// For each system with settings, the JSON Schema of its block under `connections` in an environment file;
/// the second value holds the definitions (`#/$defs/…`) that these refer to.
pub fn environment_connections(registry: &Registry) -> (Map<String, Value>, Map<String, Value>) {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let block = |system: &System, generator: &mut _| {
        system.connection.map(|schema| (system.name.to_owned(), schema(generator).to_value()))
    };
    let blocks =
        registry.systems().iter().filter_map(|system| block(system, &mut generator)).collect();
    (blocks, generator.take_definitions(true))
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

fn call(catalog: &Catalog<'_>, kind: VerbKind) -> Value {
    let names = catalog.names(&[kind]);
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
