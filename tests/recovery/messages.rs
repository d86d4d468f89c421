//! The messages beside the steps: whom the escalation tells, who takes notice, and how the end of a run is told.

use rustix::process::Signal;

use crate::support::counter::Counter;
use crate::support::desk::{Desk, PATIENT};
use crate::support::world::Running;
use crate::support::{free_port, wait_until};

/// Counts messages by the service and their text.
fn messages() -> Counter {
    Counter::start(|line, body| {
        let service = line.rsplit('/').next().unwrap_or_default();
        format!("{service} {body}")
    })
}

/// A runbook that tells people while its step waits for the test, and a tracker at this address.
fn desk(slack: &Counter, tracker: &str) -> Desk {
    let desk = Desk::new(PATIENT);
    let head = "version: 1\nname: book\ntitle: A book\nscenario: partial\nsubject: book\n";
    let ladder = r#"
escalation:
  - {level: L1, who: Engineer, phone: "+1 415 555 0100", tell: [{notify.slack: {text: "help in {{ run.id }}"}}]}
  - {level: L2, who: Director, after: 1h, tell: [{notify.slack: {text: nobody came}}]}
closing: [notify.slack, notify.webhook]
"#;
    let _path = desk.runbook(&format!("{head}{ladder}phases:\n  - id: work\n    steps:{PATIENT}"));
    let _path = desk.environment(&format!(
        "connections:\n  slack: {{webhook: \"{}/slack\"}}\n  webhook: {{url: \"{tracker}\"}}",
        slack.url()
    ));
    desk
}

/// How often a message with these words came.
fn heard(counter: &Counter, words: &str) -> u64 {
    let counts = counter.counts();
    counts.iter().filter(|(message, _)| message.contains(words)).map(|(_, count)| count).sum()
}

#[test]
fn who_takes_notice_is_recorded_and_the_end_is_told_with_the_journals_head() {
    let counter = messages();
    let desk = desk(&counter, &format!("{}/tracker", counter.url()));
    let run = Running::start(&mut desk.command());
    desk.wait_for("patient.begun");
    wait_until("the first rung", || heard(&counter, "help in ") == 1);
    let noticed = desk.world.rollback(["acknowledge", "latest", "--remark", "on it"]);
    let noticed = noticed.expect_code(0);
    assert!(noticed.stderr.contains("acknowledged run"), "{noticed}");
    let acknowledged = || desk.journal().iter().any(|record| record["event"] == "acknowledged");
    wait_until("the notice in the journal", acknowledged);
    desk.world.write("home/patient.go", "");
    let ended = run.finish().expect_code(0);
    assert!(ended.stderr.contains("telling L1 Engineer, call +1 415 555 0100"), "{ended}");
    assert!(!ended.stderr.contains("was not told"), "{ended}");

    let journal = desk.journal();
    let last = journal.last().expect("the end of the run");
    assert_eq!(last["event"], "run-ended");
    let head = last["hash"].as_str().expect("a hash");
    for service in ["slack", "tracker"] {
        let counts = counter.counts();
        let told = |message: &&String| message.starts_with(service) && message.contains(head);
        assert_eq!(counts.keys().filter(told).count(), 1, "{service}: {counts:?}");
    }
    assert_eq!(heard(&counter, "nobody came"), 0);

    let status = desk.world.rollback(["status", "latest"]).expect_code(0);
    assert!(status.stdout.contains("acknowledged by "), "{status}");
    let report = desk.world.rollback(["report", "latest"]).expect_code(0);
    for part in ["| L1 | Engineer (+1 415 555 0100) | notify.slack sent |", ": on it."] {
        assert!(report.stdout.contains(part), "{part}: {report}");
    }
    let late = desk.world.rollback(["acknowledge", "latest"]).expect_code(2);
    assert!(late.stderr.contains("no process is running it"), "{late}");
}

#[test]
fn a_killed_run_tells_nobody_twice() {
    let counter = messages();
    let desk = desk(&counter, &format!("{}/tracker", counter.url()));
    let run = Running::start(&mut desk.command());
    desk.wait_for("patient.begun");
    let told = || desk.journal().iter().any(|record| record["event"] == "rung-told");
    wait_until("the end of the first message in the journal", told);
    run.signal(Signal::KILL);
    assert_eq!(run.finish().signal(), Some(9));
    desk.world.write("home/patient.go", "");
    let _resumed = desk.resume();
    assert_eq!(heard(&counter, "help in "), 1);
    let raised = desk.journal();
    let raised = raised.iter().filter(|record| record["event"] == "rung-raised").count();
    assert_eq!(raised, 1);
}

#[test]
fn messages_that_fail_change_no_exit_code() {
    let counter = messages();
    let desk = desk(&counter, &format!("http://127.0.0.1:{}/", free_port()));
    desk.world.write("home/patient.go", "");
    let ended = desk.run().expect_code(0);
    let told: Vec<_> = ended.stderr.lines().filter(|line| line.contains("was not told")).collect();
    let [told] = told.as_slice() else { panic!("one line: {ended}") };
    assert!(told.contains("by notify.webhook (failed to reach the webhook)"), "{told}");
    assert_eq!(heard(&counter, "journal: "), 1);
}
