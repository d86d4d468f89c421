//! The block `knowledge` of an environment file.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;

use crate::action::{ActionError, Connections, ErrorKind, SystemConnection};
use crate::adapters::http::parse_url;
use crate::secret::{REDACTED, Secrets, has_marker};

/// How a knowledge base is laid out and searched.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KnowledgeConnection {
    /// The names of the table's columns.
    #[serde(default)]
    pub(super) columns: Columns,
    /// The service that makes vectors of texts.
    #[serde(default)]
    pub(super) embeddings: Option<EmbeddingsService>,
    /// How agents search.
    #[serde(default)]
    pub(super) search: Option<SearchService>,
    /// A PEM file with certificate authorities that are trusted beside those of the system.
    #[serde(default)]
    pub(super) ca_file: Option<PathBuf>,
}

/// The columns of a table with embeddings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "KnowledgeColumns")]
pub(super) struct Columns {
    /// Whose knowledge a row is; `agent_domain` unless given.
    pub(super) agent: String,
    /// The document that a row is a piece of; `title` unless given.
    pub(super) document: String,
    /// The model that has made the row's embedding; `embedding_model` unless given.
    pub(super) model: String,
    /// The embedding, a `vector` of pgvector or an array of numbers; `embedding` unless given.
    pub(super) embedding: String,
}

impl Default for Columns {
    fn default() -> Self {
        let [agent, document, model, embedding] =
            ["agent_domain", "title", "embedding_model", "embedding"].map(str::to_owned);
        Self { agent, document, model, embedding }
    }
}

/// A service that speaks as `OpenAI`'s embeddings do.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KnowledgeEmbeddings")]
pub(super) struct EmbeddingsService {
    /// The address up to its version, `https://api.openai.com/v1`.
    pub(super) url: String,
    /// Its key, as a reference: `{variable: OPENAI_API_KEY}`.
    #[serde(default)]
    pub(super) key: Option<String>,
    /// The model, which must be the one that the stored rows were made with.
    pub(super) model: String,
    /// How many dimensions to ask for, where the model leaves a choice.
    #[serde(default)]
    #[schemars(range(min = 1, max = 16_000))]
    pub(super) dimensions: Option<u32>,
}

/// How agents search: by the function as an API has it, or as the database has it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "KnowledgeSearch")]
pub(super) enum SearchService {
    /// `PostgREST`, as Supabase has it.
    Postgrest(Postgrest),
    /// The connection `postgres`.
    Sql(SqlSearch),
}

/// A `PostgREST`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KnowledgePostgrest")]
pub(super) struct Postgrest {
    /// The address of the API, at Supabase `https://PROJECT.supabase.co/rest/v1`.
    pub(super) url: String,
    /// Its key, as a reference. One that sees what agents see, and not a service-role key, which row security does not hold.
    #[serde(default)]
    pub(super) key: Option<String>,
    /// The schema of the function, where it is not the API's first one.
    #[serde(default)]
    pub(super) schema: Option<String>,
    /// The function; `search_agent_knowledge` unless given.
    #[serde(default = "usual_function")]
    pub(super) function: String,
}

/// A search through the connection `postgres`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KnowledgeSql")]
pub(super) struct SqlSearch {
    /// The function, perhaps with its schema; `search_agent_knowledge` unless given.
    #[serde(default = "usual_function")]
    pub(super) function: String,
}

fn usual_function() -> String {
    "search_agent_knowledge".to_owned()
}

impl SystemConnection for KnowledgeConnection {
    const KEY: &'static str = "knowledge";
}

impl KnowledgeConnection {
    /// The block of these connections; the usual columns without one.
    pub(super) fn of(connections: &Connections) -> Result<Self, ActionError> {
        if connections.has(Self::KEY) { connections.settings() } else { Ok(Self::default()) }
    }

