//! Holds: a run that waits for a day survives its process, owns its subject meanwhile, and makes room for an emergency.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::Value;

use super::stage::{Stage, crate_root};
use crate::support::terminal::Terminal;
use crate::support::wait_until;
use crate::support::world::{Running, finish};

/// A little more than a day, in seconds, by which the program's clock is ahead.
const A_DAY: &str = "86500";

fn stage() -> Stage {
    let stage = Stage::empty();
    let sandbox = "runbooks/ollama/environments/sandbox.yaml";
    let files = [
        ("tests/fixtures/graceful/staged.yaml", "home/runbooks/staged.yaml"),
        ("tests/fixtures/graceful/rescue.yaml", "home/runbooks/rescue.yaml"),
        ("tests/fixtures/graceful/asking.yaml", "home/runbooks/asking.yaml"),
        (sandbox, "home/runbooks/environments/sandbox.yaml"),
    ];
    for (from, to) in files {
        let text = std::fs::read_to_string(crate_root().join(from)).expect("it is there");
        let _path = stage.world.write(to, &text);
    }
    stage
}

fn start(stage: &Stage, line: &str) -> Running {
    Running::start(stage.world.program().args(shell_words::split(line).expect("a command line")))
}

/// Starts the graceful run, and waits until it holds and has lent its subject: its id.
fn holding(stage: &Stage) -> (Running, String) {
    let run = start(stage, "--graceful --runbook staged --env sandbox --yes");
    wait_until("the hold", || owner(stage).contains("waits in half/held"));
    let id = document(stage, "latest")["run"].as_str().expect("an id").to_owned();
    (run, id)
}

fn document(stage: &Stage, run: &str) -> Value {
    stage.rollback(&format!("status {run} --format json")).json()
}

/// What `status` says about who owns the subject of the latest run.
fn owner(stage: &Stage) -> String {
    let status = stage.rollback("status latest");
    let owner = status.stdout.lines().find(|line| line.trim_start().starts_with("owner"));
    owner.unwrap_or_default().to_owned()
}

/// How many of forty users get blue.
fn blue(stage: &Stage) -> usize {
    let balancer = stage.address("load_balancer");
    let ask = |_| {
        let mut stream = TcpStream::connect(&balancer).expect("the load balancer listens");
        let request =
            format!("GET /version HTTP/1.1\r\nHost: {balancer}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.contains("\"blue\"")
    };
    (0..40).map(ask).filter(|blue| *blue).count()
}

#[test]
fn a_hold_of_seconds_goes_through_all_stages() {
    let stage = stage();
    let run = stage.rollback("--graceful --runbook staged --env sandbox --yes --set hold=1s");
    let said = run.expect_code(0);
    assert!(said.stderr.contains("holding for 1s, until "), "{said}");
    assert!(said.stderr.contains("the gate has held for 1s"), "{said}");
    assert!(said.stderr.contains("TARGET MET: cut-over after "), "{said}");
    assert!(said.stderr.contains("of 1h from half/held"), "{said}");
    assert_eq!(blue(&stage), 40);
    assert_eq!(owner(&stage), "", "who has finished owns nothing");
    let plan = stage.rollback("plan staged --env sandbox").expect_code(0).stdout;
    assert!(plan.contains("about 1d"), "{plan}");
    assert!(plan.contains("target cut-over in 1h from half/held: expected after "), "{plan}");
    assert!(plan.contains("fits") && !plan.contains("does not fit"), "{plan}");
    let checked = stage.rollback("check runbooks/staged.yaml").expect_code(0);
    assert!(!checked.to_string().contains("does-not-fit"), "{checked}");
}

