//! Files that want to hurt: `check` answers with exit code 3 and a place, in 512 MiB of memory, and never crashes.

use std::fmt::Write as _;
use std::path::Path;

use crate::support::output::CommandOutput;
use crate::support::world::{World, finish};

const HEAD: &str = "version: 1\nname: n\ntitle: T\nscenario: emergency\nsubject: s\n";

/// Runs `check` on a file with bounded memory.
fn check(world: &World, file: &Path) -> CommandOutput {
    let mut command = world.command("bash");
    let script = "ulimit -v 524288; exec \"$0\" check \"$1\" --format human";
    finish(command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_rollback")).arg(file))
}

#[track_caller]
fn refused(text: &[u8], code: &str, place: bool) {
    let world = World::new();
    let path = world.path("home/hostile.yaml");
    std::fs::write(&path, text).expect("the world is writable");
    let output = check(&world, &path).expect_code(3);
    assert!(output.stdout.contains(&format!("error[{code}]")), "{output}");
    let located = output.stdout.lines().any(|line| {
        let after = line.split_once("hostile.yaml:").map(|(_, place)| place);
        after.is_some_and(|place| place.split(':').all(|part| part.parse::<usize>().is_ok()))
    });
    assert_eq!(located, place, "{output}");
}

#[test]
fn an_alias_bomb() {
    let mut text = String::from(HEAD);
    text.push_str("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..40 {
        let one = format!("*a{}", level - 1);
        writeln!(text, "a{level}: &a{level} [{}]", vec![one; 9].join(", ")).expect("a String");
    }
    refused(text.as_bytes(), "anchor", true);
}

#[test]
fn thousands_of_levels_in_flow_and_in_block_form() {
    let flow = format!("{HEAD}phases: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    refused(flow.as_bytes(), "too-deep", true);
    let mut block = format!("{HEAD}phases:\n");
    for level in 0..3_000 {
        writeln!(block, "{}a:", " ".repeat(level + 1)).expect("a String");
    }
    refused(block.as_bytes(), "too-deep", true);
}

#[test]
fn a_hundred_megabytes() {
    refused(&vec![b'#'; 100 << 20], "file-too-large", false);
}

#[test]
fn bytes_that_are_no_text() {
    refused(b"version: 1\nname: caf\xe9\n", "not-utf8", true);
}

#[test]
fn ten_thousand_steps() {
    let mut text = String::from(HEAD);
    text.push_str("phases:\n");
    for phase in 0..100 {
        writeln!(text, "  - id: phase-{phase}\n    title: Phase {phase}\n    steps:")
            .expect("a String");
        for step in 0..100 {
            writeln!(
                text,
                "      - id: step-{step}\n        docker.stop: {{project: agents, services: [agent-{step}]}}"
            )
            .expect("a String");
        }
    }
    let world = World::new();
    let path = world.write("home/long.yaml", &text);
    let output = check(&world, &path).expect_code(0);
    assert!(output.stdout.contains("all good"), "{output}");
}
