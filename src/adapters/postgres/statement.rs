//! One SQL statement of a runbook, with its values beside it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::value::Count;

/// What a statement of a runbook may begin with. Anything else would end the transaction, or is not undone by putting rows back.
const DATA: [&str; 7] = ["INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "SELECT", "VALUES"];
/// The most that a plan shows of a statement, in characters.
const SHOWN: usize = 72;

/// One statement.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresStatement")]
pub(super) struct Statement {
    /// The statement. No templates: values are `$1`, `$2`… and stand under `parameters`.
    #[schemars(extend("x-rollback" = "no-template", "minLength" = 1))]
    pub(super) sql: String,
    /// The values of `$1`, `$2`…; a list is an array, or JSON where the column is.
    #[serde(default)]
    pub(super) parameters: Vec<Value>,
    /// How many rows it must concern; otherwise nothing is changed.
    #[serde(default)]
    pub(super) expect_rows: Option<Count>,
}

/// Checks a statement's text.
pub(super) fn validate(sql: &str) -> Result<(), String> {
    if ["{{", "{%"].iter().any(|open| sql.contains(open)) {
        return Err(
            "`sql` holds a template; write `$1` and put the value under `parameters`".into()
        );
    }
    match first_word(sql).to_ascii_uppercase().as_str() {
        "" => Err("`sql` is empty".into()),
        "TRUNCATE" => Err(
            "`sql` is a TRUNCATE, which empties the table for readers at once; write `DELETE FROM`"
                .into(),
        ),
        word if DATA.contains(&word) => Ok(()),
        word => Err(format!("`sql` begins with `{word}`; a step takes {}", DATA.join(", "))),
    }
}

/// The first word behind white space, comments and opening brackets.
fn first_word(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        rest = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            return &rest[..end];
        };
    }
}

/// A statement in one short line.
pub(super) fn brief(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_about_rows_are_taken() {
        for sql in ["UPDATE a SET b = $1", " -- why\n/* so */ (select 1)", "with x as (…) delete …"]
        {
            assert_eq!(validate(sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn what_ends_the_transaction_or_is_not_undone_is_refused() {
        let refused = [
            ("", "empty"),
            ("-- nothing", "empty"),
            ("COMMIT", "begins with `COMMIT`"),
            ("rollback", "begins with `ROLLBACK`"),
            ("/* x */ END", "begins with `END`"),
            ("DROP TABLE a", "begins with `DROP`"),
            ("truncate a", "DELETE FROM"),
            ("UPDATE a SET b = '{{ inputs.b }}'", "parameters"),
        ];
        for (sql, because) in refused {
            let problem = validate(sql).expect_err(sql);
            assert!(problem.contains(because), "{sql}: {problem}");
        }
    }

    #[test]
    fn a_plan_shows_the_beginning() {
        assert_eq!(brief("SELECT\n  1"), "SELECT 1");
        assert_eq!(brief(&"é ".repeat(100)).chars().count(), SHOWN + 1);
    }
}
