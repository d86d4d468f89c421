//! What a table with embeddings holds, agent by agent: documents, chunks, dimensions, models.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::connection::Columns;
use crate::action::{ActionError, ErrorKind};
use crate::adapters::postgres::{Parameter, TableName, Tx, bound, quoted, shadow_name};
use crate::secret::Secrets;

/// How embeddings are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A type of pgvector, with the schema that the extension lives in.
    Vector {
        /// The schema.
        schema: String,
        /// `vector` or `halfvec`.
        name: String,
    },
    /// An array of numbers.
    Array,
}

/// A table that is there.
pub(super) struct Stored<'a> {
    /// The table, quoted.
    pub(super) table: String,
    pub(super) columns: &'a Columns,
    pub(super) kind: Kind,
}

/// What an agent's rows amount to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Agent {
    /// Different documents.
    pub(super) documents: u64,
    /// Rows.
    pub(super) chunks: u64,
    /// Rows without an embedding.
    pub(super) without: u64,
    /// The fewest, the most and the mean dimensions of an embedding; none without embeddings.
    pub(super) dimensions: Option<(u32, u32, f64)>,
    /// How many rows each model has made; `none` where it is not known.
    pub(super) models: BTreeMap<String, u64>,
}

impl Agent {
    /// Why its rows cannot be compared with each other, if they cannot.
    pub(super) fn mixture(&self, name: &str) -> Option<String> {
        if self.models.len() > 1 {
            let models = self.models.iter().map(|(model, rows)| format!("{model} ({rows} rows)"));
            let models = models.collect::<Vec<_>>().join(", ");
            return Some(format!("rows of `{name}` are of several models: {models}"));
        }
        match self.dimensions {
            Some((least, most, _)) if least != most => {
                Some(format!("embeddings of `{name}` have {least} to {most} dimensions"))
            }
            _ => None,
        }
    }
}

/// The rows of all agents by name.
pub(super) type Agents = BTreeMap<String, Agent>;

const COLUMN: &str = "SELECT t.typname::text, n.nspname::text FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped";

/// The table as it is asked about: itself, or its shadow in a run. Quoted, and for people.
pub(super) fn place(table: &str, shadow_of: Option<&str>) -> Result<(String, String), ActionError> {
    let invalid = |problem| ActionError::new(ErrorKind::Invalid, problem);
    let name = match (shadow_of, table.rsplit_once('.')) {
        (None, _) => table.to_owned(),
        (Some(run), Some((schema, table))) => {
            format!("{schema}.{}", shadow_name(table, run).map_err(invalid)?)
        }
        (Some(run), None) => shadow_name(table, run).map_err(invalid)?,
    };
    Ok((TableName::parse(&name).map_err(invalid)?.sql(), name))
}

impl<'a> Stored<'a> {
    /// Looks at a table, given quoted; `None` when it is not there.
    pub(super) async fn find(
        tx: &Tx<'_>,
        table: &str,
        shown: &str,
        columns: &'a Columns,
    ) -> Result<Option<Self>, ActionError> {
        let doing = format!("look at {shown}");
        let there = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";
        if !tx.one(&doing, there, &[&table]).await?.get::<_, bool>(0) {
            return Ok(None);
        }
        let column = &columns.embedding;
        let Some(row) = tx.find(&doing, COLUMN, &[&table, column]).await? else {
            let text = format!("{doing}: it has no column `{column}`");
            return Err(ActionError::new(ErrorKind::Invalid, text).hint(COLUMNS));
        };
        let (name, schema): (&str, &str) = (row.get(0), row.get(1));
        let kind = match name {
            "vector" | "halfvec" => {
                Kind::Vector { schema: schema.to_owned(), name: name.to_owned() }
            }
            "_float4" | "_float8" | "_numeric" => Kind::Array,
            other => {
                let text = format!(
                    "{doing}: `{column}` is of the type {other}, and no vector or array of numbers"
                );
                return Err(ActionError::new(ErrorKind::Invalid, text).hint(COLUMNS));
            }
        };
        Ok(Some(Self { table: table.to_owned(), columns, kind }))
    }

