use serde_json::{Value, json};

use super::*;
use crate::runbook::diagnostic::Source;
use crate::runbook::{parse, testing};

fn schema() -> Value {
    runbook_schema(&testing::registry())
}

/// Every place below `value` that is called `$ref`.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|inner| references(inner, found));
        }
        Value::Array(list) => list.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

#[test]
fn it_is_a_draft_2020_12_document_whose_references_resolve() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], json!(["version", "name", "scenario", "phases"]));
    assert_eq!(schema["additionalProperties"], false);
    let mut found = Vec::new();
    references(&schema, &mut found);
    assert!(found.contains(&"#/$defs/Step".to_owned()), "{found:?}");
    assert!(found.contains(&"#/$defs/ProbeCall".to_owned()), "{found:?}");
    assert!(found.contains(&"#/$defs/InventoryCall".to_owned()), "{found:?}");
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(schema.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    assert!(!schema.to_string().contains(crate::runbook::forms::MARK));
}

#[test]
fn a_step_has_its_policy_and_exactly_one_verb() {
    let step = &schema()["$defs"]["Step"];
    assert_eq!(step["additionalProperties"], false);
    assert_eq!(step["properties"]["timeout"]["format"], "duration-with-unit");
    let description = step["properties"]["docker.stop"]["description"].as_str().unwrap_or_default();
    assert_eq!(description, "Does what its name says. 30s at most by default.");
    let choices = step["oneOf"].as_array().map_or(0, Vec::len);
    assert_eq!(choices, 14, "actions and probes, no inventories");
    assert!(step["properties"].get("docker.services").is_none());
}

#[test]
fn an_argument_that_is_no_text_may_be_a_template() {
    let schema = schema();
    let stop = &schema["$defs"]["DockerStop"]["properties"];
    assert_eq!(stop["services"]["anyOf"][1]["$ref"], "#/$defs/Template");
    assert_eq!(stop["project"], json!({"description": "The compose project.", "type": "string"}));
}

#[test]
fn descriptions_come_from_the_types() {
    let schema = schema();
    assert_eq!(schema["properties"]["give_up"]["description"], "When the whole run is cancelled.");
    assert_eq!(schema["description"], "A rollback runbook.");
}

/// Every keyword below a schema, with where it stands.
fn keywords(schema: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match schema {
        Value::Object(map) => {
            for (keyword, value) in map {
                found.push((keyword.clone(), path.to_owned()));
                match keyword.as_str() {
                    "properties" => {
                        for (name, inner) in value.as_object().into_iter().flatten() {
                            keywords(inner, &format!("{path}.{name}"), found);
                        }
                    }
                    "items" | "additionalProperties" | "anyOf" | "oneOf" | "allOf" => {
                        keywords(value, path, found);
                    }
                    _ => {}
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| keywords(inner, path, found)),
        _ => {}
    }
}

#[test]
fn the_walk_understands_every_keyword_of_every_adapter() {
    let known = [
        "$ref",
        "$schema",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "default",
        "description",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "examples",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "oneOf",
        "pattern",
        "properties",
        "required",
        "title",
        "type",
        crate::runbook::forms::MARK,
        // Checked where the mark is.
        "minProperties",
        "maxProperties",
    ];
    for registry in [crate::adapters::registry(), testing::registry()] {
        let catalog = Catalog::new(&registry);
        let mut found = Vec::new();
        for (name, schema) in catalog.verbs.iter().chain(&catalog.connections) {
            keywords(schema, name, &mut found);
        }
        for (name, schema) in &catalog.definitions {
            keywords(schema, name, &mut found);
        }
        for (keyword, place) in &found {
            assert!(known.contains(&keyword.as_str()), "`{keyword}` in {place} is not checked");
        }
    }
}

#[test]
fn an_environment_has_a_block_for_every_connection() {
    let registry = crate::adapters::registry();
    let schema = environment_schema(&registry);
    let blocks = &schema["properties"]["connections"]["properties"];
    let keys: Vec<&str> = registry.connections().map(|connection| connection.key).collect();
    let described: Vec<&String> = blocks.as_object().expect("an object").keys().collect();
    assert_eq!(described, keys);
    assert!(keys.contains(&"slack") && keys.contains(&"files"), "{keys:?}");
    let mut found = Vec::new();
    references(&schema, &mut found);
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(schema.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn the_schemas_of_what_a_file_names_are_those_of_the_whole_registry() {
    let registry = crate::adapters::registry();
    let text =
        "steps: [{docker.stop: {}, verify: {probe: {http.expect: {}}}}]\nconnections: {dns: {}}\n";
    let source = Source::new("file.yaml", text);
    let some = Catalog::of(&registry, &parse::parse(&source).expect("it is YAML"));
    let mut made: Vec<&str> = some.verbs.keys().chain(some.connections.keys()).copied().collect();
    made.sort_unstable();
    assert_eq!(made, ["dns", "docker.stop", "http.expect"]);
    let whole = Catalog::new(&registry);
    // A name for the same type may differ, so what they stand for is compared.
    for (few, all) in [(&some.verbs, &whole.verbs), (&some.connections, &whole.connections)] {
        for (name, schema) in few {
            assert_eq!(inline(&some, schema), inline(&whole, &all[name]), "{name}");
        }
    }
}

/// A schema with its references followed. None of these leads back to itself.
fn inline(catalog: &Catalog<'_>, schema: &Value) -> Value {
    match catalog.resolve(schema) {
        Value::Array(schemas) => schemas.iter().map(|schema| inline(catalog, schema)).collect(),
        Value::Object(keywords) => keywords
            .iter()
            .map(|(key, schema)| (key.clone(), inline(catalog, schema)))
            .collect::<Map<_, _>>()
            .into(),
        plain => plain.clone(),
    }
}
