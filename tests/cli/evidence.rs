//! `rollback evidence`: one archive with a manifest that can be checked, whatever is down.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::stage::Stage;

const CHANGES: &str = "\
phases:
  - id: work
    title: Work
    steps:
      - id: stop-one
        docker.stop: {project: ollama-optimized, grace: 1s}
";

const REVIEWED: &str = "\
targets:
  recovered: {within: 1m, reached_by: work/data}
phases:
  - id: work
    title: Work
    steps:
      - id: stop-one
        docker.stop: {project: ollama-optimized, grace: 1s}
      - id: data
        file.expect: {path: /opt/sutazaiapp/logs/deployment_20250801.log, exists: true}
  - id: review
    title: Review
    steps:
      - id: told
        title: Communication
        manual.confirm: [{item: Which stakeholders were told, window: review}]
      - id: retry
        title: Retry plan
        manual.confirm: [{item: Issue resolution, window: review}]
      - id: else
        title: Something else
        manual.confirm: [{item: Who pays, window: review}]
";

/// The pieces of an archive by their names, without its folder.
fn pieces(stage: &Stage, name: &str) -> BTreeMap<String, Vec<u8>> {
    let path = stage.world.path(format!("home/{name}"));
    let mode = std::fs::metadata(&path).expect("the archive").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner alone");
    let file = std::fs::File::open(path).expect("it can be opened");
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let entries = tar.entries().expect("an archive").map(|entry| {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let (_, name) = path.split_once('/').expect("a folder");
        let (name, mut content) = (name.to_owned(), Vec::new());
        let _length = entry.read_to_end(&mut content).expect("its content");
        (name, content)
    });
    entries.collect()
}

fn manifest(pieces: &BTreeMap<String, Vec<u8>>) -> Value {
    serde_json::from_slice(&pieces["manifest.json"]).expect("the manifest is JSON")
}

#[test]
fn an_archive_tells_what_the_systems_know() {
    let stage = Stage::with(CHANGES);
    let path = stage.world.path("home/runbooks/environments/sandbox.yaml");
    let text = std::fs::read_to_string(&path).expect("the environment");
    let more = "    deployed: {regex: \"deployed BaseAgentV2 \\\\S+\"}\n";
    let secret = "  secret: {variable: EVIDENCE_SECRET}\n  discovery:";
    let text = (text + more).replacen("  discovery:", secret, 1);
    std::fs::write(&path, text).expect("it can be written");
    let log = "home/../state/rollback/sandbox/root/opt/sutazaiapp/logs/deployment_leak.log";
    let _log = stage.world.write(log, "the token is t0p-s3cret-value\n");
    let run = |line: &str| {
        let mut command = stage.world.program();
        command.args(shell_words::split(line).expect("words"));
        crate::support::world::finish(command.env("EVIDENCE_SECRET", "t0p-s3cret-value"))
    };
    run("run small --env sandbox --yes").expect_code(0);
    let told = run("evidence --output all.tar.gz").expect_code(0);
    assert!(told.stderr.contains("deployed: 1 lines"), "{told}");

    let found = pieces(&stage, "all.tar.gz");
    let manifest = manifest(&found);
    let members = manifest["members"].as_array().expect("members");
    assert_eq!(members.len() + 1, found.len(), "all but the manifest itself");
    for member in members {
        let content = &found[member["name"].as_str().expect("a name")];
        assert_eq!(member["sha256"], rollback::digest::sha256(content), "{member}");
        assert_eq!(member["bytes"], content.len(), "{member}");
    }
    assert_eq!(manifest["missing"], serde_json::json!({}));
    let text = |name: &str| String::from_utf8_lossy(&found[name]).into_owned();
    let logs: Vec<_> = found.keys().filter(|name| name.starts_with("docker/")).collect();
    assert_eq!(logs.len(), 6, "three agents of each project: {logs:?}");
    assert!(logs.iter().any(|name| text(name).contains("exited with code")), "{logs:?}");
    let deployed = text("files/opt/sutazaiapp/logs/deployment_20250801.log");
    assert!(deployed.contains("deployed BaseAgentV2"), "{deployed}");
    let leak = text("files/opt/sutazaiapp/logs/deployment_leak.log");
    assert!(leak.contains("[secret]") && !leak.contains("t0p-s3cret"), "{leak}");
    let metric: Value = serde_json::from_str(&text("prometheus/error_rate.json")).expect("JSON");
    assert_eq!(metric["query"], "ollama_agent_error_ratio");
    assert!(metric["series"].as_array().is_some_and(|series| !series.is_empty()), "{metric}");
    let journal = text("run/journal.jsonl");
    assert!(journal.contains("\"run-ended\"") && text("run/report.md").contains("# Rollback"));
    let events = run("report --as json").expect_code(0).json();
    let kept = &events["evidence"][0];
    assert_eq!(kept["missing"], serde_json::json!({}), "{events}");
    let archive = std::fs::read(stage.world.path("home/all.tar.gz")).expect("the archive");
    assert_eq!(kept["sha256"], rollback::digest::sha256(archive));
}

#[test]
fn a_system_that_is_down_costs_its_own_part() {
    let stage = Stage::with(CHANGES);
    stage.rollback("run small --env sandbox --yes").expect_code(0);
    stage.rollback("sandbox fault prometheus:error=503,path=/api").expect_code(0);
    let told = stage.rollback("evidence --output some.tar.gz").expect_code(0);
    assert!(told.stderr.contains("missing: prometheus/error_rate.json: failed to"), "{told}");
    let found = pieces(&stage, "some.tar.gz");
    let missing = &manifest(&found)["missing"];
    assert!(missing["prometheus/error_rate.json"].is_string(), "{missing}");
    assert!(found.keys().any(|name| name.starts_with("docker/")), "the others are there");
    let nowhere = stage.rollback("evidence --output no/such/folder.tar.gz").expect_code(1);
    assert!(nowhere.stderr.contains("--output"), "{nowhere}");
}

#[test]
fn the_incident_report_has_the_order_of_the_procedure() {
    let stage = Stage::with(REVIEWED);
    let start = "--emergency --env sandbox --yes --reason 'errors above 5 %'";
    stage.rollback(start).expect_code(0);
    let before = stage.rollback("report --incident").expect_code(0).stdout;
    assert!(before.contains("Not counted: `rollback evidence"), "{before}");
    stage.rollback("evidence --output all.tar.gz").expect_code(0);
    let said = "confirm --item stakeholders --answer yes --remark 'the board | all'";
    stage.rollback(said).expect_code(0);
    let report = stage.rollback("report --incident").expect_code(0).stdout;
    let mut rest = report.as_str();
    for (section, told) in [
        ("Root cause analysis", "started because of: errors above 5 %"),
        ("Impact assessment", "| recovered | 1m |"),
        ("Data integrity", "- work/data: done"),
        ("Performance", "| metric | before the rollback | after it |"),
        ("Communication", "- [x] Which stakeholders were told: the board \\| all (tester@"),
        ("Timeline", "target reached: recovered"),
        ("Failure patterns", "None of the known patterns was found."),
        ("Retry plan", "- [ ] Issue resolution"),
        ("Lessons learned", ""),
        ("Something else", "- [ ] Who pays"),
    ] {
        let (_, after) = rest.split_once(&format!("## {section}\n")).expect(section);
        let body = after.split("\n## ").next().expect("a section");
        assert!(body.contains(told), "{section}: {body}");
        rest = after;
    }
}
