//! The whole way: from the text of a runbook and of an environment to a preview.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::inputs::{Given, resolve};
use super::preview::{Finding, PreviewVerdict};
use super::{
    Deferred, Items, PlannedStep, PreviewContext, Request, StepId, build, explain, preflight,
    preview, testing,
};
use crate::action::{Item, ResolveContext};
use crate::environment::{Environment, EnvironmentFile};
use crate::runbook::load_text;

const RUNBOOK: &str = r#"
version: 1
name: agents-emergency
title: Agents, back to blue
scenario: emergency
subject: agents
inputs:
  keys: {type: list, from: {memory.keys: {}}, at_least: 2, sample: [a, b]}
  remark: {type: string}
targets:
  traffic-on-blue: {within: 60s, reached_by: redirect/on-blue}
phases:
  - id: redirect
    budget: 30s
    steps:
      - id: tell
        optional: true
        memory.set: {key: chat, to: "{{ inputs.remark | default('rollback') }}"}
      - id: shift
        for_each: "{{ inputs.keys }}"
        memory.set: {key: "{{ item }}", to: "{{ environment.side }}"}
      - id: on-blue
        memory.expect: {key: a, is: blue, predicts: true}
"#;

const ENVIRONMENT: &str = r#"
version: 1
sandbox: true
connections:
  memory: {values: {a: green, b: blue, "token": {file: "{{ sandbox.root }}/token"}}}
values:
  side: blue
"#;

async fn environment(root: &Path) -> Environment {
    std::fs::write(root.join("token"), "s3cret\n").expect("written");
    let path = Path::new("environments/sandbox.yaml");
    let file = EnvironmentFile::parse(path, ENVIRONMENT, &testing::registry()).expect("valid");
    let sandbox = json!({"root": root.to_str().expect("a text")});
    file.resolve(Some(&sandbox)).await.expect("everything has a value")
}

#[tokio::test]
async fn a_runbook_becomes_a_plan_a_preview_and_a_checklist() {
    let root = tempfile::tempdir().expect("a folder");
    let environment = environment(root.path()).await;
    let registry = testing::registry();
    let loaded = load_text("runbooks/agents.yaml", RUNBOOK, &registry);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let cx = ResolveContext { connections: environment.connections.clone(), registry };
    let given = Given { values: environment.values.clone(), ..Given::default() };
    let inputs = resolve(&loaded.runbook, &given, &cx).await;
    assert_eq!(inputs.values["keys"], json!(["a", "b", "token"]));
    assert!(inputs.questions.is_empty() && inputs.problems.is_empty());

    let request = Request {
        runbook: &loaded.runbook,
        source: &loaded.source,
        environment: &environment,
        inputs: &inputs,
        run: &json!({"id": "r1"}),
        cx: &cx,
        history: &|_| None,
    };
    let built = build(request, loaded.runbook.phases.clone());
    let built = built.await.expect("everything can be resolved");
    assert!(built.warnings.is_empty(), "{:?}", built.warnings);
    let plan = built.plan;
    assert_eq!(plan.environment, "sandbox");
    let shift = plan.step(&StepId("redirect/shift".into())).expect("a step");
    assert!(shift.waits.is_empty(), "the optional step above holds nobody up");
    assert_eq!(shift.items.resolved().len(), 3);

    let found = preflight(&plan, &cx.registry, &cx.connections).await;
    assert!(found.refusals.is_empty());
    let cx = PreviewContext { resolve: Arc::new(cx), scratch: root.path().into() };
    let preview = preview(&plan, &cx).await;
    assert_eq!(preview.verdict, PreviewVerdict::Likely);
    let findings: Vec<&Finding> = preview.steps[1].items.iter().map(|item| &item.finding).collect();
    assert!(matches!(
        findings[..],
        [Finding::WouldChange { .. }, Finding::AlreadyDone { .. }, Finding::WouldChange { .. }]
    ));
    assert!(matches!(preview.steps[2].items[0].finding, Finding::WillHold { .. }));

    let text = explain(&plan);
    assert!(text.contains("  - [ ] set b to blue\n"), "{text}");
    let everything = format!("{text}{}", serde_json::to_string(&plan).expect("serializable"));
    assert!(!everything.contains("s3cret"));
}

/// Older programs read what newer ones write, and the other way round.
#[test]
fn a_step_is_written_in_the_same_form_as_ever() {
    let mut step = testing::planned("redirect/drain", &[]);
    step.title = Some("Drain green".into());
    step.skip = Some("left out by --only".into());
    let args = vec![Item { name: "a".to_owned(), args: json!({"key": "a"}).into() }];
    step.items = Items::Deferred(Deferred { args, reason: "reach memory".to_owned() }.into());
    let mut written = serde_json::to_value(&step).expect("a step is JSON");
    let _policy = written.as_object_mut().expect("an object").remove("policy");
    assert_eq!(
        written,
        json!({
            "id": "redirect/drain", "title": "Drain green", "verb": "memory.set",
            "skip": "left out by --only",
            "items": {"deferred": {
                "args": [{"name": "a", "args": {"key": "a"}}], "reason": "reach memory",
            }},
        })
    );
    let whole = serde_json::to_string(&step).expect("a step is JSON");
    assert_eq!(serde_json::from_str::<PlannedStep>(&whole).expect("the same form"), step);
}
