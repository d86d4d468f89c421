//! Questions about values.

use rollback::action::ErrorKind;
use serde_json::{Value, json};

use super::rig::{Port, Rig, cx};
use crate::support::free_port;

/// The bound beside the query.
fn args(query: &str, bound: Value) -> Value {
    let mut args = bound;
    args["query"] = query.into();
    args
}

pub(super) async fn values_are_held_against_bounds(rig: Rig) {
    rig.write("bounds", "1", &[(0, 0.5)]).await;
    let query = rig.query("bounds");
    for (bound, letter) in [
        (json!({"above": 0.4}), 'y'),
        (json!({"above": 0.5}), 'n'),
        (json!({"at_least": 0.5}), 'y'),
        (json!({"at_least": 0.6}), 'n'),
        (json!({"at_most": 0.5}), 'y'),
        (json!({"at_most": 0.4}), 'n'),
        (json!({"below": 0.6}), 'y'),
        (json!({"below": 0.5}), 'n'),
        (json!({"equals": 0.5}), 'y'),
        (json!({"equals": 0.6}), 'n'),
        (json!({"above": 0.4, "below": 0.6}), 'y'),
    ] {
        let (found, text) = rig.ask(args(&query, bound.clone())).await;
        assert_eq!(found, letter, "{bound}: {text}");
        assert!(text.contains("0.5"), "{text}");
    }
}

pub(super) async fn what_is_not_there_is_no_data(rig: Rig) {
    rig.write("absent", "nan", &[(0, f64::NAN)]).await;
    for series in ["all", "any"] {
        // An empty answer keeps to every bound that a careless comparison knows.
        let none = args(&rig.query("nothing"), json!({"at_most": 1, "series": series}));
        assert_eq!(rig.ask(none).await, ('?', "the query gives no series".to_owned()));
        let nan = args(&rig.query("absent"), json!({"at_most": 1, "series": series}));
        let (found, text) = rig.ask(nan).await;
        assert_eq!(found, '?', "{text}");
        assert!(text.contains("is not a number"), "{text}");
    }
    // The last sample lies further back than a look goes.
    rig.write("gone", "1", &[(400, 1.0)]).await;
    assert_eq!(rig.ask(args(&rig.query("gone"), json!({"at_most": 1}))).await.0, '?');
}

