//! A bug in the program itself: one clear line, a private crash file without secrets, exit code 20, and a run that resumes.

use std::os::unix::fs::PermissionsExt;

use crate::support::desk::{Desk, touch};
use crate::support::terminal::Terminal;
use crate::support::world::finish;

/// The only crash file.
fn crash_file(desk: &Desk) -> (String, u32) {
    let files: Vec<_> = std::fs::read_dir(desk.state().join("crashes"))
        .expect("there is a folder of crash files")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let mode = files[0].metadata().expect("it is there").permissions().mode();
    (std::fs::read_to_string(&files[0]).expect("it is text"), mode & 0o777)
}

#[test]
fn a_bug_at_any_place_ends_with_20_and_the_run_resumes() {
    for place in [
        "engine.before-intent",
        "engine.before-effect",
        "engine.after-effect",
        "engine.start",
        "cli.watch",
    ] {
        let desk = Desk::new(&(touch("before") + &touch("after")));
        let mut command = desk.command();
        command.env("ROLLBACK_PANIC_AT", place).env("CANARY_VARIABLE", "canary-of-the-environment");
        let crashed = finish(&mut command).expect_code(20);
        let run = desk.run_id();
        let told: Vec<_> =
            crashed.stderr.lines().filter(|line| line.contains("a bug in rollback:")).collect();
        assert_eq!(told.len(), 1, "{place}: {crashed}");
        assert!(told[0].contains(&format!("rollback resume {run}")), "{crashed}");
        let (text, mode) = crash_file(&desk);
        assert_eq!(mode, 0o600);
        assert!(text.contains(place) && text.contains(&run), "{text}");
        assert!(!text.contains("canary-of-the-environment"), "{text}");
        desk.nothing_left();
        let resumed = desk.resume();
        // What was in flight, and must not be repeated blindly, is for a person.
        let in_doubt = place == "engine.before-effect" || place == "engine.after-effect";
        assert_eq!(resumed.code(), Some(if in_doubt { 7 } else { 0 }), "{place}: {resumed}");
        assert!(in_doubt || desk.has("after.done"), "{place}: {resumed}");
    }
}

#[test]
fn a_bug_before_any_run_is_told_too() {
    let desk = Desk::new(&touch("before"));
    let crashed = finish(desk.command().env("ROLLBACK_PANIC_AT", "cli.main")).expect_code(20);
    assert!(
        crashed.stderr.contains("a bug in rollback: a bug for a test at cli.main"),
        "{crashed}"
    );
    assert!(!desk.has("before.done"), "{crashed}");
}

#[test]
fn the_message_of_a_bug_hides_secrets_and_moves_no_terminal() {
    let desk = Desk::new(&touch("before"));
    desk.environment("connections:\n  slack: {webhook: {variable: CANARY}}");
    let canary = "https://hooks.example/canary-secret";
    let crashed = finish(
        desk.command()
            .env("CANARY", canary)
            .env("ROLLBACK_PANIC_AT", format!("engine.before-effect=\x1b[2Jgot {canary}")),
    )
    .expect_code(20);
    let (text, _) = crash_file(&desk);
    let journal = format!("{:?}", desk.journal());
    for text in [&crashed.stdout, &crashed.stderr, &text, &journal] {
        assert!(!text.contains("canary-secret"), "{text}");
    }
    assert!(!crashed.stderr.contains('\x1b'), "{crashed}");
}

#[test]
fn a_bug_leaves_a_clean_terminal() {
    let desk = Desk::new(&(touch("before") + &touch("after")));
    let mut command = desk.world.command("setsid");
    command.arg("--ctty").arg(env!("CARGO_BIN_EXE_rollback")).args(Desk::RUN_YES);
    command.env("TERM", "xterm-256color").env("ROLLBACK_PANIC_AT", "engine.start");
    let (code, seen) = Terminal::run(command, 80).finish();
    assert_eq!(code, Some(20), "{seen}");
    assert!(seen.ends_with('\n'), "{seen:?}");
    // Every colour that was switched on is switched off again.
    let on = seen.rfind("\x1b[1m").max(seen.rfind("\x1b[3"));
    assert!(seen.rfind("\x1b[0m") >= on, "{seen:?}");
}
