//! The orchestrator's procedure in the sandbox: every scenario brings users back, and its revert brings the world back, as the world itself sees it.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::stage::Stage;
use crate::support::output::CommandOutput;
use crate::support::wait_until;
use crate::support::world::{Running, finish};

/// A little more than a day, in seconds, by which the program's clock is ahead.
const A_DAY: &str = "86500";

const SPECIALISTS: [&str; 4] =
    ["bi-architect", "devops-engineer", "finance-ssc-expert", "odoo-developer-agent"];
const OLD: &str = "CNAME wr2azp5dsl6mu6xvxtpglk5v.agents.do-ai.run.";
const NEW: &str = "CNAME orchestrator.insightpulseai.net.";

/// What counts of the world: where the name leads, who answers behind the front, what is archived, which routes there are, and what the
/// orchestrator is told.
fn world(stage: &Stage) -> Value {
    let status = stage.status();
    let names = status["names"].as_array().expect("names");
    let agent = names.iter().filter_map(Value::as_str).find(|name| name.starts_with("agent."));
    let mut archived: Vec<&str> = status["account"]["archived"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|app| app[0].as_str())
        .collect();
    archived.sort_unstable();
    let routes = status["account"]["routes"].as_array().expect("a list");
    let routes: BTreeSet<&str> = routes.iter().filter_map(Value::as_str).collect();
    json!({
        "name": agent,
        "front": status["orchestrators"]["front"]["version"],
        "archived": archived,
        "routes": routes,
        "instruction": status["account"]["instruction"],
        "knowledge": status["database"]["knowledge"],
        "files": status["files"],
    })
}

fn latest(stage: &Stage) -> String {
    let status = stage.rollback("status latest --format json").json();
    status["run"].as_str().expect("an id").to_owned()
}

/// Takes the latest run back, and holds the world against what it was.
fn taken_back(stage: &Stage, before: &Value) -> CommandOutput {
    let reverted = stage.rollback("revert latest --yes").expect_code(0);
    assert!(reverted.stdout.contains("REVERTED in "), "{reverted}");
    assert_eq!(&world(stage), before, "{reverted}");
    reverted
}

fn points_to(world: &Value, target: &str) -> bool {
    world["name"].as_str().is_some_and(|name| name.ends_with(target))
}

const EMERGENCY: &str =
    "--emergency --runbook orchestrator-emergency --env sandbox --reason 'it is down' --yes";

