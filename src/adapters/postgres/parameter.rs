//! A runbook's values as bind parameters.
//!
//! They travel in text format, so that the server reads each by the type that it has inferred for its place: `"5"` is a number
//! where a number is wanted. Nothing here becomes part of a statement.

use std::error::Error;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::secret::Secrets;

/// One value, with its secrets revealed; printed nowhere.
pub(in crate::adapters) enum Parameter {
    Null,
    Text(SecretString),
    /// A list, which is an array unless the place wants JSON.
    List(Vec<Value>),
}

impl Parameter {
    /// The value of a runbook.
    pub(in crate::adapters) fn new(value: &Value, secrets: &Secrets) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::String(text) => Self::Text(secrets.reveal(text)),
            Value::Array(elements) => {
                Self::List(elements.iter().map(|element| revealed(element, secrets)).collect())
            }
            Value::Object(_) => Self::Text(revealed(value, secrets).to_string().into()),
            Value::Bool(_) | Value::Number(_) => Self::Text(value.to_string().into()),
        }
    }

    /// All values of a statement.
    pub(in crate::adapters) fn all(values: &[Value], secrets: &Secrets) -> Vec<Self> {
        values.iter().map(|value| Self::new(value, secrets)).collect()
    }
}

/// Parameters as the client takes them.
pub(in crate::adapters) fn bound(parameters: &[Parameter]) -> Vec<&(dyn ToSql + Sync)> {
    parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect()
}

fn revealed(value: &Value, secrets: &Secrets) -> Value {
    match value {
        Value::String(text) => secrets.reveal(text).expose_secret().into(),
        Value::Array(elements) => {
            elements.iter().map(|element| revealed(element, secrets)).collect()
        }
        Value::Object(entries) => entries
            .iter()
            .map(|(key, entry)| (key.clone(), revealed(entry, secrets)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// An array literal, see "Array Input and Output Syntax" in PostgreSQL's manual.
fn array(elements: &[Value]) -> String {
    let element = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Array(inner) => array(inner),
        Value::String(text) => in_quotes(text),
        other => in_quotes(&other.to_string()),
    };
    format!("{{{}}}", elements.iter().map(element).collect::<Vec<_>>().join(","))
}

fn in_quotes(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl std::fmt::Debug for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[value]")
    }
}

impl ToSql for Parameter {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Text(text) => out.extend_from_slice(text.expose_secret().as_bytes()),
            Self::List(elements) if matches!(*kind, Type::JSON | Type::JSONB) => {
                out.extend_from_slice(Value::from(elements.clone()).to_string().as_bytes());
            }
            Self::List(elements) => out.extend_from_slice(array(elements).as_bytes()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sent(value: &Value, kind: &Type) -> Option<String> {
        let mut out = BytesMut::new();
        match Parameter::new(value, &Secrets::default()).to_sql(kind, &mut out) {
            Ok(IsNull::Yes) => None,
            Ok(IsNull::No) => Some(String::from_utf8_lossy(&out).into_owned()),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn values_are_sent_as_text() {
        assert_eq!(sent(&json!(null), &Type::TEXT), None);
        assert_eq!(sent(&json!(5), &Type::INT4).as_deref(), Some("5"));
        assert_eq!(sent(&json!(true), &Type::BOOL).as_deref(), Some("true"));
        assert_eq!(sent(&json!("'; drop"), &Type::TEXT).as_deref(), Some("'; drop"));
        let list = json!(["a\"b", "c\\d", null, 1, ["x"]]);
        let array = r#"{"a\"b","c\\d",NULL,"1",{"x"}}"#;
        assert_eq!(sent(&list, &Type::TEXT_ARRAY).as_deref(), Some(array));
        assert_eq!(sent(&json!([1, "a"]), &Type::JSONB).as_deref(), Some(r#"[1,"a"]"#));
        assert_eq!(sent(&json!({"a": 1}), &Type::JSONB).as_deref(), Some(r#"{"a":1}"#));
    }

    #[test]
    fn a_secret_is_revealed_on_the_wire_alone() {
        let mut secrets = Secrets::default();
        let marker = secrets.insert("token", "hush".into());
        let parameter = Parameter::new(&json!([marker]), &secrets);
        assert_eq!(format!("{parameter:?}"), "[value]");
        let mut out = BytesMut::new();
        let _sent = parameter.to_sql(&Type::TEXT_ARRAY, &mut out).expect("it can be sent");
        assert_eq!(&out[..], b"{\"hush\"}");
    }
}