    /// The service for vectors.
    pub(super) fn embeddings(&self) -> Result<&EmbeddingsService, ActionError> {
        self.embeddings.as_ref().ok_or_else(|| {
            invalid("no `embeddings` say which service makes vectors").hint(
                "Add `connections: {knowledge: {embeddings: {url: …, key: …, model: …}}}` to the environment file.",
            )
        })
    }

    /// How agents search.
    pub(super) fn search(&self) -> Result<&SearchService, ActionError> {
        self.search.as_ref().ok_or_else(|| {
            invalid("no `search` says how agents search").hint(
                "Add `search: {postgrest: {url: …, key: …}}` or `search: {sql: {}}` to the connection `knowledge`.",
            )
        })
    }
}

/// The address of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// The URL without a slash at its end, perhaps with the marker of a secret.
    pub(super) base: String,
    /// How people see it: `api.openai.com`.
    pub(super) shown: String,
}

impl Address {
    /// Checks an address and the key that goes with it; `place` is where they stand in the block.
    pub(super) fn read(
        place: &str,
        url: &str,
        key: Option<&str>,
        secrets: &Secrets,
    ) -> Result<Self, ActionError> {
        if key.is_some_and(|key| !has_marker(key)) {
            return Err(invalid(format!("`{place}.key` is no reference to a secret")).hint(
                "Write `key: {variable: NAME}` or `key: {file: PATH}` in the environment file.",
            ));
        }
        let found = parse_url(secrets.reveal(url).expose_secret())
            .map_err(|problem| invalid(format!("`{place}.url`: {problem}")))?;
        if !found.username().is_empty() || found.password().is_some() {
            return Err(invalid(format!("`{place}.url` holds a user or a password"))
                .hint("Give it a key instead: `key: {variable: NAME}`."));
        }
        if found.query().is_some() || found.fragment().is_some() {
            return Err(invalid(format!("`{place}.url` has a part behind `?` or `#`")));
        }
        let shown = match (has_marker(url), found.host_str(), found.port()) {
            (true, ..) | (_, None, _) => REDACTED.to_owned(),
            (false, Some(host), Some(port)) => format!("{host}:{port}"),
            (false, Some(host), None) => host.to_owned(),
        };
        Ok(Self { base: url.trim_end_matches('/').to_owned(), shown })
    }
}

/// The error of a block that cannot work.
pub(super) fn invalid(problem: impl fmt::Display) -> ActionError {
    ActionError::new(ErrorKind::Invalid, format!("use the connection `knowledge`: {problem}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_read_and_secret_ones_are_not_shown() {
        let mut secrets = Secrets::default();
        let key = secrets.insert("key", "hush-hush".into());
        let read = |url: &str, key: Option<&str>| Address::read("embeddings", url, key, &secrets);
        let found = read("https://api.openai.com/v1/", Some(&key)).expect("an address");
        assert_eq!((&*found.base, &*found.shown), ("https://api.openai.com/v1", "api.openai.com"));
        for (url, key) in [
            ("api.openai.com", None),
            ("https://me:pw@a/v1", None),
            ("https://a/v1?x=1", None),
            ("https://a/v1", Some("in the open")),
        ] {
            let error = read(url, key).expect_err("it cannot work");
            assert!(error.message.starts_with("use the connection `knowledge`"), "{error}");
            assert!(!format!("{error:?}").contains("in the open"), "{error:?}");
        }
    }

    #[test]
    fn a_block_names_one_way_to_search() {
        let block = json!({"search": {"sql": {"function": "scout.search"}}, "columns": {"document": "doc"}});
        let read: KnowledgeConnection = serde_json::from_value(block).expect("a block");
        assert!(
            matches!(read.search(), Ok(SearchService::Sql(sql)) if sql.function == "scout.search")
        );
        assert_eq!((&*read.columns.document, &*read.columns.agent), ("doc", "agent_domain"));
        assert!(read.embeddings().expect_err("none").message.contains("no `embeddings`"));
        let both = json!({"search": {"sql": {}, "postgrest": {"url": "http://a"}}});
        assert!(serde_json::from_value::<KnowledgeConnection>(both).is_err());
    }
}
