//! `postgres.expect`: asks the database and compares its answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::errors::cut;
use super::parameter::{Parameter, bound};
use super::server::Server;
use super::session::{Patience, Session};
use super::statement;
use crate::action::{
    ActionError, Connections, Description, ErrorKind, Evidence, Probe, ResolveContext, StepContext,
    VerbArgs, VerbKind, Verdict, Work,
};
use crate::secret::Secrets;
use crate::value::Count;

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

/// What a column is, or why that is not as wanted.
fn compare(
    column: &str,
    found: Option<&Value>,
    wanted: &Value,
    secrets: &Secrets,
) -> Result<String, String> {
    let Some(found) = found else { return Err(format!("the answer has no column `{column}`")) };
    let text = secrets.redact(&found.to_string());
    let seen = format!("`{column}` is {}", cut(&text, SHOWN));
    let bounds = wanted.as_object().and(serde_json::from_value::<Count>(wanted.clone()).ok());
    let holds = match (bounds, wanted) {
        (Some(bounds), _) => found.as_u64().is_some_and(|number| bounds.admits(number)),
        (None, Value::String(text)) => found.as_str() == Some(secrets.reveal(text).expose_secret()),
        (None, Value::Number(number)) => {
            found == wanted || (found.is_number() && found.as_f64() == number.as_f64())
        }
        (None, wanted) => found == wanted,
    };
    let wanted = bounds.map_or_else(|| wanted.to_string(), |bounds| bounds.to_string());
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
