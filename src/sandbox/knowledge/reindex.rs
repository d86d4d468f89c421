//! Stands for the script that indexes an agent's documents (`index_agent_knowledge.py`): reads files, asks for vectors, writes rows.
//!
//! All rows of an agent are written in one transaction that first removes those of an earlier attempt, so it may be run again.

use std::path::PathBuf;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, header};
use serde::Deserialize;
use serde_json::json;
use tokio_postgres::{Config, NoTls};

use super::corpus::{self, Document};
use crate::sandbox::SandboxError;
use crate::sandbox::client::send;

/// The longest answer that is read, in bytes.
const LONGEST: usize = 8 << 20;
/// What all agents together are called.
pub const ALL: &str = "all";

/// What is indexed, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reindex {
    /// The folder with the documents; with a folder for each agent when all are meant.
    pub source: PathBuf,
    /// The agent, or `all`.
    pub agent: String,
    /// What the rows say that they are.
    pub content_type: String,
    /// The model.
    pub model: String,
    /// The table, `schema.table`.
    pub table: String,
    /// The database, `postgresql://…`.
    pub database: String,
    /// The service for vectors, `http://host:port/v1`.
    pub service: String,
    /// Its key.
    pub key: String,
}

#[derive(Deserialize)]
struct Given {
    data: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    embedding: Vec<f32>,
}

fn failed(doing: &str, why: impl std::fmt::Display) -> SandboxError {
    SandboxError::Process(format!("{doing}: {why}"))
}

impl Reindex {
    /// Indexes; how many rows were written.
    ///
    /// # Errors
    /// Whatever kept it from it; then nothing was written.
    pub async fn run(&self) -> Result<u64, SandboxError> {
        let mut rows = 0;
        for (agent, documents) in self.documents()? {
            rows += self.index(&agent, &documents).await?;
        }
        Ok(rows)
    }

    fn documents(&self) -> Result<Vec<(String, Vec<Document>)>, SandboxError> {
        if self.agent != ALL {
            let found = corpus::read(&self.source, &self.agent)?;
            return Ok(vec![(self.agent.clone(), found)]);
        }
        let entries = std::fs::read_dir(&self.source);
        let entries = entries.map_err(SandboxError::file("read", &self.source))?;
        let mut agents = Vec::new();
        for entry in entries {
            let path = entry.map_err(SandboxError::file("read", &self.source))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            if let Some(agent) = name.filter(|_| path.is_dir()) {
                let found = corpus::read(&path, &agent)?;
                agents.push((agent, found));
            }
        }
        agents.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(agents)
    }

    async fn index(&self, agent: &str, documents: &[Document]) -> Result<u64, SandboxError> {
        let pieces: Vec<(&str, &str)> = documents
            .iter()
            .flat_map(|document| document.chunks.iter().map(|chunk| (&*document.title, &**chunk)))
            .collect();
        if pieces.is_empty() {
            return Err(failed(
                "index",
                format!("there are no documents of {agent} in {}", self.source.display()),
            ));
        }
        let texts: Vec<String> = pieces.iter().map(|(title, chunk)| text(title, chunk)).collect();
        let vectors = self.embed(&texts).await?;
        let doing = "write to PostgreSQL";
        let config: Config = self.database.parse().map_err(|error| failed(doing, error))?;
        let (mut client, connection) =
            config.connect(NoTls).await.map_err(|error| failed(doing, error))?;
        tokio::spawn(connection);
        let said = |error: tokio_postgres::Error| {
            let text = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
            failed(doing, text)
        };
        let table =
            self.table.splitn(2, '.').map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
        let table = table.collect::<Vec<_>>().join(".");
        let change = client.transaction().await.map_err(said)?;
        let remove = format!("DELETE FROM {table} WHERE agent_domain = $1");
        let _removed = change.execute(&remove, &[&agent]).await.map_err(said)?;
        let add = format!(
            "INSERT INTO {table} (agent_domain, content_type, title, content, embedding, embedding_model) VALUES ($1, $2, $3, $4, $5, $6)"
        );
        let mut rows = 0;
        for ((title, chunk), vector) in pieces.iter().zip(vectors) {
            rows += change
                .execute(&add, &[&agent, &self.content_type, title, chunk, &vector, &self.model])
                .await
                .map_err(said)?;
        }
        change.commit().await.map_err(said)?;
        Ok(rows)
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, SandboxError> {
        let doing = "ask for vectors";
        let address = self.service.trim_start_matches("http://");
        let (host, path) = address.split_once('/').unwrap_or((address, ""));
        let body = json!({"model": self.model, "input": texts});
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/{path}/embeddings"))
            .header(header::HOST, host)
            .header(header::CONNECTION, "close")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .body(Body::from(body.to_string()))
            .map_err(|error| failed(doing, error))?;
        let answer = send(host, request).await.map_err(|error| failed(doing, error))?;
        let status = answer.status();
        let body =
            to_bytes(answer.into_body(), LONGEST).await.map_err(|error| failed(doing, error))?;
        if !status.is_success() {
            let said: String = String::from_utf8_lossy(&body).chars().take(300).collect();
            return Err(failed(doing, format!("{status} {said}")));
        }
        let given: Given = serde_json::from_slice(&body).map_err(|error| failed(doing, error))?;
        if given.data.len() != texts.len() {
            return Err(failed(doing, "there are too few"));
        }
        Ok(given.data.into_iter().map(|vector| vector.embedding).collect())
    }
}

/// What is embedded of a piece: its document's title belongs to it.
pub(in crate::sandbox) fn text(title: &str, chunk: &str) -> String {
    format!("{title}. {chunk}")
}
