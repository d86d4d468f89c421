//! Rows by a vector: with the function that agents call, through the database or an API, or by comparing every row.
//!
//! No function searches a shadow, so its rows are compared one by one; that tells what the rows are good for, and nothing about an index.

use serde_json::Value;

use super::stored::{Kind, Stored};
use crate::action::{ActionError, ErrorKind};
use crate::adapters::postgres::{Parameter, Tx, bound, quoted};
use crate::secret::Secrets;

/// The names of the function's arguments.
pub(super) mod name_of {
    /// Whose knowledge.
    pub(in super::super) const AGENT: &str = "p_agent_domain";
    /// The vector of the query.
    pub(in super::super) const VECTOR: &str = "p_query_embedding";
    /// The least similarity.
    pub(in super::super) const THRESHOLD: &str = "p_match_threshold";
    /// The most rows.
    pub(in super::super) const COUNT: &str = "p_match_count";
}

/// What to do about a search that does not tell the documents of its rows.
pub(super) const DOCUMENT: &str = "Let the search's function return the column `columns.document` of the connection `knowledge`, `title` unless given.";

/// What is searched.
pub(super) struct Wanted<'a> {
    pub(super) agent: &'a str,
    pub(super) vector: &'a [f32],
    pub(super) threshold: f64,
    pub(super) count: u32,
    /// The column that names a row's document.
    pub(super) document: &'a str,
}

/// A row that was found, by its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    names: Vec<String>,
    /// Whether the search tells the documents of rows at all, and not only their `id`.
    pub(super) tells_document: bool,
}

impl Hit {
    /// A row, if it has a name.
    pub(super) fn of(row: &Value, document: &str) -> Option<Self> {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let names: Vec<String> =
            [document, "id"].iter().filter_map(|name| text(row.get(name)?)).collect();
        let tells_document = row.get(document).is_some();
        (!names.is_empty()).then_some(Self { names, tells_document })
    }

    /// Whether it is called so.
    pub(super) fn is(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// What people call it.
    pub(super) fn shown(&self) -> &str {
        &self.names[0]
    }
}

/// The vector as the database reads it.
fn literal(vector: &[f32], kind: &Kind) -> Value {
    let numbers = vector.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    match kind {
        Kind::Vector { .. } => format!("[{numbers}]").into(),
        Kind::Array => format!("{{{numbers}}}").into(),
    }
}

fn parameters(wanted: &Wanted<'_>, kind: &Kind) -> Vec<Parameter> {
    let values = [
        wanted.agent.into(),
        literal(wanted.vector, kind),
        wanted.threshold.into(),
        wanted.count.into(),
    ];
    // What is searched holds no secret.
    Parameter::all(&values, &Secrets::default())
}

async fn rows(
    tx: &Tx<'_>,
    sql: &str,
    wanted: &Wanted<'_>,
    kind: &Kind,
) -> Result<Vec<Hit>, ActionError> {
    let doing = "search the knowledge base";
    let rows = tx.query(doing, sql, &bound(&parameters(wanted, kind))).await?;
    let hits = rows.iter().map(|row| {
        let row: Value = serde_json::from_str(row.get::<_, Option<&str>>(0)?).ok()?;
        Hit::of(&row, wanted.document)
    });
    // A row that nobody can name may be the very one that is looked for.
    hits.collect::<Option<_>>().ok_or_else(|| {
        let text = format!("{doing}: a row has neither `{}` nor `id`", wanted.document);
        ActionError::new(ErrorKind::Invalid, text).hint(DOCUMENT)
    })
}

/// By the function of the database, `function` or `schema.function`.
pub(super) async fn by_function(
    tx: &Tx<'_>,
    function: &str,
    stored: &Stored<'_>,
    wanted: &Wanted<'_>,
) -> Result<Vec<Hit>, ActionError> {
    let name = function.split('.').map(quoted).collect::<Vec<_>>().join(".");
    let sql = format!(
        "SELECT (to_jsonb(f) - '{}')::text FROM {name}({} => $1, {} => $2, {} => $3, {} => $4) AS f",
        stored.columns.embedding.replace('\'', "''"),
        name_of::AGENT,
        name_of::VECTOR,
        name_of::THRESHOLD,
        name_of::COUNT
    );
    rows(tx, &sql, wanted, &stored.kind).await
}

/// By comparing the rows of the agent with the vector, one by one.
pub(super) async fn by_comparison(
    tx: &Tx<'_>,
    stored: &Stored<'_>,
    wanted: &Wanted<'_>,
) -> Result<Vec<Hit>, ActionError> {
    let [agent, embedding] = [&stored.columns.agent, &stored.columns.embedding]
        .map(|name| format!("t.{}", quoted(name)));
    let similarity = match &stored.kind {
        Kind::Vector { schema, name } => {
            let (schema, name) = (quoted(schema), quoted(name));
            // The cosine distance of pgvector, wherever the extension lives.
            format!("1 - ({embedding} OPERATOR({schema}.<=>) $2::{schema}.{name})")
        }
        Kind::Array => format!(
            "(SELECT sum(u.a * u.b) / nullif(sqrt(sum(u.a * u.a)) * sqrt(sum(u.b * u.b)), 0)
              FROM unnest({embedding}::float8[], $2::float8[]) AS u(a, b))"
        ),
    };
    let sql = format!(
        "SELECT (to_jsonb(found) - '{column}')::text FROM (
            SELECT * FROM (SELECT t.*, {similarity} AS rollback_similarity FROM {table} AS t
                WHERE {agent} = $1 AND {embedding} IS NOT NULL) AS compared
            WHERE rollback_similarity >= $3::float8 ORDER BY rollback_similarity DESC LIMIT $4::bigint) AS found
         ORDER BY rollback_similarity DESC",
        column = stored.columns.embedding.replace('\'', "''"),
        table = stored.table,
    );
    rows(tx, &sql, wanted, &stored.kind).await
}
