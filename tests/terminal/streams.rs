//! A terminal, a pipe or a disk that goes away under the output: the run goes on with the same end, and the journal says so.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::desk::{Desk, PATIENT, touch};
use crate::support::terminal::Terminal;
use crate::support::wait_until;
use crate::support::world::finish;

fn full() -> Stdio {
    Stdio::from(OpenOptions::new().write(true).open("/dev/full").expect("there is /dev/full"))
}

#[track_caller]
fn went_on(desk: &Desk, lost: std::ops::RangeInclusive<usize>) {
    assert!(desk.has("after.done"));
    assert_eq!(desk.events("run-ended").remove(0)["exit_code"], 0);
    let told = desk.events("output-lost");
    assert!(lost.contains(&told.len()), "{told:?}");
}

#[test]
fn a_terminal_that_is_closed_in_the_middle_stops_nothing() {
    let desk = Desk::new(&(PATIENT.to_owned() + &touch("after")));
    let terminal = Terminal::start(&desk.world, Desk::RUN_YES);
    desk.wait_for("patient.begun");
    terminal.hang_up();
    wait_until("the news in the journal", || !desk.events("output-lost").is_empty());
    desk.world.write("home/patient.go", "");
    let (code, _) = terminal.finish();
    assert_eq!(code, Some(0));
    went_on(&desk, 1..=2);
}

#[test]
fn a_terminal_that_is_closed_at_a_question_leaves_it_to_confirm() {
    let list = "\n      - id: list\n        manual.confirm: [{item: It holds, required: true}]\n";
    let desk = Desk::new(&(list.to_owned() + &touch("after")));
    let terminal = Terminal::start(&desk.world, Desk::RUN_YES);
    terminal.wait_for("It holds [y/n]");
    terminal.hang_up();
    wait_until("the news in the journal", || !desk.events("output-lost").is_empty());
    let confirm = ["confirm", "latest", "--item", "1", "--answer", "yes"];
    desk.world.rollback(confirm).expect_code(0);
    let (code, _) = terminal.finish();
    assert_eq!(code, Some(0));
    went_on(&desk, 1..=2);
}

#[test]
fn a_reader_that_has_read_enough_stops_nothing() {
    let desk = Desk::new(&(PATIENT.to_owned() + &touch("one") + &touch("two") + &touch("after")));
    let mut command = desk.command();
    command.args(["--format", "jsonl"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    let mut first = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("it is piped"));
    reader.read_line(&mut first).expect("there is a first line");
    drop(reader);
    assert!(first.contains("run-started"), "{first}");
    desk.world.write("home/patient.go", "");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    // Once for the stream, not once for every line that finds it closed.
    went_on(&desk, 1..=1);
}

#[test]
fn full_devices_stop_nothing() {
    for (stdout, stderr) in [(true, false), (false, true), (true, true)] {
        let desk = Desk::new(&(PATIENT.to_owned() + &touch("after")));
        let mut command = desk.command();
        command.args(["--format", "jsonl"]).env("RUST_LOG", "trace");
        command.stdout(if stdout { full() } else { Stdio::null() });
        command.stderr(if stderr { full() } else { Stdio::null() });
        let mut child = command.spawn().expect("the program starts");
        desk.wait_for("patient.begun");
        // A run that ends at once may have ended before its screen has noticed anything.
        if stdout {
            wait_until("the news in the journal", || !desk.events("output-lost").is_empty());
        }
        desk.world.write("home/patient.go", "");
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "stdout {stdout}, stderr {stderr}");
        went_on(&desk, usize::from(stdout)..=2);
    }
}

#[test]
fn closed_streams_stop_nothing() {
    let desk = Desk::new(&touch("after"));
    let mut command = desk.world.command("sh");
    command
        .args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh", env!("CARGO_BIN_EXE_rollback")])
        .args(Desk::RUN_YES);
    finish(&mut command).expect_code(0);
    // Nobody was there from the start, so nothing was lost.
    went_on(&desk, 0..=2);
}

#[test]
fn a_reader_that_does_not_read_holds_up_no_step() {
    let many: String = (0..40).map(|number| touch(&format!("s{number}"))).collect();
    let desk = Desk::new(&(many + &touch("after")));
    let mut command = desk.command();
    command.args(["--format", "jsonl"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    // The pipe takes 64 KiB, which is less than the run has to say.
    wait_until("the end of the run in its journal", || !desk_ended(&desk).is_empty());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().expect("it is piped"), &mut rest)
        .expect("it can be read after all");
    assert!(rest.len() > 64 * 1024, "{} bytes fit into a pipe", rest.len());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    went_on(&desk, 0..=0);
}

#[test]
fn a_reader_that_never_reads_holds_up_neither_the_start_nor_the_end() {
    let desk = Desk::new(&touch("after"));
    let text = std::fs::read_to_string(desk.world.path("home/book.yaml")).expect("the runbook");
    // The first record holds the runbook, and alone is more than a pipe takes.
    desk.runbook(&(text + &"# a remark\n".repeat(10_000)));
    let mut command = desk.command();
    command.args(["--format", "jsonl"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    wait_until("the end of the program", || child.try_wait().expect("a child").is_some());
    assert_eq!(child.wait().expect("it has ended").code(), Some(0));
    went_on(&desk, 0..=0);
}

/// The last records, as soon as there is a journal.
fn desk_ended(desk: &Desk) -> Vec<serde_json::Value> {
    let runs = std::fs::read_dir(desk.state().join("runs"));
    let begun = runs.is_ok_and(|mut runs| {
        runs.any(|run| run.is_ok_and(|run| run.path().join("journal.jsonl").exists()))
    });
    if begun { desk.events("run-ended") } else { Vec::new() }
}
