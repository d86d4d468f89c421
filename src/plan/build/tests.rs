use std::collections::HashMap;

use indexmap::IndexMap;
use serde_json::json;

use super::*;
use crate::plan::testing::{self, node, runbook, step_with};
use crate::plan::{Deferred, ExpectedFrom};
use crate::runbook::node::Span;
use crate::runbook::{Approval, ForEach, Rung, Step, Target, VerbCall, Verify};

fn set(id: &str, key: &str) -> Step {
    step_with(id, "memory.set", &json!({"key": key, "to": "blue"}))
}

fn expect(id: &str, key: &str) -> Step {
    step_with(id, "memory.expect", &json!({"key": key, "is": "blue"}))
}

fn inputs(values: Value) -> Inputs {
    let Value::Object(values) = values else { panic!("a mapping") };
    Inputs { values: values.into_iter().collect(), ..Inputs::default() }
}

struct World {
    environment: Environment,
    cx: ResolveContext,
}

impl World {
    fn new(settings: Value) -> Self {
        let cx = testing::context(settings);
        let environment = testing::environment(&cx, json!({"key": "traffic"}));
        Self { environment, cx }
    }

    async fn build(&self, runbook: &Runbook, inputs: &Inputs) -> Result<Built, Refused> {
        let history =
            |id: &StepId| (id.as_str() == "two/proof").then_some(Duration::from_millis(700));
        let request = Request {
            runbook,
            source: &Source::new("runbooks/test.yaml", ""),
            environment: &self.environment,
            inputs,
            run: &json!({"id": "r1"}),
            cx: &self.cx,
            history: &history,
        };
        build(request, runbook.phases.clone()).await
    }
}

/// one/shift → two/proof (target) → three/late.
fn three_phases() -> Runbook {
    let mut runbook = runbook(vec![
        ("one", vec![set("shift", "{{ environment.key }}")]),
        ("two", vec![expect("proof", "traffic")]),
        ("three", vec![set("late", "redis")]),
    ]);
    runbook.targets = [(
        "traffic".to_owned(),
        Target {
            within: Duration::from_secs(60),
            from: None,
            reached_by: "two/proof".into(),
            span: Span::default(),
            from_span: Span::default(),
        },
    )]
    .into();
    runbook
}

fn find<'a>(plan: &'a Plan, id: &str) -> &'a PlannedStep {
    plan.step(&StepId(id.into())).expect("a step of the plan")
}

#[tokio::test]
async fn a_plan_holds_evaluated_arguments_words_and_policy() {
    let built = World::new(json!({}))
        .build(&three_phases(), &inputs(json!({})))
        .await
        .expect("can be planned");
    assert!(built.warnings.is_empty(), "{:?}", built.warnings);
    let shift = find(&built.plan, "one/shift");
    let item = &shift.items.resolved()[0];
    assert_eq!(&*item.does, "set traffic to blue");
    assert_eq!(item.undo, "set traffic back");
    assert_eq!(item.args.value(), json!({"key": "traffic", "to": "blue"}));
    assert_eq!(shift.policy.timeout, Duration::from_secs(7));
    assert_eq!(shift.policy.verify.within, Duration::from_secs(10));
    assert_eq!(shift.policy.expected_from, ExpectedFrom::Assumed);
    assert_eq!(shift.policy.retry.attempts, 1);
    let proof = find(&built.plan, "two/proof");
    assert_eq!(proof.policy.expected, Duration::from_millis(700));
    assert_eq!(proof.policy.expected_from, ExpectedFrom::Measured);
    assert_eq!(proof.policy.verify.within, Duration::from_secs(3), "the probe's timeout");
    assert_eq!(proof.items.resolved()[0].undo, "");
}

#[tokio::test]
async fn neighbours_share_a_policy_and_one_that_asks_has_its_own() {
    let mut asking = set("asking", "c");
    asking.approval = Some(Box::new(Approval {
        role: "lead".to_owned(),
        within: Duration::from_secs(60),
        reason: None,
        span: Span::default(),
    }));
    let runbook = runbook(vec![("one", vec![set("a", "a"), set("b", "b"), asking])]);
    let mut world = World::new(json!({}));
    world.environment.approvers.insert("lead".to_owned(), vec!["ada".to_owned()]);
    let built = world.build(&runbook, &inputs(json!({}))).await.expect("can be planned");
    let policy = |id| &*find(&built.plan, id).policy;
    assert!(std::ptr::eq(policy("one/a"), policy("one/b")), "neighbours that are run alike");
    let approval = policy("one/asking").approval.as_ref().expect("it asks");
    assert_eq!(approval.approvers, ["ada"]);
}