    /// What the rows amount to, of these agents or of all.
    pub(super) async fn agents(
        &self,
        tx: &Tx<'_>,
        only: Option<&[String]>,
    ) -> Result<Agents, ActionError> {
        let doing = "count documents, chunks and models";
        let [agent, document, model, embedding] = [
            &self.columns.agent,
            &self.columns.document,
            &self.columns.model,
            &self.columns.embedding,
        ]
        .map(|name| format!("t.{}", quoted(name)));
        let dimensions = match &self.kind {
            Kind::Vector { schema, .. } => format!("{}.vector_dims({embedding})", quoted(schema)),
            Kind::Array => format!("cardinality({embedding})"),
        };
        let condition = only.map_or_else(|| "TRUE".to_owned(), |_| format!("{agent} = ANY ($1)"));
        let names: Vec<Parameter> = only
            .map(|only| Parameter::new(&Value::from(only.to_vec()), &Secrets::default()))
            .into_iter()
            .collect();
        let sql = format!(
            "SELECT coalesce({agent}::text, 'none'), count(*), count(DISTINCT {document}), count(*) FILTER (WHERE {embedding} IS NULL),
                min({dimensions})::bigint, max({dimensions})::bigint, coalesce(avg({dimensions}), 0)::float8
             FROM {} AS t WHERE {condition} GROUP BY {agent} ORDER BY 1",
            self.table
        );
        let rows = tx.query(doing, &sql, &bound(&names)).await.map_err(hinted)?;
        let number = |value: i64| u64::try_from(value).unwrap_or_default();
        let dimension = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
        let mut agents = Agents::new();
        for row in rows {
            let dimensions = dimension(row.get(4)).zip(dimension(row.get(5)));
            let found = Agent {
                documents: number(row.get(2)),
                chunks: number(row.get(1)),
                without: number(row.get(3)),
                dimensions: dimensions.map(|(least, most)| (least, most, row.get(6))),
                models: BTreeMap::new(),
            };
            let _none = agents.insert(row.get(0), found);
        }
        let sql = format!(
            "SELECT coalesce({agent}::text, 'none'), coalesce({model}::text, 'none'), count(*)
             FROM {} AS t WHERE {condition} GROUP BY {agent}, {model}",
            self.table
        );
        for row in tx.query(doing, &sql, &bound(&names)).await.map_err(hinted)? {
            if let Some(found) = agents.get_mut(row.get::<_, &str>(0)) {
                let _none = found.models.insert(row.get(1), number(row.get(2)));
            }
        }
        Ok(agents)
    }

    /// One of these names that is a document of the table.
    pub(super) async fn document_among(
        &self,
        tx: &Tx<'_>,
        names: Vec<String>,
    ) -> Result<Option<String>, ActionError> {
        let document = format!("t.{}::text", quoted(&self.columns.document));
        let sql = format!(
            "SELECT {document} FROM {} AS t WHERE {document} = ANY ($1) LIMIT 1",
            self.table
        );
        let names = [Parameter::new(&Value::from(names), &Secrets::default())];
        let row = tx.find("look for a document", &sql, &bound(&names)).await.map_err(hinted)?;
        Ok(row.map(|row| row.get(0)))
    }
}

const COLUMNS: &str = "Name the columns in `connections: {knowledge: {columns: {agent: …, document: …, model: …, embedding: …}}}`; \
    without the model of each row nobody knows which rows can be compared.";

/// A column that is missing is most likely called otherwise.
fn hinted(error: ActionError) -> ActionError {
    if error.message.ends_with("(42703)") { error.hint(COLUMNS) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_is_beside_its_table() {
        let found = place("scout.rows", Some("run-1")).expect("a place");
        assert_eq!(found, ("\"scout\".\"rows_run-1\"".to_owned(), "scout.rows_run-1".to_owned()));
        assert_eq!(place("rows", None).expect("a place").0, "\"rows\"");
        assert!(place("a.b.c", None).is_err() && place(&"x".repeat(60), Some("run-1")).is_err());
    }

    #[test]
    fn rows_of_two_models_or_sizes_are_a_mixture() {
        let models = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 1)).collect();
        let agent =
            |models, dimensions| Agent { documents: 1, chunks: 2, without: 0, dimensions, models };
        assert_eq!(agent(models(&["a"]), Some((3, 3, 3.0))).mixture("x"), None);
        let two = agent(models(&["a", "b"]), Some((3, 3, 3.0))).mixture("x").expect("mixed");
        assert_eq!(two, "rows of `x` are of several models: a (1 rows), b (1 rows)");
        assert!(
            agent(models(&["a"]), Some((3, 4, 3.5)))
                .mixture("x")
                .expect("mixed")
                .contains("3 to 4")
        );
    }
}
