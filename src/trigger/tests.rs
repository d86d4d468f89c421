//! Tables that are good, and everything that can be wrong with one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::adapters::registry;
use crate::environment::{Config, FoundRunbook, runbooks};
use crate::runbook::Scenario;

fn known() -> Vec<FoundRunbook> {
    let emergency = FoundRunbook {
        path: PathBuf::from("emergency.yaml"),
        name: "ollama-emergency".into(),
        title: None,
        scenario: Some(Scenario::Emergency),
    };
    vec![emergency]
}

fn loaded(text: &str) -> Result<LoadedTable, String> {
    load_text("decisions.yaml", text, &registry(), &known()).map_err(|found| found.render(false))
}

/// A table whose triggers differ in what is given: severity, condition, action, and further lines.
fn table(triggers: &[(&str, &str, &str, &str)]) -> String {
    let mut text = "version: 1\nname: t\nroles: {lead: the lead}\ntriggers:\n".to_owned();
    for (index, (severity, condition, action, more)) in triggers.iter().enumerate() {
        text.push_str(&format!(
            "  - id: t{index}\n    title: Trigger {index}\n    severity: {severity}\n    condition: {{{condition}}}\n    \
             action: {action}\n    runbook: ollama-emergency\n    within: 1m\n"
        ));
        if !more.contains("approval:") {
            text.push_str("    approval: lead\n");
        }
        for line in more.lines() {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text
}

/// The codes of everything that is wrong with a table.
fn codes(triggers: &[(&str, &str, &str, &str)]) -> Vec<&'static str> {
    match load_text("t.yaml", &table(triggers), &registry(), &known()) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(|problem| problem.code).collect(),
    }
}

const ROLL_BACK: &str = "immediate-rollback";
const PAUSE: &str = "pause-and-evaluate";
const MONITOR: &str = "monitor-and-prepare";
const LONG: &str = "sustained_for: 5m";

/// A condition on the metric `m`.
fn on_m(bounds: &str) -> String {
    format!("prometheus.expect: {{query: m, series: any, {bounds}}}")
}

fn shipped(procedure: &str) -> LoadedTable {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks").join(procedure);
    let config = Config { runbooks: vec![folder.clone()], ..Config::default() };
    let (known, _) = runbooks::search(&folder, &config);
    let loaded = load(&folder.join("decisions.yaml"), &registry(), &known);
    loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false)))
}

/// Line by line as in `docs/procedures/ollama.md`.
#[test]
fn the_shipped_table_keeps_to_the_matrix_of_the_procedure() {
    use Response::{ImmediateRollback, MonitorAndPrepare, PauseAndEvaluate};
    use Severity::{Critical, High, Medium};

    let LoadedTable { table, .. } = shipped("ollama");
    for (id, severity, response, within, approver) in [
        ("memory-exhaustion", Critical, ImmediateRollback, 60, None),
        ("high-error-rate", Critical, ImmediateRollback, 60, None),
        ("health-check-failures", Critical, ImmediateRollback, 60, None),
        ("elevated-response-time", High, PauseAndEvaluate, 120, Some("the lead engineer")),
        ("memory-pressure", Medium, MonitorAndPrepare, 300, Some("the team")),
        ("ollama-degradation", Medium, MonitorAndPrepare, 300, Some("the team")),
    ] {
        let trigger = table.triggers.iter().find(|trigger| trigger.id == id).expect(id);
        let found = (trigger.severity, trigger.response, trigger.within, table.approver(trigger));
        assert_eq!(found, (severity, response, Duration::from_secs(within), approver), "{id}");
    }
}

#[test]
fn the_shipped_table_has_eleven_triggers_and_no_problem() {
    let LoadedTable { table, warnings, .. } = shipped("ollama");
    assert!(warnings.is_empty(), "{}", warnings.render(false));
    let count = |severity| table.triggers.iter().filter(|one| one.severity == severity).count();
    assert_eq!((count(Severity::Critical), table.triggers.len()), (6, 11));
    for trigger in &table.triggers {
        let critical = trigger.severity == Severity::Critical;
        assert_eq!(critical, trigger.response == Response::ImmediateRollback, "{}", trigger.id);
        assert_eq!(critical, trigger.approval == Approval::Automated, "{}", trigger.id);
        assert_eq!(critical, trigger.within == Duration::from_secs(60), "{}", trigger.id);
    }
}

