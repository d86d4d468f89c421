//! The validation after a run: too early is said, what has to hold is watched, and only all of it confirms the run.

use crate::support::desk::{Desk, touch};
use crate::support::terminal::Terminal;

fn desk() -> Desk {
    let checklist = r#"
      - id: afterwards
        timeout: 1s
        on_failure: continue
        manual.confirm:
          - item: The flag is there
            window: immediate
            probe: {script.expect: {argv: [test, -e, "{{ environment.dir }}/flag"]}}
          - {item: Nobody complains, window: immediate}
          - item: It stays there
            window: long
            hold: 2s
            probe: {script.expect: {argv: [test, -e, "{{ environment.dir }}/flag"]}}
"#;
    Desk::new(&(touch("work") + checklist))
}

fn confirm(desk: &Desk, more: &[&str]) -> crate::support::output::CommandOutput {
    desk.world.rollback(["confirm", "latest"].iter().chain(more))
}

fn standing(desk: &Desk) -> serde_json::Value {
    desk.world.rollback(["status", "--format", "json"]).expect_code(0).json()["standing"].clone()
}

#[test]
fn a_run_is_confirmed_when_every_window_is() {
    let desk = desk();
    let ran = desk.run().expect_code(0);
    assert!(
        ran.stdout.contains("--window immediate") && ran.stdout.contains("– confirmed"),
        "{ran}"
    );
    let early = confirm(&desk, &["--window", "long"]).expect_code(2);
    assert!(early.stderr.contains("opens at") && early.stderr.contains("--early"), "{early}");

    let ill = confirm(&desk, &["--window", "immediate"]).expect_code(7);
    assert!(ill.stderr.contains("✗ The flag is there"), "{ill}");
    assert_eq!(desk.events("question-probed")[0]["held"], false);
    let _flag = desk.world.write("home/flag", "");
    let unasked = confirm(&desk, &["--window", "immediate"]).expect_code(11);
    assert!(unasked.stderr.contains("✓ The flag is there"), "{unasked}");
    confirm(&desk, &["--item", "complains", "--answer", "yes"]).expect_code(0);
    assert_eq!(standing(&desk), "recovered");

    let held = confirm(&desk, &["--window", "long", "--early"]).expect_code(0);
    assert!(held.stderr.contains("it holds so far") && held.stderr.contains("CONFIRMED"), "{held}");
    let answer = desk.events("question-answered").pop().expect("the last one");
    assert!(
        answer["remark"].as_str().is_some_and(|text| text.starts_with("held for 2")),
        "{answer}"
    );
    assert_eq!(desk.events("run-confirmed").len(), 1);
    assert_eq!(standing(&desk), "confirmed");
    let again = confirm(&desk, &["--window", "long", "--early"]).expect_code(0);
    assert!(again.stderr.contains("nothing is open in the window long (15–60 min)"), "{again}");
    assert_eq!(desk.events("run-confirmed").len(), 1);
    let history = desk.world.rollback(["history"]).expect_code(0).stdout;
    assert!(history.contains(", confirmed"), "{history}");
    let report = desk.world.rollback(["report"]).expect_code(0).stdout;
    assert!(
        report.contains("**State**: confirmed at") && report.contains("long \\(15–60 min\\)")
            || report.contains("long (15–60 min)"),
        "{report}"
    );
}

#[test]
fn a_person_is_asked_in_the_window_and_may_change_a_no() {
    let desk = desk();
    let _flag = desk.world.write("home/flag", "");
    desk.run().expect_code(0);
    for (typed, code) in [("n\n", 7), ("y\n", 0)] {
        let terminal = Terminal::start(&desk.world, ["confirm", "latest", "--window", "immediate"]);
        terminal.wait_for("Nobody complains [y/N] ");
        terminal.type_in(typed);
        let (ended, seen) = terminal.finish();
        assert_eq!(ended, Some(code), "{seen}");
    }
    let said: Vec<_> = desk.events("question-answered");
    let said: Vec<_> = said.iter().map(|answer| answer["confirmed"].as_bool()).collect();
    assert_eq!(said, [Some(true), Some(false), Some(true)], "the probe, the no, the yes");
}

#[test]
fn a_run_that_has_not_recovered_has_nothing_to_validate() {
    let desk =
        Desk::new("\n      - {id: broken, script.expect: {argv: [\"false\"]}, timeout: 1s}\n");
    desk.run().expect_code(6);
    let refused = confirm(&desk, &["--window", "immediate"]).expect_code(2);
    assert!(refused.stderr.contains("it has not recovered"), "{refused}");
}

#[test]
fn the_review_takes_what_was_found_and_confirms_nothing() {
    let review = r"
      - id: retry
        title: Retry plan
        manual.confirm:
          - {item: What has to be fixed, window: review}
          - {item: When the retrospective is, window: review}
";
    let desk = Desk::new(&(touch("work") + review));
    desk.run().expect_code(0);
    let terminal = Terminal::start(&desk.world, ["confirm", "latest", "--window", "review"]);
    terminal.wait_for("What has to be fixed");
    terminal.type_in("the cache\n");
    terminal.wait_for("When the retrospective is");
    terminal.type_in("\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, Some(0), "{seen}");
    let report = desk.world.rollback(["report", "--incident"]).expect_code(0).stdout;
    let retry = report.split("## Retry plan\n").nth(1).expect("the section");
    assert!(retry.contains("- [x] What has to be fixed: the cache (tester@"), "{retry}");
    assert!(retry.contains("- [ ] When the retrospective is"), "{retry}");
    assert_eq!(standing(&desk), "recovered");
}
