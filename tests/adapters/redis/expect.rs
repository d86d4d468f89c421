//! Questions.

use std::sync::Arc;

use rollback::action::{ErrorKind, Readiness, Verdict};
use rollback::secret::Secrets;
use serde_json::json;

use super::rig::{Port, Rig, cx};
use crate::support::free_port;

pub(super) async fn keys_are_counted(rig: Rig) {
    rig.fill("some", 7).await;
    let port = rig.port();
    let pattern = rig.key("some:*");
    for (keys, holds) in [
        (json!(7), true),
        (json!(6), false),
        (json!({"at_least": 7}), true),
        (json!({"at_least": 8}), false),
        (json!({"at_most": 7}), true),
        (json!({"at_most": 6}), false),
    ] {
        let seen = port.observe(json!({"pattern": pattern, "keys": keys})).await;
        assert_eq!(seen.is_ok(), holds, "{keys}: {seen:?}");
        assert_eq!(seen.unwrap_or_else(|text| text), format!("7 keys match {pattern}"));
    }
    let none = port.observe(json!({"pattern": rig.key("none:*"), "keys": 0})).await;
    assert!(none.is_ok(), "{none:?}");
}

pub(super) async fn a_key_is_read_wherever_it_is(rig: Rig) {
    let port = rig.port();
    // Several, so that a cluster has them at different masters.
    for name in ["one", "two", "three", "four", "five"] {
        let key = rig.key(name);
        assert!(port.observe(json!({"key": key, "exists": false})).await.is_ok());
        let seen = port.observe(json!({"key": key, "value": "1.0.0"})).await;
        assert_eq!(seen, Err(format!("{key} does not exist")));
        let _ok: String = rig.ask(&["SET", &key, "2.0.0"]).await;
        assert!(port.observe(json!({"key": key, "exists": true})).await.is_ok());
        let seen = port.observe(json!({"key": key, "value": "1.0.0"})).await;
        assert_eq!(seen, Err(format!("{key} is `2.0.0`")));
        assert!(port.observe(json!({"key": key, "value": "2.0.0"})).await.is_ok());
    }
    for wrong in [
        json!({}),
        json!({"pattern": "a*"}),
        json!({"keys": 1}),
        json!({"key": "a"}),
        json!({"value": "a"}),
        json!({"key": "a", "exists": false, "value": "a"}),
    ] {
        assert!(port.refused("redis.expect", wrong.clone()).is_some(), "{wrong}");
    }
}

pub(super) async fn who_answers_is_told(rig: Rig) {
    let port = rig.port();
    let told = port.reach().await.expect("it answers");
    assert!(told.starts_with("redis 7."), "{told}");
    let cluster = rig.urls.len() > 1;
    assert_eq!(told.contains("a cluster of 3 masters"), cluster, "{told}");
    assert_eq!(port.observe(json!({"ping": true})).await, Ok(told));
    assert!(port.observe(json!({"role": "master"})).await.is_ok());
    assert!(port.observe(json!({"role": "replica"})).await.is_err());

    // One node stands for its whole cluster; a dead one among several costs nothing.
    let dead = format!("redis://127.0.0.1:{}", free_port());
    let one = Port::with(json!({"url": rig.urls[0]}), Secrets::default());
    assert_eq!(one.reach().await.expect("it answers").contains("3 masters"), cluster);
    if cluster {
        let some = Port::with(json!({"cluster": [dead, rig.urls[1]]}), Secrets::default());
        assert!(some.reach().await.expect("the other one answers").contains("3 masters"));
    } else {
        let none = Port::with(json!({"cluster": [rig.urls[0]]}), Secrets::default());
        assert_eq!(none.reach().await.expect_err("no cluster").kind, ErrorKind::Invalid);
    }
    let none = Port::with(json!({"url": dead}), Secrets::default());
    let error = none.reach().await.expect_err("nobody is there");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unreachable, true), "{error:?}");
}

pub(super) async fn a_plan_s_own_effects_count(rig: Rig) {
    rig.fill("planned", 3).await;
    let port = rig.port();
    let pattern = rig.key("planned:*");
    let action = port.delete(json!({"pattern": pattern})).await;
    let Readiness::Needed { predicted, .. } = action.inspect(&cx()).await.expect("it can be seen")
    else {
        panic!("three keys are to go");
    };
    let probe = port.probe(json!({"pattern": pattern, "keys": 0})).await;
    let now = probe.observe(&cx()).await.expect("it can be asked");
    assert!(matches!(now, Verdict::NotYet { .. }), "{now:?}");
    let later = cx().predicting(Arc::new(move |resource| {
        predicted.iter().find(|one| one.resource == resource).map(|one| one.state.clone())
    }));
    let later = probe.observe(&later).await.expect("it can be asked");
    assert!(matches!(later, Verdict::Holds { .. }), "{later:?}");
}
