//! Approvals: asked where somebody sits, answered from elsewhere, and never taken for granted.

use crate::support::desk::{Desk, touch};
use crate::support::terminal::Terminal;
use crate::support::wait_until;
use crate::support::world::Running;

/// `first`, then `second` after an approval.
fn desk(within: &str, approvers: &str) -> Desk {
    let needs = format!(
        "- id: second\n        approval: {{role: lead, within: {within}, reason: It hurts}}\n"
    );
    let second = touch("second").replacen("- id: second\n", &needs, 1);
    let desk = Desk::new(&(touch("first") + &second));
    desk.environment(approvers);
    desk
}

const LISTED: &str = "approvers: {lead: [ada, tester]}";

/// Starts a run without a terminal, and waits until it asks.
fn waiting(desk: &Desk) -> Running {
    let run = Running::start(&mut desk.command());
    desk.wait_for("first.done");
    wait_until("the question", || !desk.events("approval-asked").is_empty());
    run
}

#[test]
fn the_person_at_the_terminal_says_who_and_then_yes() {
    let desk = desk("5m", LISTED);
    // `--yes` answers whether to start, and nothing else.
    let terminal = Terminal::start(&desk.world, Desk::RUN_YES);
    let who = "Approval of work/second, by lead (ada, tester). Who are you? ";
    terminal.wait_for(who);
    terminal.type_in("y\n");
    terminal.wait_for("Please type your name.");
    terminal.type_in("eve\n");
    terminal.wait_for("eve does not hold the role lead (ada, tester).");
    terminal.type_in("ada\n");
    terminal.wait_for("ada, do you approve work/second? [y/n] ");
    assert!(desk.has("first.done") && !desk.has("second.done"));
    terminal.type_in("y\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, Some(0), "{seen}");
    assert!(desk.has("second.done"), "{seen}");
    let answer = &desk.events("approval-answered")[0];
    for (key, wanted) in [("name", "ada"), ("role", "lead"), ("how", "terminal")] {
        assert_eq!(answer[key], wanted, "{answer}");
    }
    assert_eq!(answer["by"]["user"], "tester");
    let report = desk.world.rollback(["report"]).expect_code(0).stdout;
    assert!(
        report.contains("approved by ada at 0:0") && report.contains("login tester@"),
        "{report}"
    );
}

#[test]
fn an_approval_from_another_terminal_takes_the_question_away() {
    let desk = desk("5m", LISTED);
    let terminal = Terminal::start(&desk.world, Desk::RUN_YES);
    terminal.wait_for("Who are you? ");
    let status = desk.world.rollback(["status"]).expect_code(0).stdout;
    assert!(
        status.contains("needs the approval of lead (ada, tester) within 5m: It hurts"),
        "{status}"
    );
    assert!(
        status.contains("answer the approval") && status.contains("--step work/second"),
        "{status}"
    );
    for (wrong, told) in [
        (["--step", "work/first"], "waits for no approval"),
        (["--name", "eve"], "needs the approval of another"),
    ] {
        let refused = desk.world.rollback(["approve", "latest"].into_iter().chain(wrong));
        assert!(refused.expect_code(2).stderr.contains(told), "{told}");
    }
    desk.world.rollback(["approve", "latest", "--step", "work/second"]).expect_code(0);
    let (code, seen) = terminal.finish();
    assert_eq!(code, Some(0), "{seen}");
    assert!(desk.has("second.done"), "{seen}");
    let late = desk.world.rollback(["approve", "latest"]).expect_code(2);
    assert!(late.stderr.contains("no process is running it"), "{late}");
}

#[test]
fn without_a_terminal_it_waits_for_the_command_and_a_no_is_exit_9() {
    let desk = desk("5m", LISTED);
    let run = waiting(&desk);
    let deny = ["approve", "latest", "--deny", "--reason", "blue is\u{1b}[2J ill"];
    desk.world.rollback(deny).expect_code(0);
    let ended = run.finish().expect_code(9);
    assert!(ended.stdout.contains("NOT APPROVED") && ended.stdout.contains("is kept"), "{ended}");
    assert!(ended.stderr.contains("denied by tester as lead: blue is"), "{ended}");
    assert!(!ended.to_string().contains('\u{1b}'), "{ended}");
    assert!(desk.has("first.done") && !desk.has("second.done"));

    let mut again = desk.world.program();
    let again = Running::start(again.args(["resume", "latest"]));
    wait_until("the second question", || desk.events("approval-asked").len() == 2);
    desk.world.rollback(["approve", "latest"]).expect_code(0);
    again.finish().expect_code(0);
    assert!(desk.has("second.done"));
}

#[test]
fn an_answer_that_does_not_come_is_exit_9() {
    let desk = desk("1s", "");
    let ended = desk.run().expect_code(9);
    assert!(ended.stderr.contains("nobody approved it as lead in time"), "{ended}");
    assert!(ended.stdout.contains("rollback resume"), "{ended}");
    assert!(!desk.has("second.done"), "{ended}");
    let history = desk.world.rollback(["history"]).expect_code(0).stdout;
    assert!(history.contains("not approved"), "{history}");
}

#[test]
fn a_flag_asks_for_the_whole_run_and_takes_no_slip_of_the_keyboard() {
    let desk = desk("5m", LISTED);
    let flags = |role: &str| {
        let mut command = desk.command();
        command.args(["--approval-role", role, "--approval-within", "1s"]);
        crate::support::world::finish(&mut command)
    };
    let slip = flags("laed").expect_code(2);
    assert!(slip.stderr.contains("Did you mean `--approval-role lead`?"), "{slip}");
    let ended = flags("lead").expect_code(9);
    assert!(
        ended.stderr.contains("first asks for the approval of lead (ada, tester), within 1s"),
        "{ended}"
    );
    assert!(ended.stderr.contains("(asks lead (ada, tester) first, within 5m)"), "{ended}");
    assert!(ended.stdout.contains("nothing was touched"), "{ended}");
    assert!(!desk.has("first.done"), "{ended}");
    // A flag takes no approval away.
    let text = std::fs::read_to_string(desk.world.path("home/book.yaml")).expect("the runbook");
    let own = "approval: {role: team, within: 1s}\nphases:";
    desk.runbook(&text.replacen("phases:", own, 1));
    let another = flags("lead").expect_code(2);
    assert!(another.stderr.contains("the runbook asks team"), "{another}");
}