pub(super) async fn the_series_that_break_a_bound_are_named(rig: Rig) {
    for (letter, value) in [("v", 0.01), ("w", 0.06), ("x", 0.07), ("y", 0.08), ("z", 0.09)] {
        rig.write("errors", letter, &[(0, value)]).await;
    }
    rig.write("errors", "nan", &[(0, f64::NAN)]).await;
    let (found, text) = rig.ask(args(&rig.query("errors"), json!({"at_most": 0.05}))).await;
    assert_eq!(found, 'n', "a broken bound is known, whatever else is not: {text}");
    assert!(text.starts_with("4 of 6 series not at most 0.05: "), "{text}");
    assert!(text.ends_with(" and 1 more") && text.contains(r#"a="w""#), "{text}");
    let (found, text) = rig.ask(args(&rig.query("errors"), json!({"at_most": 0.1}))).await;
    assert_eq!(found, '?', "one series could break it, and nobody knows: {text}");
}

pub(super) async fn one_series_is_enough_where_any_may_be(rig: Rig) {
    rig.write("some", "1", &[(0, 0.01)]).await;
    rig.write("some", "2", &[(0, 0.06)]).await;
    let any = |bound: f64| args(&rig.query("some"), json!({"above": bound, "series": "any"}));
    let (found, text) = rig.ask(any(0.05)).await;
    assert_eq!(found, 'y', "{text}");
    assert!(text.starts_with("1 of 2 series above 0.05: ") && text.contains("0.06"), "{text}");
    assert!(!text.contains("0.01"), "only what is meant is named: {text}");
    let (found, text) = rig.ask(any(0.07)).await;
    assert_eq!((found, text.as_str()), ('n', "none of 2 series above 0.07, from 0.01 to 0.06"));
}

pub(super) async fn a_condition_has_to_last(rig: Rig) {
    let steady: Vec<(i64, f64)> = (0..=30).rev().map(|step| (step * 15, 0.8)).collect();
    rig.write("steady", "1", &steady).await;
    // Two minutes ago it was fine for a while.
    let dipped = steady
        .iter()
        .map(|(age, value)| (*age, if (90..=150).contains(age) { 0.5 } else { *value }));
    rig.write("dipped", "1", &dipped.collect::<Vec<_>>()).await;
    // It began two minutes ago.
    rig.write("young", "1", &steady[steady.len() - 9..]).await;
    let high = |name: &str, time: &str| {
        args(&rig.query(name), json!({"above": 0.75, "series": "any", "for": time}))
    };
    for (name, time, letter) in [
        ("steady", "5m", 'y'),
        // Neither is a whole number of milliseconds in sixty steps.
        ("steady", "61s", 'y'),
        ("steady", "70s", 'y'),
        ("steady", "100s", 'y'),
        ("dipped", "5m", 'n'),
        ("dipped", "30s", 'y'),
        ("young", "5m", '?'),
        ("young", "30s", 'y'),
        ("nothing", "5m", '?'),
    ] {
        let (found, text) = rig.ask(high(name, time)).await;
        assert_eq!(found, letter, "{name} {time}: {text}");
    }
    let (_, text) = rig.ask(high("dipped", "5m")).await;
    assert!(text.contains("0.5") && text.ends_with("not above 0.75 for 5m"), "{text}");
    let (_, text) = rig.ask(high("young", "5m")).await;
    assert!(text.contains("of the 61 values of the last 5m"), "{text}");
}

pub(super) async fn a_value_is_compared_with_its_past(rig: Rig) {
    rig.write("tasks", "1", &[(1800, 100.0), (0, 96.0)]).await;
    rig.write("tasks", "2", &[(1800, 10.0), (0, 9.0)]).await;
    rig.write("latency", "1", &[(1800, 0.5), (0, 3.0)]).await;
    rig.write("new", "1", &[(0, 3.0)]).await;
    rig.write("idle", "1", &[(1800, 0.0), (0, 3.0)]).await;
    let ratio = |name: &str, mut bound: Value| {
        // Samples are seen for five minutes, so that the moment of asking does not matter.
        bound["baseline"] = "28m".into();
        args(&rig.query(name), bound)
    };
    for (name, bound, letter) in [
        ("tasks", json!({"at_least": 0.9}), 'y'),
        ("tasks", json!({"at_least": 0.95}), 'n'),
        ("latency", json!({"above": 5}), 'y'),
        ("latency", json!({"at_most": 1.1}), 'n'),
        ("new", json!({"at_most": 1.1}), '?'),
        ("idle", json!({"at_most": 1.1}), '?'),
    ] {
        let (found, text) = rig.ask(ratio(name, bound.clone())).await;
        assert_eq!(found, letter, "{name} {bound}: {text}");
    }
    let (_, text) = rig.ask(ratio("tasks", json!({"at_least": 0.95}))).await;
    assert!(
        text.starts_with("1 of 2 series not at least 0.95 times what it was 28m ago"),
        "{text}"
    );
    assert!(text.contains("0.9 (9 now, 10 then)"), "{text}");
}

pub(super) async fn old_samples_are_no_data(rig: Rig) {
    rig.write("aged", "1", &[(240, 0.5)]).await;
    rig.write("newer", "1", &[(0, 0.5)]).await;
    let fresh = |name: &str| args(&rig.query(name), json!({"at_most": 1, "fresh": "3m"}));
    assert_eq!(rig.ask(fresh("newer")).await.0, 'y');
    let (found, text) = rig.ask(fresh("aged")).await;
    assert_eq!(found, '?', "{text}");
    assert!(text.contains("4m") && text.contains("3m is the most"), "{text}");
    // An old series tells nothing, and does not silence one that is known.
    rig.write("both", "old", &[(240, 0.5)]).await;
    rig.write("both", "new", &[(0, 0.9)]).await;
    for (bound, all, any) in [
        (json!({"above": 0.8}), '?', 'y'),
        (json!({"at_most": 0.8}), 'n', '?'),
        (json!({"above": 0.3}), '?', 'y'),
    ] {
        for (series, letter) in [("all", all), ("any", any)] {
            let mut args = args(&rig.query("both"), bound.clone());
            (args["fresh"], args["series"]) = ("3m".into(), series.into());
            let (found, text) = rig.ask(args.clone()).await;
            assert_eq!(found, letter, "{args}: {text}");
            assert_eq!(found == '?', text.contains("is 4m"), "{args}: {text}");
            // What an expression makes of an old series is not known.
            args["fresh_by"] = rig.query("both").into();
            assert_eq!(rig.ask(args).await.0, '?');
        }
    }
    // Without the bound on its age the same sample is as good as any.
    assert_eq!(rig.ask(args(&rig.query("aged"), json!({"at_most": 1}))).await.0, 'y');
    let mut by_another = fresh("newer");
    by_another["fresh_by"] = rig.query("aged").into();
    assert_eq!(rig.ask(by_another).await.0, '?');
    let mut by_none = fresh("newer");
    by_none["fresh_by"] = rig.query("nothing").into();
    let (found, text) = rig.ask(by_none).await;
    assert_eq!((found, text.starts_with("there are no samples of nothing")), ('?', true), "{text}");
}

pub(super) async fn a_scalar_is_a_value_without_labels(rig: Rig) {
    let (found, text) = rig.ask(json!({"query": "42", "equals": 42})).await;
    assert_eq!((found, text.as_str()), ('y', "42, equal to 42"));
    let lasting = rig.ask(json!({"query": "42", "above": 41, "for": "10s"})).await;
    assert_eq!(lasting.0, 'y', "{lasting:?}");
}

pub(super) async fn what_gives_no_numbers_is_refused_for_good(rig: Rig) {
    for query in ["sum(", "\"a text\"", "up{", "nothing[5m"] {
        let error = rig.port().refused(json!({"query": query, "above": 1}), &cx()).await;
        assert_eq!((error.kind, error.retryable), (ErrorKind::Invalid, false), "{error:?}");
        assert!(!error.hints.is_empty(), "{error:?}");
    }
}

pub(super) async fn who_answers_is_told(rig: Rig) {
    let told = rig.port().reach().await.expect("it answers");
    assert!(told.starts_with("prometheus ") && told.contains("127.0.0.1:"), "{told}");
    let dead = format!("http://127.0.0.1:{}", free_port());
    let none = Port::with(json!({ "url": dead }), rollback::secret::Secrets::default());
    let error = none.reach().await.expect_err("nobody is there");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unreachable, true), "{error:?}");
    // A path that leads elsewhere is not Prometheus.
    let lost = format!("{}/elsewhere", rig.url);
    let lost = Port::with(json!({ "url": lost }), rollback::secret::Secrets::default());
    let error = lost.reach().await.expect_err("there is no such page");
    assert_eq!((error.kind, error.retryable), (ErrorKind::NotFound, false), "{error:?}");
}
