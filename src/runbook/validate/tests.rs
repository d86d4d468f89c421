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
