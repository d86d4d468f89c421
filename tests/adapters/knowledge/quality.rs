//! `knowledge.expect`: what is found, what is missed, and what nobody can know.

use rollback::action::ErrorKind;
use rollback::sandbox::faults::Fault;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::rig::{Rig, Way, no, nothing, vector, yes};

/// Garbles the rows of two of an agent's five documents.
const GARBLE: &str = "UPDATE scout.agent_domain_embeddings SET embedding = (SELECT array_agg(-u.n) FROM unnest(embedding) AS u(n))
    WHERE title IN ('Computed fields', 'Migration scripts')";

#[tokio::test]
async fn what_is_indexed_well_is_found_by_both_ways() {
    for way in [Way::Sql, Way::Postgrest] {
        let rig = Rig::new(way).await;
        let (summary, facts) =
            yes(rig.recall(json!({"match_threshold": 0.1})).await.expect("an answer"));
        assert_eq!(summary, "recall@5 is 1.000 over 20 queries, wanted at least 0.9", "{way:?}");
        assert_eq!(facts["model"], "text-embedding-3-small");
        assert_eq!(facts["agents"]["odoo_developer"]["dimensions"], json!([64, 64, 64.0]));
        let one = json!({"agent": "bi_architect", "k": 1, "recall": 1.0});
        assert!(
            yes(rig.recall(one).await.expect("an answer")).0.contains("over 5 queries"),
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn damaged_rows_are_missed_and_named() {
    for way in [Way::Sql, Way::Postgrest] {
        let rig = Rig::new(way).await;
        rig.database.run(GARBLE).await;
        let agent = json!({"agent": "odoo_developer"});
        let observed = no(rig.recall(agent.clone()).await.expect("an answer"));
        assert!(
            observed.starts_with("recall@5 is 0.600 over 5 queries, wanted at least 0.9: "),
            "{observed}"
        );
        assert!(observed.contains("(odoo_developer) lacks Computed fields, found "), "{observed}");
        let probe = rig.port.probe_of("knowledge.expect", super::rig::expect(&agent)).await;
        let verdict = probe.observe(&rig.port.cx()).await.expect("an answer");
        assert!(matches!(verdict, rollback::action::Verdict::NotYet { .. }), "{verdict:?}");
        // The agents of others are as they were.
        yes(rig.recall(json!({"agent": "devops_engineer"})).await.expect("an answer"));
        let little = json!({"agent": "odoo_developer", "recall": 0.6});
        assert_eq!(
            yes(rig.recall(little).await.expect("an answer")).1["missed"][0]["missed"],
            json!(["Computed fields"])
        );
    }
}

#[tokio::test]
async fn a_threshold_that_nothing_reaches_finds_nothing() {
    let rig = Rig::new(Way::Postgrest).await;
    let observed = no(rig.recall(json!({"match_threshold": 0.999})).await.expect("an answer"));
    assert!(
        observed.contains("recall@5 is 0.000") && observed.contains("found nothing first"),
        "{observed}"
    );
}

#[tokio::test]
async fn a_shadow_is_searched_row_by_row() {
    let rig = Rig::new(Way::Postgrest).await;
    let shadow = json!({"shadow": true});
    let observed = no(rig.recall(shadow.clone()).await.expect("an answer"));
    assert_eq!(observed, "there is no scout.agent_domain_embeddings_20261121-run");
    let args = json!({"table": "scout.agent_domain_embeddings"});
    rig.port.apply(rig.port.action("postgres.shadow", args).await.as_ref()).await;
    let observed = no(rig.recall(shadow.clone()).await.expect("an answer"));
    assert_eq!(observed, "there is no row of `bi_architect`");
    rig.index("_20261121-run").await;
    // The table itself is as bad as can be, which is nothing to the shadow.
    rig.database.run("UPDATE scout.agent_domain_embeddings SET embedding = NULL").await;
    assert!(yes(rig.recall(shadow).await.expect("an answer")).0.starts_with("recall@5 is 1.000"));
}

#[tokio::test]
async fn rows_of_several_models_never_hold() {
    let rig = Rig::new(Way::Sql).await;
    rig.database
        .run("UPDATE scout.agent_domain_embeddings SET embedding_model = 'text-embedding-3-large' WHERE title = 'Computed fields'")
        .await;
    let observed = no(rig.recall(json!({})).await.expect("an answer"));
    let wanted = "rows of `odoo_developer` are of several models: text-embedding-3-large (2 rows), text-embedding-3-small (8 rows)";
    assert_eq!(observed, wanted);
    rig.database
        .run("UPDATE scout.agent_domain_embeddings SET embedding_model = 'text-embedding-3-small', embedding = embedding[1:32] WHERE title = 'Computed fields'")
        .await;
    let observed = no(rig.recall(json!({})).await.expect("an answer"));
    assert_eq!(observed, "embeddings of `odoo_developer` have 32 to 64 dimensions");
}

/// Vectors of another model than the rows measure nothing: neither good nor bad.
#[tokio::test]
async fn queries_of_another_model_or_size_are_refused() {
    for (model, change, part) in [
        (
            "text-embedding-3-large",
            json!({}),
            "its rows are of the model text-embedding-3-small, and queries would be of text-embedding-3-large",
        ),
        (
            "text-embedding-3-small",
            json!({"embeddings": {"dimensions": 32}}),
            "its rows have 64 dimensions, and queries 32",
        ),
    ] {
        let rig = Rig::empty(Way::Sql, model, change).await;
        rig.index("").await;
        assert!(nothing(rig.recall(json!({})).await.expect("an answer")).contains(part));
        let probe = rig.port.probe_of("knowledge.expect", super::rig::expect(&json!({}))).await;
        let error = probe.observe(&rig.port.cx()).await.expect_err("it is refused");
        assert_eq!((error.kind, error.retryable), (ErrorKind::Conflict, false), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_no_data() {
    let rig = Rig::new(Way::Postgrest).await;
    let fault = |text: &str| text.parse::<Fault>().expect("a fault");
    for (text, part) in [
        ("embeddings:error=503", "A fault was injected."),
        ("embeddings:error=429", "A fault was injected."),
        ("embeddings:reset", "the answer broke off"),
        ("supabase:error=503", "A fault was injected (PGRSTX00)"),
        ("supabase:reset", "the answer broke off"),
    ] {
        rig.faults.add(fault(text));
        // Vectors that were given once are not asked for again, so each time another query.
        let queries = json!([{"query": format!("what about {text}?"), "agent": "bi_architect", "expect": ["Star schema"]}]);
        let reason = nothing(rig.recall(json!({"queries": queries})).await.expect("an answer"));
        assert!(reason.contains(part), "{text}: {reason}");
        let args = super::rig::expect(&json!({"queries": queries}));
        let probe = rig.port.probe_of("knowledge.expect", args).await;
        let error = probe.observe(&rig.port.cx()).await.expect_err("it cannot be asked");
        assert!(error.retryable, "{text}: {error}");
        rig.faults.clear(None);
    }
    // Without a database there is no search either.
    let wrong = Rig::empty(Way::Postgrest, "text-embedding-3-huge", json!({})).await;
    wrong.index("").await;
    wrong
        .database
        .run("UPDATE scout.agent_domain_embeddings SET embedding_model = 'text-embedding-3-huge'")
        .await;
    let reason = nothing(wrong.recall(json!({})).await.expect("an answer"));
    assert!(reason.contains("does not exist or you do not have access"), "{reason}");
}

#[tokio::test]
async fn a_function_that_is_not_there_is_told_as_such() {
    for (search, part) in [
        (json!({"sql": {"function": "scout.find"}}), "function scout.find("),
        (json!({"sql": {"function": "scout.o'brien\"; drop"}}), "scout.o'brien"),
    ] {
        let rig = Rig::empty(Way::Sql, "text-embedding-3-small", json!({"search": search})).await;
        rig.index("").await;
        let reason = nothing(rig.recall(json!({})).await.expect("an answer"));
        assert!(reason.contains(part), "{reason}");
    }
    let rig = Rig::new(Way::Postgrest).await;
    rig.database.run("DROP FUNCTION scout.search_agent_knowledge").await;
    let probe = rig.port.probe_of("knowledge.expect", super::rig::expect(&json!({}))).await;
    let error = probe.observe(&rig.port.cx()).await.expect_err("there is none");
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.ends_with("in the schema cache (PGRST202)"), "{error}");
}

/// A function that calls the documents otherwise has not failed to find them.
#[tokio::test]
async fn rows_that_nobody_can_name_are_no_data() {
    for way in [Way::Sql, Way::Postgrest] {
        let rig = Rig::new(way).await;
        for (columns, part) in [
            ("heading text, agent text", "a row has neither `title` nor `id`"),
            ("heading text, id bigint", "the search returns no `title`, by which the queries name"),
        ] {
            let value = if columns.ends_with("bigint") { "e.id" } else { "e.agent_domain" };
            rig.database
                .run(&format!(
                    "DROP FUNCTION scout.search_agent_knowledge;
                    CREATE FUNCTION scout.search_agent_knowledge(p_agent_domain text, p_query_embedding real[], p_match_threshold float8, p_match_count int)
                    RETURNS TABLE ({columns}) LANGUAGE sql STABLE AS $$
                        SELECT e.title, {value} FROM scout.agent_domain_embeddings AS e WHERE e.agent_domain = p_agent_domain LIMIT p_match_count $$"
                ))
                .await;
            let reason = nothing(rig.recall(json!({})).await.expect("an answer"));
            assert!(reason.contains(part), "{way:?}: {reason}");
        }
        // What is named by `id` can be told, found or not.
        let asked = |id: &str| json!({"queries": [{"query": "stars", "agent": "bi_architect", "expect": [id]}]});
        let ids = "SELECT id FROM scout.agent_domain_embeddings WHERE agent_domain = 'bi_architect' LIMIT 1";
        yes(rig.recall(asked(&rig.database.rows(ids).await[0])).await.expect("an answer"));
        no(rig.recall(asked("0")).await.expect("an answer"));
    }
}

/// A server that says what it was sent, with this status.
async fn echo(status: u16) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = vec![0; 65_536];
            let length = stream.read(&mut heard).await.unwrap_or_default();
            let body = json!({"code": "P0001", "message": String::from_utf8_lossy(&heard[..length]), "details": null, "hint": "none"}).to_string();
            let head = format!(
                "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            // A client that has read enough may leave.
            drop(stream.write_all(format!("{head}{body}").as_bytes()).await);
        }
    });
    format!("http://{address}/rest/v1")
}

#[tokio::test]
async fn a_key_that_is_sent_back_is_never_shown() {
    for (status, kind) in
        [(400, ErrorKind::Invalid), (403, ErrorKind::Denied), (503, ErrorKind::Failed)]
    {
        let search = json!({"postgrest": {"url": echo(status).await}});
        let rig =
            Rig::empty(Way::Postgrest, "text-embedding-3-small", json!({ "search": search })).await;
        rig.index("").await;
        let probe = rig.port.probe_of("knowledge.expect", super::rig::expect(&json!({}))).await;
        let error = probe.observe(&rig.port.cx()).await.expect_err("it refuses");
        assert_eq!(error.kind, kind, "{error}");
        let shown = format!(
            "{error:?} {}",
            nothing(probe.answer(&rig.port.cx()).await.expect("an answer"))
        );
        assert!(
            shown.contains("apikey") && shown.contains("[secret]"),
            "it was sent back: {shown}"
        );
        assert!(!shown.contains(super::rig::KEY), "{shown}");
    }
}

#[tokio::test]
async fn many_queries_are_asked_in_few_requests() {
    let rig = Rig::new(Way::Sql).await;
    let queries: Vec<_> = (0..150)
        .map(|number| json!({"query": format!("star schema {number}"), "agent": "bi_architect", "expect": ["Star schema"]}))
        .collect();
    // A fault that does no harm counts the requests down.
    rig.faults.add("embeddings:latency=1ms,times=99".parse().expect("a fault"));
    let (summary, _) = yes(rig.recall(json!({"queries": queries})).await.expect("an answer"));
    assert_eq!(summary, "recall@5 is 1.000 over 150 queries, wanted at least 0.9");
    assert_eq!(rig.faults.list(), ["embeddings:latency=1ms,times=96"], "three requests are enough");
    assert_eq!(vector("star schema 1").len(), 64);
}
