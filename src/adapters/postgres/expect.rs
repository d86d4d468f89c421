//! `postgres.expect`: asks the database and compares its answer.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};

use super::parameter::{Parameter, bound};
use super::server::Server;
use super::session::{Patience, Session};
use super::statement;
use crate::action::{
    ActionError, Connections, Description, ErrorKind, Evidence, Probe, ResolveContext, StepContext,
    VerbArgs, VerbKind, Verdict, Work,
};
use crate::secret::Secrets;
use crate::value::{Count, beginning};

/// The most that is read of the first row, in characters of its JSON.
const LONGEST_ROW: u32 = 65_536;
/// The most that is shown of a value, in bytes.
const SHOWN: usize = 200;

/// Asks the database, in a transaction that only reads.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresExpect")]
pub(super) struct Expect {
    /// The query. No templates: values are `$1`, `$2`… and stand under `parameters`.
    #[schemars(extend("x-rollback" = "no-template", "minLength" = 1))]
    sql: String,
    /// The values of `$1`, `$2`…
    #[serde(default)]
    parameters: Vec<Value>,
    /// How many rows it must return.
    #[serde(default)]
    rows: Option<Count>,
    /// Columns of the first row, with their values, or bounds for numbers: `{active: {at_least: 100}}`.
    #[serde(default)]
    row: IndexMap<String, Value>,
}

#[async_trait]
impl VerbArgs for Expect {
    const NAME: &'static str = "postgres.expect";
    const SUMMARY: &'static str = "ask a database and compare its answer";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(10);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        statement::validate(&self.sql)?;
        if self.rows.is_none() && self.row.is_empty() {
            return Err("nothing is expected; add `rows` or `row`".into());
        }
        Ok(())
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Probe(Box::new(ExpectAnswer { connections: cx.connections.clone(), item })))
    }
}

struct ExpectAnswer {
    connections: Arc<Connections>,
    item: Expect,
}

#[async_trait]
impl Probe for ExpectAnswer {
    fn describe(&self) -> Description {
        let mut wanted: Vec<String> =
            self.item.rows.iter().map(|rows| format!("{rows} rows")).collect();
        wanted.extend(self.item.row.keys().map(|column| format!("`{column}` as expected")));
        Description::question(format!(
            "`{}`: {}",
            statement::brief(&self.item.sql),
            wanted.join(", ")
        ))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        let server = Server::of(&self.connections)?;
        let mut session = Session::open(&server, &cx.into(), cx.run()).await?;
        let tx = session.look(Patience::default()).await?;
        // As a part of a query it can only read, and comes as JSON whatever its types are.
        let sql = format!(
            "WITH answer AS (\n{}\n)
             SELECT (SELECT count(*) FROM answer), (SELECT left(to_jsonb(a)::text, {LONGEST_ROW}) FROM answer AS a LIMIT 1)",
            self.item.sql
        );
        let parameters = Parameter::all(&self.item.parameters, &server.secrets);
        let doing = format!("ask `{}`", statement::brief(&self.item.sql));
        let answer = tx.one(&doing, &sql, &bound(&parameters)).await?;
        let rows = u64::try_from(answer.get::<_, i64>(0)).unwrap_or_default();
        if let Some(wanted) = self.item.rows
            && !wanted.admits(rows)
        {
            return Ok(Verdict::not_yet(format!("{rows} rows, wanted {wanted}")));
        }
        if self.item.row.is_empty() {
            return Ok(verdict(&[format!("{rows} rows")], rows));
        }
        let Some(first) = answer.get::<_, Option<&str>>(1) else {
            return Ok(Verdict::not_yet("no row"));
        };
        let first: Value = serde_json::from_str(first).map_err(|_| {
            ActionError::new(ErrorKind::Invalid, format!("{doing}: the first row is too long"))
                .hint("Select only the columns that are compared.")
        })?;
        let mut seen = Vec::new();
        for (column, wanted) in &self.item.row {
            match compare(column, first.get(column), wanted, &server.secrets) {
                Ok(found) => seen.push(found),
                Err(observed) => return Ok(Verdict::not_yet(observed)),
            }
        }
        Ok(verdict(&seen, rows))
    }
}

fn verdict(seen: &[String], rows: u64) -> Verdict {
    Verdict::Holds { evidence: Evidence::with(seen.join(", "), json!({ "rows": rows })) }
}

/// Bounds for a number, both included.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    #[serde(default)]
    at_least: Option<Number>,
    #[serde(default)]
    at_most: Option<Number>,
}

