//! Every command that the program tells people to type is one that it understands.

use std::collections::BTreeSet;

use super::stage::Stage;
use crate::support::output::CommandOutput;

const CHANGES: &str = "\
phases:
  - id: redirect
    title: Traffic to blue
    steps:
      - id: shift-traffic
        loadbalancer.switch: {upstream: agents, to: blue}
      - id: checklist
        manual.confirm:
          - {item: Nobody complains any more}
      - id: proof
        timeout: 500ms
        http.expect: {url: \"{{ environment.load_balancer }}/health\", json: {version: \"9.9.9\"}}
";

/// What is said to type: in back quotes, and at the end of a line after the word that says why.
fn commands(output: &CommandOutput) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for text in [&output.stdout, &output.stderr] {
        for line in text.lines() {
            let quoted = line.split('`').skip(1).step_by(2);
            let bare = line.rsplit_once("  rollback ").map(|(_, rest)| rest);
            let told = line.rsplit_once(": rollback ").map(|(_, rest)| rest);
            let typed =
                quoted.filter_map(|text| text.strip_prefix("rollback ")).chain(bare).chain(told);
            // A place to fill in is not a command yet.
            let whole = |line: &&str| {
                !line.split_whitespace().any(|word| word.chars().all(char::is_uppercase))
            };
            found.extend(typed.filter(whole).map(str::to_owned));
        }
    }
    found
}

#[test]
fn hints_are_understood_when_typed() {
    let stage = Stage::with(CHANGES);
    let mut to_try = BTreeSet::new();
    let mut said =
        |line: &str, code: i32| to_try.extend(commands(&stage.rollback(line).expect_code(code)));
    said("", 2);
    said("run small --env sandbox --yes", 7);
    said("status", 0);
    said("confirm", 11);
    said("abort latest", 2);
    said("status nope", 2);
    said("run smal --env sandbox", 2);
    said("--graceful --env sandbox", 2);
    said("run small --env sandbox --yes --only nothing", 2);
    said("run small --env sandbox --yes --from nothing", 2);
    said("sandbox status", 0);
    assert!(to_try.len() >= 6, "{to_try:#?}");
    for line in to_try {
        let output = stage.rollback(&line);
        let code = output.code().unwrap_or(20);
        assert!(![1, 2, 3, 20].contains(&code), "told to type `rollback {line}`:\n{output}");
    }
}
