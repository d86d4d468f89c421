//! Questions where somebody sits, none where nobody does, and a status line that leaves nothing behind.

use std::fs::File;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::desk::{Desk, PATIENT, touch};
use crate::support::terminal::{Terminal, rendered};
use crate::support::world::finish;

const CHECKLIST: &str = r"
      - id: list
        manual.confirm:
          - {item: The first holds, required: true}
          - {item: The second holds, required: true}
          - {item: Somebody looks later}
";

const ASKING: &str = r#"
      - id: broken
        on_failure: ask
        script.run: {argv: ["false"], undo: ["true"]}
"#;

#[test]
fn required_items_and_a_failure_are_asked_in_turn() {
    let desk = Desk::new(&(CHECKLIST.to_owned() + ASKING + &touch("after")));
    let terminal = Terminal::start(&desk.world, Desk::RUN);
    terminal.wait_for("Start? [y/N] ");
    terminal.type_in("y\n");
    terminal.wait_for("The first holds [y/n] ");
    assert!(!terminal.seen().contains("The second holds [y/n]"), "one question at a time");
    // Neither an Enter too many nor a typing error is an answer.
    terminal.type_in("\nmaybe\n");
    terminal.wait_for("Please answer y or n.");
    terminal.type_in("y\n");
    terminal.wait_for("The second holds [y/n] ");
    terminal.type_in("yes\n");
    terminal.wait_for("Go on without work/broken? [y/n] ");
    terminal.type_in("y\n");
    let (code, seen) = terminal.finish();
    assert!(desk.has("after.done"), "{code:?}:\n{seen}");
    assert_eq!(desk.events("question-answered").len(), 2);
    assert_eq!(desk.events("failure-decided")[0]["go_on"], true);
    assert!(seen.contains("Somebody looks later"), "{seen}");
}

