//! The program as a whole: killed at every point around an undo, and started by an account that may not do it.

use serde_json::json;
use tokio::runtime::Runtime;

use super::rig::{Rig, image, revision};
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
