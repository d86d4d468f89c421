use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use serde_json::json;

use super::*;

fn text(text: &str) -> Node {
    let span = Span { start: 0, end: text.len() };
    Node { value: NodeValue::Text(text.into()), span }
}

fn list(items: &[&str]) -> Node {
    let items = items.iter().map(|item| text(item)).collect();
    Node { value: NodeValue::List(items), span: Span::default() }
}

fn scope() -> Scope {
    Scope::new()
        .with_input("agents", json!(["a", "b", "c"]))
        .with_input("count", json!(3))
        .with_input("reason", json!("it broke"))
        .with_input("canary", json!(true))
        .with_environment(json!({"host": "lb.example", "token": "\u{E000}token\u{E001}"}))
        .with_unknown("run")
}

fn value(template: &str) -> Value {
    evaluate(&text(template), &scope()).unwrap_or_else(|error| panic!("{template}: {error}"))
}

fn error(template: &str) -> TemplateError {
    evaluate(&text(template), &scope()).expect_err(template)
}

#[test]
fn a_template_alone_keeps_its_type() {
    assert_eq!(value("{{ inputs.agents }}"), json!(["a", "b", "c"]));
    assert_eq!(value("{{ inputs.count }}"), json!(3));
    assert_eq!(value("{{ inputs.canary }}"), json!(true));
    assert_eq!(value("{{ inputs.agents | length }}"), json!(3));
    assert_eq!(value("{{ inputs.count / 2 }}"), json!(1.5));
    assert_eq!(value("{{ {'a': [1, none]} }}"), json!({"a": [1, null]}));
}

#[test]
fn mixed_text_is_a_text() {
    assert_eq!(value("{{ inputs.count }} agents"), json!("3 agents"));
    assert_eq!(value("http://{{ environment.host }}:80"), json!("http://lb.example:80"));
    assert_eq!(value(" {{ inputs.count }}"), json!(" 3"));
    assert_eq!(value("no template: {x} }}"), json!("no template: {x} }}"));
    assert_eq!(value("{{ \"{{.Names}}\" }}"), json!("{{.Names}}"));
    assert_eq!(value("{{ inputs.agents | join(', ') }}!"), json!("a, b, c!"));
}

#[test]
fn every_filter_works() {
    for (template, expected) in [
        ("{{ inputs.nothing | default('x') }}", json!("x")),
        ("{{ inputs.agents | first }}", json!("a")),
        ("{{ '2.5' | float }}", json!(2.5)),
        ("{{ '7' | int }}", json!(7)),
        ("{{ inputs.agents | join }}", json!("abc")),
        ("{{ inputs.agents | last }}", json!("c")),
        ("{{ 'ABC' | lower }}", json!("abc")),
        ("{{ inputs.agents | max }}", json!("c")),
        ("{{ inputs.agents | min }}", json!("a")),
        ("{{ [2, 1] | sort }}", json!([1, 2])),
        ("{{ inputs.count | string }}", json!("3")),
        ("{{ inputs.count | times(4) }}", json!(12)),
        ("{{ inputs.count | times(0.5) }}", json!(1.5)),
        ("{{ inputs.agents | tojson }}", json!("[\"a\",\"b\",\"c\"]")),
        ("{{ ' x ' | trim }}", json!("x")),
        ("{{ [1, 1, 2] | unique }}", json!([1, 2])),
        ("{{ inputs.reason | upper }}", json!("IT BROKE")),
        ("{{ inputs.reason is defined }}", json!(true)),
        ("{{ inputs.reason is not none }}", json!(true)),
        ("{{ 'a' if inputs.count > 2 else 'b' }}", json!("a")),
    ] {
        assert_eq!(value(template), expected, "{template}");
    }
}

#[test]
fn undefined_names_are_errors_with_a_suggestion() {
    let error = error("{{ inputs.agnets }}");
    assert_eq!(error.code, "unknown-name");
    assert_eq!(error.message, "`inputs.agnets` is not defined");
    assert_eq!(error.hints, ["did you mean `inputs.agents`?"]);
    assert_eq!(self::error("x {{ nothing }}").code, "unknown-name");
    assert_eq!(self::error("{{ environment.host.name }}").code, "unknown-name");
}

