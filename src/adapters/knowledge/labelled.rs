//! Labelled queries: what somebody asks, and the documents that have the answer.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::{ActionError, ErrorKind};
use crate::value::beginning;

/// The most queries of one probe.
pub(super) const MOST_QUERIES: usize = 1000;
/// The longest text of a query, in characters.
const LONGEST_QUERY: usize = 2000;
/// The largest file of queries, in bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// The most that is told of why a file cannot be read, in bytes: it may repeat what it has found.
const LONGEST_REASON: usize = 1000;

/// A query and what it has to find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KnowledgeQuery")]
pub(super) struct Labelled {
    /// What is asked.
    #[schemars(length(min = 1))]
    pub(super) query: String,
    /// The agent whose knowledge is searched.
    #[schemars(length(min = 1))]
    pub(super) agent: String,
    /// The documents that have the answer, by what stands in the document's column or by `id`.
    #[schemars(length(min = 1))]
    pub(super) expect: Vec<String>,
}

/// Queries in the runbook, or the path of a JSON file with the same list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "KnowledgeQueries")]
pub(super) enum Queries {
    /// The path of a JSON file.
    File(String),
    /// The queries themselves.
    List(Vec<Labelled>),
}

impl Queries {
    /// Checks what can be said offline.
    pub(super) fn validate(&self) -> Result<(), String> {
        match self {
            Self::File(path) if path.is_empty() => Err("`queries` is an empty path".into()),
            Self::File(_) => Ok(()),
            Self::List(queries) => check(queries),
        }
    }

    /// The queries, those of one agent where one is given.
    pub(super) fn read(self, agent: Option<&str>) -> Result<Vec<Labelled>, ActionError> {
        let (mut queries, place) = match self {
            Self::List(queries) => (queries, "`queries`".to_owned()),
            Self::File(path) => (read(Path::new(&path))?, path),
        };
        if let Some(agent) = agent {
            queries.retain(|query| query.agent == agent);
        }
        if queries.is_empty() {
            let whose = agent.map_or_else(String::new, |agent| format!(" of the agent `{agent}`"));
            let text = format!("find labelled queries{whose} in {place}");
            return Err(ActionError::new(ErrorKind::NotFound, text).hint(
                "Add some: what is asked, the agent, and the documents that have the answer.",
            ));
        }
        Ok(queries)
    }
}

fn read(path: &Path) -> Result<Vec<Labelled>, ActionError> {
    let shown = path.display();
    let failed = |kind, why: String| {
        ActionError::new(kind, format!("read the queries in {shown}: {why}"))
            .hint(r#"It is a JSON list: `[{"query": …, "agent": …, "expect": ["…"]}]`. A relative path begins at the current folder."#)
    };
    let found =
        std::fs::metadata(path).map_err(|error| failed(ErrorKind::NotFound, error.to_string()))?;
    if !found.is_file() || found.len() > LARGEST_FILE {
        let why = format!("it is no file of at most {LARGEST_FILE} bytes");
        return Err(failed(ErrorKind::Invalid, why));
    }
    let text =
        std::fs::read(path).map_err(|error| failed(ErrorKind::NotFound, error.to_string()))?;
    parse(&text).map_err(|why| failed(ErrorKind::Invalid, why))
}

/// Reads the content of a file.
fn parse(text: &[u8]) -> Result<Vec<Labelled>, String> {
    let queries: Vec<Labelled> = serde_json::from_slice(text)
        .map_err(|error| beginning(&error.to_string(), LONGEST_REASON).to_owned())?;
    check(&queries)?;
    Ok(queries)
}

fn check(queries: &[Labelled]) -> Result<(), String> {
    if queries.is_empty() || queries.len() > MOST_QUERIES {
        return Err(format!("there must be 1 to {MOST_QUERIES} queries, not {}", queries.len()));
    }
    for (number, Labelled { query, agent, expect }) in (1..).zip(queries) {
        if query.trim().is_empty() || query.chars().count() > LONGEST_QUERY {
            return Err(format!("query {number} must have 1 to {LONGEST_QUERY} characters"));
        }
        if agent.is_empty() {
            return Err(format!("query {number} has no agent"));
        }
        if expect.is_empty() || expect.iter().any(String::is_empty) {
            return Err(format!("query {number} expects no document"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn queries_are_a_list_or_a_file() {
        let one = json!({"query": "how?", "agent": "odoo", "expect": ["Guide"]});
        let list: Queries = serde_json::from_value(json!([one])).expect("a list");
        assert_eq!(list.validate(), Ok(()));
        assert_eq!(list.clone().read(Some("odoo")).expect("one").len(), 1);
        assert_eq!(list.read(Some("other")).expect_err("none").kind, ErrorKind::NotFound);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("queries.json");
        std::fs::write(&path, json!([one]).to_string()).expect("it is ours");
        let file = Queries::File(path.display().to_string());
        assert_eq!(file.read(None).expect("one")[0].expect, ["Guide"]);
        let nowhere = Queries::File(folder.path().join("no.json").display().to_string());
        assert_eq!(nowhere.read(None).expect_err("no file").kind, ErrorKind::NotFound);
    }

    #[test]
    fn what_asks_nothing_is_refused() {
        for bad in [
            json!([]),
            json!([{"query": " ", "agent": "a", "expect": ["x"]}]),
            json!([{"query": "q", "agent": "", "expect": ["x"]}]),
            json!([{"query": "q", "agent": "a", "expect": []}]),
            json!([{"query": "q", "agent": "a", "expect": ["x"], "more": 1}]),
            json!({"query": "q"}),
        ] {
            assert!(parse(bad.to_string().as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(b"[").is_err());
    }
}
