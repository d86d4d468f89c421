//! The API's own description, and whether an exchange keeps to it: what is sent, and what the double answers.
//!
//! It knows what the two descriptions use of `OpenAPI` 3.0: types, required and known fields, items, enumerations, bounds, patterns by their
//! length alone, and the three combinations. Fields that the description does not know are allowed, as it allows them. `scripts/contract` has the same exchanges judged
//! by Prism, a validator of somebody else.

use std::sync::LazyLock;

use serde_json::{Map, Value};

const DESCRIPTIONS: [&str; 2] = [
    include_str!("../../fixtures/digitalocean/apps-dns.openapi.yaml"),
    include_str!("../../fixtures/digitalocean/gen-ai.openapi.yaml"),
];

/// A document that describes some operations.
struct Description(Value);

static ALL: LazyLock<Vec<Description>> = LazyLock::new(|| {
    let read = |text: &&str| Description(serde_yaml::from_str(text).expect("it is YAML"));
    DESCRIPTIONS.iter().map(read).collect()
});

/// One request and its answer.
#[derive(Hash)]
pub(super) struct Exchange {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) request: Vec<u8>,
    pub(super) status: u16,
    pub(super) answer: Vec<u8>,
}

/// What in an exchange does not keep to the description.
pub(super) fn violations(exchange: &Exchange) -> Vec<String> {
    let mut found = Vec::new();
    let Some((description, operation, shared)) = operation(exchange) else {
        return vec![format!("{} {} is not described", exchange.method, exchange.path)];
    };
    description.check_query(exchange, operation, shared, &mut found);
    let content = "/content/application~1json/schema";
    let body = description.resolve(&operation["requestBody"]);
    match (body.pointer(content), exchange.request.is_empty()) {
        (Some(schema), false) => match serde_json::from_slice(&exchange.request) {
            Ok(sent) => description.check(schema, &sent, "request", &mut found),
            Err(error) => found.push(format!("request: {error}")),
        },
        (Some(_), true) if body["required"] == true => {
            found.push("request: there is no body".to_owned());
        }
        (None, false) => found.push("request: a body is not described".to_owned()),
        _ => {}
    }
    let answers = &operation["responses"];
    let status = exchange.status.to_string();
    let answer = answers.get(status.as_str()).or_else(|| answers.get("default"));
    let Some(answer) = answer.map(|answer| description.resolve(answer)) else {
        found.push(format!("answer: status {status} is not described"));
        return found;
    };
    match (answer.pointer(content), exchange.answer.is_empty()) {
        (Some(schema), false) => match serde_json::from_slice(&exchange.answer) {
            Ok(given) => description.check(schema, &given, "answer", &mut found),
            Err(error) => found.push(format!("answer: {error}")),
        },
        (Some(_), true) => found.push("answer: there is no body".to_owned()),
        (None, false) => found.push("answer: a body is not described".to_owned()),
        (None, true) => {}
    }
    let at = format!("{} {} {status}", exchange.method, exchange.path);
    found.iter_mut().for_each(|problem| *problem = format!("{at}: {problem}"));
    found
}

/// The description of an operation, and of what its path shares.
fn operation(
    exchange: &Exchange,
) -> Option<(&'static Description, &'static Value, &'static Value)> {
    let method = exchange.method.to_lowercase();
    let parts: Vec<&str> = exchange.path.split('/').collect();
    let matches = |template: &str| {
        let wanted: Vec<&str> = template.split('/').collect();
        let same = |(wanted, part): (&&str, &&str)| wanted.starts_with('{') || wanted == part;
        wanted.len() == parts.len() && wanted.iter().zip(&parts).all(same)
    };
    ALL.iter().find_map(|description| {
        let paths = description.0["paths"].as_object()?.iter();
        let mut fitting: Vec<_> = paths.filter(|(template, _)| matches(template)).collect();
        // What is written out comes before what stands for anything.
        fitting.sort_by_key(|(template, _)| template.matches('{').count());
        let (_, item) = fitting.into_iter().find(|(_, item)| item.get(&method).is_some())?;
        Some((description, &item[&method], &item["parameters"]))
    })
}

