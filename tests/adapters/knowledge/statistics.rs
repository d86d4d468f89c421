//! `knowledge.compare`: rows against a backup.

use serde_json::json;

use super::rig::{Rig, Way, no, yes};

#[tokio::test]
async fn rows_are_held_against_a_backup() {
    let rig = Rig::new(Way::Sql).await;
    let backup = json!({"table": "scout.agent_domain_embeddings", "name": "before"});
    let bounds = json!({"before": "before", "documents": {"at_least": 0.9}, "chunks": {"at_least": 0.8, "at_most": 2}});
    assert_eq!(no(rig.compare(&bounds).await), "there is no snapshot `before`");
    rig.port.apply(rig.port.action("postgres.snapshot", backup).await.as_ref()).await;
    let comment = "SELECT obj_description('rollback.before'::regclass)";
    assert_eq!(
        rig.database.rows(comment).await,
        ["rollback 20261121-run: rows of scout.agent_domain_embeddings"]
    );
    let (summary, facts) = yes(rig.compare(&bounds).await);
    let wanted = "bi_architect: 5 documents (before 5), 10 chunks (before 10), text-embedding-3-small with 64 dimensions";
    assert!(summary.starts_with(wanted), "{summary}");
    assert_eq!(facts["agents"]["devops_engineer"]["chunks"], 10);

    rig.database.run("DELETE FROM scout.agent_domain_embeddings WHERE title = 'Star schema'").await;
    let observed = no(rig.compare(&bounds).await);
    assert_eq!(
        observed,
        "`bi_architect` has 4 documents after 5, wanted at least 0.9 times as many"
    );
    rig.database
        .run("DELETE FROM scout.agent_domain_embeddings WHERE agent_domain = 'bi_architect'")
        .await;
    assert_eq!(no(rig.compare(&bounds).await), "`bi_architect` has no row any more");
    let mut one = bounds.clone();
    one["agent"] = "odoo_developer".into();
    yes(rig.compare(&one).await);
    rig.database
        .run("UPDATE scout.agent_domain_embeddings SET embedding = NULL WHERE title = 'Petty cash'")
        .await;
    one["agent"] = "finance_ssc_expert".into();
    assert_eq!(no(rig.compare(&one).await), "2 rows of `finance_ssc_expert` have no embedding");
}

#[tokio::test]
async fn a_shadow_is_held_against_the_same_backup() {
    let rig = Rig::new(Way::Sql).await;
    let table = "scout.agent_domain_embeddings";
    rig.port.step("backup");
    rig.port
        .apply(
            rig.port
                .action("postgres.snapshot", json!({"table": table, "name": "before"}))
                .await
                .as_ref(),
        )
        .await;
    let shadow =
        json!({"shadow": true, "before": "before", "chunks": {"at_least": 0.9, "at_most": 1.1}});
    assert_eq!(
        no(rig.compare(&shadow).await),
        "there is no scout.agent_domain_embeddings_20261121-run"
    );
    rig.port.step("shadow");
    rig.port
        .apply(rig.port.action("postgres.shadow", json!({"table": table})).await.as_ref())
        .await;
    assert!(
        no(rig.compare(&shadow).await)
            .starts_with("there is no row; `bi_architect` has no row any more")
    );
    rig.index("_20261121-run").await;
    yes(rig.compare(&shadow).await);
    // A script that ran twice.
    rig.index("_20261121-run").await;
    assert!(
        no(rig.compare(&shadow).await)
            .contains("has 20 chunks after 10, wanted 0.9 to 1.1 times as many")
    );
    let mut other = shadow.clone();
    other["chunks"] = json!({"at_least": 0.9});
    other["model"] = "text-embedding-3-large".into();
    assert!(
        no(rig.compare(&other).await)
            .contains("are of the model text-embedding-3-small, wanted text-embedding-3-large")
    );
}
