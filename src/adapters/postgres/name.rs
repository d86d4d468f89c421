//! Names of tables and columns: read from a runbook, and quoted in the one place that does it.

use serde::{Deserialize, Serialize};

/// The longest name of PostgreSQL, in bytes (`NAMEDATALEN - 1`).
const LONGEST_NAME: usize = 63;

/// The schema that holds what this program keeps in a database.
pub(super) const SCHEMA: &str = "rollback";

/// Quotes a name, so that it can be nothing but a name.
pub(in crate::adapters) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Checks a name that a runbook gives.
pub(super) fn check(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("{what} is empty"));
    }
    if name.len() > LONGEST_NAME {
        return Err(format!("{what} is longer than {LONGEST_NAME} bytes: `{name}`"));
    }
    if name.contains('\0') {
        return Err(format!("{what} has a NUL in it"));
    }
    Ok(())
}

/// A text as a literal of SQL, whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        return format!("E'{}'", doubled.replace('\\', "\\\\"));
    }
    format!("'{doubled}'")
}

/// The name of the shadow that a run builds beside a table: `TABLE_RUN`, for whoever fills it to know beforehand.
pub(in crate::adapters) fn shadow_name(table: &str, run: &str) -> Result<String, String> {
    let name = format!("{table}_{run}");
    if name.len() > LONGEST_NAME {
        return Err(format!(
            "name the shadow of {table}: `{name}` is longer than {LONGEST_NAME} bytes"
        ));
    }
    Ok(name)
}

/// A table as a runbook names it: `agents` or `public.agents`, in exactly this spelling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::adapters) struct TableName(String);

impl TableName {
    /// Reads a name.
    pub(in crate::adapters) fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('.').collect();
        if parts.len() > 2 {
            return Err(format!("`{text}` is not a table; write `table` or `schema.table`"));
        }
        for part in parts {
            check("the name of a table", part)?;
        }
        Ok(Self(text.to_owned()))
    }

    /// Quoted, for a statement.
    pub(in crate::adapters) fn sql(&self) -> String {
        self.0.split('.').map(quoted).collect::<Vec<_>>().join(".")
    }

    /// As people write it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name in our schema for something of this run: `RUN_STEP_SUFFIX`, shortened by a hash where that is too long.
pub(super) fn of_run(run: &str, place: &str, suffix: &str) -> String {
    let full = format!("{run}_{place}_{suffix}");
    if full.len() <= LONGEST_NAME {
        return full;
    }
    let hash = &crate::digest::sha256(&full)[..12];
    let room = LONGEST_NAME - hash.len() - suffix.len() - 2;
    format!("{}_{hash}_{suffix}", crate::value::beginning(&full, room))
}

/// A table in our schema, quoted.
pub(super) fn ours(table: &str) -> String {
    format!("{SCHEMA}.{}", quoted(table))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn a_table_may_have_a_schema() {
        assert_eq!(TableName::parse("agents").map(|name| name.sql()), Ok("\"agents\"".into()));
        let name = TableName::parse("app.My agents").expect("a table");
        assert_eq!(name.sql(), "\"app\".\"My agents\"");
        for bad in ["", ".agents", "app.", "a.b.c", "nul\0", &"x".repeat(64)] {
            assert!(TableName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_literal_is_nothing_but_a_text() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }

    #[test]
    fn a_shadow_is_called_by_table_and_run_and_never_cut() {
        let name = shadow_name("agents", "20261121-2332-abcdefgh");
        assert_eq!(name, Ok("agents_20261121-2332-abcdefgh".into()));
        assert!(shadow_name(&"x".repeat(60), "20261121-2332-abcdefgh").is_err());
    }

    #[test]
    fn names_of_a_run_fit_and_differ() {
        let run = "20261121-2332-abcdefgh";
        assert_eq!(of_run(run, "agents", "1_was"), "20261121-2332-abcdefgh_agents_1_was");
        let long = "step-with-a-name-as-long-as-a-name-of-a-step-can-be-0123456789";
        let (was, now) = (of_run(run, long, "1_was"), of_run(run, long, "1_now"));
        assert!(was.len() <= LONGEST_NAME && was != now, "{was}");
        assert_ne!(was, of_run(run, &format!("{long}/2"), "1_was"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        #[test]
        fn nothing_gets_out_of_its_quotes(name in "[\"';a-z\\\\é \n-]{1,20}") {
            let sql = quoted(&name);
            let inner = &sql[1..sql.len() - 1];
            prop_assert!(sql.starts_with('"') && sql.ends_with('"'));
            // Every quote inside is doubled, so none of them ends the name.
            prop_assert_eq!(inner.replace("\"\"", "").matches('"').count(), 0);
            prop_assert_eq!(inner.replace("\"\"", "\""), name);
        }
    }
}
