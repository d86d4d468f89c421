//! The rollback log, the post-mortem, and finding lessons again.

use serde_json::Value;

use super::stage::Stage;
use crate::support::world::finish;

const SHIFT: &str = "\
targets:
  traffic-on-blue: {within: 60s, reached_by: redirect/traffic-is-on-blue}
phases:
  - id: redirect
    steps:
      - id: error-rate
        title: Error rate before the shift
        prometheus.expect: {query: ollama_agent_error_ratio, at_least: 0}
      - id: shift-traffic
        title: Reverted the traffic
        loadbalancer.switch: {upstream: agents, to: blue}
      - id: traffic-is-on-blue
        http.expect: {url: \"{{ environment.load_balancer }}/health\", json: {version: \"1.0.0\"}}
";

const REVIEW: &str = "  - id: review
    steps:
      - id: root-cause
        title: Root cause
        manual.confirm: [{item: Why it happened, window: review}]
";

/// A sandbox whose runs are written into a log.
fn logged(scenario: &str) -> Stage {
    let stage = Stage::with("phases: []\n");
    stage.add("small", scenario, &format!("{SHIFT}{REVIEW}"));
    let path = stage.world.path("home/runbooks/environments/sandbox.yaml");
    let text = std::fs::read_to_string(&path).expect("the environment");
    std::fs::write(path, text + "\nlog: ../../docs/rollback_log.md\n").expect("written");
    stage
}

fn log(stage: &Stage) -> String {
    std::fs::read_to_string(stage.world.path("home/docs/rollback_log.md")).unwrap_or_default()
}

fn matches(pattern: &str, text: &str) -> bool {
    regex::Regex::new(pattern).expect("a pattern").is_match(text)
}

#[test]
fn a_run_has_one_entry_in_the_form_of_the_procedure() {
    let stage = logged("emergency");
    let start = "--emergency --env sandbox --yes --reason 'errors | above 5 %'";
    stage.rollback(start).expect_code(0);
    let text = log(&stage);
    assert!(text.starts_with("# Rollback History\n\n## 20"), "{text}");
    for line in [
        r"(?m)^## \d{4}-\d\d-\d\d: Emergency Rollback - The small runbook$",
        r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC: Emergency rollback triggered - Reason: errors \\\| above 5 %$",
        r"(?m)^\*\*Reason\*\*: errors \\\| above 5 %$",
        r"(?m)^\*\*Impact\*\*: error rate: \S+",
        r"(?m)^\*\*Resolution\*\*: Recovered, every target met.; traffic-on-blue after \S+ of 1m$",
        r"(?m)^\*\*Prevention\*\*: not known yet$",
        r"(?m)^\*\*Re-deployed\*\*: not yet$",
        r"(?m)^<!-- rollback \S+ recovered -->$",
    ] {
        assert!(matches(line, &text), "{line}: {text}");
    }
    assert!(!text.contains("<YOUR") && !text.contains("<PERCENTAGE>"), "{text}");
    // A run that has ended is not written down again, and a second run beside the first is.
    stage.rollback("resume latest").expect_code(0);
    assert_eq!(log(&stage), text);
    let printed = stage.rollback("report --log").expect_code(0).stdout;
    assert!(text.contains(printed.trim()), "{printed}");
    stage.rollback(start).expect_code(0);
    let longer = log(&stage);
    assert!(longer.starts_with(&text), "it only grows");
    assert_eq!(longer.matches("## 20").count(), 2);
}

#[test]
fn a_graceful_rollback_is_written_with_what_was_measured() {
    let stage = logged("graceful");
    stage.rollback("--graceful --env sandbox --yes").expect_code(0);
    let text = log(&stage);
    let block = text.split("---\n").nth(1).expect("a block between rules");
    assert!(
        matches(
            r"^Date: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\nType: Graceful Rollback\nReason: not given\nMetrics:\n",
            block
        ),
        "{text}"
    );
    assert!(matches(r"(?m)^  - Error rate: .*0\.\d+", block), "{block}");
    assert!(block.contains("  - Cost per query: not measured\n"), "{block}");
    assert!(block.contains("  - Routing accuracy: not measured\n"), "{block}");
    assert!(block.contains("Actions Taken:\n  - Reverted the traffic\n"), "{block}");
}

#[test]
fn a_log_that_cannot_be_written_costs_the_run_nothing() {
    let stage = logged("emergency");
    let _in_its_way = stage.world.write("home/docs", "no folder");
    let run = stage.rollback("--emergency --env sandbox --yes").expect_code(0);
    assert!(run.stderr.contains("the rollback log has no entry of this run"), "{run}");
    std::fs::remove_file(stage.world.path("home/docs")).expect("removed");
    stage.rollback("resume latest").expect_code(0);
    assert_eq!(log(&stage).matches("<!-- rollback").count(), 1);
}

/// Killed between the end of the run and the write: the run is over, and its entry is missing.
#[test]
fn a_program_that_dies_before_it_has_written_writes_when_it_is_resumed() {
    let stage = logged("emergency");
    let mut program = stage.world.program();
    program.args(["--emergency", "--env", "sandbox", "--yes"]);
    let killed = finish(program.env("ROLLBACK_CRASH_AT", "cli.before-log"));
    assert_eq!(killed.signal(), Some(9), "{killed}");
    assert_eq!(log(&stage), "", "killed before the write");
    for _ in 0..2 {
        let resumed = stage.rollback("resume latest").expect_code(0);
        assert!(resumed.stderr.contains("has recovered already"), "{resumed}");
        assert_eq!(log(&stage).matches("<!-- rollback").count(), 1);
    }
}

#[test]
fn lessons_are_found_again_by_several_words() {
    let stage = logged("emergency");
    let by_hand = "# Rollback History\n\n## 2025-11-16: Emergency Rollback - Orchestrator Timeout\n\n\
                   **Reason**: Specialist services timeout after 30s\n**Prevention**: Load testing before deployment\n\n---\n\
                   Sun Nov 23 10:00:00 UTC 2025: Emergency rollback triggered - Reason: wrong record\n";
    let _log = stage.world.write("home/docs/rollback_log.md", by_hand);
    let _config = stage.world.write("home/rollback.yaml", "log: docs/rollback_log.md\n");
    stage.rollback("--emergency --env sandbox --yes --reason 'memory leak'").expect_code(0);
    stage
        .rollback("confirm --item why --answer yes --remark 'a TIMEOUT of the cache'")
        .expect_code(0);

    let search = |words: &str| {
        stage.rollback(&format!("history --format json --search '{words}'")).expect_code(0).json()
    };
    let found = search("LOAD timeout");
    let hits = found["hits"].as_array().expect("hits");
    assert_eq!(hits.len(), 1, "{found}");
    assert_eq!((&hits[0]["kind"], &hits[0]["line"]), (&"log".into(), &3.into()), "{found}");
    assert_eq!(hits[0]["fields"]["prevention"], "Load testing before deployment");
    assert!(hits[0]["file"].as_str().expect("a file").ends_with("docs/rollback_log.md"));
    // Where it was found: the answer of a person, and the run's own entry.
    let found = search("cache timeout");
    assert_eq!(found["hits"][0]["kind"], "run", "{found}");
    assert_eq!(found["hits"][0]["found"][0]["where"], "question", "{found}");
    let kinds = |found: &Value| -> Vec<String> {
        let hits = found["hits"].as_array().expect("hits").iter();
        hits.map(|hit| hit["kind"].as_str().expect("a kind").to_owned()).collect()
    };
    assert_eq!(kinds(&search("memory leak")), ["run", "log"]);
    assert_eq!(kinds(&search("wrong record triggered")), ["log"]);
    let told = stage.rollback("history --search 'orchestrator'").expect_code(0).stdout;
    assert!(told.contains("docs/rollback_log.md:3  2025-11-16: Emergency"), "{told}");
    assert!(told.contains("line 3: "), "{told}");
    let none = stage.rollback("history --search 'memory unicorn'").expect_code(0);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "found nothing\n"));
    let nothing = stage.rollback("history --search ' '").expect_code(2);
    assert!(nothing.stderr.contains("Name a word"), "{nothing}");
    let lost = stage.rollback("history --search leak --log nowhere.md").expect_code(1);
    assert!(lost.stderr.contains("nowhere.md"), "{lost}");
}

