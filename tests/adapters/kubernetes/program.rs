//! The program as a whole: killed at every point around an undo, started by an account that may not do it, and with its secrets looked for.

use std::process::Command;

use serde_json::json;
use tokio::runtime::Runtime;

use super::rig::{Rig, STRATEGIC, image, revision};
use crate::support::desk::Desk;
use crate::support::world::finish;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

fn steps(name: &str) -> String {
    format!(
        "
      - id: undo
        retry: {{attempts: 2, delay: 10ms}}
        kubernetes.undo: {{deployment: {name}, to: {{image: \"a:1\"}}}}
      - id: undone
        kubernetes.expect: {{deployment: {name}, image: \"a:1\", paused: false}}
"
    )
}

fn desk(rig: &Rig, user: &str, name: &str) -> Desk {
    let desk = Desk::new(&steps(name));
    desk.environment(&format!(
        "connections:\n  kubernetes: {{kubeconfig: \"{}\", context: {user}, namespace: {}}}\n",
        rig.kubeconfig.display(),
        rig.namespace
    ));
    desk
}

#[test]
fn a_run_that_is_killed_anywhere_moves_the_revision_once() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::real());
    let mut point = 1;
    loop {
        let name = format!("web-{point}");
        let path = rig.one("deployments", &name);
        let _made = runtime.block_on(rig.workload("deployments", &name, &["a:1", "b:1"]));
        let desk = desk(&rig, "admin", &name);
        let mut command = desk.command();
        let report = desk.world.path("report");
        command.env("ROLLBACK_CRASH_AT", point.to_string()).env("ROLLBACK_CRASH_REPORT", &report);
        let output = finish(&mut command);
        let survived = output.code() == Some(0);
        if !survived {
            // A run that was cut off before its first record leaves nothing to resume.
            let resumed = desk.resume();
            if resumed.code() != Some(0) {
                assert_eq!(desk.run().code(), Some(0), "point {point}: {}", resumed.stderr);
            }
        }
        let after = runtime.block_on(rig.observed("deployments", &name));
        assert_eq!(image(&after), "a:1", "point {point}");
        assert_eq!(revision(&after), "3", "point {point}: it was moved once");
        let generation = &runtime.block_on(rig.get(&path))["metadata"]["generation"];
        assert_eq!(generation, 3, "point {point}: and its specification was changed once");
        if survived {
            break;
        }
        point += 1;
        assert!(point < 200, "the run comes to an end");
    }
    assert!(point > 5, "the run passes some points, not {point}");
}

#[test]
fn an_account_that_may_not_undo_is_refused_before_anything_is_touched() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::real());
    let before = runtime.block_on(async {
        let before = rig.workload("deployments", "web", &["a:1", "b:1"]).await;
        let rules = json!([{"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": ["get", "list"]}]);
        rig.grant("deployer", rules).await;
        before
    });
    let desk = desk(&rig, "deployer", "web");
    let planned = desk.world.rollback(["plan", "book.yaml", "--env", "local"]);
    assert_eq!(planned.code(), Some(4), "{planned}");
    assert!(planned.stderr.contains("may not patch deployments.apps"), "{planned}");
    let refused = desk.run();
    assert_eq!(refused.code(), Some(4), "{refused}");
    assert!(refused.stderr.contains("nothing was touched"), "{refused}");
    let after = runtime.block_on(rig.get(&rig.one("deployments", "web")));
    assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"]);
}

#[test]
fn the_token_and_what_containers_are_given_are_in_no_output() {
    const THEIRS: &str = "cAn4ry-of-a-container";
    let runtime = runtime();
    let rig = runtime.block_on(Rig::real());
    let token = rig.token("admin");
    runtime.block_on(async {
        rig.workload("deployments", "web", &["a:1", "b:1"]).await;
        let containers = json!([{"name": "main", "env": [{"name": "TOKEN", "value": THEIRS}]}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        rig.patch(&rig.one("deployments", "web"), STRATEGIC, patch).await;
        rig.roll_out("deployments", "web").await;
    });
    let more = "
      - id: never
        optional: true
        timeout: 1s
        kubernetes.expect: {deployment: web, image: \"c:1\"}
";
    let desk = Desk::new(&format!("{}{more}", steps("web")));
    desk.environment(&format!(
        "connections:\n  kubernetes: {{server: \"{}\", token: {{variable: TOKEN}}, namespace: {}, ca_file: \"{}\"}}\n",
        rig.url,
        rig.namespace,
        rig.ca_file.as_ref().expect("the real server speaks TLS").display()
    ));
    let outputs = [
        &Desk::RUN_YES[..],
        &["plan", "book.yaml", "--env", "local"],
        &["status", "latest", "--format", "json"],
        &["report", "latest", "--format", "json"],
        &["revert", "latest", "--yes"],
    ]
    .map(|arguments| {
        let mut command = desk.world.program();
        finish(command.args(arguments).env("TOKEN", token).env("RUST_LOG", "trace"))
    });
    assert_eq!(outputs[0].code(), Some(0), "{}", outputs[0]);
    assert_eq!(outputs[4].code(), Some(0), "{}", outputs[4]);
    // Undone and reverted: the container has been given it again.
    let after = runtime.block_on(rig.observed("deployments", "web"));
    assert!(after.to_string().contains(THEIRS), "{after}");
    // A private saved state is what the template comes back from; only its owner reads it.
    let mut left = Command::new("grep");
    left.args(["-rah", "--exclude-dir=saved", "", "--"]).arg(desk.world.path("state"));
    let mut texts = vec![finish(&mut left).stdout];
    texts.extend(outputs.map(|output| format!("{}{}", output.stdout, output.stderr)));
    for secret in [THEIRS, token] {
        for text in &texts {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret}");
        }
    }
}
