//! `postgres.restore` behind a gate on quality: with many rows, while others read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rollback::action::{ErrorKind, Readiness};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::rig::{Rig, Way, expect, no, vector, yes};

/// Another size of the large knowledge base; the figure that is promised is of 300000 rows.
const ROWS_VARIABLE: &str = "ROLLBACK_KNOWLEDGE_ROWS";
/// Queries with an answer.
const QUERIES: i32 = 20;
/// Rows of a document.
const CHUNKS: i32 = 10;

fn restore(gate: &Value) -> Value {
    json!({"snapshot": "backup", "unless": {"knowledge.expect": gate}})
}

/// How many rows the large knowledge base has; so many in the usual tests.
pub(super) fn rows_or(usual: i32) -> i32 {
    std::env::var(ROWS_VARIABLE).map_or(usual, |rows| rows.parse().expect("a number of rows"))
}

async fn backed_up(rig: &Rig) {
    rig.port.step("backup");
    let backup = json!({"table": "scout.agent_domain_embeddings", "name": "backup"});
    rig.port.apply(rig.port.action("postgres.snapshot", backup).await.as_ref()).await;
    rig.port.step("restore");
}

#[tokio::test]
async fn what_is_good_stays_and_what_is_not_comes_back() {
    let rig = Rig::new(Way::Postgrest).await;
    let good = rig.rows().await;
    backed_up(&rig).await;
    let action = rig.port.action("postgres.restore", restore(&expect(&json!({})))).await;
    let described = action.describe().apply;
    assert!(described.ends_with("unless recall@5 of 20 labelled queries in scout.agent_domain_embeddings is at least 0.9"), "{described}");
    // Other rows than those of the backup, and as good.
    rig.database.run("UPDATE scout.agent_domain_embeddings SET content = content || '.'").await;
    let better = rig.rows().await;
    let evidence = rig.port.done(action.as_ref()).await;
    assert_eq!(
        evidence.summary,
        "not needed: recall@5 is 1.000 over 20 queries, wanted at least 0.9"
    );
    rig.database.run("UPDATE scout.agent_domain_embeddings SET embedding = array_fill(0.1::real, ARRAY[64]) WHERE agent_domain = 'odoo_developer'").await;
    let (saved, evidence) = rig.port.apply(action.as_ref()).await;
    assert_eq!(rig.rows().await, good);
    // Once restored it is done, though the gate can say nothing now.
    let rename = |from: &str, to: &str| format!("ALTER FUNCTION scout.{from} RENAME TO {to}");
    rig.database.run(&rename("search_agent_knowledge", "away")).await;
    let evidence_again = rig.port.done(action.as_ref()).await;
    assert_eq!(evidence_again.summary, evidence.summary);
    rig.database.run(&rename("away", "search_agent_knowledge")).await;
    rig.port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_ne!(rig.rows().await, better);
    let gate = rig.recall(json!({})).await.expect("an answer");
    no(gate);
}

#[tokio::test]
async fn nothing_comes_back_when_nobody_can_tell() {
    let rig = Rig::new(Way::Sql).await;
    backed_up(&rig).await;
    rig.database.run("DELETE FROM scout.agent_domain_embeddings WHERE agent_domain = 'bi_architect' AND title = 'Star schema'").await;
    let before = rig.rows().await;
    rig.faults.add("embeddings:error=503".parse().expect("a fault"));
    let action =
        rig.port.action("postgres.restore", restore(&expect(&json!({"recall": 1.0})))).await;
    let error = action.inspect(&rig.port.cx()).await.expect_err("nobody knows");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, true), "{error}");
    assert!(error.message.starts_with("know whether it is needed: "), "{error}");
    assert_eq!(rig.rows().await, before);
    rig.faults.clear(None);
    assert!(matches!(action.inspect(&rig.port.cx()).await, Ok(Readiness::Needed { .. })));
}

#[tokio::test]
async fn what_is_no_probe_is_no_gate() {
    let rig = Rig::new(Way::Sql).await;
    let verb = rollback::adapters::registry().verb("postgres.restore").copied().expect("the verb");
    let resolve = rollback::action::ResolveContext {
        connections: Arc::new(rollback::action::Connections::new(
            "test",
            std::collections::HashMap::new(),
            Arc::default(),
        )),
        registry: Arc::new(rollback::adapters::registry()),
    };
    for (call, part) in [
        (json!({"postgres.clear": {"table": "a", "snapshot": "b"}}), "does not only ask"),
        (json!({"manual.confirm": [{"item": "It is good"}]}), "does not only ask"),
        (json!({"knowledge.wish": {}}), "find the probe"),
    ] {
        let args = json!({"snapshot": "backup", "unless": call});
        let error = verb.expand(args, &resolve).await.expect_err("it is no probe");
        assert!(error.message.contains(part), "{error}");
    }
    assert_eq!(
        (verb.validate)(json!({"snapshot": "backup", "unless": {}})),
        Err("`unless` must be exactly one probe".into())
    );
    drop(rig);
}