impl Range {
    fn admits(&self, number: &Number) -> bool {
        self.at_least.as_ref().is_none_or(|least| order(number, least).is_some_and(Ordering::is_ge))
            && self
                .at_most
                .as_ref()
                .is_none_or(|most| order(number, most).is_some_and(Ordering::is_le))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.at_least, &self.at_most) {
            (Some(least), Some(most)) => write!(f, "{least} to {most}"),
            (Some(least), None) => write!(f, "at least {least}"),
            (None, Some(most)) => write!(f, "at most {most}"),
            (None, None) => f.write_str("any number"),
        }
    }
}

/// Which of two numbers is greater: exactly where both are whole, else as the decimals that JSON has.
fn order(one: &Number, other: &Number) -> Option<Ordering> {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

/// What a column is, or why that is not as wanted.
fn compare(
    column: &str,
    found: Option<&Value>,
    wanted: &Value,
    secrets: &Secrets,
) -> Result<String, String> {
    let Some(found) = found else { return Err(format!("the answer has no column `{column}`")) };
    let text = secrets.redact(&found.to_string());
    let seen = format!("`{column}` is {}", beginning(&text, SHOWN));
    let range = wanted.as_object().and(serde_json::from_value::<Range>(wanted.clone()).ok());
    let holds = match (&range, wanted) {
        (Some(range), _) => match found {
            Value::Number(number) => range.admits(number),
            _ => return Err(format!("{seen}, which is no number; wanted {range}")),
        },
        (None, Value::String(text)) => found.as_str() == Some(secrets.reveal(text).expose_secret()),
        (None, Value::Number(number)) => {
            found.as_number().and_then(|found| order(found, number)) == Some(Ordering::Equal)
        }
        (None, wanted) => found == wanted,
    };
    let wanted = range.map_or_else(|| wanted.to_string(), |range| range.to_string());
    if holds { Ok(seen) } else { Err(format!("{seen}, wanted {}", secrets.redact(&wanted))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(found: &Value, wanted: &Value) -> bool {
        compare("a", Some(found), wanted, &Secrets::default()).is_ok()
    }

    #[test]
    fn values_are_compared_by_type_and_value() {
        assert!(holds(&json!(1), &json!(1)) && holds(&json!(1.0), &json!(1)));
        assert!(!holds(&json!("1"), &json!(1)) && !holds(&json!(null), &json!(0)));
        assert!(holds(&json!(null), &json!(null)) && holds(&json!("x"), &json!("x")));
        assert!(
            holds(&json!(5), &json!({"at_least": 5})) && !holds(&json!(4), &json!({"at_least": 5}))
        );
        assert!(holds(&json!({"b": 1}), &json!({"b": 1})));
        let range = json!({"at_least": 90, "at_most": 99.5});
        assert!(holds(&json!(90), &range) && holds(&json!(99.5), &range));
        assert!(!holds(&json!(89.99), &range) && !holds(&json!(100.0), &range));
        assert!(holds(&json!(-3), &json!({"at_most": 0})));
        // Beyond what a decimal of JSON tells apart.
        assert!(!holds(&json!(9_007_199_254_740_992_u64), &json!(9_007_199_254_740_993_u64)));
        assert!(!holds(
            &json!(9_007_199_254_740_992_u64),
            &json!({"at_least": 9_007_199_254_740_993_u64})
        ));
        let strange = compare("a", Some(&json!("many")), &range, &Secrets::default());
        assert_eq!(strange, Err("`a` is \"many\", which is no number; wanted 90 to 99.5".into()));
        let absent = compare("a", None, &json!(1), &Secrets::default());
        assert_eq!(absent, Err("the answer has no column `a`".into()));
    }

    #[test]
    fn an_answer_shows_no_secret() {
        let mut secrets = Secrets::default();
        let marker = secrets.insert("token", "hush-hush".into());
        let seen = compare("a", Some(&json!("hush-hush!")), &json!(marker), &secrets);
        assert_eq!(seen, Err("`a` is \"[secret]!\", wanted \"[secret]\"".into()));
    }

    #[test]
    fn only_an_answer_that_is_expected_is_asked_for() {
        let args = json!({"sql": "SELECT 1 AS one"});
        let problem = serde_json::from_value::<Expect>(args).expect("arguments").validate();
        assert_eq!(problem, Err("nothing is expected; add `rows` or `row`".into()));
    }
}
