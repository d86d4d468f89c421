//! The first minute and the tools around a run: `init`, `doctor`, `sandbox`, `schema`, `completions`, `man`.

use std::process::Stdio;

use super::stage::Stage;
use crate::support::world::{World, finish};

#[test]
fn init_makes_a_project_that_runs_word_for_word() {
    let stage = Stage::empty();
    let made = stage.rollback("init").expect_code(0);
    let said = made.stderr.lines().last().expect("a last line");
    let typed = said.strip_prefix("try it: rollback ").expect("a command to try");
    let run = stage.rollback(typed).expect_code(0);
    assert!(run.stdout.contains("RECOVERED"), "{run}");
    let checked = stage.rollback("check --strict").expect_code(0);
    assert!(checked.stdout.contains("2 files checked, all good"), "{checked}");
    let _redacted = stage.redacted();
    insta::assert_snapshot!("init", made);
    let again = stage.rollback("init").expect_code(2);
    insta::assert_snapshot!("init-again", again);
}

#[test]
fn doctor_finds_what_stands_in_the_way() {
    let stage = Stage::empty();
    let _made = stage.rollback("init").expect_code(0);
    let _redacted = stage.redacted();
    insta::assert_snapshot!("doctor", stage.rollback("doctor --env sandbox").expect_code(0));
    let _faults = stage.rollback("sandbox fault docker:error=503").expect_code(0);
    insta::assert_snapshot!("doctor-ill", stage.rollback("doctor --env sandbox").expect_code(4));
    let file = stage.world.write("file", "no folder");
    let line = format!("doctor --state-dir {}", file.display());
    let said = stage.rollback(&line).expect_code(4).stdout;
    assert!(said.contains("✗ state") && said.contains("--state-dir"), "{said}");
}

#[test]
fn the_sandbox_is_looked_after() {
    let stage = Stage::with("phases: []\n");
    let mut said = String::new();
    for (line, code) in [
        ("sandbox status", 0),
        ("sandbox fault docker:latency=4s blue:error=500", 0),
        ("sandbox fault dokcer:latency=4s", 2),
        ("sandbox fault --clear", 0),
        ("sandbox reset", 0),
        ("sandbox down", 0),
        ("sandbox down", 0),
        ("sandbox status", 2),
    ] {
        let output = stage.rollback(line).expect_code(code);
        said.push_str(&format!("$ rollback {line}\n{output}\n\n"));
    }
    let _redacted = stage.redacted();
    insta::assert_snapshot!("sandbox", said);
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = world.rollback(["completions", shell]).expect_code(0).stdout;
        assert!(script.contains("emergency") && script.contains("take-over"), "{shell}");
    }
    let script = world.rollback(["completions", "bash"]).expect_code(0).stdout;
    let path = world.write("home/rollback.bash", &script);
    let _parsed =
        finish(world.command("bash").arg("-n").arg(path).stdin(Stdio::null())).expect_code(0);
    let unknown = world.rollback(["completions", "bosh"]).expect_code(2);
    assert!(unknown.stderr.contains("bash"), "{unknown}");
}

#[test]
fn manual_pages_exist_for_every_command() {
    let world = World::new();
    let page = world.rollback(["man"]).expect_code(0).stdout;
    assert!(page.starts_with(".ie") || page.starts_with(".TH"), "{page}");
    let dir = world.path("home/man");
    std::fs::create_dir(&dir).expect("a folder");
    let _written = world.rollback(["man", "--dir", "man"]).expect_code(0);
    for name in ["rollback.1", "rollback-run.1", "rollback-sandbox-serve.1"] {
        assert!(dir.join(name).is_file(), "{name}");
    }
    let _made = world.rollback(["man", "--dir", "new/folder"]).expect_code(0);
    assert!(world.path("home/new/folder/rollback.1").is_file());
}
