//! The program as a whole: killed at every point, and searched for what nobody may see.

use std::path::Path;

use serde_json::json;
use tokio::runtime::Runtime;

use super::rig::Rig;
use crate::support::desk::Desk;
use crate::support::world::finish;

/// What only the account knows: the value of a variable of an app.
const THEIRS: &str = "cAn4ry-of-the-account";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

fn desk(rig: &Rig, steps: &str) -> Desk {
    let desk = Desk::new(steps);
    desk.environment(&format!(
        "connections:\n  digitalocean: {{url: \"{}\", token: {{file: {}}}}}\n",
        rig.url,
        token(&desk).display()
    ));
    let token = token(&desk);
    std::fs::write(&token, rig.token()).expect("it is writable");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(token, private).expect("it is ours");
    desk
}

fn token(desk: &Desk) -> std::path::PathBuf {
    desk.world.path("home/token.txt")
}

/// Whether a run has left a record.
fn has_records(state: &Path) -> bool {
    let Ok(runs) = std::fs::read_dir(state.join("runs")) else { return false };
    let journal = |run: std::fs::DirEntry| std::fs::read(run.path().join("journal.jsonl"));
    runs.flatten().any(|run| journal(run).is_ok_and(|records| records.contains(&b'\n')))
}

#[test]
fn a_run_that_is_killed_anywhere_changes_everything_once() {
    let runtime = runtime();
    let steps = "
      - id: rollback
        digitalocean.rollback: {app: bi-architect}
      - id: pause
        digitalocean.pause: {app: devops-engineer}
      - id: detach
        digitalocean.detach: {agent: multi-agent-orchestrator, route: devops-engineer}
      - id: paused
        digitalocean.expect: {app: devops-engineer, archived: true, phase: ACTIVE}
";
    let mut point = 1;
    loop {
        let rig = runtime.block_on(async { Rig::small() });
        let desk = desk(&rig, steps);
        let mut command = desk.command();
        let report = desk.world.path("report");
        command.env("ROLLBACK_CRASH_AT", point.to_string()).env("ROLLBACK_CRASH_REPORT", &report);
        let output = finish(&mut command);
        let survived = output.code() == Some(0);
        if !survived {
            // A run that was cut off before its first record leaves nothing to resume.
            let again = if has_records(&desk.state()) { desk.resume() } else { desk.run() };
            assert_eq!(again.code(), Some(0), "point {point}: {again}");
        }
        for effect in [
            "roll back app bi-architect",
            "update app devops-engineer",
            "detach route multi-agent-orchestrator to devops-engineer",
        ] {
            assert_eq!(rig.count(effect), 1, "point {point}: {effect}: {output}");
        }
        assert_eq!(rig.total(), 3, "point {point}: {:?}", rig.ledger.effects());
        drop(runtime.enter());
        if survived {
            break;
        }
        point += 1;
        assert!(point < 200, "the run comes to an end");
    }
    assert!(point > 5, "the run passes some points, not {point}");
}

/// Every file below a folder, but for the saved states, which are private by their purpose.
fn texts(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("it can be listed").flatten() {
        let path = entry.path();
        if path.is_dir() {
            texts(&path, found);
        } else {
            let text =
                String::from_utf8_lossy(&std::fs::read(&path).expect("it is ours")).into_owned();
            found.push((path.display().to_string(), text));
        }
    }
}

#[test]
fn the_token_and_what_apps_are_told_are_shown_nowhere() {
    let runtime = runtime();
    let rig = runtime.block_on(async { Rig::small() });
    let variable = json!({"key": "PLAIN", "scope": "RUN_TIME", "value": THEIRS});
    let token = rig.token().to_owned();
    rig.account.tamper("bi-architect", |app| {
        app.spec["services"][0]["envs"][0] = variable;
        app.log.push(format!("somebody wrote {token}"));
    });
    let desk = desk(
        &rig,
        "
      - id: logs
        digitalocean.logs: {app: bi-architect, lines: 5}
      - id: pause
        digitalocean.pause: {app: bi-architect}
      - id: instruct
        digitalocean.instruct: {agent: bi-architect, instruction: Be silent.}
      - id: unknown
        on_failure: continue
        timeout: 1s
        digitalocean.expect: {app: bi-architect, spec: {/services/0/image/tag: never}}
",
    );
    let output = finish(desk.command().env("RUST_LOG", "trace"));
    assert_eq!(rig.count("update app bi-architect"), 1, "{output}");
    assert_eq!(rig.count("update agent bi-architect"), 1, "{output}");
    let mut seen = vec![
        ("standard output".to_owned(), output.stdout.clone()),
        ("standard error".to_owned(), output.stderr.clone()),
    ];
    texts(&desk.state(), &mut seen);
    assert!(
        seen.iter().any(|(_, text)| text.contains("somebody wrote [secret]")),
        "the log is kept"
    );
    for (place, text) in &seen {
        assert!(!text.contains(&token), "{place} holds the token");
        let private = place.contains("/saved/") || place.contains("/private/");
        assert!(private || !text.contains(THEIRS), "{place} holds what an app is told");
    }
    assert!(seen.iter().any(|(_, text)| text.contains(THEIRS)), "undo has what it needs");
}
