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