#[test]
fn a_run_killed_in_a_hold_goes_on_a_day_later_at_the_right_stage() {
    let stage = stage();
    let (run, id) = holding(&stage);
    run.signal(Signal::KILL);
    drop(run.finish());
    assert_eq!(blue(&stage), 20);
    let status = stage.rollback("status latest").expect_code(0).stdout;
    assert!(status.contains("agents in sandbox belongs to this run"), "{status}");
    assert!(status.contains("nobody runs now; it was interrupted in half/held"), "{status}");

    // Another than an emergency may not have it, and is told how to go on.
    let other = stage.rollback("run asking --env sandbox --yes").expect_code(8);
    assert!(other.stderr.contains(&format!("rollback resume {id}")), "{other}");
    assert!(other.stderr.contains(&format!("rollback abort {id}")), "{other}");

    let resumed =
        finish(stage.world.program().env("ROLLBACK_CLOCK_AHEAD", A_DAY).args(["resume", &id]));
    let resumed = resumed.expect_code(0);
    assert!(resumed.stderr.contains("the gate has held for 1d"), "{resumed}");
    let journal = document(&stage, &id);
    let begun = &journal["steps"]["half/half-to-blue"];
    assert_eq!(begun["outcome"], "done", "what was done before is not done again: {begun}");
    assert_eq!(journal["targets"]["cut-over"]["late"], false, "{journal}");
    assert_eq!(blue(&stage), 40);
    assert_eq!(owner(&stage), "");
}

#[test]
fn an_abort_that_came_too_late_does_not_stop_the_run_that_goes_on() {
    let stage = stage();
    let (run, id) = holding(&stage);
    run.signal(Signal::STOP);
    let asked = stage.rollback(&format!("abort {id} --reason mistaken")).expect_code(0);
    assert!(asked.stderr.contains("to stop"), "{asked}");
    run.signal(Signal::KILL);
    drop(run.finish());
    let resume = ["resume", id.as_str()];
    let resumed = finish(stage.world.program().env("ROLLBACK_CLOCK_AHEAD", A_DAY).args(resume));
    let resumed = resumed.expect_code(0);
    assert!(resumed.stdout.contains("RECOVERED"), "{resumed}");
    assert!(resumed.stderr.contains("asked to stop: mistaken, and the process"), "{resumed}");
}

#[test]
fn ctrl_c_ends_a_hold_at_once_and_says_how_to_go_on() {
    let stage = stage();
    let (run, id) = holding(&stage);
    run.signal(Signal::INT);
    let ended = run.finish().expect_code(10);
    assert!(ended.stderr.contains("interrupted; its time goes on"), "{ended}");
    assert!(ended.stdout.contains(&format!("rollback resume {id}")), "{ended}");
    assert!(owner(&stage).contains("interrupted in half/held"));
    // Who does not want to go on gives the subject up.
    let given_up = stage.rollback(&format!("abort {id}")).expect_code(0);
    assert!(given_up.stderr.contains("owns its subject no more"), "{given_up}");
    let other = stage.rollback("--graceful --runbook staged --env sandbox --yes --set hold=1s");
    other.expect_code(0);
}

#[test]
fn a_gate_that_fails_stops_the_run_and_the_summary_offers_the_emergency() {
    let stage = stage();
    let run = stage.rollback("--graceful --runbook staged --env sandbox --yes --set gate=green");
    let ended = run.expect_code(7);
    assert!(
        ended.stderr.contains("Blue answers fails: `colour` was \"blue\", wanted \"green\""),
        "{ended}"
    );
    let command = "rollback --emergency --env sandbox --take-over";
    assert!(ended.stdout.contains(command), "{ended}");
    // Nobody runs the graceful one any more, so an emergency has it without a word.
    let rescue = stage.rollback("--emergency --runbook rescue --env sandbox --yes").expect_code(0);
    assert!(rescue.stderr.contains("taking the subject over from run"), "{rescue}");
    assert_eq!(blue(&stage), 40);
}

#[test]
fn an_emergency_takes_over_from_a_run_that_is_alive_in_a_hold() {
    let stage = stage();
    let (run, id) = holding(&stage);
    let refused = stage.rollback("--emergency --runbook rescue --env sandbox --yes").expect_code(8);
    assert!(refused.stderr.contains("waits in half/held"), "{refused}");
    assert!(refused.stderr.contains("--take-over"), "{refused}");
    let rescue = "--emergency --runbook rescue --env sandbox --yes --take-over";
    let rescue = stage.rollback(rescue).expect_code(0);
    assert!(rescue.stderr.contains(&format!("from run {id} of staged (graceful)")), "{rescue}");
    let ended = run.finish().expect_code(10);
    assert!(ended.stdout.contains("taken over by run"), "{ended}");
    assert!(ended.stdout.contains("--take-back"), "{ended}");
    assert_eq!(blue(&stage), 40);
    told_before_it_goes_on(&stage, &id);
}