#[test]
fn names_of_a_run_stay_unevaluated() {
    let error = error("id {{ run.id }}");
    assert!(error.is_unevaluated());
    assert_eq!(error.unknown, ["run.id"]);
}

#[test]
fn conditions_are_expressions_or_templates() {
    let holds = |template: &str| condition(&text(template), &scope());
    assert_eq!(holds("inputs.count > 2"), Ok(true));
    assert_eq!(holds("{{ inputs.count > 5 }}"), Ok(false));
    assert_eq!(holds("inputs.canary and 'a' in inputs.agents"), Ok(true));
    let error = holds("inputs.count").expect_err("a number");
    assert_eq!(error.code, "condition-not-boolean");
}

#[test]
fn secrets_are_markers() {
    let value = value("Bearer {{ environment.token }}");
    assert!(value.as_str().is_some_and(crate::secret::has_marker));
}

#[test]
fn what_could_run_long_or_grow_large_is_refused() {
    for template in [
        "{{ range(1000000000) | length }}",
        "{{ 'x' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ 10 ** 1000 }}",
        "{% for x in range(1000000000) %}x{% endfor %}",
        "{{ inputs.agents.append(1) }}",
        "{{ dict(a=1) }}",
        "{{ 1 / 0 }}",
        "{{ 9223372036854775807 | times(9223372036854775807) }}",
        "{{ 9223372036854775807 + 9223372036854775807 + 9223372036854775807 }}",
        "{{ inputs | nothing }}",
        "{% include '/etc/passwd' %}",
        "{{ include('/etc/passwd') }}",
    ] {
        let found = error(template);
        assert!(!found.is_unevaluated(), "{template}");
    }
}

#[test]
fn growth_by_chained_filters_is_bounded() {
    let separator = "y".repeat(50);
    let chain = "| tojson ".repeat(100);
    let found = error(&format!("{{{{ '\"\"' {chain} }}}}"));
    assert!(found.message.contains("1 MiB"), "{}", found.message);
    let many: Vec<String> = (0..50_000).map(|n| n.to_string()).collect();
    let scope = Scope::new().with_input("many", json!(many));
    let joined = evaluate(&text(&format!("{{{{ inputs.many | join('{separator}') }}}}")), &scope);
    assert!(joined.expect_err("too long").message.contains("1 MiB"));
    let repeated = format!("{}{{{{ inputs.many | join }}}}", "{{ inputs.many | join }}".repeat(10));
    assert_eq!(
        evaluate(&text(&repeated), &scope).expect_err("too long").code,
        "template-too-costly"
    );
    let long = format!("{{{{ {} }}}}", "1 + ".repeat(1000));
    assert_eq!(error(&long).code, "template-too-costly");
}

#[test]
fn deep_expressions_are_refused() {
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(450), ")".repeat(450));
    assert_eq!(error(&deep).code, "template-syntax");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Values are put in after the YAML is read: an input can never become structure, an option or a second argument.
    #[test]
    fn an_input_stays_one_argument(input in "(?s).{0,60}") {
        let scope = Scope::new().with_input("x", json!(input));
        let argv = list(&["echo", "{{ inputs.x }}", "--reason={{ inputs.x }}"]);
        let found = evaluate(&argv, &scope).expect("evaluated");
        prop_assert_eq!(found, json!(["echo", input, format!("--reason={input}")]));
    }

    #[test]
    fn hostile_inputs_stay_what_they_are(
        input in proptest::sample::select(vec![
            "; rm -rf /", "$(id)", "`id`", "a\nb", "-rf", "--flag", "x\0y", "{{ run.id }}", "{% raw %}", "' || '1", "\"}", "*a", "&a",
        ]),
    ) {
        let scope = Scope::new().with_input("x", json!(input));
        let found = evaluate(&list(&["run", "{{ inputs.x }}"]), &scope).expect("evaluated");
        prop_assert_eq!(found, json!(["run", input]));
    }

    #[test]
    fn no_expression_makes_it_panic(expression in "[a-c0-9 .|()\\[\\]{}'\"+*/%<>=!~,:_-]{0,60}") {
        let found = evaluate(&text(&format!("{{{{ {expression} }}}}")), &scope());
        if let Ok(Value::String(text)) = found {
            prop_assert!(text.len() <= 1024 * 1024);
        }
    }
}
