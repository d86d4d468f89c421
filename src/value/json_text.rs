//! JSON as text: what a run has to remember of thousands of items, and looks into seldom.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use serde_json::Value;
use serde_json::value::RawValue;

/// A value as its compact JSON text. A parsed [`Value`] takes more than ten times the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText(Box<str>);

impl JsonText {
    /// The text of a value.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(text.into()))
    }

    /// Reads the value back as what it was made from.
    ///
    /// # Errors
    /// It was something else, such as another version's. The message names no line: nobody has seen this text.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0).or_else(|_| serde_json::from_value(self.value()))
    }

    /// The value as a tree, to look into.
    ///
    /// # Panics
    /// It is nested deeper than 127 levels. Neither a runbook nor the journal takes that much.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).expect("the text of a value is JSON")
    }
}

impl From<Value> for JsonText {
    fn from(value: Value) -> Self {
        Self(value.to_string().into())
    }
}

impl fmt::Display for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As what they are, not as a text.
impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(ser::Error::custom)?;
        raw.serialize(to)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    /// By way of a tree, since [`RawValue`] cannot be read inside a tagged enum.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Value::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_stands_in_a_document_as_what_it_is() {
        let value = json!({"b": [1, 2.5, null], "a": {"text": "\u{1b}[31m\"ß\""}});
        let text = JsonText::from(value.clone());
        assert_eq!(text.value(), value);
        assert_eq!(JsonText::of(&value).expect("JSON"), text);
        let document = serde_json::to_string(&json!({"args": text})).expect("JSON");
        assert_eq!(document, format!("{{\"args\":{value}}}"));
        let back: std::collections::BTreeMap<String, JsonText> =
            serde_json::from_str(&document).expect("the same form");
        assert_eq!(back["args"], text);
    }
}