#[test]
fn an_emergency_that_is_not_started_takes_nothing_over() {
    let stage = stage();
    let run = start(&stage, "--graceful --runbook staged --env sandbox --yes --set hold=5s");
    wait_until("the hold", || owner(&stage).contains("waits in half/held"));
    let rescue = ["--emergency", "--runbook", "rescue", "--env", "sandbox", "--take-over"];
    let terminal = Terminal::start(&stage.world, rescue);
    terminal.wait_for("Start? [y/N] ");
    // Its hold is over while the emergency has the subject, and nobody knows yet whether that will begin.
    wait_until("the end of the hold", || {
        document(&stage, "latest")["steps"]["half/held"]["outcome"] == "done"
    });
    assert_eq!(blue(&stage), 20);
    terminal.type_in("n\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, Some(2), "{seen}");
    let ended = run.finish().expect_code(0);
    assert!(ended.stdout.contains("RECOVERED"), "{ended}");
    assert!(ended.stderr.contains("waits for the subject: run "), "{ended}");
    assert_eq!(blue(&stage), 40);
}

#[test]
fn an_emergency_takes_over_from_a_run_that_was_killed_in_a_hold() {
    let stage = stage();
    let (run, id) = holding(&stage);
    run.signal(Signal::KILL);
    drop(run.finish());
    let rescue = stage.rollback("--emergency --runbook rescue --env sandbox --yes").expect_code(0);
    assert!(rescue.stderr.contains("was interrupted in half/held"), "{rescue}");
    told_before_it_goes_on(&stage, &id);
}

#[test]
fn what_a_restarted_machine_has_forgotten_the_journals_know() {
    let stage = stage();
    let (run, id) = holding(&stage);
    run.signal(Signal::KILL);
    drop(run.finish());
    // The folder of locks lies in memory.
    std::fs::remove_dir_all(stage.world.path("state/rollback/locks")).expect("there are locks");
    stage.rollback("--emergency --runbook rescue --env sandbox --yes").expect_code(0);
    told_before_it_goes_on(&stage, &id);
}

#[test]
fn an_emergency_takes_over_from_a_run_that_does_not_wake_up() {
    let stage = stage();
    let (run, id) = holding(&stage);
    run.signal(Signal::STOP);
    let rescue = "--emergency --runbook rescue --env sandbox --yes --take-over";
    stage.rollback(rescue).expect_code(0);
    run.signal(Signal::CONT);
    let ended = run.finish().expect_code(10);
    assert!(ended.stdout.contains("taken over by run"), "{ended}");
    assert_eq!(blue(&stage), 40);
    told_before_it_goes_on(&stage, &id);
}

#[test]
fn an_emergency_takes_over_from_a_run_that_waits_for_an_approval() {
    let stage = stage();
    let run = start(&stage, "run asking --env sandbox --yes");
    wait_until("the question", || owner(&stage).contains("waits in all/all-to-blue"));
    let rescue = "--emergency --runbook rescue --env sandbox --yes --take-over";
    stage.rollback(rescue).expect_code(0);
    let ended = run.finish().expect_code(10);
    assert!(ended.stdout.contains("taken over by run"), "{ended}");
}

/// A run that was taken over goes on only when somebody says so who knows.
fn told_before_it_goes_on(stage: &Stage, id: &str) {
    let status = stage.rollback(&format!("status {id}")).expect_code(0).stdout;
    let refused = stage.rollback(&format!("resume {id}")).expect_code(2);
    assert!(refused.stderr.contains("was taken over by run"), "{refused}\n{status}");
    assert!(refused.stderr.contains("of rescue (emergency)"), "{refused}");
    assert_eq!(blue(stage), 40, "nothing of it goes on by itself");
    let resume = ["resume", id, "--take-back"];
    let resumed = finish(stage.world.program().env("ROLLBACK_CLOCK_AHEAD", A_DAY).args(resume));
    let resumed = resumed.expect_code(0);
    assert!(resumed.stdout.contains("RECOVERED"), "{resumed}");
}
