//! Checklists with probes of a real adapter.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::action::contract::{self, World};
use crate::action::{
    ActionError, Connections, ErrorKind, Later, Probe, Question, Registry, Verdict, Window, Work,
};
use crate::secret::Secrets;

async fn make(args: Value) -> Result<Vec<(String, Work)>, ActionError> {
    let connections = Connections::new("test", HashMap::new(), Arc::new(Secrets::default()));
    let registry = Registry::new(vec![super::system(), crate::adapters::script::system()]);
    contract::make(registry, connections, "manual.confirm", args).await
}

async fn observed(probe: &dyn Probe) -> Result<Verdict, ActionError> {
    probe.observe(&World::new("run-1").context(Duration::from_secs(30))).await
}

fn asking(item: &str, argv: &[&str]) -> Value {
    json!({"item": item, "probe": {"script.expect": {"argv": argv}}})
}

#[tokio::test]
async fn items_are_named_by_their_words() {
    let work = make(json!([
        {"item": "Deployment process halted"},
        {"item": "No surprise in the team channel?", "required": true},
        {"item": "Deployment process: halted!"},
        {"item": "…"},
        {"item": "Nobody has reported anything that was not known before this rollback had started"},
    ]))
    .await
    .expect("valid");
    let names: Vec<&str> = work.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "deployment-process-halted",
            "no-surprise-in-the-team-channel",
            "deployment-process-halted-3",
            "item-4",
            "nobody-has-reported-anything-that-was-not-known",
        ]
    );
    let Work::Manual(question) = &work[1].1 else { panic!("a question to a person") };
    let text = "No surprise in the team channel?".to_owned();
    assert_eq!(*question, Question { text, required: true, window: None });
}

#[tokio::test]
async fn a_probe_answers_in_place_of_a_person() {
    let mut work = make(json!([asking("It is so", &["true"]), asking("It is not", &["false"])]))
        .await
        .expect("valid");
    let (Work::Probe(is_not), Work::Probe(is_so)) =
        (work.pop().expect("two").1, work.pop().expect("two").1)
    else {
        panic!("two probes");
    };
    assert!(is_so.describe().apply.starts_with("It is so: "), "{}", is_so.describe().apply);
    assert!(matches!(observed(&*is_so).await.expect("asked"), Verdict::Holds { .. }));
    assert!(matches!(observed(&*is_not).await.expect("asked"), Verdict::NotYet { .. }));
}

#[tokio::test]
async fn what_is_no_probe_is_refused() {
    for (entry, part) in [
        (json!({"item": "x", "probe": {"script.run": {"argv": ["true"]}}}), "does not only ask"),
        (json!({"item": "x", "probe": {"manual.confirm": [{"item": "y"}]}}), "does not only ask"),
        (json!({"item": "x", "probe": {"no.such": {}}}), "find the probe `no.such`"),
        (json!({"item": "x", "probe": {}}), "exactly one verb"),
        (json!({"item": " "}), "empty"),
        (json!({"item": "x", "requierd": true}), "unknown field"),
        (
            json!({"item": "x", "required": true, "probe": {"script.expect": {"argv": ["true"]}}}),
            "only a person's answer",
        ),
        (json!({"item": "x", "required": true, "window": "short"}), "does not wait"),
        (json!({"item": "x", "hold": "1m", "window": "long"}), "needs a `probe` and a `window`"),
        (
            json!({"item": "x", "hold": "1m", "probe": {"script.expect": {"argv": ["true"]}}}),
            "needs a `probe` and a `window`",
        ),
    ] {
        let error = make(json!([entry])).await.err().expect("refused");
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains(part), "{error}");
    }
    assert!(make(json!([])).await.is_err());
}

#[test]
fn the_schema_marks_the_probe_for_the_validator() {
    let mut generator = schemars::SchemaGenerator::default();
    let schema = <super::confirm::Checklist as schemars::JsonSchema>::json_schema(&mut generator);
    let text = json!([schema, generator.definitions()]).to_string();
    assert!(text.contains(r#""x-rollback":"probe-call""#), "{text}");
}

#[tokio::test]
async fn what_has_its_window_is_asked_after_the_run() {
    let windowed = |window: &str, more: Value| {
        let mut entry = asking("It is stable", &["true"]);
        entry["window"] = window.into();
        entry.as_object_mut().expect("a mapping").extend(more.as_object().cloned().expect("keys"));
        entry
    };
    let list = json!([
        {"item": "Nobody complains", "window": "short"},
        windowed("short", json!({})),
        windowed("long", json!({})),
        windowed("long", json!({"hold": "45m"})),
    ]);
    let work = make(list).await.expect("valid");
    assert!(matches!(&work[0].1, Work::Manual(Question { window: Some(Window::Short), .. })));
    let minutes = work[1..].iter().map(|(_, work)| match work {
        Work::Later(Later { hold, .. }) => hold.as_secs() / 60,
        _ => panic!("a question to a system, after the run"),
    });
    assert_eq!(minutes.collect::<Vec<_>>(), [0, 30, 45]);
}
