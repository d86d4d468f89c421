//! Asking where names point.

use std::sync::Arc;
use std::time::Duration;

use rollback::action::{Answer, Predictions, Verdict};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::oracle;
use super::rig::{FOLLOWS, Port, Rig};
use crate::support::{HANG, free_port};

pub(super) async fn what_all_servers_say_is_compared(rig: Rig) {
    let name = rig.name("seen", FOLLOWS);
    rig.set((&rig.name("end", FOLLOWS), "A"), &["192.0.2.4"], 30);
    rig.set((&name, "CNAME"), &[&format!("{}.", rig.name("end", FOLLOWS))], 30);
    let port = rig.port();
    let asked = |value: &str| json!({"name": name, "type": "CNAME", "value": value});
    let right = asked(&rig.name("END", FOLLOWS));
    let evidence = held(&port, &right).await;
    let servers = evidence["servers"].as_array().expect("a list");
    assert_eq!(servers.len(), 2);
    assert!(servers.iter().all(|server| server["serial"].as_u64() > Some(0)), "{evidence}");
    // Where it leads in the end is told, and decides nothing.
    assert_eq!(evidence["leads_to"]["addresses"], json!(["192.0.2.4"]), "{evidence}");
    let seen = port.observe(asked("other.example")).await.expect_err("it is another");
    assert!(seen.contains("wanted other.example"), "{seen}");
    let nothing = json!({"name": rig.name("nothing", FOLLOWS), "type": "A"});
    let seen = port.observe(nothing).await.expect_err("nothing is there");
    assert!(seen.contains("has no A"), "{seen}");

    // A circle is told, and does not hang.
    let (one, two) = (rig.name("one", FOLLOWS), rig.name("two", FOLLOWS));
    rig.set((&one, "CNAME"), &[&format!("{two}.")], 30);
    rig.set((&two, "CNAME"), &[&format!("{one}.")], 30);
    let circle = held(&port, &json!({"name": one, "type": "CNAME", "value": two})).await;
    assert!(circle["leads_to"]["error"].is_string(), "{circle}");

    let nowhere = format!("127.0.0.1:{}", free_port()).parse().expect("an address");
    let gone = rig.port_at(nowhere);
    let probe = gone.probe(right).await;
    let Ok(Answer::No { observed }) = probe.answer(&gone.cx()).await else {
        panic!("one of two answers, and that is not enough");
    };
    assert!(observed.contains("does not tell"), "{observed}");
}