#[test]
fn an_answer_from_another_terminal_takes_the_question_away() {
    let desk = Desk::new(&(CHECKLIST.to_owned() + &touch("after")));
    let terminal = Terminal::start(&desk.world, Desk::RUN_YES);
    terminal.wait_for("The first holds [y/n] ");
    let confirm = ["confirm", "latest", "--item", "The first", "--answer", "yes"];
    desk.world.rollback(confirm).expect_code(0);
    terminal.wait_for("The second holds [y/n] ");
    terminal.type_in("y\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, Some(0), "{seen}");
    assert!(desk.has("after.done"));
}

#[test]
fn a_decision_is_taken_from_another_terminal() {
    let desk = Desk::new(&(ASKING.to_owned() + &touch("after")));
    let terminal = Terminal::start(&desk.world, Desk::RUN_YES);
    terminal.wait_for("Go on without work/broken? [y/n] ");
    let said = desk.world.rollback(["confirm", "latest", "--item", "1", "--answer", "yes"]);
    assert!(said.expect_code(0).stderr.contains("work/broken failed: go on?"));
    let (code, seen) = terminal.finish();
    assert!(desk.has("after.done"), "{code:?}:\n{seen}");
    assert_eq!(desk.events("failure-decided")[0]["go_on"], true);
}

#[test]
fn a_person_who_leaves_without_a_decision_has_said_no() {
    let desk = Desk::new(&(ASKING.to_owned() + &touch("after")));
    let terminal = Terminal::start(&desk.world, Desk::RUN_YES);
    terminal.wait_for("Go on without work/broken? [y/n] ");
    // Ctrl-D.
    terminal.type_in("\u{4}");
    let (code, seen) = terminal.finish();
    assert_eq!(code, Some(7), "{seen}");
    assert!(!desk.has("after.done"), "{seen}");
    assert_eq!(desk.events("failure-decided")[0]["go_on"], false);
}

/// `rollback … &`: a shell with job control gives it a process group of its own, from which touching the terminal's input stops
/// a process, until somebody brings it to the front.
#[test]
fn a_run_in_the_background_is_not_stopped_by_a_question() {
    let desk = Desk::new(&(ASKING.to_owned() + &touch("after")));
    let mut command = desk.world.command("setsid");
    command.args(["--ctty", "sh", "-c", r#"set -m; "$0" "$@" & wait $!"#]);
    command.arg(env!("CARGO_BIN_EXE_rollback")).args(Desk::RUN_YES);
    let terminal = Terminal::run(command, 80);
    let (code, seen) = terminal.finish();
    // Nobody there can be asked, which is a no.
    assert_eq!(code, Some(7), "{seen}");
    assert_eq!(desk.events("failure-decided")[0]["go_on"], false);
    assert!(!desk.has("after.done"), "{seen}");
}

#[test]
fn a_run_that_was_killed_at_a_question_asks_it_again() {
    let desk = Desk::new(&(CHECKLIST.to_owned() + &touch("after")));
    let terminal = Terminal::start(&desk.world, Desk::RUN_YES);
    terminal.wait_for("The first holds [y/n] ");
    terminal.type_in("y\n");
    terminal.wait_for("The second holds [y/n] ");
    terminal.signal(Signal::KILL);
    drop(terminal);
    let terminal = Terminal::start(&desk.world, ["resume", "latest"]);
    terminal.wait_for("The second holds [y/n] ");
    terminal.type_in("y\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, Some(0), "{seen}");
    assert!(!seen.contains("The first holds [y/n]"), "{seen}");
    assert!(desk.has("after.done"), "{seen}");
}

#[test]
fn without_a_terminal_nothing_is_asked_and_no_escape_sequence_is_written() {
    let inputs = [Stdio::null as fn() -> Stdio, || Stdio::from(File::open("/dev/zero").unwrap())];
    for (variable, value) in [("TERM", "dumb"), ("NO_COLOR", "1"), ("CI", "1"), ("TERM", "xterm")] {
        for input in inputs {
            let desk = Desk::new(&(touch("before") + ASKING + &touch("after")));
            let mut command = desk.world.program();
            command.env("TERM", "xterm-256color").env(variable, value).stdin(input());
            let refused = finish(command.args(Desk::RUN)).expect_code(11);
            assert!(refused.stderr.contains("--yes"), "{refused}");
            assert!(!desk.has("before.done"), "{refused}");
            let ran = finish(desk.command().env("TERM", "xterm-256color").env(variable, value));
            let ran = ran.expect_code(7);
            for text in [&refused.stdout, &refused.stderr, &ran.stdout, &ran.stderr] {
                assert!(!text.contains(['\x1b', '\r', '\u{9b}']), "{text:?}");
            }
        }
    }
}

#[test]
fn a_missing_input_is_refused_with_the_flag_to_add() {
    let desk = Desk::new(&touch("before"));
    let text = std::fs::read_to_string(desk.world.path("home/book.yaml")).unwrap();
    let input =
        "inputs:\n  reason: {type: string, required: true, prompt: Why?, sample: x}\nphases:";
    desk.runbook(&text.replacen("phases:", input, 1));
    let refused = desk.run().expect_code(11);
    assert!(refused.stderr.contains("--reason TEXT"), "{refused}");
}

#[test]
fn data_is_pure_json_whatever_the_form() {
    let desk = Desk::new(&(touch("before") + ASKING));
    let json = finish(desk.command().args(["--format", "json"])).expect_code(7);
    assert_eq!(json.json()["exit_code"], 7, "{json}");
    let lines = finish(desk.command().args(["--format", "jsonl"])).expect_code(7);
    let events: Vec<serde_json::Value> = lines
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is a document"))
        .collect();
    assert_eq!(events.first().expect("there are events")["event"], "run-started");
    assert_eq!(events.last().expect("there are events")["event"], "run-ended");
}

#[test]
fn the_status_line_leaves_nothing_behind_at_any_width() {
    for (columns, plain) in [(200, false), (80, true), (30, false), (12, true)] {
        let desk = Desk::new(&(touch("before") + PATIENT + &touch("after")));
        let mut command = desk.world.command("setsid");
        command.arg("--ctty").arg(env!("CARGO_BIN_EXE_rollback")).args(Desk::RUN_YES);
        command.env("TERM", "xterm-256color");
        if plain {
            command.env("NO_COLOR", "1");
        }
        let terminal = Terminal::run(command, columns);
        desk.wait_for("patient.begun");
        let drawn = terminal.seen().matches('\r').count();
        crate::support::wait_until("three drawings of the line", || {
            terminal.seen().matches('\r').count() > drawn + 3
        });
        desk.world.write("home/patient.go", "");
        let (code, seen) = terminal.finish();
        assert_eq!(code, Some(0), "{seen}");
        assert!(!plain || !seen.contains('\x1b'), "{seen:?}");
        // Whatever is drawn over and over is shorter than the line, and is gone in the end.
        for drawing in seen.split(['\r', '\n']).filter(|part| part.contains("done at about")) {
            let shown = anstream::adapter::strip_str(drawing).to_string();
            assert!(shown.trim_end().chars().count() < usize::from(columns), "{shown:?}");
        }
        let left = rendered(&seen);
        let debris: Vec<_> = left.iter().filter(|line| line.contains("done at about")).collect();
        assert!(debris.is_empty(), "{debris:?}");
    }
}
