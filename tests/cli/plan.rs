//! `rollback plan` and `--dry-run`: they change nothing, and they name every change that the run then makes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::stage::Stage;

/// A plan of 131 agents fits on one screen of this height.
const SCREEN: usize = 60;

/// Every file below a folder, with its content.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let entry = entry.expect("a readable entry");
            let (path, kind) = (entry.path(), entry.file_type().expect("a kind"));
            let below = path.strip_prefix(root).expect("it is below").to_owned();
            // What the doubles write down about being asked, and who may start them, is no change.
            if below.ends_with("sandbox/root/var/log")
                || below.ends_with("sandbox/serve.log")
                || below.ends_with("sandbox/start.lock")
            {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let _new = found.insert(below, std::fs::read(&path).expect("a readable file"));
            }
        }
    }
    found
}

/// The steps and items of a plan that would change something.
fn would_change(plan: &Value) -> BTreeSet<(String, String)> {
    let steps = plan["preview"]["steps"].as_array().expect("steps");
    let items = steps.iter().flat_map(|step| {
        let id = step["id"].as_str().expect("an id").to_owned();
        step["items"].as_array().expect("items").iter().map(move |item| (id.clone(), item))
    });
    items
        .filter(|(_, item)| item["finding"]["finding"] == "would-change")
        .map(|(id, item)| (id, item["name"].as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// The steps and items that a run changed, by its own events.
fn changed(events: &str) -> BTreeSet<(String, String)> {
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    events
        .filter(|event| event["event"] == "apply-started")
        .map(|event| (text(&event, "step"), text(&event, "item")))
        .collect()
}

#[test]
fn a_plan_changes_nothing_and_names_every_change_that_the_run_then_makes() {
    let stage = Stage::shipped();
    let before =
        (stage.status(), files(&stage.world.path("state")), files(&stage.world.path("home")));
    let plan = stage
        .rollback("plan ollama-emergency --env sandbox --reason try --format json")
        .expect_code(0)
        .json();
    let dry = stage.rollback("--emergency --env sandbox --reason try --dry-run").expect_code(0);
    let after =
        (stage.status(), files(&stage.world.path("state")), files(&stage.world.path("home")));
    assert_eq!(before.0, after.0, "the world's own view");
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&before.1), names(&after.1), "files of the state");
    assert!(before.1 == after.1, "content of the state");
    assert!(before.2 == after.2, "content of the project");
    assert!(dry.stdout.contains("nothing was changed"), "{dry}");

    let run = stage
        .rollback("--emergency --env sandbox --reason try --yes --format jsonl")
        .expect_code(0);
    let promised = would_change(&plan);
    assert_eq!(promised, changed(&run.stdout));
    assert!(promised.len() > 6, "{promised:?}");
    each_effect_was_promised(&before.0, &stage.status(), &plan, &promised);
}

/// From the world's own side: whatever happened there belongs to an item of the plan.
fn each_effect_was_promised(
    before: &Value,
    after: &Value,
    plan: &Value,
    promised: &BTreeSet<(String, String)>,
) {
    for (effect, count) in after["effects"].as_object().expect("effects") {
        let known = before["effects"].get(effect) == Some(count);
        let (verb, object) = effect.split_once(' ').expect("a verb and its object");
        let message = match verb {
            "pager" => Some("notify.pagerduty"),
            "sms" => Some("notify.sms"),
            "mail" => Some("notify.email"),
            "tracker" => Some("notify.webhook"),
            _ => None,
        };
        if let Some(message) = message {
            let beside = json!([plan["plan"]["escalation"], plan["plan"]["closing"]]);
            assert!(beside.to_string().contains(message), "nobody promised `{effect}`");
            continue;
        }
        let step = match (verb, object) {
            ("chat", _) => "tell-the-team",
            ("loadbalancer", _) => "shift-traffic",
            ("stop", _) => "drain-green",
            ("start", _) => "restart-with-legacy",
            ("unlink", _) => "clear-metrics",
            ("kubernetes", _) => "deployment",
            _ => "swap-containers",
        };
        let item = object.split_once('/').map_or("", |(_, service)| service);
        // A plan names containers: `agent-001-1` is the first of the service `agent-001`.
        let is_of = |name: &str| name.is_empty() || name.starts_with(&format!("{item}-"));
        let found = promised.iter().any(|(id, name)| id.contains(step) && is_of(name));
        assert!(known || found, "nobody promised `{effect}`: {promised:#?}");
    }
    let text = plan.to_string();
    let (before, after) = (&before["files"], &after["files"]);
    let all =
        before.as_object().into_iter().chain(after.as_object()).flat_map(|files| files.keys());
    for file in all.filter(|file| before[file.as_str()] != after[file.as_str()]) {
        // A copied tree is promised as a tree; what it replaced is kept beside it.
        let named = Path::new(file).ancestors().skip(1).any(|folder| {
            let folder = folder.to_string_lossy();
            !folder.is_empty() && text.contains(&*folder)
        });
        assert!(named || text.contains(file.as_str()), "nobody promised to change {file}");
    }
}

#[test]
fn a_plan_is_one_screen_and_says_how_it_knows() {
    let stage = Stage::shipped();
    let plan = stage.rollback("plan ollama-emergency --env sandbox --reason try").expect_code(0);
    assert!(plan.stdout.lines().count() < SCREEN, "{plan}");
    let _redacted = stage.redacted();
    insta::assert_snapshot!("plan", plan);
}

#[test]
fn a_plan_explains_itself_as_a_checklist() {
    let stage = Stage::shipped();
    let plan =
        stage.rollback("plan ollama-emergency --env sandbox --reason try --explain").expect_code(0);
    let _redacted = stage.redacted();
    insta::assert_snapshot!("plan-explain", plan);
}

#[test]
fn a_plan_shows_what_is_left_out_and_the_clock_that_runs() {
    let stage = Stage::shipped();
    let plan = "plan ollama-emergency --env sandbox --reason try";
    let only = stage.rollback(&format!("{plan} --only redirect --since 50s")).expect_code(0);
    let skipped = only.stdout.matches("skipped: left out by --only redirect").count();
    assert_eq!(skipped, 7 + 5 + 10 + 3 + 6, "{only}");
    assert!(only.stdout.contains("clock has been running for 50s"), "{only}");
    assert!(only.stdout.contains("its step is left out"), "{only}");
    let from = stage.rollback(&format!("{plan} --from validate/system-health")).expect_code(0);
    assert!(from.stdout.contains("✓ GET http"), "{from}");
}

#[test]
fn mistakes_are_answered_with_what_was_meant() {
    let stage = Stage::shipped();
    let plan = "plan ollama-emergency --env sandbox --reason try";
    let _redacted = stage.redacted();
    let mut said = String::new();
    for (line, code) in [
        ("plan ollama-emergency --env sandbox".to_owned(), 11),
        (format!("{plan} --only redirct"), 2),
        (format!("{plan} --from shift-traffic"), 2),
        (format!("{plan} --since tomorrow"), 2),
        (format!("{plan} --set agnts=x"), 2),
        (format!("{plan} --set agents"), 2),
        ("plan emergency --env sandbox".to_owned(), 2),
        ("plan ollama-emergency --env sandbo".to_owned(), 2),
        (format!("{plan} --format sarif"), 2),
    ] {
        let output = stage.rollback(&line).expect_code(code);
        said.push_str(&format!("$ rollback {line}\n{output}\n\n"));
    }
    insta::assert_snapshot!("plan-mistakes", said);
}