#[tokio::test]
async fn a_step_is_repeated_for_each_element() {
    let mut repeated = set("agents", "{{ item }}-{{ index }}");
    repeated.for_each = Some(Box::new(ForEach { list: node(&json!("{{ inputs.agents }}")) }));
    let runbook = runbook(vec![("one", vec![repeated])]);
    let world = World::new(json!({}));
    let built = world
        .build(&runbook, &inputs(json!({"agents": ["a", "b"]})))
        .await
        .expect("can be planned");
    let items = find(&built.plan, "one/agents").items.resolved();
    let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(&*items[1].does, "set b-1 to blue");
    for (agents, why) in [
        (json!([]), "repeat over an empty list"),
        (json!("a"), "repeat over a list"),
        (json!(["a", "a"]), "tell two items apart"),
    ] {
        let refused =
            world.build(&runbook, &inputs(json!({"agents": agents}))).await.expect_err("refused");
        assert!(refused.to_string().contains(why), "{refused}");
    }
}

#[tokio::test]
async fn a_false_condition_skips_without_evaluating_the_rest() {
    let mut conditional = set("maybe", "{{ inputs.nowhere }}");
    conditional.when = Some(Box::new(node(&json!("inputs.stage == 'full'"))));
    let runbook = runbook(vec![("one", vec![conditional])]);
    let inputs = inputs(json!({"stage": "canary"}));
    let built = World::new(json!({})).build(&runbook, &inputs).await.expect("can be planned");
    let step = find(&built.plan, "one/maybe");
    assert_eq!(step.skip.as_deref(), Some("its condition `inputs.stage == 'full'` is false"));
    assert!(step.items.resolved().is_empty());
}

#[tokio::test]
async fn a_target_whose_step_is_skipped_is_a_warning() {
    let mut runbook = three_phases();
    runbook.phases[1].steps[0].when = Some(Box::new(node(&json!(false))));
    let built =
        World::new(json!({})).build(&runbook, &inputs(json!({}))).await.expect("can be planned");
    let warning = built.warnings[0].to_string();
    assert_eq!(
        warning,
        "target traffic: failed to prove it: the step two/proof is skipped, because its \
         condition `false` is false"
    );
}

#[tokio::test]
async fn a_dead_system_on_the_path_refuses_with_all_reasons() {
    let mut runbook = three_phases();
    runbook.phases[0].steps.push(set("also", "more"));
    let refused = World::new(json!({"down": true}))
        .build(&runbook, &inputs(json!({})))
        .await
        .expect_err("refused");
    let about: Vec<&str> = refused.reasons.iter().map(|reason| reason.about.as_str()).collect();
    assert_eq!(about, ["step one/shift", "step one/also"]);
    assert_eq!(refused.reasons[0].error.hints, ["Switch memory on."]);
}

#[tokio::test(start_paused = true)]
async fn reasons_and_warnings_stand_in_the_order_of_the_runbook_whenever_they_came() {
    let mut runbook = three_phases();
    runbook.phases[0].steps.insert(0, set("slow", "slow-one"));
    let world = World::new(json!({"down": true}));
    let refused = world.build(&runbook, &inputs(json!({}))).await.expect_err("refused");
    let about: Vec<&str> = refused.reasons.iter().map(|reason| reason.about.as_str()).collect();
    assert_eq!(about, ["step one/slow", "step one/shift"]);
    let first = runbook.phases.remove(0);
    runbook.phases[1].steps.insert(0, first.steps[0].clone());
    let built = world.build(&runbook, &inputs(json!({}))).await.expect("the path is fine");
    let about: Vec<&str> = built.warnings.iter().map(|warning| warning.about.as_str()).collect();
    assert_eq!(about, ["step three/slow", "step three/late"]);
}