impl Description {
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let place =
                    reference.strip_prefix('#').expect("a reference into the same document");
                self.resolve(self.0.pointer(place).expect("what is referred to is there"))
            }
            None => value,
        }
    }

    fn check_query(
        &self,
        exchange: &Exchange,
        operation: &Value,
        shared: &Value,
        found: &mut Vec<String>,
    ) {
        let parameters = [&operation["parameters"], shared].into_iter().filter_map(Value::as_array);
        let parameters: Vec<&Value> =
            parameters.flatten().map(|parameter| self.resolve(parameter)).collect();
        let asked: Vec<(String, String)> =
            url::form_urlencoded::parse(exchange.query.as_bytes()).into_owned().collect();
        for (name, text) in &asked {
            let known =
                parameters.iter().find(|it| it["in"] == "query" && it["name"] == name.as_str());
            let Some(known) = known else {
                found.push(format!("request: the parameter {name} is not described"));
                continue;
            };
            let schema = self.resolve(&known["schema"]);
            let value = match schema["type"].as_str() {
                Some("string") | None => Value::from(text.as_str()),
                Some(_) => serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into()),
            };
            self.check(schema, &value, &format!("request ?{name}"), found);
        }
        for needed in parameters.iter().filter(|it| it["in"] == "query" && it["required"] == true) {
            if !asked.iter().any(|(name, _)| needed["name"] == name.as_str()) {
                found.push(format!("request: the parameter {} is missing", needed["name"]));
            }
        }
    }

    /// Holds a value against a schema.
    fn check(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let schema = self.resolve(schema);
        if value.is_null() && schema["nullable"] == true {
            return;
        }
        if let Some(kind) = schema["type"].as_str()
            && !is_of(kind, value)
        {
            found.push(format!("{at} is no {kind}: {value}"));
            return;
        }
        if let Some(known) = schema["enum"].as_array()
            && !known.contains(value)
        {
            found.push(format!("{at} is none of {}: {value}", schema["enum"]));
        }
        self.combined(schema, value, at, found);
        match value {
            Value::Object(fields) => self.object(schema, fields, at, found),
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    self.check(&schema["items"], item, &format!("{at}/{place}"), found);
                }
            }
            Value::String(text) => {
                let length = text.chars().count() as u64;
                let short = schema["minLength"].as_u64().is_some_and(|least| length < least);
                let long = schema["maxLength"].as_u64().is_some_and(|most| length > most);
                if short || long {
                    found.push(format!("{at} has {length} characters"));
                }
                if schema["format"] == "date-time" && text.parse::<jiff::Timestamp>().is_err() {
                    found.push(format!("{at} is no time: {text}"));
                }
            }
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                let small = schema["minimum"].as_f64().is_some_and(|least| number < least);
                let great = schema["maximum"].as_f64().is_some_and(|most| number > most);
                if small || great {
                    found.push(format!("{at} is out of bounds: {number}"));
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn combined(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.check(part, value, at, found);
        }
        let fits = |part: &Value| {
            let mut problems = Vec::new();
            self.check(part, value, at, &mut problems);
            problems.is_empty()
        };
        for (name, exactly) in [("anyOf", false), ("oneOf", true)] {
            let Some(parts) = schema[name].as_array() else { continue };
            let count = parts.iter().filter(|part| fits(part)).count();
            if count == 0 || exactly && count > 1 {
                found.push(format!("{at} fits {count} of {name}: {value}"));
            }
        }
    }

    fn object(
        &self,
        schema: &Value,
        fields: &Map<String, Value>,
        at: &str,
        found: &mut Vec<String>,
    ) {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap_or_default()) {
                found.push(format!("{at} has no {name}"));
            }
        }
        for (name, field) in fields {
            let known = &schema["properties"][name.as_str()];
            if !known.is_null() {
                self.check(known, field, &format!("{at}/{name}"), found);
            } else if schema["additionalProperties"].is_object() {
                self.check(&schema["additionalProperties"], field, &format!("{at}/{name}"), found);
            } else if schema["additionalProperties"] == false {
                found.push(format!("{at}/{name} is not described"));
            }
        }
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        _ => false,
    }
}

#[test]
fn what_does_not_keep_to_the_description_is_found() {
    let exchange = |method: &str, path: &str, query: &str, request: &str, status, answer: &str| {
        violations(&Exchange {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            request: request.into(),
            status,
            answer: answer.into(),
        })
    };
    let good = r#"{"app":{"spec":{"name":"web","x_later":1}}}"#;
    let none: [&str; 0] = [];
    assert_eq!(exchange("PUT", "/v2/apps/1", "", r#"{"spec":{"name":"web"}}"#, 200, good), none);
    assert_eq!(
        exchange(
            "GET",
            "/v2/apps",
            "per_page=200",
            "",
            200,
            r#"{"apps":[],"links":{},"meta":{"total":0}}"#
        ),
        none
    );
    assert_eq!(exchange("POST", "/v2/apps/1/rollback/commit", "", "", 200, ""), none);
    assert_eq!(
        exchange("GET", "/v2/apps/1", "", "", 404, r#"{"id":"not_found","message":"no"}"#),
        none
    );
    for (bad, why) in [
        (exchange("PUT", "/v2/apps/1", "", r#"{"spec":{"name":"X"}}"#, 200, good), "characters"),
        (
            exchange(
                "PUT",
                "/v2/apps/1",
                "",
                r#"{"spec":{"name":"web","maintenance":{"archive":"yes"}}}"#,
                200,
                good,
            ),
            "no boolean",
        ),
        (exchange("PUT", "/v2/apps/1", "", "{}", 200, good), "has no \"spec\""),
        (exchange("PUT", "/v2/apps/1", "", "", 200, good), "no body"),
        (
            exchange("GET", "/v2/apps/1", "", "", 200, r#"{"app":{"id":7,"spec":{"name":"web"}}}"#),
            "no string",
        ),
        (
            exchange(
                "GET",
                "/v2/apps",
                "per_page=201",
                "",
                200,
                r#"{"apps":[],"meta":{"total":0}}"#,
            ),
            "bounds",
        ),
        (
            exchange("GET", "/v2/apps", "pages=1", "", 200, r#"{"apps":[],"meta":{"total":0}}"#),
            "parameter",
        ),
        (exchange("GET", "/v2/apps", "", "", 200, r#"{"apps":[]}"#), "has no \"meta\""),
        (exchange("GET", "/v2/apps/1/logs", "type=run", "", 200, "{}"), "none of"),
        (exchange("GET", "/v2/apps/1/logs", "", "", 200, "{}"), "missing"),
        (exchange("GET", "/v2/droplets", "", "", 200, "{}"), "not described"),
        (exchange("GET", "/v2/apps/1", "", "", 404, "no"), "answer"),
    ] {
        assert!(bad.iter().any(|problem| problem.contains(why)), "{why}: {bad:?}");
    }
}
