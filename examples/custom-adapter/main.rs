//! An adapter of one's own: the system `flags`, added to those of this build, and a runbook that uses it, planned and run
//! in memory. Type `cargo run --example custom-adapter`.
//!
//! The folder `flags` is what a new adapter is. Inside this crate it would lie in `src/adapters/`, say `crate::` for
//! `rollback::`, and be named in `src/adapters/mod.rs`; `docs/design/README.md` shows that difference.

mod flags;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use anstream::println;
use rollback::action::{Registry, ResolveContext};
use rollback::clock::{self, Boot};
use rollback::engine::{Engine, MemoryVault};
use rollback::environment::{Environment, EnvironmentFile};
use rollback::event::{Actor, Header};
use rollback::journal::Journal;
use rollback::plan::inputs::{self, Given};
use rollback::plan::{self, Plan};
use rollback::report::{View, lines, summary};
use rollback::runbook::diagnostic::Diagnostics;
use rollback::runbook::{Loaded, load_text};
use tokio::sync::mpsc;

const RUNBOOK: &str = "
version: 1
name: old-checkout
title: Back to the old checkout
scenario: partial
targets:
  old-checkout: {within: 5s, reached_by: switch/old-checkout-is-live}
phases:
  - id: switch
    title: Flags
    steps:
      - id: new-checkout-off
        flags.set: {flag: new-checkout, on: false}
      - id: old-checkout-is-live
        flags.expect: {flag: new-checkout, on: false}
";

const ENVIRONMENT: &str = "
version: 1
name: memory
connections:
  flags: {flags: {new-checkout: true}}
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let registry = registry();
    let loaded = load_text("old-checkout.yaml", RUNBOOK, &registry).map_err(shown)?;
    let environment = environment(&registry).await?;
    let connections = environment.connections.clone();
    let cx = Arc::new(ResolveContext { connections, registry: Arc::new(registry) });

    let plan = make_plan(&loaded, &environment, &cx).await?;
    println!("{}", plan::explain(&plan));
    run(header(&loaded, plan), cx).await;
    Ok(())
}

/// All systems of this build, and one more.
fn registry() -> Registry {
    let mut systems = rollback::adapters::registry().systems().to_vec();
    systems.push(flags::system());
    Registry::new(systems)
}

async fn environment(registry: &Registry) -> Result<Environment, Box<dyn Error>> {
    let file = EnvironmentFile::parse(Path::new("memory.yaml"), ENVIRONMENT, registry);
    Ok(file.map_err(shown)?.resolve(None).await.map_err(shown)?)
}

async fn make_plan(
    loaded: &Loaded,
    environment: &Environment,
    cx: &ResolveContext,
) -> Result<Plan, Box<dyn Error>> {
    let request = plan::Request {
        runbook: &loaded.runbook,
        source: &loaded.source,
        environment,
        inputs: &inputs::resolve(&loaded.runbook, &Given::default(), cx).await,
        run: &serde_json::json!({"id": "example"}),
        cx,
        history: &|_| None,
    };
    Ok(plan::build(request, loaded.runbook.phases.clone()).await?.plan)
}

/// Runs the plan with a journal in memory, and prints what a person would see.
async fn run(header: Header, cx: Arc<ResolveContext>) {
    let header = Arc::new(header);
    let (journal, log) = Journal::in_memory(header.clone());
    let (_signals, signals) = mpsc::unbounded_channel();
    let (_requests, requests) = mpsc::unbounded_channel();
    let engine = Engine {
        resolve: cx,
        journal,
        vault: Arc::new(MemoryVault::default()),
        scratch: std::env::temp_dir(),
        signals,
        requests,
        attended: false,
        custody: Arc::new(rollback::engine::custody::Kept),
    };
    let _ended = engine.run(header).await;

    let records = log.records();
    let Some(mut view) = records.first().and_then(|first| View::start(first)) else { return };
    for record in &records[1..] {
        view.take(record);
        lines::tell(record, &view).into_iter().for_each(|line| println!("{line}"));
    }
    summary::lines(&view).into_iter().for_each(|line| println!("{line}"));
}

fn header(loaded: &Loaded, plan: Plan) -> Header {
    Header {
        run: "example".to_owned(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        runbook_path: loaded.source.path.clone(),
        runbook_text: loaded.source.text.clone(),
        runbook_sha256: loaded.sha256.clone(),
        environment_path: String::new(),
        environment_sha256: String::new(),
        plan,
        reason: None,
        by: Actor { user: "you".to_owned(), host: "here".to_owned(), pid: std::process::id() },
        since: None,
        started: clock::now(),
        boot: Boot::now(),
        left_out: std::collections::BTreeMap::default(),
        drill: None,
        log: None,
    }
}

/// All problems of a file, as `rollback check` shows them.
#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands the error over")]
fn shown(problems: Diagnostics) -> String {
    problems.render(false)
}