#[tokio::test]
async fn a_dead_system_after_the_first_target_defers() {
    let mut runbook = three_phases();
    let _shift = runbook.phases.remove(0);
    let mut chat = set("chat", "chat");
    chat.optional = true;
    runbook.phases[1].steps.push(chat);
    let built = World::new(json!({"down": true}))
        .build(&runbook, &inputs(json!({})))
        .await
        .expect("the path to the target is fine");
    let Items::Deferred(deferred) = &find(&built.plan, "three/late").items else {
        panic!("deferred");
    };
    let Deferred { args, reason } = &**deferred;
    assert_eq!(args[0].args.value(), json!({"key": "redis", "to": "blue"}));
    assert_eq!(reason, "reach memory");
    let skip = find(&built.plan, "three/chat").skip.as_deref().expect("dropped");
    assert!(skip.contains("optional"), "{skip}");
    assert_eq!(built.warnings.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_system_costs_five_seconds_and_no_more() {
    let started = Instant::now();
    let mut runbook = three_phases();
    runbook.phases[0].steps.push(set("also", "more"));
    let refused = World::new(json!({"silent": true}))
        .build(&runbook, &inputs(json!({})))
        .await
        .expect_err("refused");
    assert_eq!(refused.reasons[0].error.kind, ErrorKind::TimedOut);
    assert_eq!(started.elapsed(), STEP_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_silent_system_that_nothing_depends_on_is_not_waited_for() {
    let started = Instant::now();
    let mut extra = set("extra", "more");
    extra.optional = true;
    let built = World::new(json!({"silent": true}))
        .build(&runbook(vec![("one", vec![extra])]), &inputs(json!({})))
        .await
        .expect("it does without");
    assert_eq!(started.elapsed(), crate::plan::preflight::GRACE);
    let skip = find(&built.plan, "one/extra").skip.as_deref().expect("dropped");
    assert!(skip.contains("it is not waited for"), "{skip}");
}

#[tokio::test]
async fn an_unread_input_counts_where_it_is_used() {
    let mut runbook = three_phases();
    runbook.phases[2].steps[0] = set("late", "{{ inputs.agents }}");
    let mut inputs = inputs(json!({}));
    let error = ActionError::new(ErrorKind::Unreachable, "reach redis");
    inputs.unread = IndexMap::from([("agents".to_owned(), error)]);
    let world = World::new(json!({}));
    let built = world.build(&runbook, &inputs).await.expect("only the last phase needs it");
    let Items::Deferred(deferred) = &find(&built.plan, "three/late").items else {
        panic!("deferred");
    };
    let Deferred { args, reason } = &**deferred;
    assert!(args.is_empty(), "there are no arguments without the input");
    assert_eq!(reason, "resolve the input `agents`: failed to reach redis");
    runbook.phases[0].steps[0] = set("shift", "{{ inputs.agents }}");
    let refused = world.build(&runbook, &inputs).await.expect_err("the first phase needs it");
    assert_eq!(refused.reasons.len(), 1);
}

#[tokio::test]
async fn an_input_that_nobody_gave_is_undefined() {
    let world = World::new(json!({}));
    let runbook = runbook(vec![("one", vec![set("a", "{{ inputs.remark | default('none') }}")])]);
    let built = world.build(&runbook, &inputs(json!({}))).await.expect("has a default");
    assert_eq!(&*find(&built.plan, "one/a").items.resolved()[0].does, "set none to blue");
}

#[tokio::test]
async fn a_template_without_a_value_is_explained_with_its_place() {
    let world = World::new(json!({}));
    let runbook = runbook(vec![("one", vec![set("a", "{{ environment.kez }}")])]);
    let refused = world.build(&runbook, &inputs(json!({}))).await.expect_err("refused");
    let error = &refused.reasons[0].error;
    assert_eq!(error.message, "evaluate `environment.kez`: `environment.kez` is not defined");
    assert_eq!(
        error.hints,
        ["did you mean `environment.key`?", "See runbooks/test.yaml, line 1, column 1."]
    );
}

#[tokio::test]
async fn an_additional_probe_is_resolved_too() {
    let mut step = set("a", "k");
    let probe = VerbCall {
        verb: "memory.expect".into(),
        args: node(&json!({"key": "{{ environment.key }}", "is": "blue"})),
        span: Span::default(),
    };
    let within = Some(Duration::from_secs(4));
    step.verify = Some(Box::new(Verify { within, every: None, probe: Some(probe) }));
    let world = World::new(json!({}));
    let runbook = runbook(vec![("one", vec![step])]);
    let built = world.build(&runbook, &inputs(json!({}))).await.expect("can be planned");
    let verify = &find(&built.plan, "one/a").policy.verify;
    assert_eq!(verify.within, Duration::from_secs(4));
    let probe = verify.probe.as_ref().expect("a probe");
    assert_eq!(probe.args.value()["key"], "traffic");
}

#[tokio::test]
async fn a_missing_secret_counts_where_it_is_used() {
    let mut world = World::new(json!({}));
    let mut secrets = crate::secret::Secrets::default();
    let token = secrets.insert_missing("values.token", "the variable TOKEN is not set".into());
    let connections =
        crate::action::Connections::new("test", HashMap::new(), std::sync::Arc::new(secrets));
    world.cx.connections = std::sync::Arc::new(connections);
    world.environment.values = json!({"key": "traffic", "token": token});
    let mut runbook = three_phases();
    runbook.phases[2].steps[0] = set("late", "{{ environment.token }}");
    let built = world.build(&runbook, &inputs(json!({}))).await.expect("only the last phase");
    assert!(matches!(find(&built.plan, "three/late").items, Items::Deferred(_)));
    assert!(built.warnings[0].to_string().contains("TOKEN is not set"), "{}", built.warnings[0]);
    runbook.phases[0].steps[0] = set("shift", "{{ environment.token }}");
    let refused = world.build(&runbook, &inputs(json!({}))).await.expect_err("the first phase");
    assert_eq!(refused.reasons.len(), 1);
}

#[tokio::test]
async fn a_budget_that_cannot_fit_is_a_warning() {
    let mut runbook = three_phases();
    runbook.phases[0].steps[0].expected = Some(Duration::from_secs(90));
    let built = World::new(json!({}))
        .build(&runbook, &inputs(json!({})))
        .await
        .expect("a warning stops nothing");
    assert_eq!(built.warnings[0].about, "target traffic");
    assert!(built.warnings[0].to_string().contains("one/shift 1m 30s"), "{}", built.warnings[0]);
}

fn say(text: &str) -> VerbCall {
    VerbCall { verb: "radio.say".into(), args: node(&json!({"text": text})), span: Span::default() }
}

/// The runbook with a ladder of two rungs and a closing message.
fn with_messages(tell: [&str; 2]) -> Runbook {
    let rung = |level: &str, after, tell: &str| Rung {
        level: level.into(),
        who: "somebody".into(),
        after: Duration::from_secs(after),
        severity: None,
        phone: Some(node(&json!("{{ environment.key }}"))),
        tell: vec![say(tell)],
        span: Span::default(),
    };
    Runbook {
        escalation: vec![rung("L1", 0, tell[0]), rung("L2", 120, tell[1])],
        closing: vec!["radio.say".into()],
        ..three_phases()
    }
}

#[tokio::test]
async fn messages_are_planned_with_their_values() {
    let world = World::new(json!({"radio": {}}));
    let runbook = with_messages(["run {{ run.id }}", "still {{ run.id }}"]);
    let built = world.build(&runbook, &inputs(json!({}))).await.expect("can be planned");
    assert!(built.warnings.is_empty(), "{:?}", built.warnings);
    let [first, second] = built.plan.escalation.as_slice() else { panic!("two rungs") };
    assert_eq!((first.level.as_str(), first.phone.as_deref()), ("L1", Some("traffic")));
    assert_eq!(second.after, Duration::from_secs(120));
    assert_eq!(second.messages[0].name, "radio.say");
    assert_eq!(second.messages[0].args.value(), json!({"text": "still r1"}));
    assert_eq!(built.plan.closing, ["radio.say"]);
}

#[tokio::test]
async fn what_cannot_be_said_is_left_out_with_one_warning_for_each_reason() {
    let runbook = with_messages(["one", "two"]);
    let built = World::new(json!({})).build(&runbook, &inputs(json!({}))).await;
    let built = built.expect("a message that cannot be sent stops no run");
    let warnings: Vec<String> = built.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("environment `test` has no `radio`"), "{warnings:?}");
    assert!(built.plan.escalation.iter().all(|rung| rung.messages.is_empty()));
    assert!(built.plan.closing.is_empty());

    let world = World::new(json!({"radio": {}}));
    let runbook = with_messages(["", "{{ inputs.nothing }}"]);
    let built = world.build(&runbook, &inputs(json!({}))).await.expect("can be planned");
    assert_eq!(built.warnings.len(), 2, "{:?}", built.warnings);
    assert!(built.plan.escalation.iter().all(|rung| rung.messages.is_empty()));
    assert_eq!(built.plan.escalation[1].phone.as_deref(), Some("traffic"));
}
