use serde_json::json;

use super::*;
use crate::plan::testing::{context, node, runbook};
use crate::runbook::node::Span;

fn input(kind: InputType) -> Input {
    Input {
        kind,
        required: true,
        argument: false,
        prompt: None,
        default: None,
        from: None,
        at_least: None,
        one_of: None,
        sample: None,
        span: Span::default(),
    }
}

fn with(inputs: Vec<(&str, Input)>) -> Runbook {
    let mut runbook = runbook(vec![]);
    runbook.inputs = inputs.into_iter().map(|(name, input)| (name.to_owned(), input)).collect();
    runbook
}

fn from_keys() -> Input {
    Input { from: Some(("memory.keys".into(), node(&json!({})))), ..input(InputType::List) }
}

fn flags(flags: &[(&str, &str)]) -> Given {
    let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Given { flags: flags.collect(), values: json!({"region": "fra"}), ..Given::default() }
}

#[test]
fn texts_become_typed_values() {
    use InputType::{Boolean, Duration, Integer, List, Number, String};
    let table = [
        (String, "5", Ok(json!("5"))),
        (Integer, " 5 ", Ok(json!(5))),
        (Integer, "5.5", Err("`5.5` is not a whole number")),
        (Integer, "99999999999999999999", Err("`99999999999999999999` is not a whole number")),
        (Number, "5.5", Ok(json!(5.5))),
        (Number, "1e999", Err("`1e999` is not a number")),
        (Number, "nan", Err("`nan` is not a number")),
        (Boolean, "true", Ok(json!(true))),
        (Boolean, "yes", Err("`yes` is not `true` or `false`")),
        (Duration, "30s", Ok(json!("30s"))),
        (Duration, "30", Err("a duration needs a unit, such as `30s`")),
        (List, "a, b,,c", Ok(json!(["a", "b", "c"]))),
        (List, "[\"a,b\"]", Ok(json!(["a,b"]))),
    ];
    for (kind, text, wanted) in table {
        assert_eq!(parse(kind, text), wanted.map_err(str::to_owned), "{kind:?} {text}");
    }
    assert!(parse(List, "[1").is_err());
}

#[tokio::test]
async fn the_first_source_that_has_a_value_wins() {
    let runbook = with(vec![(
        "agents",
        Input { default: Some(node(&json!(["d"]))), ..input(InputType::List) },
    )]);
    let cx = context(json!({}));
    let mut given = Given::default();
    let resolve = async |given: &Given| {
        let inputs = resolve(&runbook, given, &cx).await;
        (inputs.values["agents"][0].as_str().map(str::to_owned), inputs.origins["agents"])
    };
    assert_eq!(resolve(&given).await, (Some("d".into()), Origin::Default));
    given.environment = [("agents".to_owned(), json!(["e"]))].into();
    assert_eq!(resolve(&given).await, (Some("e".into()), Origin::Environment));
    given.file = [("agents".to_owned(), json!(["f"]))].into();
    assert_eq!(resolve(&given).await, (Some("f".into()), Origin::File));
    given.flags = vec![("agents".into(), "x".into()), ("agents".into(), "y".into())];
    assert_eq!(resolve(&given).await, (Some("y".into()), Origin::Flag));
}

#[tokio::test]
async fn an_inventory_is_read_unless_a_person_gave_the_list() {
    let runbook = with(vec![("agents", from_keys())]);
    let cx = context(json!({"values": {"a1": "on", "a2": "on"}}));
    let inputs = resolve(&runbook, &flags(&[]), &cx).await;
    assert_eq!(inputs.values["agents"], json!(["a1", "a2"]));
    assert_eq!(inputs.origins["agents"], Origin::Inventory);
    let down = context(json!({"down": true}));
    let inputs = resolve(&runbook, &flags(&[("agents", "x")]), &down).await;
    assert_eq!(inputs.values["agents"], json!(["x"]));
    assert!(inputs.unread.is_empty());
}

