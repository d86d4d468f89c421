//! Sets of status codes as a runbook writes them: `200`, `200..299`, or a list of both.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Ranges of status codes, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(Vec<(u16, u16)>);

impl StatusSet {
    /// `200..299` (RFC 9110 section 15.3: the request was received, understood and accepted).
    pub fn successful() -> Self {
        Self(vec![(200, 299)])
    }

    /// `200` alone.
    pub fn ok() -> Self {
        Self(vec![(200, 200)])
    }

    /// Whether the code is one of these.
    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&code))
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (low, high)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            if low == high {
                write!(f, "{comma}{low}")?;
            } else {
                write!(f, "{comma}{low}..{high}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for StatusSet {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|(low, high)| format!("{low}..{high}")))
    }
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let ranges: Option<Vec<_>> = match Value::deserialize(from)? {
            Value::Array(parts) => parts.iter().map(range).collect(),
            single => range(&single).map(|range| vec![range]),
        };
        match ranges {
            Some(ranges) if !ranges.is_empty() => Ok(Self(ranges)),
            _ => Err(D::Error::custom(
                "expected a status code from 100 to 599 (`200`), a range (`200..299`), or a list of them",
            )),
        }
    }
}

fn range(value: &Value) -> Option<(u16, u16)> {
    let (low, high) = match value {
        Value::Number(code) => {
            let code = u16::try_from(code.as_u64()?).ok()?;
            (code, code)
        }
        Value::String(text) => {
            let (low, high) = text.split_once("..").unwrap_or((text, text));
            (low.trim().parse().ok()?, high.trim().parse().ok()?)
        }
        _ => return None,
    };
    (100 <= low && low <= high && high <= 599).then_some((low, high))
}

impl JsonSchema for StatusSet {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StatusCodes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = serde_json::json!({
            "oneOf": [
                {"type": "integer", "minimum": 100, "maximum": 599},
                {"type": "string", "pattern": r"^\s*[1-5][0-9]{2}\s*(\.\.\s*[1-5][0-9]{2}\s*)?$"}
            ]
        });
        json_schema!({
            "description": "Status codes: 200, 200..299, or a list of both",
            "anyOf": [one, {"type": "array", "items": one, "minItems": 1}]
        })
    }
}