#[test]
fn the_emergency_brings_users_back_and_its_revert_undoes_that() {
    let stage = Stage::procedure("orchestrator", "none");
    let before = world(&stage);
    assert!(points_to(&before, NEW), "{before}");
    let run = stage.rollback(EMERGENCY).expect_code(0);
    // Users first; nothing is archived before every cache has dropped the former record.
    let place = |step: &str| {
        let found = run.stderr.find(&format!("✓ {step}"));
        found.unwrap_or_else(|| panic!("{step} is not done: {run}"))
    };
    let order =
        ["point-to-old", "old-orchestrator-answers", "caches-expired", "archive-specialists"];
    assert!(order.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{run}");
    let after = world(&stage);
    assert!(points_to(&after, OLD), "{after}");
    assert_eq!(after["archived"], json!(SPECIALISTS));
    let id = latest(&stage);
    let chat = stage.status()["chat"].to_string();
    assert!(chat.contains("EMERGENCY ROLLBACK STARTED") && chat.contains(&id), "{chat}");
    assert!(stage.status()["mails"].to_string().contains("engineering@"));

    // A second time there is nothing to do, and that is a success.
    let again = stage.rollback(EMERGENCY).expect_code(0);
    assert!(again.stderr.contains("= point-to-old"), "{again}");
    assert_eq!(world(&stage), after);
    let reverted = stage.rollback(&format!("revert {id} --yes")).expect_code(0);
    assert!(reverted.stdout.contains("REVERTED in "), "{reverted}");
    assert_eq!(world(&stage), before, "{reverted}");
}

#[test]
fn the_graceful_rollback_goes_in_stages_and_its_revert_undoes_that() {
    let stage = Stage::procedure("orchestrator", "none");
    let before = world(&stage);
    // What it is done for goes on for those who are left on the new one, and does not stop it.
    for metric in
        ["orchestrator_cost_per_query_usd 0.25", "orchestrator_routing_accuracy_ratio 0.88"]
    {
        let _set = stage.rollback(&format!("sandbox metric '{metric}'")).expect_code(0);
    }
    let run = stage.rollback("--graceful --env sandbox --reason cost --yes").expect_code(0);
    for step in ["half-is-served", "watch-half", "three-quarters-are-served", "nobody-is-left"] {
        assert!(run.stderr.contains(&format!("✓ {step}")), "{step}: {run}");
    }
    assert!(run.stderr.contains("of 1h from cutover/all-to-old"), "{run}");
    assert!(run.stderr.contains("error-rate               0.002"), "what was measured: {run}");
    let after = world(&stage);
    assert!(points_to(&after, OLD), "{after}");
    assert_eq!((&after["archived"], &after["front"]), (&json!(SPECIALISTS), &"2.0.0".into()));
    let _reverted = taken_back(&stage, &before);
}

/// Starts the graceful rollback with days, and waits until it holds.
fn holding(stage: &Stage) -> (Running, String) {
    let line = "--graceful --env sandbox --reason cost --set hold=24h --set every=5m --yes";
    let words = shell_words::split(line).expect("a command line");
    let run = Running::start(stage.world.program().args(words));
    wait_until("the hold", || {
        stage.rollback("status latest").stdout.contains("waits in half/watch-half")
    });
    (run, latest(stage))
}

#[test]
fn a_graceful_rollback_survives_a_day_and_an_emergency_takes_over() {
    let stage = Stage::procedure("orchestrator", "none");
    let (run, id) = holding(&stage);
    run.signal(Signal::KILL);
    drop(run.finish());

    // A day later it goes on with the next stage, and holds there.
    let mut resume = stage.world.program();
    let resumed = Running::start(resume.env("ROLLBACK_CLOCK_AHEAD", A_DAY).args(["resume", &id]));
    wait_until("the second hold", || {
        stage.rollback("status latest").stdout.contains("waits in quarter/watch-quarter")
    });
    let steps = &stage.rollback(&format!("status {id} --format json")).json()["steps"];
    assert_eq!(steps["half/watch-half"]["outcome"], "done", "{steps}");
    assert_eq!(steps["quarter/three-quarters-to-old"]["outcome"], "done", "{steps}");

    // It gets worse: the emergency takes over from it, while it is alive.
    let emergency = format!("{EMERGENCY} --take-over");
    let words = shell_words::split(&emergency).expect("a command line");
    let taken = finish(stage.world.program().args(words)).expect_code(0);
    assert!(taken.stderr.contains(&id), "{taken}");
    let ended = resumed.finish();
    assert_ne!(ended.code(), Some(0), "{ended}");
    let after = world(&stage);
    assert!(points_to(&after, OLD), "{after}");
    assert_eq!(after["archived"], json!(SPECIALISTS));
    // It does not go on by itself afterwards.
    let told = stage.rollback(&format!("resume {id}")).expect_code(2);
    assert!(told.stderr.contains("was taken over by run"), "{told}");
}

#[test]
fn one_specialist_goes_out_and_comes_back() {
    let stage = Stage::procedure("orchestrator", "none");
    let before = world(&stage);
    let out = "--partial finance-ssc-expert --env sandbox --reason errors --yes";
    let run = stage.rollback(&format!("{out} --set redeploy=false")).expect_code(0);
    assert!(run.stderr.contains("✓ fallback-answers"), "{run}");
    let gone = world(&stage);
    assert_eq!(gone["archived"], json!(["finance-ssc-expert"]));
    assert_eq!(gone["routes"].as_array().map(Vec::len), Some(3), "{gone}");
    let told = |world: &Value| world["instruction"].as_str().expect("a text").to_owned();
    let away = "finance-ssc-expert is away: answer questions about BIR forms";
    assert!(told(&gone).contains(away) && !told(&before).contains(away), "{gone}");
    let _reverted = taken_back(&stage, &before);

    let run = stage.rollback(out).expect_code(0);
    assert!(run.stderr.contains("✓ specialist-answers"), "{run}");
    let back = world(&stage);
    assert_eq!(back["archived"], json!([]));
    assert_eq!(back["routes"].as_array().map(Vec::len), Some(4), "{back}");
    assert!(run.stderr.contains("✓ tell-fallback"), "{run}");
    assert_eq!(told(&back), told(&before), "{run}");
    let _reverted = taken_back(&stage, &before);
    // Only what there is.
    let unknown = stage.rollback("--partial finance --env sandbox --reason errors --yes");
    let unknown = unknown.expect_code(2);
    assert!(unknown.stderr.contains("finance-ssc-expert"), "{unknown}");
}

#[test]
fn a_decision_names_the_specialist_that_its_answer_names() {
    let stage = Stage::procedure("orchestrator", "none");
    for (specialist, share) in [("bi-architect", "0.06"), ("finance-ssc-expert", "0.08")] {
        let sample = format!("specialist_error_ratio{{specialist=\"{specialist}\"}} {share}");
        let _set = stage.rollback(&format!("sandbox metric '{sample}'")).expect_code(0);
    }
    let decided = stage.rollback("decide --env sandbox --format json").expect_code(30).json();
    let respond = &decided["respond"];
    assert_eq!(respond["argument"], "finance-ssc-expert", "the worst of both: {decided}");
    let command = respond["command"].as_str().expect("a command").to_owned();
    let words = command.strip_prefix("rollback ").expect("this program");
    let run = stage.rollback(&format!("{words} --yes --set redeploy=false")).expect_code(0);
    assert_eq!(world(&stage)["archived"], json!(["finance-ssc-expert"]), "{command}: {run}");
    let told = stage.rollback("decide --env sandbox").expect_code(30);
    let typed = "type: rollback --partial finance-ssc-expert --runbook orchestrator-partial --env";
    assert!(told.stdout.contains(typed), "{told}");
    // Whatever a metric says, nothing but a name gets into a command.
    let sample = "specialist_error_ratio{specialist=\"$(reboot)\"} 0.9";
    let _set = stage.rollback(&format!("sandbox metric '{sample}'")).expect_code(0);
    let told = stage.rollback("decide --env sandbox --format json").expect_code(30).json();
    let command = told["respond"]["command"].as_str().expect("a command");
    assert!(command.starts_with("rollback --partial orchestrator-partial --env"), "{command}");
}

#[test]
fn the_knowledge_base_is_indexed_anew_and_its_revert_undoes_that() {
    let stage = Stage::procedure("orchestrator", "auto");
    let before = world(&stage);
    let run = stage.rollback("--knowledge-base --env sandbox --reason recall --yes").expect_code(0);
    for step in ["back-up", "shadow-is-good", "promote", "retrieval-accuracy"] {
        assert!(run.stderr.contains(&format!("✓ {step}")), "{step}: {run}");
    }
    let _reverted = taken_back(&stage, &before);
    let named = "--knowledge-base bi_architect --env sandbox --reason recall --yes";
    let named = stage.rollback(named).expect_code(0);
    assert!(named.stderr.contains("bi_architect: 5 documents"), "{named}");
    let _leaves_nothing_behind = stage.rollback("sandbox down").expect_code(0);
}

#[test]
fn a_drill_elsewhere_leaves_the_world_as_it_was() {
    let stage = Stage::procedure("orchestrator", "auto");
    stage.add_elsewhere("runbooks/orchestrator", "drills: true\n");
    let before = world(&stage);
    for (runbook, by) in [
        ("orchestrator-graceful", "reverted"),
        ("orchestrator-partial --set specialist=finance-ssc-expert", "reverted"),
        ("orchestrator-knowledge-base", "reverted"),
        ("orchestrator-emergency", "runbook"),
    ] {
        let line = format!("drill --env elsewhere --runbook {runbook} --yes --format json");
        let drilled = stage.rollback(&line).expect_code(0);
        let record = drilled.json();
        assert_eq!(record["result"], "passed", "{runbook}: {drilled}");
        assert_eq!(record["restored"]["by"], by, "{runbook}: {drilled}");
        assert_eq!(world(&stage), before, "{runbook}: {drilled}");
    }
    let _leaves_nothing_behind = stage.rollback("sandbox down").expect_code(0);
}

#[test]
fn the_validation_asks_the_five_checks() {
    let stage = Stage::procedure("orchestrator", "none");
    let plan = "plan orchestrator-validation --env sandbox";
    let before = stage.rollback(plan);
    assert!(before.to_string().contains("3.0.0"), "nobody has rolled back yet: {before}");
    let _run = stage.rollback(EMERGENCY).expect_code(0);
    let run = stage.rollback("run orchestrator-validation --env sandbox --yes").expect_code(0);
    for step in [
        "orchestrator-is-healthy",
        "no-specialist-runs",
        "name-points-to-old",
        "old-orchestrator-serves",
        "no-errors-in-logs",
    ] {
        assert!(run.stderr.contains(&format!("✓ {step}")), "{step}: {run}");
    }
}

#[test]
fn a_text_message_is_for_what_is_critical() {
    let stage = Stage::procedure("orchestrator", "none");
    let texts = |stage: &Stage| stage.status()["texts"].as_array().map_or(0, Vec::len);
    let partial = "--partial bi-architect --env sandbox --reason errors --set redeploy=false --yes";
    let _run = stage.rollback(partial).expect_code(0);
    assert_eq!(texts(&stage), 0);
    let _run = stage.rollback(EMERGENCY).expect_code(0);
    assert_eq!(texts(&stage), 1);
}
