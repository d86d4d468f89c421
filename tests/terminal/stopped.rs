//! Ctrl-Z at a shell: a stopped program keeps its subject and its time goes on; afterwards it looks before it changes anything.

use std::time::Duration;

use crate::support::desk::{Desk, PATIENT, STUBBORN, touch};
use crate::support::terminal::Terminal;

const CTRL_Z: &str = "\x1a";
/// Longer than the time limits of the stopped run.
const STOPPED: Duration = Duration::from_secs(6);

/// The program as the job of a shell, which is what a keyboard can stop.
fn at_a_shell(desk: &Desk) -> Terminal {
    let mut shell = desk.world.command("setsid");
    shell.args(["--ctty", "bash", "--norc", "--noprofile", "-i"]);
    let terminal = Terminal::run(shell, 200);
    terminal.type_in(&format!("{} {}\n", env!("CARGO_BIN_EXE_rollback"), Desk::RUN_YES.join(" ")));
    terminal
}

/// Lets the job go on to its end: its exit code must be `code`.
#[track_caller]
fn goes_on(terminal: Terminal, code: u8) -> String {
    terminal.type_in("fg; echo \"ended with $?\"; exit\n");
    terminal.wait_for("ended with ");
    let (_, seen) = terminal.finish();
    assert!(seen.contains(&format!("ended with {code}")), "{seen}");
    seen
}

#[test]
fn time_goes_on_in_a_stopped_program_and_nothing_begins_after_it_is_up() {
    let desk = Desk::new("");
    let stubborn = STUBBORN.replace(
        "- id: stubborn\n",
        "- id: stubborn\n        timeout: 3s\n        on_failure: continue\n",
    );
    desk.runbook(&format!(
        "version: 1\nname: book\ntitle: A book\nscenario: partial\nsubject: book\ngive_up: 4s\nphases:\n  - id: work\n    title: Work\n    steps:\n{}{}",
        stubborn.trim_start_matches('\n'),
        touch("after")
    ));
    let terminal = at_a_shell(&desk);
    desk.wait_for("stubborn.begun");
    terminal.type_in(CTRL_Z);
    terminal.wait_for("Stopped");
    let stopped_at = desk.journal().len();
    // A stopped holder is a live one.
    let other = desk.run_another().expect_code(8);
    assert!(other.stderr.contains("holds the subject"), "{other}");
    // That time passes is what this is about.
    std::thread::sleep(STOPPED);
    assert_eq!(desk.journal().len(), stopped_at, "a stopped program writes nothing");
    let seen = goes_on(terminal, 7);
    assert!(!desk.has("after.done"), "{seen}");
    assert_eq!(desk.events("apply-started").len(), 1, "{seen}");
    let ended = desk.events("run-ended").remove(0)["elapsed_ms"].as_u64().expect("a time");
    assert!(u128::from(ended) >= STOPPED.as_millis(), "the time of the stop counts: {ended} ms");
    let reasons = desk.events("stop-requested");
    assert_eq!(reasons.len(), 1, "the run has given up: {reasons:?}\n{seen}");
    assert!(reasons[0].to_string().contains("gave-up"), "{reasons:?}\n{seen}");
    desk.nothing_left();
}

#[test]
fn what_changed_meanwhile_is_seen_before_the_next_change() {
    let desk = Desk::new(
        &(PATIENT.to_owned()
            + "\n      - id: write\n        file.write: {path: /target.txt, content: wanted}\n"),
    );
    let home = desk.world.path("home");
    desk.environment(&format!("connections:\n  files: {{root: {}}}", home.display()));
    let terminal = at_a_shell(&desk);
    desk.wait_for("patient.begun");
    terminal.type_in(CTRL_Z);
    terminal.wait_for("Stopped");
    desk.world.write("home/patient.go", "");
    // A child has a process group of its own, and is not stopped with the program.
    desk.wait_for("patient.ended");
    desk.world.write("home/target.txt", "wanted");
    let seen = goes_on(terminal, 0);
    let begun = desk.events("apply-started");
    assert_eq!(begun.len(), 1, "the file is as wanted, so it is not written: {begun:?}\n{seen}");
    assert_eq!(begun[0]["step"], "work/patient");
}
