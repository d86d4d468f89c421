//! The same on pgvector, which Debian 12 has no package of: `ROLLBACK_TEST_PGVECTOR` names a server that has it, and `--ignored` runs this.

use rollback::sandbox::knowledge::corpus::{MODEL, documents};
use rollback::sandbox::knowledge::{Embeddings, Postgrest};
use rollback::sandbox::wire::open_tcp;
use serde_json::json;

use super::rig::{KEY, vector};
use crate::adapters::postgres::rig::{Port, connect};
use crate::support::{install_tls, server_variable};

/// As Supabase has it: the extension in a schema of its own, and an index for nearest neighbours.
const SCHEMA: &str = "
    DROP SCHEMA IF EXISTS scout CASCADE; DROP SCHEMA IF EXISTS rollback CASCADE; DROP EXTENSION IF EXISTS vector;
    CREATE SCHEMA IF NOT EXISTS extensions; CREATE EXTENSION vector SCHEMA extensions;
    CREATE SCHEMA scout;
    CREATE TABLE scout.agent_domain_embeddings (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), agent_domain text NOT NULL, title text NOT NULL,
        content text NOT NULL, embedding extensions.vector(64), embedding_model text);
    CREATE INDEX ON scout.agent_domain_embeddings USING hnsw (embedding extensions.vector_cosine_ops);
    CREATE FUNCTION scout.search_agent_knowledge(p_agent_domain text, p_query_embedding extensions.vector(64), p_match_threshold float8, p_match_count int)
    RETURNS TABLE (id uuid, title text, similarity float8) LANGUAGE sql STABLE AS $$
        SELECT e.id, e.title, 1 - (e.embedding OPERATOR(extensions.<=>) p_query_embedding) FROM scout.agent_domain_embeddings AS e
        WHERE e.agent_domain = p_agent_domain AND 1 - (e.embedding OPERATOR(extensions.<=>) p_query_embedding) >= p_match_threshold
        ORDER BY e.embedding OPERATOR(extensions.<=>) p_query_embedding LIMIT p_match_count $$;";

async fn index(url: &str, table: &str) {
    let client = connect(url).await;
    for document in documents() {
        for chunk in &document.chunks {
            let numbers: Vec<String> = vector(&format!("{}. {chunk}", document.title))
                .iter()
                .map(ToString::to_string)
                .collect();
            let sql = format!(
                "INSERT INTO scout.\"{table}\" (agent_domain, title, content, embedding, embedding_model) VALUES ($1, $2, $3, '[{}]', $4)",
                numbers.join(",")
            );
            client
                .execute(&sql, &[&document.agent, &document.title, chunk, &MODEL])
                .await
                .expect("a row");
        }
    }
}

#[tokio::test]
#[ignore = "needs a PostgreSQL with pgvector, which is in no package of Debian 12"]
async fn vectors_of_pgvector_are_searched_promoted_and_restored() {
    install_tls();
    let url = server_variable(&["ROLLBACK_TEST_PGVECTOR"]);
    connect(&url).await.batch_execute(SCHEMA).await.expect("a schema");
    index(&url, "agent_domain_embeddings").await;
    let mut doors = Vec::new();
    let mut listen = async |front| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        doors.push(open_tcp(listener, front));
        address
    };
    let embeddings = listen(Embeddings::new(KEY).front(None)).await;
    let api = Postgrest::new(Some(url.parse().expect("an address")), KEY, &["scout"]);
    let rest = listen(api.front(None)).await;
    for way in ["sql", "postgrest"] {
        let mut secrets = rollback::secret::Secrets::default();
        let (key, address) =
            (secrets.insert("key", KEY.into()), secrets.insert("url", url.as_str().into()));
        let search = match way {
            "sql" => json!({"sql": {"function": "scout.search_agent_knowledge"}}),
            _ => json!({"postgrest": {"url": format!("http://{rest}/rest/v1"), "key": key}}),
        };
        let service = json!({"url": format!("http://{embeddings}/v1"), "key": key, "model": MODEL});
        let settings = [
            ("postgres".to_owned(), json!({ "url": address })),
            ("knowledge".to_owned(), json!({"embeddings": service, "search": search})),
        ];
        let port = Port::with_connections(settings.into(), secrets);
        let recall = async |more| {
            let probe = port.probe_of("knowledge.expect", super::rig::expect(&more)).await;
            probe.answer(&port.cx()).await.expect("an answer")
        };
        super::rig::yes(recall(json!({"match_threshold": 0.1})).await);
        let table = json!({"table": "scout.agent_domain_embeddings"});
        port.step(&format!("shadow-{way}"));
        let shadow = port.action("postgres.shadow", table.clone()).await;
        let (saved, _) = port.apply(shadow.as_ref()).await;
        index(&url, "agent_domain_embeddings_20261121-run").await;
        super::rig::yes(recall(json!({"shadow": true})).await);
        port.step(&format!("promote-{way}"));
        let promote = port.action("postgres.promote", table).await;
        let (promoted, evidence) = port.apply(promote.as_ref()).await;
        super::rig::yes(recall(json!({})).await);
        port.undo(promote.as_ref(), &promoted, Some(&evidence)).await;
        super::rig::yes(recall(json!({})).await);
        port.step(&format!("shadow-{way}"));
        port.undo(shadow.as_ref(), &saved, None).await;
    }
}
