//! The program as a whole: killed at every point around a change of DNS, also between the update and its record.

use super::oracle;
use super::rig::{FOLLOWS, Rig};
use crate::support::desk::Desk;
use crate::support::world::finish;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

fn desk(rig: &Rig, name: &str) -> Desk {
    let desk = Desk::new(&format!(
        "
      - id: point
        retry: {{attempts: 2, delay: 10ms}}
        dns.point: {{name: {name}, type: CNAME, to: old.example, ttl: 30s, from: new.example}}
      - id: seen
        dns.expect: {{name: {name}, type: CNAME, value: old.example, ttl: {{at_most: 30s}}}}
      - id: nobody-remembers
        dns.expect: {{name: {name}, type: CNAME, caches_expired: {{former_ttl: 1s}}}}
"
    ));
    let secret = desk.world.write("home/environments/dns.key", &rig.key.secret);
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("it is ours");
    desk.environment(&format!(
        "connections:\n  dns:\n    rfc2136: {{server: \"{}\", key: {{name: {}, secret: {{file: dns.key}}}}}}\n    nameservers: [\"{}\"]\n",
        rig.primary, rig.key.name, rig.secondary
    ));
    desk
}

#[test]
fn a_run_that_is_killed_anywhere_changes_the_record_once() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::double());
    killed_everywhere(&rig);
}

#[test]
fn a_run_that_is_killed_anywhere_changes_the_record_once_on_bind() {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::bind());
    killed_everywhere(&rig);
}

fn killed_everywhere(rig: &Rig) {
    let mut point = 1;
    loop {
        let name = rig.name(&format!("kill-{point}"), FOLLOWS);
        rig.set((&name, "CNAME"), &["new.example."], 1);
        let desk = desk(rig, &name);
        let mut command = desk.command();
        let report = desk.world.path("report");
        command.env("ROLLBACK_CRASH_AT", point.to_string()).env("ROLLBACK_CRASH_REPORT", &report);
        let output = finish(&mut command);
        let survived = output.code() == Some(0);
        if !survived {
            // A run that was cut off before its first record leaves nothing to resume.
            let resumed = desk.resume();
            if resumed.code() != Some(0) {
                let again = desk.run();
                assert_eq!(again.code(), Some(0), "point {point}: {}\n{again}", resumed.stderr);
            }
        }
        assert_eq!(rig.records(&name, "CNAME"), ["30 old.example."], "point {point}");
        assert_eq!(oracle::records(rig.secondary, &name, "CNAME").len(), 1, "point {point}");
        if survived {
            break;
        }
        point += 1;
        assert!(point < 200, "the run comes to an end");
    }
    assert!(point > 5, "the run passes some points, not {point}");
}
