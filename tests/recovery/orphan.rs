//! Promise P11: what a killed run has left running is found, waited for or ended, before anything is decided.

use rustix::process::Signal;

use super::rig::Rig;
use crate::support::wait_until;
use crate::support::world::{Running, finish};

/// Rounds of each kind.
const ROUNDS: usize = 4;

fn runbook(timeout: &str, more: &str) -> String {
    format!(
        "version: 1
name: orphan
scenario: partial
subject: orphan
phases:
  - id: only
    steps:
      - id: waits
        timeout: {timeout}
        verify: {{within: 200ms}}
        script.run: {{argv: [\"[ROOT]/wait.sh\", it], undo: [\"[ROOT]/undo.sh\", it], grace: 100ms{more}}}
"
    )
}

/// The rollback process dies while its command runs.
fn killed_meanwhile(rig: &Rig, text: &str) {
    rig.reset();
    let runbook = rig.runbook("orphan", text);
    let run = Running::start(rig.run(&runbook).args(["--format", "jsonl"]));
    rig.wait_for("began it");
    run.signal(Signal::KILL);
    assert_eq!(run.finish().signal(), Some(9));
}

fn still_runs(rig: &Rig) -> bool {
    let script = rig.path("wait.sh").to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").expect("there is a /proc");
    processes
        .flatten()
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(&script))
}

#[test]
fn a_command_that_a_killed_run_left_behind_is_waited_for() {
    let rig = Rig::start();
    for _ in 0..ROUNDS {
        killed_meanwhile(&rig, &runbook("30s", ", check: [\"[ROOT]/check.sh\", it]"));
        assert!(still_runs(&rig), "the command outlives a SIGKILL");
        let resume = Running::start(&mut rig.rollback(&["resume", &rig.run_id()]));
        wait_until("the resumed run", || {
            let journal = std::fs::read_to_string(rig.journal()).unwrap_or_default();
            journal.contains("\"event\":\"run-resumed\"")
        });
        rig.go();
        let _recovered = resume.finish().expect_code(0);
        let effects = rig.effects();
        assert_eq!((effects["began it"], effects["did it"]), (1, 1));
    }
}

#[test]
fn a_command_that_does_not_end_is_ended_and_not_repeated() {
    let rig = Rig::start();
    for _ in 0..ROUNDS {
        killed_meanwhile(&rig, &runbook("5s", ""));
        let output = finish(&mut rig.rollback(&["resume", &rig.run_id()])).expect_code(7);
        assert!(output.stdout.contains("only/waits"), "{output}");
        assert!(!still_runs(&rig), "nothing of the run is left running:\n{output}");
        let effects = rig.effects();
        assert_eq!((effects["began it"], effects.get("did it")), (1, None));
    }
}
