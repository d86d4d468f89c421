//! `rollback confirm`: open checklist items are answered by number, by text, and never in the dark.

use super::stage::Stage;

const ASKS: &str = "\
phases:
  - id: ask
    title: Ask
    steps:
      - id: checklist
        manual.confirm:
          - {item: Nobody complains any more}
          - {item: No data was lost}
          - {item: The dashboards are green}
";

#[test]
fn items_are_answered_by_number_and_by_text() {
    let stage = Stage::with(ASKS);
    let _redacted = stage.redacted();
    let mut said = String::new();
    let _run = stage.rollback("run small --env sandbox --yes").expect_code(0);
    for (line, code) in [
        ("confirm", 11),
        ("confirm --item 9 --answer yes", 2),
        ("confirm --item no --answer yes", 2),
        ("confirm --item nothing --answer yes", 2),
        ("confirm --item 1 --answer yes", 0),
        ("confirm --item data --answer no --remark 'one row'", 0),
        ("confirm --item green --answer yes", 0),
        ("confirm", 0),
        ("confirm --answer yes", 2),
    ] {
        let output = stage.rollback(line).expect_code(code);
        said.push_str(&format!("$ rollback {line}\n{output}\n\n"));
    }
    insta::assert_snapshot!("confirm", said);
    let report = stage.rollback("report").expect_code(0).stdout;
    assert!(report.contains("- [x] Nobody complains any more"), "{report}");
    assert!(report.contains("one row"), "{report}");
}