/// So many rows of four agents: documents of ten rows each, twenty of the first agent's known to the labelled queries, all others noise.
pub(super) async fn large(rig: &Rig, rows: i32) {
    rig.database
        .run(&format!(
            "INSERT INTO scout.agent_domain_embeddings (agent_domain, title, content, embedding, embedding_model)
             SELECT 'agent_' || n % 4, 'Document ' || n / {each}, 'row ' || n,
                (SELECT array_agg((hashint8(n::bigint * 64 + d) % 1000) / 1000.0)::real[] FROM generate_series(1, 64) AS d), 'text-embedding-3-small'
             FROM generate_series(0, {last}) AS n",
            each = 4 * CHUNKS,
            last = rows - 1
        ))
        .await;
    let client = rig.database.client().await;
    for number in 0..QUERIES {
        let vector = vector(&query(number));
        let known = "UPDATE scout.agent_domain_embeddings SET embedding = $1 WHERE agent_domain = 'agent_0' AND title = $2";
        let title = format!("Document {number}");
        assert_eq!(client.execute(known, &[&vector, &title]).await.expect("rows"), 10);
    }
    client.batch_execute("ANALYZE scout.agent_domain_embeddings").await.expect("statistics");
}

fn query(number: i32) -> String {
    format!("question number{number} about topic{number}")
}

/// 1.5 % of the rows are garbled, among them those of eight documents that queries have to find.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::print_stdout, reason = "the figures are what is promised")]
async fn a_damaged_knowledge_base_is_noticed_and_restored_while_everybody_reads() {
    let rows = rows_or(30_000);
    let rig = Rig::empty(Way::Sql, "text-embedding-3-small", json!({})).await;
    large(&rig, rows).await;
    let queries: Vec<Value> = (0..QUERIES)
        .map(|number| json!({"query": query(number), "agent": "agent_0", "expect": [format!("Document {number}")]}))
        .collect();
    let gate = expect(&json!({"queries": queries}));
    let (before, _) = yes(rig.recall(json!({"queries": queries})).await.expect("an answer"));
    backed_up(&rig).await;
    let good = rig.content().await;

    let damage = rows * 15 / 1000;
    let damaged = format!(
        "WITH ill AS (SELECT id FROM scout.agent_domain_embeddings WHERE agent_domain = 'agent_0'
            ORDER BY CASE WHEN split_part(title, ' ', 2)::int < 8 THEN 0 WHEN split_part(title, ' ', 2)::int < {QUERIES} THEN 2 ELSE 1 END, id LIMIT {damage})
         UPDATE scout.agent_domain_embeddings AS t SET embedding = array_fill(0.1::real, ARRAY[64]) FROM ill WHERE ill.id = t.id RETURNING 1"
    );
    assert_eq!(rig.database.rows(&damaged).await.len(), usize::try_from(damage).expect("a number"));
    let after = no(rig.recall(json!({"queries": queries})).await.expect("an answer"));
    assert!(after.starts_with("recall@5 is 0.600"), "{after}");

    let over = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for agent in ["agent_0", "agent_3"] {
        let (client, over, wanted) =
            (rig.database.client().await, over.clone(), i64::from(rows / 4));
        readers.push(tokio::spawn(async move {
            let (mut slowest, mut looks, mut empty) = (Duration::ZERO, 0, 0);
            while !over.load(Ordering::SeqCst) {
                let begin = Instant::now();
                let look =
                    "SELECT count(*) FROM scout.agent_domain_embeddings WHERE agent_domain = $1";
                let found =
                    client.query_one(look, &[&agent]).await.expect("a reader is never refused");
                slowest = slowest.max(begin.elapsed());
                looks += 1;
                empty += i32::from(found.get::<_, i64>(0) != wanted);
            }
            (slowest, looks, empty)
        }));
    }
    let begin = Instant::now();
    let action = rig.port.action("postgres.restore", restore(&gate)).await;
    let (saved, evidence) = rig.port.apply(action.as_ref()).await;
    let took = begin.elapsed();
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        let (slowest, looks, empty) = reader.await.expect("a reader is content");
        println!(
            "{rows} rows, {damage} damaged, restored in {took:?}: {looks} looks, {empty} not whole, the slowest {slowest:?}"
        );
        assert_eq!(empty, 0, "a reader saw a table that was not whole");
        assert!(looks > 1, "readers have looked");
    }
    assert!(
        evidence.summary.contains(&format!("{damage} changed, 0 added, 0 removed")),
        "{}",
        evidence.summary
    );
    assert_eq!(rig.content().await, good);
    let (restored, _) = yes(rig.recall(json!({"queries": queries})).await.expect("an answer"));
    println!("before: {before}\ndamaged: {after}\nrestored: {restored}");
    rig.port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    no(rig.recall(json!({"queries": queries})).await.expect("an answer"));
}
