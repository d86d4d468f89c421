//! `rollback check`: what is wrong, in five forms, with one exit code.

use crate::support::world::World;

const WRONG: &str = "\
version: 1
name: wrong
title: Wrong
scenario: emergency
subject: wrong
phases:
  - id: stop
    title: Stop
    steps:
      - id: halt
        docker.stpo: {project: agents}
";

const LATE: &str = "\
version: 1
name: late
title: Late
scenario: graceful
subject: late
targets:
  done: {within: 1s, reached_by: look/proof}
phases:
  - id: look
    title: Look
    steps:
      - id: proof
        expected: 5s
        http.expect: {url: \"{{ environment.url }}/100%, sure\", status: 200}
";

fn project() -> World {
    let world = World::new();
    let _path = world.write("home/runbooks/a/wrong.yaml", WRONG);
    let _path = world.write("home/runbooks/late.yaml", LATE);
    let _path = world.write(
        "home/runbooks/environments/live.yaml",
        "version: 1\nname: live\nconections: {}\nvalues:\n  url: {variable: NO_SUCH_SECRET}\n",
    );
    world
}

#[test]
fn problems_are_told_in_five_forms() {
    let world = project();
    let _redacted = world.redacted();
    for form in ["human", "json", "junit", "sarif", "github"] {
        let output = world.rollback(["check", "--format", form]).expect_code(3);
        assert_eq!(output.stderr, "", "data goes to standard output");
        insta::assert_snapshot!(format!("check-{form}"), output);
    }
    let log = world.rollback(["check", "--format", "sarif"]).json();
    assert_eq!(log["runs"][0]["results"].as_array().expect("results").len(), 4);
}

#[test]
fn what_is_named_is_checked_and_nothing_else() {
    let world = project();
    let one = world.rollback(["check", "runbooks/environments/live.yaml"]).expect_code(3);
    assert!(one.stdout.contains("did you mean `connections`"), "{one}");
    assert!(!one.stdout.contains("wrong.yaml"), "{one}");
    let folder = world.rollback(["check", "runbooks/a"]).expect_code(3);
    assert!(folder.stdout.contains("did you mean `docker.stop`"), "{folder}");
    let empty = World::new();
    let none = empty.rollback(["check"]).expect_code(2);
    assert!(none.stderr.contains("rollback init"), "{none}");
}

#[test]
fn an_approval_that_can_miss_a_target_is_a_warning() {
    let world = World::new();
    let fits = LATE.replacen("expected: 5s", "expected: 500ms", 1).replacen(
        "phases:",
        "approval: {role: team, within: 2m}\nphases:",
        1,
    );
    let _path = world.write("home/runbooks/asks.yaml", &fits);
    let checked = world.rollback(["check", "runbooks"]).expect_code(0);
    let told = "target done: failed to fit into the time if the approvals take all of theirs: needs 2m of 1s";
    assert!(checked.stdout.contains(told), "{checked}");
    world.rollback(["check", "--strict", "runbooks"]).expect_code(3);
}

#[test]
fn shipped_runbooks_are_good() {
    let world = World::new();
    let shipped = super::stage::crate_root().join("runbooks");
    let checked =
        world.program().args(["check", "--strict"]).arg(shipped).output().expect("it runs");
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
}
