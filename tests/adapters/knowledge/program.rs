//! The whole program: from a backup to rows that are no good and back, killed on the way.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::gate::{large, rows_or};
use super::rig::{KEY, Rig, Way};
use crate::support::desk::Desk;
use crate::support::world::finish;

/// Between two points at which the program is killed; the rest would tell the same.
const STRIDE: usize = 8;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

fn private(desk: &Desk, name: &str, text: &str) -> String {
    let path = desk.world.write(name, text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    path.display().to_string()
}

/// A runbook that indexes documents that answer nothing, puts them in place, and brings the former rows back since the gate says so.
fn desk(rig: &Rig) -> Desk {
    let desk = Desk::new("");
    let url = private(&desk, "url", &rig.database.url);
    let key = private(&desk, "key", KEY);
    desk.world.write(
        "documents/01.md",
        "# Wrong document\n\nLorem ipsum dolor sit amet.\n\nConsectetur adipiscing elit.\n",
    );
    desk.environment(&format!(
        "connections:\n  postgres: {{url: {{file: \"{url}\"}}}}\n  knowledge:\n    embeddings: {{url: \"{}\", key: {{file: \"{key}\"}}, model: text-embedding-3-small}}\n    search: {{sql: {{function: scout.search_agent_knowledge}}}}",
        rig.embeddings
    ));
    let environment = desk.world.path("home/environments/local.yaml");
    let text = std::fs::read_to_string(&environment).expect("it was written");
    let text = text.replace(
        "values:\n",
        &format!("values:\n  database: {{file: \"{url}\"}}\n  key: {{file: \"{key}\"}}\n  service: \"{}\"\n", rig.embeddings),
    );
    std::fs::write(environment, text).expect("it is writable");
    let queries =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks/orchestrator/knowledge-queries.json");
    desk.runbook(&format!(
        r#"version: 1
name: book
title: A book
scenario: knowledge-base
subject: book
phases:
  - id: work
    title: Work
    steps:
      - id: back-up
        postgres.snapshot: {{table: scout.agent_domain_embeddings, where: {{agent_domain: odoo_developer}}, name: "before-{{{{ run.id }}}}"}}
      - id: make-shadow
        postgres.shadow: {{table: scout.agent_domain_embeddings, where: {{agent_domain: odoo_developer}}}}
      - id: index
        script.run:
          argv: ["{program}", sandbox, reindex, --source, "{documents}", --agent, odoo_developer, --embedding-model, text-embedding-3-small, --table, "scout.agent_domain_embeddings_{{{{ run.id }}}}"]
          env: {{POSTGRES_URL: "{{{{ environment.database }}}}", OPENAI_BASE_URL: "{{{{ environment.service }}}}", OPENAI_API_KEY: "{{{{ environment.key }}}}"}}
          repeat: safe
          undo: ["true"]
      - id: promote
        postgres.promote: {{table: scout.agent_domain_embeddings, where: {{agent_domain: odoo_developer}}, expect_rows: 2}}
      - id: restore-unless-good
        postgres.restore:
          snapshot: "before-{{{{ run.id }}}}"
          unless:
            knowledge.expect: {{table: scout.agent_domain_embeddings, agent: odoo_developer, queries: "{queries}"}}
      - id: found
        knowledge.expect: {{table: scout.agent_domain_embeddings, agent: odoo_developer, queries: "{queries}"}}
"#,
        program = env!("CARGO_BIN_EXE_rollback"),
        documents = desk.world.path("documents").display(),
        queries = queries.display(),
    ));
    desk
}

/// Looks at an agent's rows all the time; the answer of the task is how often, and how often there was none.
fn watch(
    runtime: &tokio::runtime::Runtime,
    rig: &Rig,
    over: Arc<AtomicBool>,
) -> tokio::task::JoinHandle<(u64, u64)> {
    let client = runtime.block_on(rig.database.client());
    runtime.spawn(async move {
        let (mut looks, mut empty) = (0, 0);
        while !over.load(Ordering::SeqCst) {
            let look = "SELECT count(*) FROM scout.agent_domain_embeddings WHERE agent_domain = 'odoo_developer'";
            let found: i64 = client.query_one(look, &[]).await.expect("a reader is never refused").get(0);
            looks += 1;
            empty += u64::from(found == 0);
        }
        (looks, empty)
    })
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are what is promised")]
fn rows_that_are_no_good_are_taken_back_wherever_the_program_is_killed() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::new(Way::Sql));
    // Other agents' rows, which nothing must touch.
    let others = rows_or(1000);
    runtime.block_on(large(&rig, others));
    let good = runtime.block_on(rig.content());
    let over = Arc::new(AtomicBool::new(false));
    let reader = watch(&runtime, &rig, over.clone());
    let (mut point, mut kills, mut resumes) = (1, 0, 0);
    loop {
        let desk = desk(&rig);
        let mut command = desk.command();
        command.env("ROLLBACK_CRASH_AT", point.to_string());
        command.env("ROLLBACK_CRASH_REPORT", desk.world.path("report"));
        let output = finish(&mut command);
        let survived = output.code() == Some(0);
        if !survived {
            kills += 1;
            let begun =
                desk.state().join("runs").read_dir().is_ok_and(|mut runs| runs.next().is_some());
            // A run that was cut off before its first record leaves nothing to resume.
            let resumed = begun.then(|| desk.resume());
            if resumed.as_ref().is_none_or(|resumed| resumed.code() != Some(0)) {
                let again = desk.run();
                assert_eq!(again.code(), Some(0), "point {point}: {output}{resumed:?}{again}");
            } else {
                resumes += 1;
            }
        }
        assert_eq!(runtime.block_on(rig.content()), good, "point {point}");
        let left = "SELECT count(*) FROM pg_tables WHERE schemaname = 'scout'";
        assert_eq!(runtime.block_on(rig.database.rows(left)), ["1"], "point {point}");
        if survived {
            let applied = desk.events("applied");
            assert!(
                applied.iter().any(|record| record["step"] == "work/restore-unless-good"),
                "{applied:?}"
            );
            break;
        }
        point += STRIDE;
        assert!(point < 600, "the run comes to an end");
    }
    over.store(true, Ordering::SeqCst);
    let (looks, empty) = runtime.block_on(reader).expect("the reader ends");
    println!(
        "{others} rows of others: killed at {kills} points, {resumes} runs resumed and the rest begun anew; {looks} looks, {empty} found nothing"
    );
    assert!(kills >= 10, "it was killed at {kills} points");
    assert!(looks > 100 && empty == 0, "{empty} of {looks} looks found nothing");
}