#[test]
fn the_post_mortem_is_filled_in_as_far_as_the_journal_knows() {
    let stage = logged("emergency");
    stage
        .rollback("--emergency --env sandbox --yes --reason 'memory leak' --since 10m")
        .expect_code(5);
    let report = stage.rollback("report --post-mortem").expect_code(0).stdout;
    let mut rest = report.as_str();
    for told in [
        "# Rollback Post-Mortem",
        "**Duration**: 10m",
        "**Triggered By**: Manual, by tester@",
        "**Rollback Type**: Emergency",
        "**Severity**: critical",
        "## Timeline",
        " - Issue first detected",
        "- Rollback decision made: not known",
        " - Rollback initiated",
        " - Service restored",
        " - Rollback completed",
        "target reached: traffic-on-blue",
        "## Root Cause",
        "at the start: memory leak",
        "- [ ] Why it happened",
        "## Impact",
        "- Users affected: not known",
        "- Error rate: ",
        "- Response time: not measured",
        "## What Went Well",
        "- Reverted the traffic",
        "## What Didn't Go Well",
        "The target traffic-on-blue was missed",
        "## Action Items",
        "- [ ] Fix root cause (Owner: ( ), Due: ( ))",
        "## Prevention",
        "## Re-Deployment Plan",
        "- [ ] Approval obtained for re-deployment",
    ] {
        let (_, after) = rest.split_once(told).unwrap_or_else(|| panic!("{told}: {report}"));
        rest = after;
    }
}