/// Line by line as in `docs/procedures/orchestrator.md`; what the matrix does not have is in the scenarios' lists.
#[test]
fn the_orchestrators_table_keeps_to_the_matrix_of_the_procedure() {
    use Response::{ImmediateRollback, MonitorAndPrepare, Optimize, PlannedRollback};
    use Severity::{Critical, High, Low, Medium};

    const MINUTE: u64 = 60;
    const DAY: u64 = 24 * 60 * MINUTE;
    let LoadedTable { table, warnings, .. } = shipped("orchestrator");
    assert!(warnings.is_empty(), "{}", warnings.render(false));
    assert_eq!(table.triggers.len(), 18);
    let lead = Some("the lead engineer");
    let (emergency, graceful) = ("orchestrator-emergency", "orchestrator-graceful");
    let (partial, knowledge) = ("orchestrator-partial", "orchestrator-knowledge-base");
    for (id, severity, response, runbook, within, approver) in [
        ("unavailable", Critical, ImmediateRollback, emergency, 5 * MINUTE, None),
        ("error-rate-critical", Critical, ImmediateRollback, emergency, 5 * MINUTE, None),
        ("security-vulnerability", Critical, ImmediateRollback, emergency, 5 * MINUTE, None),
        ("error-rate-high", High, PlannedRollback, graceful, 60 * MINUTE, lead),
        ("response-time-high", High, PlannedRollback, graceful, 60 * MINUTE, lead),
        ("cost-high", High, PlannedRollback, graceful, 60 * MINUTE, lead),
        ("error-rate-raised", Medium, MonitorAndPrepare, graceful, DAY, lead),
        ("error-rate-persists", Medium, PlannedRollback, graceful, DAY, lead),
        ("specialist-failing", Medium, PlannedRollback, partial, 30 * MINUTE, None),
        ("routing-accuracy-low", Low, MonitorAndPrepare, graceful, 7 * DAY, Some("the team")),
        ("routing-accuracy-persists", Low, Optimize, graceful, 7 * DAY, Some("the team")),
        ("knowledge-base-poor", Low, PlannedRollback, knowledge, 120 * MINUTE, None),
    ] {
        let trigger = table.triggers.iter().find(|trigger| trigger.id == id).expect(id);
        assert_eq!((trigger.severity, trigger.response), (severity, response), "{id}");
        assert_eq!((&*trigger.runbook, trigger.within.as_secs()), (runbook, within), "{id}");
        assert_eq!(table.approver(trigger), approver, "{id}");
    }
    let watched = |id: &str| {
        let trigger = table.triggers.iter().find(|trigger| trigger.id == id).expect(id);
        trigger.sustained_for.map(|time| time.as_secs())
    };
    assert_eq!(watched("unavailable"), Some(5 * MINUTE));
    assert_eq!(watched("error-rate-persists"), Some(DAY));
    assert_eq!(watched("routing-accuracy-persists"), Some(7 * DAY));
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let text = "\
version: 1
name: T T
owner: me
roles: {lead: }
triggers:
  - id: one
    title: One
    severity: CRITICAL
    condition: {prometheus.expect: {query: up, bellow: 1, for: 5}}
    action: rollback
    runbook: ollama-emergency
    within: 60
    approval: lead
  - id: two
    title: \"{{ environment.title }}\"
    severity: high
    condition: {docker.stop: {project: p}}
    action: pause-and-evaluate
    within: 1m
    approval: lead
    cooldown: 5m
  - id: three
    title: Three
    severity: high
    condition: {prometheus.expect: {query: \"{{ inputs.query }}\", above: 1}}
    action: pause-and-evaluate
    runbook: ollama-emergncy
    within: 1m
    approval: led
";
    insta::assert_snapshot!(loaded(text).expect_err("much is wrong"));
}

#[test]
fn another_version_and_another_kind_of_file_are_told() {
    let newer = loaded("version: 2\nname: t\ntriggers: []\n").expect_err("newer");
    assert!(newer.contains("this decision table needs version 2"), "{newer}");
    let list = loaded("- a\n").expect_err("a list");
    assert!(list.contains("a decision table is a mapping"), "{list}");
    let empty = loaded("version: 1\nname: t\ntriggers: []\n").expect_err("empty");
    assert!(empty.contains("`triggers` must not be empty"), "{empty}");
}

#[test]
fn triggers_about_the_same_values_have_to_agree() {
    let (high, higher, low) = (on_m("above: 0.75"), on_m("above: 0.9"), on_m("above: 0.5"));
    let (band, apart) = (on_m("above: 0.5, at_most: 0.75"), on_m("above: 0.5, at_most: 0.7"));
    let (little, other) =
        (on_m("below: 0.1"), "prometheus.expect: {query: n, series: any, above: 0.75}");
    for (name, triggers, wanted) in [
        (
            "nested",
            vec![("critical", &*higher, PAUSE, ""), ("medium", &*high, MONITOR, "")],
            vec![],
        ),
        ("bands", vec![("high", &*high, PAUSE, ""), ("high", &*band, MONITOR, "")], vec![]),
        ("another metric", vec![("high", &*high, PAUSE, ""), ("high", other, MONITOR, "")], vec![]),
        ("gap", vec![("high", &*high, PAUSE, ""), ("medium", &*apart, MONITOR, "")], vec!["gap"]),
        (
            "twice",
            vec![("high", &*high, PAUSE, ""), ("high", &*higher, PAUSE, "")],
            vec!["overlap"],
        ),
        (
            "a little for long",
            vec![("high", &*high, PAUSE, LONG), ("high", &*higher, PAUSE, "")],
            vec![],
        ),
        (
            "much for long",
            vec![("high", &*high, PAUSE, ""), ("high", &*higher, PAUSE, LONG)],
            vec!["overlap"],
        ),
        (
            "the same for long",
            vec![("high", &*high, PAUSE, ""), ("high", &*high, PAUSE, LONG)],
            vec!["overlap"],
        ),
        (
            "little and much",
            vec![("high", &*little, PAUSE, ""), ("high", &*high, PAUSE, "")],
            vec![],
        ),
        (
            "two answers",
            vec![("high", &*high, PAUSE, ""), ("high", &*higher, MONITOR, "")],
            vec!["contradiction"],
        ),
        (
            "milder",
            vec![("critical", &*higher, MONITOR, ""), ("medium", &*high, PAUSE, "")],
            vec!["contradiction"],
        ),
        (
            "never",
            vec![("critical", &*low, PAUSE, ""), ("medium", &*high, MONITOR, "")],
            vec!["shadowed"],
        ),
        (
            "sooner",
            vec![("critical", &*low, PAUSE, "sustained_for: 5m"), ("medium", &*high, MONITOR, "")],
            vec![],
        ),
    ] {
        assert_eq!(codes(&triggers), wanted, "{name}");
    }
}

#[test]
fn names_times_and_approvals_are_checked() {
    let good = on_m("above: 1");
    let http = "http.expect: {url: \"http://a/\", status: 500}";
    let itself = on_m("above: 1, for: 5m");
    let boundless = on_m("fresh: 1m");
    let templated =
        "prometheus.expect: {query: \"{{ environment.q }}\", above: 2, below: 1}".to_owned();
    // Of a number that an environment knows nothing can be said.
    let unknown = on_m("above: \"{{ environment.limit }}\"");
    for (trigger, wanted) in [
        (("high", &*good, PAUSE, "sustained_for: 5m"), vec![]),
        (("high", &*boundless, PAUSE, "sustained_for: 5m"), vec!["invalid-arguments"]),
        (("high", &*templated, PAUSE, ""), vec!["invalid-arguments"]),
        (("high", &*unknown, PAUSE, ""), vec![]),
        (("high", http, PAUSE, ""), vec![]),
        (("high", http, PAUSE, "sustained_for: 5m"), vec!["cannot-look-back"]),
        (("high", &*itself, PAUSE, ""), vec!["for-in-condition"]),
        (("high", &*good, PAUSE, "approval: boss"), vec!["unknown-role"]),
        (("high", &*good, PAUSE, "approval: automated"), vec!["automated-judgement"]),
        (("high", &*good, ROLL_BACK, "approval: automated"), vec!["missing-cool-down"]),
        (("high", &*good, ROLL_BACK, "approval: automated\ncool_down: 30m"), vec![]),
        (("high", &*good, ROLL_BACK, ""), vec![]),
    ] {
        assert_eq!(codes(&[trigger]), wanted, "{trigger:?}");
    }
    let twice = table(&[("high", &good, PAUSE, "")]).replace("id: t0", "id: t1")
        + &table(&[("high", http, PAUSE, "")])
            .split_once("triggers:\n")
            .unwrap()
            .1
            .replace("t0", "t1");
    assert!(loaded(&twice).expect_err("twice").contains("there are two triggers `t1`"));
}

/// The decision over readings given as letters: `f`iring, `q`uiet, `?`.
fn decided(letters: &str) -> String {
    let triggers = [
        ("medium", on_m("above: 1"), MONITOR),
        ("critical", on_m("above: 2"), PAUSE),
        ("high", "prometheus.expect: {query: n, above: 1}".to_owned(), ROLL_BACK),
        ("critical", "prometheus.expect: {query: o, above: 1}".to_owned(), ROLL_BACK),
        ("critical", "prometheus.expect: {query: p, above: 1}".to_owned(), ROLL_BACK),
    ];
    let triggers: Vec<_> = triggers
        .iter()
        .map(|(severity, condition, action)| (*severity, condition.as_str(), *action, ""))
        .collect();
    let LoadedTable { table, .. } = loaded(&table(&triggers)).unwrap();
    let readings: Vec<Reading> = letters
        .chars()
        .map(|letter| Reading {
            trigger: String::new(),
            asked: String::new(),
            state: match letter {
                'f' => State::Firing { observed: String::new(), argument: None },
                'q' => State::Quiet { observed: String::new() },
                _ => State::NoData { reason: String::new(), hints: Vec::new() },
            },
        })
        .collect();
    match decide(&table, &readings) {
        Decision::Respond(trigger) => trigger.id.clone(),
        Decision::NoData => "no data".into(),
        Decision::Quiet => "quiet".into(),
    }
}

/// First it is watched, and when it lasts it is acted on: no contradiction, but the other way round is one.
#[test]
fn what_lasts_may_ask_for_more_and_not_for_less() {
    let low = on_m("above: 0.01, at_most: 0.05");
    let watched = ("medium", &*low, MONITOR, "");
    let lasts = |action| ("medium", &*low, action, "sustained_for: 24h");
    assert_eq!(codes(&[watched, lasts("planned-rollback")]), Vec::<String>::new());
    assert_eq!(codes(&[watched, lasts("optimize")]), Vec::<String>::new());
    let at_once = ("medium", &*low, ROLL_BACK, "");
    assert_eq!(codes(&[at_once, lasts(MONITOR)]), vec!["contradiction"]);
}

/// An emergency takes no name.
#[test]
fn a_name_is_for_a_runbook_that_takes_one() {
    let named = ("high", &*on_m("above: 1"), ROLL_BACK, "argument: {label: part}");
    assert_eq!(codes(&[named]), vec!["no-argument"]);
}

#[test]
fn a_name_comes_from_the_series_that_makes_the_trigger_fire() {
    let partial = FoundRunbook {
        path: PathBuf::from("partial.yaml"),
        name: "partial".into(),
        title: None,
        scenario: Some(Scenario::Partial),
    };
    let codes = |condition: &str| {
        let text = table(&[("high", condition, ROLL_BACK, "argument: {label: part}")])
            .replace("ollama-emergency", "partial");
        match load_text("t.yaml", &text, &registry(), std::slice::from_ref(&partial)) {
            Ok(_) => Vec::new(),
            Err(found) => found.iter().map(|problem| problem.code).collect(),
        }
    };
    assert_eq!(codes(&on_m("above: 1")), Vec::<&str>::new());
    let templated = "prometheus.expect: {query: m, above: 1, series: \"{{ environment.which }}\"}";
    assert_eq!(codes(templated), Vec::<&str>::new());
    assert_eq!(codes("prometheus.expect: {query: m, above: 1}"), ["no-label"]);
    assert_eq!(codes("prometheus.expect: {query: m, above: 1, series: all}"), ["no-label"]);
    assert_eq!(codes("http.expect: {url: \"http://a/\", status: 500}"), ["no-label"]);
}

#[test]
fn what_asks_for_most_decides_and_missing_data_are_never_silence() {
    for (letters, wanted) in [
        ("qqqqq", "quiet"),
        ("q?qqq", "no data"),
        ("f????", "t0"),
        ("ffqqq", "t1"),
        ("fffqq", "t2"),
        ("fffff", "t3"),
        ("qqqqf", "t4"),
    ] {
        assert_eq!(decided(letters), wanted, "{letters}");
    }
}
