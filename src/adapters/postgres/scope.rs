//! A part of a table, as columns with the values that they must have.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::name::{check, quoted};
use super::parameter::Parameter;
use crate::secret::Secrets;

/// Every column must have this value; a list means any of its values. No columns: the whole table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(rename = "PostgresScope")]
pub(super) struct Scope(IndexMap<String, Value>);

/// A scope as a condition on the rows of a table.
pub(super) struct Condition {
    /// `TRUE`, or comparisons with `$1`, `$2`…
    pub(super) sql: String,
    pub(super) parameters: Vec<Parameter>,
}

impl Scope {
    /// Whether it is the whole table.
    pub(super) fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks what the schema cannot say.
    pub(super) fn validate(&self) -> Result<(), String> {
        for (column, value) in &self.0 {
            check("the name of a column", column)?;
            match value {
                Value::Array(values) if values.is_empty() => {
                    return Err(format!("`{column}` in `where` is an empty list"));
                }
                Value::Array(values) if values.iter().any(|value| !is_plain(value)) => {
                    return Err(format!("`{column}` in `where` has a list of no plain values"));
                }
                Value::Object(_) => {
                    return Err(format!("`{column}` in `where` is no value but a mapping"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The condition on the rows of the table that a statement calls `alias`.
    pub(super) fn condition(&self, alias: &str, secrets: &Secrets) -> Condition {
        let mut parts = Vec::new();
        let mut parameters = Vec::new();
        for (column, value) in &self.0 {
            let column = format!("{alias}.{}", quoted(column));
            if value.is_null() {
                parts.push(format!("{column} IS NULL"));
                continue;
            }
            parameters.push(Parameter::new(value, secrets));
            let place = parameters.len();
            parts.push(match value {
                Value::Array(_) => format!("{column} = ANY (${place})"),
                _ => format!("{column} = ${place}"),
            });
        }
        let sql = if parts.is_empty() { "TRUE".to_owned() } else { parts.join(" AND ") };
        Condition { sql, parameters }
    }

    /// For people: `agents where base_version`, without the values.
    pub(super) fn of(&self, table: &str) -> String {
        match self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ") {
            columns if columns.is_empty() => table.to_owned(),
            columns => format!("{table} by {columns}"),
        }
    }
}

fn is_plain(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;

    fn scope(value: Value) -> Scope {
        serde_json::from_value(value).expect("a scope")
    }

    #[test]
    fn columns_become_comparisons_with_parameters() {
        let scope = scope(json!({"domain": "odoo", "kind": ["a", "b"], "gone": null}));
        let condition = scope.condition("t", &Secrets::default());
        let wanted = r#"t."domain" = $1 AND t."kind" = ANY ($2) AND t."gone" IS NULL"#;
        assert_eq!(condition.sql, wanted);
        assert_eq!(condition.parameters.len(), 2);
        assert_eq!(Scope::default().condition("t", &Secrets::default()).sql, "TRUE");
        assert_eq!(scope.of("agents"), "agents by domain, kind, gone");
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for bad in [json!({"a": {}}), json!({"a": []}), json!({"a": [null]}), json!({"": 1})] {
            assert!(scope(bad.clone()).validate().is_err(), "{bad}");
        }
        assert!(scope(json!({"a": 1, "b": null})).validate().is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        #[test]
        fn no_value_changes_the_statement(value in "[ -~é\n]{0,40}") {
            let harmless = scope(json!({"domain": "odoo"})).condition("t", &Secrets::default());
            let hostile = scope(json!({"domain": value})).condition("t", &Secrets::default());
            prop_assert_eq!(hostile.sql, harmless.sql);
        }
    }
}