/// The evidence, as soon as it holds.
async fn held(port: &Port, args: &Value) -> Value {
    let until = Instant::now() + HANG;
    loop {
        match port.observe(args.clone()).await {
            Ok(evidence) => return evidence.facts,
            Err(seen) => assert!(Instant::now() < until, "{seen}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

pub(super) async fn a_ttl_is_held_against_its_bound(rig: Rig) {
    let name = rig.name("ttl", FOLLOWS);
    rig.set((&name, "A"), &["192.0.2.4"], 1800);
    let port = rig.port();
    let bounded = |bound: &str| json!({"name": name, "type": "A", "ttl": {"at_most": bound}});
    held(&port, &bounded("30m")).await;
    let seen = port.observe(bounded("60s")).await.expect_err("it is longer");
    assert!(seen.contains("(ttl 30m)") && seen.contains("ttl at most 1m"), "{seen}");
}

pub(super) async fn the_time_that_caches_need_is_told_within_two_seconds(rig: Rig) {
    const TTL: u32 = 9;
    let name = rig.name("cached", FOLLOWS);
    rig.set((&name, "CNAME"), &["new.example."], TTL);
    assert_eq!(oracle::remembered(rig.resolver, &name, "CNAME").len(), 1);
    sleep(Duration::from_secs(2)).await;
    let port = rig.port();
    let action =
        port.point(json!({"name": name, "type": "CNAME", "to": "old.example", "ttl": "5s"})).await;
    port.carry_out(action.as_ref()).await;
    let args = json!({"name": name, "type": "CNAME", "value": "old.example", "propagated": true});
    let seen = port.observe(args.clone()).await.expect_err("a cache has the former one");
    let asked = Instant::now();
    assert!(
        seen.starts_with("propagating: 1 of 1 resolver still has the former value, for "),
        "{seen}"
    );
    let told = seen.split("for ").nth(1).and_then(|rest| rest.split('s').next());
    let told: f64 = told.and_then(|text| text.parse().ok()).expect("seconds");
    assert!(told > 1.0 && told <= f64::from(TTL) - 1.0, "two seconds have passed: {seen}");
    let evidence = held(&port, &args).await;
    let took = asked.elapsed().as_secs_f64();
    assert!((told - took).abs() <= 2.0, "told {told} s, and it took {took} s");
    assert_eq!(evidence["propagation"]["resolvers"][0]["current"], json!(true), "{evidence}");
    assert_eq!(evidence["propagation"]["eta_s"], json!(0), "{evidence}");
    assert_eq!(oracle::remembered(rig.resolver, &name, "CNAME").len(), 1);
    // Caches that the step names itself.
    let own = json!({"resolvers": [rig.resolver.to_string(), rig.resolver.to_string()]});
    let args = json!({"name": name, "type": "CNAME", "value": "old.example", "propagated": own});
    let evidence = port.observe(args).await.expect("both have it");
    assert!(evidence.summary.contains("2 resolvers"), "{evidence:?}");
}

pub(super) async fn caches_are_expired_when_the_former_ttl_has_passed(rig: Rig) {
    const TTL: u64 = 4;
    let name = rig.name("expired", FOLLOWS);
    // Until the secondary has it, caches may also hold that there is nothing, and for longer.
    let ttl = u32::try_from(TTL).expect("small");
    rig.set_everywhere((&name, "CNAME"), &["new.example."], ttl);
    let port = rig.port();
    let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
    let args =
        json!({"name": name, "type": "CNAME", "value": "old.example", "caches_expired": true});
    let before = Instant::now();
    let (saved, _) = port.carry_out(action.as_ref()).await;
    let seen = port.observe(args.clone()).await.expect_err("caches may hold it");
    assert!(seen.contains("caches may hold the former records, whose ttl is 4s"), "{seen}");
    // Another process of the same run goes on counting.
    let resumed = rig.port();
    let facts = held(&resumed, &args).await;
    assert!(before.elapsed() >= Duration::from_secs(TTL), "{facts}");
    assert_eq!(facts["former_ttl_s"], json!(TTL));

    port.undo(action.as_ref(), &saved, None).await;
    let back =
        json!({"name": name, "type": "CNAME", "value": "new.example", "caches_expired": true});
    let until = Instant::now() + HANG;
    loop {
        let seen = port.observe(back.clone()).await.expect_err("nothing is known of this");
        if seen.contains("this run has not changed the CNAME") {
            break;
        }
        assert!(Instant::now() < until, "{seen}");
        sleep(Duration::from_millis(50)).await;
    }
    // What the run does not know it can be told; then it counts from its first look.
    let told = json!({"name": name, "type": "CNAME", "caches_expired": {"former_ttl": "2s"}});
    let seen = port.observe(told.clone()).await.expect_err("it begins to count");
    assert!(seen.contains("whose ttl is 2s"), "{seen}");
    held(&port, &told).await;
}

pub(super) async fn a_second_change_does_not_shorten_the_wait_for_the_first(rig: Rig) {
    let name = rig.name("lowered", FOLLOWS);
    rig.set_everywhere((&name, "CNAME"), &["new.example."], 1800);
    let port = rig.port();
    for to in ["new.example", "old.example"] {
        let args = json!({"name": name, "type": "CNAME", "to": to, "ttl": "1s"});
        port.carry_out(port.point(args).await.as_ref()).await;
    }
    sleep(Duration::from_secs(1)).await;
    let args =
        json!({"name": name, "type": "CNAME", "value": "old.example", "caches_expired": true});
    let seen = port.observe(args).await.expect_err("caches may hold the first");
    assert!(seen.contains("whose ttl is 29m") || seen.contains("whose ttl is 30m"), "{seen}");
}

pub(super) async fn a_plan_knows_what_it_will_write(rig: Rig) {
    let name = rig.name("plan", FOLLOWS);
    rig.set((&name, "CNAME"), &["new.example."], 30);
    let port = rig.port();
    let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
    let Ok(rollback::action::Readiness::Needed { predicted, .. }) =
        action.inspect(&port.cx()).await
    else {
        panic!("it is needed");
    };
    let predictions: Predictions = Arc::new(move |resource| {
        predicted.iter().find(|p| p.resource == resource).map(|p| p.state.clone())
    });
    for (value, holds) in [("old.example", true), ("new.example", false)] {
        let args = json!({"name": name, "type": "CNAME", "value": value, "propagated": true, "caches_expired": true});
        let probe = port.probe(args).await;
        let verdict = probe.observe(&port.cx().predicting(predictions.clone())).await;
        assert_eq!(matches!(verdict, Ok(Verdict::Holds { .. })), holds, "{value}: {verdict:?}");
    }
    assert_eq!(rig.records(&name, "CNAME"), ["30 new.example."]);
}
