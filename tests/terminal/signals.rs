//! Ctrl-C once settles, twice stops now, SIGTERM is like once; whatever the moment, the journal stays readable and no process stays.

use rustix::process::Signal;

use crate::support::desk::{Desk, PATIENT, STUBBORN, touch};
use crate::support::terminal::{CTRL_C, Terminal};

/// The last word of a run that was stopped: what is done, what is not, and what to type.
#[track_caller]
fn tells_what_is_left(desk: &Desk, seen: &str, done: &str, not_done: &str) {
    let run = desk.run_id();
    for wanted in [
        format!("done      {done}"),
        format!("not done  {not_done}"),
        format!("rollback resume {run}"),
        format!("rollback status {run}"),
    ] {
        assert!(seen.contains(&wanted), "`{wanted}` is missing:\n{seen}");
    }
}

#[test]
fn once_lets_what_is_in_flight_settle_and_starts_nothing_new() {
    for how in [Some(Signal::INT), Some(Signal::TERM), None] {
        let desk = Desk::new(&(touch("before") + PATIENT + &touch("after")));
        let terminal = Terminal::start(&desk.world, Desk::RUN_YES);
        desk.wait_for("patient.begun");
        match how {
            Some(signal) => terminal.signal(signal),
            None => terminal.type_in(CTRL_C),
        }
        terminal.wait_for("stopping:");
        desk.world.write("home/patient.go", "");
        let (code, seen) = terminal.finish();
        let seen = anstream::adapter::strip_str(&seen).to_string();
        assert_eq!(code, Some(10), "{how:?}:\n{seen}");
        tells_what_is_left(&desk, &seen, "work/before, work/patient", "work/after");
        assert!(desk.has("patient.ended") && !desk.has("after.done"), "{how:?}:\n{seen}");
        desk.nothing_left();
        let resumed = desk.resume().expect_code(0);
        assert!(desk.has("after.done"), "{resumed}");
        assert_eq!(desk.events("apply-started").len(), 3, "nothing was repeated: {resumed}");
    }
}

#[test]
fn twice_cuts_off_what_is_in_flight_and_leaves_no_process() {
    let desk = Desk::new(&(touch("before") + STUBBORN + &touch("after")));
    let terminal = Terminal::start(&desk.world, Desk::RUN_YES);
    desk.wait_for("stubborn.begun");
    terminal.type_in(CTRL_C);
    terminal.wait_for("stopping:");
    terminal.type_in(CTRL_C);
    let (code, seen) = terminal.finish();
    let seen = anstream::adapter::strip_str(&seen).to_string();
    assert_eq!(code, Some(7), "{seen}");
    assert!(seen.contains("unknown   work/stubborn"), "{seen}");
    let killed = desk.events("kill-requested").remove(0)["elapsed_ms"].as_u64().expect("a time");
    let ended = desk.events("run-ended").remove(0)["elapsed_ms"].as_u64().expect("a time");
    // Two seconds are the promise; the rest is for a machine under load.
    assert!(ended - killed < 5000, "it took {} ms to stop:\n{seen}", ended - killed);
    desk.nothing_left();
    assert!(!desk.has("after.done"));
}

#[test]
fn a_probe_that_waits_and_a_retry_that_waits_are_interrupted_at_once() {
    let probe = r"
      - id: never
        timeout: 10m
        file.expect: {path: /never, exists: true}
";
    let retry = r#"
      - id: never
        timeout: 10m
        retry: {attempts: 5, delay: 5m, max_delay: 5m}
        http.call: {method: PUT, url: "http://127.0.0.1:1/", undo: {method: DELETE, url: "http://127.0.0.1:1/"}}
"#;
    for (steps, seen_first) in [(probe, "never"), (retry, "another attempt")] {
        let desk = Desk::new(&(touch("before") + steps + &touch("after")));
        desk.environment(&format!(
            "connections:\n  files: {{root: {}}}",
            desk.world.path("home").display()
        ));
        let terminal = Terminal::start(&desk.world, Desk::RUN_YES);
        desk.wait_for("before.done");
        terminal.wait_for(seen_first);
        terminal.type_in(CTRL_C);
        let (code, seen) = terminal.finish();
        assert!(matches!(code, Some(6 | 7 | 10)), "{code:?}:\n{seen}");
        assert!(!desk.has("after.done"), "{seen}");
        desk.nothing_left();
    }
}

#[test]
fn at_the_question_nothing_has_begun_and_nothing_is_left() {
    for how in [CTRL_C, "n\n", "\n"] {
        let desk = Desk::new(&touch("before"));
        let terminal = Terminal::start(&desk.world, Desk::RUN);
        terminal.wait_for("Start? [y/N]");
        terminal.type_in(how);
        let (code, seen) = terminal.finish();
        assert_eq!(code, Some(if how == CTRL_C { 10 } else { 2 }), "{how:?}:\n{seen}");
        assert!(seen.contains("nothing was touched"), "{seen}");
        let runs = std::fs::read_dir(desk.state().join("runs")).expect("there is a state folder");
        assert_eq!(runs.count(), 0, "{seen}");
        assert!(!desk.has("before.done"));
    }
}

#[test]
fn at_whatever_moment_the_journal_can_be_read_and_resume_ends_the_run() {
    let steps: String = (1..=10).map(|number| touch(&format!("s{number:02}"))).collect();
    for point in 1..=10 {
        for signals in [vec![Signal::INT], vec![Signal::TERM], vec![Signal::INT, Signal::INT]] {
            let desk = Desk::new(&steps);
            let terminal = Terminal::start(&desk.world, Desk::RUN_YES);
            desk.wait_for(&format!("s{point:02}.done"));
            for signal in &signals {
                // The run may have ended already.
                terminal.try_signal(*signal);
            }
            let (code, seen) = terminal.finish();
            assert!(matches!(code, Some(0 | 7 | 10)), "{code:?} at {point}:\n{seen}");
            desk.nothing_left();
            assert_eq!(desk.events("run-ended").len(), 1, "{seen}");
            if code != Some(7) {
                desk.resume().expect_code(0);
                assert!(desk.has("s10.done"), "{seen}");
                assert_eq!(desk.events("apply-started").len(), 10, "nothing twice:\n{seen}");
            }
        }
    }
}
