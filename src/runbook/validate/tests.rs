use crate::runbook::diagnostic::Diagnostics;
use crate::runbook::{Loaded, load_text, testing};

const EMERGENCY: &str = include_str!("../../../tests/fixtures/good/emergency.yaml");

fn load(text: &str) -> Result<Loaded, Diagnostics> {
    load_text("runbook.yaml", text, &testing::registry())
}

#[test]
fn the_example_of_the_guide_is_a_runbook() {
    let loaded = load(EMERGENCY).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let runbook = &loaded.runbook;
    assert_eq!(runbook.phases.len(), 3);
    assert_eq!(runbook.phases[1].steps[3].verb, "docker.stop");
    assert_eq!(runbook.targets["recovered"].within.as_secs(), 210);
    let notes: Vec<&str> = loaded.warnings.iter().map(|found| found.code).collect();
    assert_eq!(notes, ["unevaluated"]);
}

/// Every broken runbook has a snapshot of what a person sees.
#[test]
fn every_broken_runbook_is_explained() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/broken");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("the fixtures are there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 35, "only {} fixtures", names.len());
    for name in names {
        let text = std::fs::read_to_string(format!("{folder}/{name}.yaml")).expect("readable");
        let problems = load_text(&format!("{name}.yaml"), &text, &testing::registry())
            .map(|loaded| loaded.warnings)
            .expect_err(&name);
        insta::with_settings!({
            snapshot_path => format!("{folder}/snapshots"),
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name.clone(), problems.render(false));
        });
    }
}

fn minimal(steps: &str) -> String {
    format!("version: 1\nname: x\nscenario: partial\nphases:\n  - id: only\n    steps:\n{steps}")
}

#[test]
fn ten_thousand_steps_are_checked() {
    let step = |number: usize| {
        format!(
            "      - {{id: s{number}, timeout: 5s, http.expect: {{url: \"http://h/{{{{ 1 + 1 }}}}\", status: 200}}}}\n"
        )
    };
    let steps: Vec<String> = (0..10_000).map(step).collect();
    let loaded = load(&minimal(&steps.concat()))
        .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    assert_eq!(loaded.runbook.phases[0].steps.len(), 10_000);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn all_problems_come_in_the_order_of_the_file() {
    let problems = load(&minimal(
        "      - {id: a, timeuot: 3s, docker.stop: {projct: x}}\n      - {id: a, after: [b], http.expect: {url: \"{{ x }}\"}}\n",
    ))
    .expect_err("problems");
    let codes: Vec<&str> = problems.iter().map(|found| found.code).collect();
    assert_eq!(
        codes,
        [
            "unknown-key",
            "missing-key",
            "unknown-key",
            "duplicate-id",
            "unknown-step",
            "unknown-name"
        ]
    );
    assert_eq!(problems.to_string(), "6 errors in runbook.yaml");
}

#[test]
fn a_sample_makes_a_runbook_evaluable_offline() {
    let text = "version: 1\nname: x\nscenario: partial\ninputs:\n  host: {type: string, required: true, sample: not-a-url}\nphases:\n  - id: only\n    steps:\n      - {id: a, http.expect: {url: \"{{ inputs.host }}\"}}\n";
    let problems = load(text).expect_err("the verb refuses it");
    assert_eq!(problems.iter().map(|found| found.code).collect::<Vec<_>>(), ["invalid-arguments"]);
    let good = text.replace("not-a-url", "http://x");
    assert!(load(&good).expect("fine").warnings.is_empty());
}

#[test]
fn policy_is_read_into_the_model() {
    let loaded = load(&minimal(
        "      - id: a\n        optional: true\n        timeout: 1m 30s\n        retry: {attempts: 3}\n        on_failure: undo\n        verify: {within: 10s, probe: {http.expect: {url: \"http://x\"}}}\n        docker.stop: {project: x}\n      - id: b\n        after: [{step: a, is: settled}]\n        when: \"1 < 2\"\n        for_each: [x, y]\n        parallel: 4\n        docker.stop: {project: \"{{ item }}\"}\n",
    ))
    .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let [first, second] = loaded.runbook.phases[0].steps.as_slice() else { panic!("two steps") };
    assert!(first.optional);
    assert_eq!(first.timeout.map(|timeout| timeout.as_secs()), Some(90));
    assert_eq!(
        first.retry.as_ref().map(|retry| (retry.attempts, retry.delay.as_secs())),
        Some((3, 1))
    );
    let verify = first.verify.as_ref().expect("verify");
    assert_eq!(verify.probe.as_ref().map(|probe| probe.verb.as_str()), Some("http.expect"));
    let after = second.after.as_ref().expect("after");
    assert!(after[0].settled && after[0].step == "a");
    assert_eq!(second.parallel, Some(4));
}

#[test]
fn what_is_broken_for_the_tests_is_broken_for_the_real_verbs() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/broken");
    for entry in std::fs::read_dir(folder).expect("the fixtures are there") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let loaded = crate::runbook::load(&path, &crate::adapters::registry());
            let problems = loaded.map(|loaded| loaded.runbook.name).expect_err("broken");
            assert!(problems.has_errors(), "{}", path.display());
        }
    }
}

#[test]
fn a_verb_that_never_can_be_undone_says_so_in_its_step() {
    let step = "      - id: a\n        file.remove: {path: /srv/green}\n";
    let problems = load(&minimal(step)).map(|loaded| loaded.warnings).expect_err("undeclared");
    let found = problems.iter().find(|found| found.code == "undeclared-irreversible");
    assert!(found.expect("it is found").message.contains("the files are gone"));
}

/// The examples of the guide are runbooks, and evaluate offline without a remark.
#[test]
fn the_guide_is_true() {
    let guide = include_str!("../../../docs/guide/language.md");
    let examples: Vec<&str> =
        guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 4);
    let registry = crate::adapters::registry();
    for example in examples {
        let loaded = load_text("runbook.yaml", example, &registry)
            .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
    }
    for filter in crate::runbook::template::FILTERS {
        assert!(guide.contains(&format!("`{filter}`")), "`{filter}` is not in the guide");
    }
}
