//! Logs are fetched within bounds, from hosts that never see the token.

use std::time::Duration;

use rollback::action::{ErrorKind, Verdict, Work};
use serde_json::json;
use tokio::time::Instant;

use super::rig::Rig;

const LOGS: &str = "digitalocean.logs";

async fn lines(rig: &Rig, args: serde_json::Value) -> (String, Vec<String>) {
    match rig.port().ask(LOGS, args).await.expect("it can be had") {
        Verdict::Holds { evidence } => {
            let lines = serde_json::from_value(evidence.facts["lines"].clone());
            (evidence.summary, lines.expect("lines"))
        }
        Verdict::NotYet { observed } => panic!("{observed}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_log_is_kept_and_the_token_stays() {
    let rig = Rig::new();
    let token = rig.token().to_owned();
    rig.account.tamper("bi-architect", |app| app.log.push(format!("who has {token} may do all")));
    for (kind, word) in [("run", "RUN"), ("build", "BUILD")] {
        let args = json!({"app": "bi-architect", "type": kind, "lines": 3});
        let (summary, last) = lines(&rig, args).await;
        assert_eq!(summary, format!("3 lines of the {kind} log of app bi-architect"));
        assert_eq!(last[1], format!("bi-architect {word} 0300 answered a question"));
        assert_eq!(last[2], format!("bi-architect {word} who has [secret] may do all"));
    }
    let args = json!({"app": "bi-architect", "component": "agent", "lines": 1});
    assert_eq!(lines(&rig, args).await.1.len(), 1);
    assert_eq!(lines(&rig, json!({"app": "bi-architect", "lines": 1000})).await.1.len(), 301);
    assert_eq!(rig.total(), 0, "no host of logs saw credentials: {:?}", rig.ledger.effects());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_never_longer_than_a_record_bears() {
    let rig = Rig::new();
    let line = |number: usize| format!("{} {number:05}", "x".repeat(1000));
    rig.account.tamper("bi-architect", |app| app.log = (1..=10_000).map(line).collect());
    for kind in ["build", "run"] {
        let args = json!({"app": "bi-architect", "type": kind, "lines": 1000});
        let (_, last) = lines(&rig, args).await;
        let size: usize = last.iter().map(String::len).sum();
        assert!(last.len() < 40 && size < 33_000, "{} lines, {size} bytes", last.len());
        let end = last.last().expect("a line");
        assert!(end.ends_with(" 10000"), "{kind}: the end of ten megabytes, not {end:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_too_long_for_the_record_is_judged() {
    let rig = Rig::new();
    rig.account.tamper("bi-architect", |app| {
        app.log.push(format!("ERROR {}", "x".repeat(40_000)));
    });
    let args = json!({"app": "bi-architect", "type": "build", "lines": 50, "without": ["ERROR"]});
    match rig.port().ask(LOGS, args).await.expect("it can be had") {
        Verdict::NotYet { observed } => {
            assert!(observed.starts_with("1 of 50 lines"), "{observed}");
        }
        Verdict::Holds { evidence } => panic!("{}", evidence.summary),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_read_is_not_an_empty_one() {
    let rig = Rig::new();
    for (places, why) in [
        (json!({"live_url": "wss://logs.example.com/run", "historic_urls": []}), "by WebSocket"),
        (json!({"live_url": "ws://logs/build"}), "by WebSocket"),
        (json!({}), "neither files nor a live log"),
        (json!({"live_url": ""}), "neither files nor a live log"),
    ] {
        rig.account.tamper("bi-architect", |app| app.log_places = Some(places.clone()));
        let args = json!({"app": "bi-architect", "without": ["ERROR"]});
        let error = rig.port().ask(LOGS, args).await.expect_err("nothing was read");
        assert_eq!(error.kind, ErrorKind::Failed, "{places}: {error:?}");
        assert!(error.message.contains(why), "{places}: {error:?}");
        assert!(error.hints[0].ends_with("--type run` may show it."), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_an_archived_app_is_gone_and_its_build_is_not() {
    let rig = Rig::new();
    let port = rig.port();
    let pause = port.planned("digitalocean.pause", json!({"app": "bi-architect"})).await;
    let _saved = port.apply(&*pause).await;
    assert_eq!(lines(&rig, json!({"app": "bi-architect"})).await.1.len(), 0);
    assert_eq!(lines(&rig, json!({"app": "bi-architect", "type": "build"})).await.1.len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_several_apps_wrote_is_gathered_as_evidence() {
    let rig = Rig::new();
    let settings = json!({"apps": ["bi-architect", "nowhere"], "types": ["run", "deploy"]});
    let mut pieces = rig.port().gather(settings, 500).await;
    pieces.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<&str> = pieces.iter().map(|piece| piece.name.as_str()).collect();
    assert_eq!(names, ["bi-architect-deploy.log", "bi-architect-run.log", "nowhere.log"]);
    let content = pieces[0].content.as_ref().expect("it was had");
    assert!(content.len() == 500 && pieces[0].left_out > 0);
    assert!(String::from_utf8_lossy(content).ends_with("0300 answered a question\n"));
    assert_eq!(pieces[2].content.as_ref().expect_err("no such app").kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_host_of_logs_ends_at_the_deadline() {
    let rig = Rig::direct();
    let port = rig.port();
    let items = port.items(LOGS, json!({"app": "bi-architect"})).await.expect("it can be planned");
    rig.fault("digitalocean:silence,path=/logs/live");
    let verb = port.resolve.registry.verb(LOGS).expect("the verb");
    let Work::Probe(probe) = verb.make(&items[0].args, &port.resolve).expect("an item") else {
        panic!("a probe");
    };
    let soon = port.cx_until(Instant::now() + Duration::from_millis(500));
    let error = probe.observe(&soon).await.expect_err("it is silent");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, true), "{error:?}");
    assert!(!format!("{error:?}").contains("presigned"), "the address is a permission: {error:?}");
}