#[tokio::test]
async fn an_inventory_that_is_empty_or_silent_is_an_error() {
    let runbook = with(vec![("agents", from_keys())]);
    let empty = resolve(&runbook, &flags(&[]), &context(json!({}))).await;
    assert_eq!(empty.unread["agents"].kind, ErrorKind::NotFound);
    let down = resolve(&runbook, &flags(&[]), &context(json!({"down": true}))).await;
    assert_eq!(down.unread["agents"].kind, ErrorKind::Unreachable);
    assert!(down.values.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_silent_inventory_is_given_up_in_time() {
    let runbook = with(vec![("agents", from_keys())]);
    let started = Instant::now();
    let silent = resolve(&runbook, &flags(&[]), &context(json!({"silent": true}))).await;
    assert_eq!(silent.unread["agents"].kind, ErrorKind::TimedOut);
    assert_eq!(started.elapsed(), INVENTORY_TIMEOUT);
}

#[tokio::test]
async fn what_is_missing_is_asked_and_the_answer_is_checked() {
    let runbook = with(vec![
        ("reason", Input { prompt: Some("Why?".into()), ..input(InputType::String) }),
        (
            "stage",
            Input {
                one_of: Some(vec![json!("canary"), json!("full")]),
                ..input(InputType::String)
            },
        ),
        ("remark", Input { required: false, ..input(InputType::String) }),
    ]);
    let mut inputs = resolve(&runbook, &flags(&[]), &context(json!({}))).await;
    assert!(!inputs.values.contains_key("remark"), "undefined, and not asked for");
    assert_eq!(inputs.questions.len(), 2);
    assert_eq!(inputs.questions[0].prompt, "Why?");
    assert_eq!(inputs.questions[1].choices, ["canary", "full"]);
    let error = inputs.answer(&runbook, "stage", "half").expect_err("not allowed");
    assert_eq!(error, "half is not one of canary, full");
    inputs.answer(&runbook, "stage", "full").expect("allowed");
    inputs.answer(&runbook, "reason", "alert").expect("a text");
    assert!(inputs.questions.is_empty());
    assert_eq!(inputs.values.keys().collect::<Vec<_>>(), ["reason", "stage"]);
}

#[tokio::test]
async fn wrong_values_and_unknown_names_are_all_told() {
    let runbook = with(vec![
        ("agents", Input { at_least: Some(2), ..input(InputType::List) }),
        ("count", input(InputType::Integer)),
        ("grace", input(InputType::Duration)),
    ]);
    let mut given = flags(&[("agents", "a"), ("count", "many"), ("agent", "b")]);
    given.environment = [("grace".to_owned(), json!(30)), ("other".to_owned(), json!(1))].into();
    let inputs = resolve(&runbook, &given, &context(json!({}))).await;
    let problems: Vec<String> = inputs.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "input agent: failed to set `agent`: the runbook has no such input",
            "input agents: failed to set `agents`: the list has 1 elements, at least 2 are needed",
            "input count: failed to set `count`: `many` is not a whole number",
            "input grace: failed to set `grace`: 30 is not a duration such as `30s`",
        ]
    );
    assert!(inputs.problems[0].error.hints[0].contains("agents"));
}

#[tokio::test]
async fn a_default_reads_the_environment() {
    let default = Some(node(&json!("{{ environment.region }}-1")));
    let runbook = with(vec![("zone", Input { default, ..input(InputType::String) })]);
    let inputs = resolve(&runbook, &flags(&[]), &context(json!({}))).await;
    assert_eq!(inputs.values["zone"], "fra-1");
}

#[test]
fn flags_are_split_at_the_first_sign() {
    assert_eq!(split_flag("a=b=c"), Ok(("a".into(), "b=c".into())));
    assert!(split_flag("ab").is_err());
    assert!(split_flag("=b").is_err());
}
