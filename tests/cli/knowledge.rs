//! The shipped runbook of the knowledge base, in the sandbox with a PostgreSQL.

use std::path::Path;

use serde_json::Value;

use super::stage::{crate_root, serve};
use crate::support::output::CommandOutput;
use crate::support::world::{Running, World};

const RUN: &str = "--knowledge-base --env sandbox --reason 'recall is low' --yes";

struct Stage {
    world: World,
    _sandbox: Running,
}

impl Stage {
    fn new(postgres: &str) -> Self {
        let world = World::new();
        let stage = Self { _sandbox: serve(&world, postgres), world };
        for file in ["knowledge-base.yaml", "knowledge-queries.json", "environments/sandbox.yaml"] {
            let text =
                std::fs::read_to_string(crate_root().join("runbooks/orchestrator").join(file));
            let path = Path::new("home/runbooks/orchestrator").join(file);
            let _path = stage.world.write(path, &text.expect("it is shipped"));
        }
        stage
    }

    fn rollback(&self, line: &str) -> CommandOutput {
        self.world.rollback(shell_words::split(line).expect("a command line"))
    }

    /// What each agent knows, from the world's own side.
    fn known(&self) -> Value {
        self.rollback("sandbox status --format json").expect_code(0).json()["database"]["knowledge"]
            .clone()
    }
}

#[test]
fn the_ill_agent_is_indexed_anew_and_nobody_else() {
    let stage = Stage::new("auto");
    let before = stage.known();
    let planned = stage.rollback(&format!("{RUN} --dry-run")).expect_code(0);
    assert!(planned.stdout.contains("lacks OCA module structure"), "{planned}");
    assert_eq!(stage.known(), before, "a plan changes nothing");

    let run = stage.rollback(RUN).expect_code(0);
    for told in
        ["✓ promote", "= restore-unless-good", "recall@5 is 1.000 over 5 queries", "TARGET MET"]
    {
        assert!(run.stderr.contains(told), "{told}: {run}");
    }
    let after = stage.known();
    for agent in ["bi_architect", "devops_engineer", "finance_ssc_expert"] {
        assert_eq!(after[agent], before[agent], "{agent}");
    }
    assert_ne!(after["odoo_developer"], before["odoo_developer"]);
    let shape = |known: &Value| {
        known["odoo_developer"]
            .as_str()
            .and_then(|text| text.rsplit_once(", "))
            .map(|(shape, _)| shape.to_owned())
    };
    assert_eq!(shape(&after), shape(&before));

    // Once more, with the rows deleted first; and everybody's.
    let run = stage.rollback(&format!("{RUN} --set remove_first=true")).expect_code(0);
    assert!(
        run.stderr.contains("✓ remove-agent") && run.stderr.contains("`left_over` is 0"),
        "{run}"
    );
    let run =
        stage.rollback(RUN.replace("knowledge-base", "knowledge-base all").as_str()).expect_code(0);
    assert!(
        run.stderr.contains("scout.agent_domain_embeddings has the 40 rows of its shadow"),
        "{run}"
    );
    assert!(run.stderr.contains("recall@5 is 1.000 over 20 queries"), "{run}");
}

#[test]
fn rows_that_are_no_good_never_reach_an_agent() {
    let stage = Stage::new("auto");
    let before = stage.known();
    let folder = stage.world.path("state/rollback/sandbox/knowledge/odoo_developer");
    for entry in std::fs::read_dir(&folder).expect("documents").flatten() {
        // The titles stay, so that numbers are as before; what they say is of something else.
        let text = std::fs::read_to_string(entry.path()).expect("a document");
        let title = text.lines().next().expect("a title").to_owned();
        let wrong = text.replace(&title, "# Lorem ipsum dolor");
        std::fs::write(entry.path(), wrong.replace(['a', 'e'], "")).expect("it is ours");
    }
    let run = stage.rollback(RUN);
    assert_ne!(run.code(), Some(0), "{run}");
    assert!(
        run.stderr.contains("✗ shadow-is-whole") || run.stderr.contains("✗ shadow-is-good"),
        "{run}"
    );
    assert_eq!(stage.known(), before, "agents find what they found before");
}

#[test]
fn without_a_database_it_still_plans_and_does_not_start() {
    let stage = Stage::new("none");
    let planned = stage.rollback(&format!("{RUN} --dry-run")).expect_code(0);
    assert!(planned.stdout.contains("back-up                  – skipped"), "{planned}");
    let run = stage.rollback(RUN).expect_code(4);
    assert!(run.stderr.contains("nothing was touched"), "{run}");
}