#[test]
fn text_messages_are_for_what_is_critical() {
    let stage = Stage::with("phases: []\n");
    let waking = "\
escalation:
  - {level: L1, who: On-call, tell: [{notify.sms: {text: wake up}}]}
  - {level: L2, who: CTO, severity: critical, after: 1m, tell: [{notify.slack: {text: \"CTO\"}}]}
phases:
  - id: tell
    steps:
      - id: text
        optional: true
        notify.sms: {text: \"{{ run.severity }}\"}
      - id: ask
        http.expect: {url: \"{{ environment.load_balancer }}/health\"}
";
    stage.add("small", "graceful", waking);
    let warned = stage.rollback("check --strict").expect_code(3);
    assert_eq!(
        warned.stdout.matches("wakes people, and this runbook is for what is high").count(),
        2,
        "{warned}"
    );
    let environment = stage.world.path("home/runbooks/environments/sandbox.yaml");
    let text = std::fs::read_to_string(&environment).expect("the environment");
    let rule = "\nnotifications: {sms: critical}\n";
    std::fs::write(&environment, format!("{text}{rule}")).expect("written");
    let run = stage.rollback("run small --env sandbox --yes --format json").expect_code(0).json();
    assert_eq!(run["steps"]["tell/text"]["outcome"], "skipped", "{run}");
    assert_eq!(stage.status()["texts"].as_array().map(Vec::len), Some(0));
    assert_eq!(run["escalation"].as_array().map_or(0, Vec::len), 1, "not the CTO: {run}");

    stage.add("small", "graceful", &format!("severity: critical\n{waking}"));
    stage.rollback("check --strict").expect_code(0);
    let run = stage.rollback("run small --env sandbox --yes --format json").expect_code(0).json();
    assert_eq!(run["steps"]["tell/text"]["outcome"], "done", "{run}");
    let texts = stage.status()["texts"].to_string();
    assert!(texts.contains("critical"), "{texts}");

    let wrong = text + "\nnotifications: {smss: critical, slack: urgent}\n";
    std::fs::write(&environment, wrong).expect("written");
    let told = stage.rollback("check").expect_code(3).stdout;
    assert!(told.contains("nothing is told by `smss`") && told.contains("`sms`"), "{told}");
    assert!(told.contains("expected one of low, medium, high, critical"), "{told}");
}
