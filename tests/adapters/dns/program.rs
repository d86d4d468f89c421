//! The program as a whole: killed at every point around a change of DNS, also between the update and its record.

use super::oracle;
use super::rig::{FOLLOWS, Rig};
use crate::support::desk::Desk;
use crate::support::world::finish;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

fn desk(rig: &Rig, name: &str) -> Desk {
    let desk = Desk::new(&format!(
        "
      - id: point
        retry: {{attempts: 2, delay: 10ms}}
        dns.point: {{name: {name}, type: CNAME, to: old.example, ttl: 30s, from: new.example}}
      - id: seen
        dns.expect: {{name: {name}, type: CNAME, value: old.example, ttl: {{at_most: 30s}}}}
      - id: nobody-remembers
        dns.expect: {{name: {name}, type: CNAME, caches_expired: {{former_ttl: 1s}}}}
"
    ));
    let secret = desk.world.write("home/environments/dns.key", &rig.key.secret);
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("it is ours");
    desk.environment(&format!(
        "connections:\n  dns:\n    rfc2136: {{server: \"{}\", key: {{name: {}, secret: {{file: dns.key}}}}}}\n    nameservers: [\"{}\"]\n",
        rig.primary, rig.key.name, rig.secondary
    ));
    desk
}

#[test]
fn a_run_that_is_killed_anywhere_changes_the_record_once() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::double());
    killed_everywhere(&rig);
}

#[test]
fn a_run_that_is_killed_anywhere_changes_the_record_once_on_bind() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::bind());
    killed_everywhere(&rig);
}

fn killed_everywhere(rig: &Rig) {
    let mut point = 1;
    loop {
        let name = rig.name(&format!("kill-{point}"), FOLLOWS);
        rig.set((&name, "CNAME"), &["new.example."], 1);
        let desk = desk(rig, &name);
        let mut command = desk.command();
        let report = desk.world.path("report");
        command.env("ROLLBACK_CRASH_AT", point.to_string()).env("ROLLBACK_CRASH_REPORT", &report);
        let output = finish(&mut command);
        let survived = output.code() == Some(0);
        if !survived {
            // A run that was cut off before its first record leaves nothing to resume.
            let resumed = desk.resume();
            if resumed.code() != Some(0) {
                let again = desk.run();
                assert_eq!(again.code(), Some(0), "point {point}: {}\n{again}", resumed.stderr);
            }
        }
        assert_eq!(rig.records(&name, "CNAME"), ["30 old.example."], "point {point}");
        assert_eq!(oracle::records(rig.secondary, &name, "CNAME").len(), 1, "point {point}");
        if survived {
            break;
        }
        point += 1;
        assert!(point < 200, "the run comes to an end");
    }
    assert!(point > 5, "the run passes some points, not {point}");
}

/// The same steps, with a target that the last of them proves.
fn with_target(desk: &Desk, name: &str) {
    desk.runbook(&format!(
        "version: 1
name: book
title: A book
scenario: partial
subject: book
targets:
  restored: {{within: 60s, reached_by: work/seen}}
phases:
  - id: work
    title: Work
    steps:
      - id: point
        dns.point: {{name: {name}, type: CNAME, to: old.example, ttl: 30s}}
      - id: seen
        dns.expect: {{name: {name}, type: CNAME, value: old.example}}
"
    ));
}

#[test]
fn a_plan_and_a_check_warn_of_a_ttl_that_is_longer_than_the_target() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::double());
    for (first, ttl, warned) in [("long", 1800, true), ("short", 30, false)] {
        let name = rig.name(first, FOLLOWS);
        rig.set_everywhere((&name, "CNAME"), &["new.example."], ttl);
        let desk = desk(&rig, &name);
        with_target(&desk, &name);
        let planned = desk.world.rollback(["plan", "book.yaml", "--env", "local"]);
        assert_eq!(planned.code(), Some(0), "{planned}");
        let checked = desk.world.rollback(["check", "book.yaml", "--env", "local"]);
        assert_eq!(checked.code(), Some(0), "a warning, and no error: {checked}");
        let told = "work/point: others may keep what was there before for 30m, longer than the target restored (1m)";
        for output in [planned, checked] {
            let text = format!("{}{}", output.stdout, output.stderr);
            assert_eq!(text.contains(told), warned, "{text}");
            assert_eq!(text.contains("Lower the record's ttl below 1m"), warned, "{text}");
        }
        let json = desk.world.rollback(["plan", "book.yaml", "--env", "local", "--format", "json"]);
        let late = &json.json()["preview"]["late"];
        assert_eq!(late[0]["spreads_ms"].as_u64(), warned.then_some(1_800_000), "{late}");
    }
}

/// Every file below a folder.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn the_key_is_in_no_output_and_in_no_file() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::bind());
    let name = rig.name("canary", FOLLOWS);
    rig.set((&name, "CNAME"), &["new.example."], 1);
    let canary = "cAn4ryOfAKeyThatTheServerDoesNotKnowcAn4ry0=";
    for (secret, code) in [(canary, 6), (rig.key.secret.as_str(), 0)] {
        let desk = desk(&rig, &name);
        desk.world.write("home/environments/dns.key", secret);
        let mut command = desk.command();
        let output = finish(command.env("RUST_LOG", "trace"));
        assert_eq!(output.code(), Some(code), "{output}");
        assert_eq!(output.to_string().contains("BADSIG"), code != 0, "{output}");
        let mut texts = vec![output.stdout.into_bytes(), output.stderr.into_bytes()];
        let kept = files(&desk.state());
        assert!(!kept.is_empty());
        texts.extend(kept.iter().map(|path| std::fs::read(path).expect("it can be read")));
        let holds = |text: &[u8]| text.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!texts.iter().any(|text| holds(text)), "the key is told");
    }
}
