use super::*;

fn problem(severity: Level, code: &str, message: &str, place: Option<Extent>) -> Problem {
    Problem {
        severity,
        code: code.into(),
        message: message.into(),
        place,
        hints: vec!["did you mean `docker.stop`?".into()],
    }
}

fn files() -> Vec<CheckedFile> {
    let one = Extent { line: 12, column: 9, end_line: 12, end_column: 20 };
    let long = Extent { line: 3, column: 1, end_line: 5, end_column: 2 };
    vec![
        CheckedFile {
            path: "runbooks/a b,c:d.yaml".into(),
            kind: FileKind::Runbook,
            failed: true,
            problems: vec![
                problem(
                    Level::Error,
                    "unknown-verb",
                    "unknown verb `docker.stpo` <&\"'\u{1b}>",
                    Some(one),
                ),
                problem(Level::Warning, "no-probe", "100 % sure\nsecond line", Some(long)),
            ],
        },
        CheckedFile {
            path: "runbooks/environments/live.yaml".into(),
            kind: FileKind::Environment,
            failed: false,
            problems: vec![problem(Level::Note, "not-evaluated", "left", None)],
        },
        CheckedFile {
            path: "good.yaml".into(),
            kind: FileKind::Runbook,
            failed: false,
            problems: vec![],
        },
    ]
}

#[test]
fn github_commands_are_one_line_each_and_cannot_be_broken_out_of() {
    insta::assert_snapshot!(github(&files()).join("\n"), @r#"
    ::error file=runbooks/a b%2Cc%3Ad.yaml,line=12,col=9,endLine=12,endColumn=20,title=rollback check%3A unknown-verb::unknown verb `docker.stpo` <&"'�>%0Adid you mean `docker.stop`?
    ::warning file=runbooks/a b%2Cc%3Ad.yaml,line=3,col=1,endLine=5,title=rollback check%3A no-probe::100 %25 sure ⏎ second line%0Adid you mean `docker.stop`?
    ::notice file=runbooks/environments/live.yaml,title=rollback check%3A not-evaluated::left%0Adid you mean `docker.stop`?
    "#);
}

#[test]
fn junit_is_escaped() {
    insta::assert_snapshot!(junit(&files()), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="rollback check" tests="3" failures="1" errors="0">
      <testsuite name="rollback check" tests="3" failures="1" errors="0" skipped="0">
        <testcase classname="rollback.check" name="runbooks/a b,c:d.yaml" file="runbooks/a b,c:d.yaml">
          <failure type="rollback.check" message="errors: 1, warnings: 1">runbooks/a b,c:d.yaml:12:9: error[unknown-verb]: unknown verb `docker.stpo` &lt;&amp;&quot;&apos;�&gt;
      did you mean `docker.stop`?
    runbooks/a b,c:d.yaml:3:1: warning[no-probe]: 100 % sure ⏎ second line
      did you mean `docker.stop`?</failure>
        </testcase>
        <testcase classname="rollback.check" name="runbooks/environments/live.yaml" file="runbooks/environments/live.yaml">
          <system-out>runbooks/environments/live.yaml: note[not-evaluated]: left
      did you mean `docker.stop`?</system-out>
        </testcase>
        <testcase classname="rollback.check" name="good.yaml" file="good.yaml"/>
      </testsuite>
    </testsuites>
    "#);
}

#[test]
fn sarif_has_places_rules_and_encoded_addresses() {
    let log = sarif(&files());
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules: Vec<_> = run["tool"]["driver"]["rules"].as_array().unwrap().iter().collect();
    assert_eq!(rules.len(), 3);
    for result in run["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
    let first = &run["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(first["artifactLocation"]["uri"], "runbooks/a%20b,c%3Ad.yaml");
    assert_eq!(
        first["region"],
        serde_json::json!({"startLine": 12, "startColumn": 9, "endLine": 12, "endColumn": 20})
    );
    let whole = &run["results"][2]["locations"][0]["physicalLocation"];
    assert_eq!(whole.get("region"), None);
}

#[test]
fn an_absolute_path_is_a_file_uri() {
    let mut files = files();
    files.truncate(1);
    files[0].path = "/srv/run#books/x.yaml".into();
    let log = sarif(&files);
    let location = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], "file:///srv/run%23books/x.yaml");
}

#[test]
fn json_has_everything() {
    let document = json(&files());
    assert_eq!(document["failed"], 1);
    assert_eq!(document["files"][0]["problems"][0]["line"], 12);
    assert_eq!(document["files"][1]["kind"], "environment");
    assert_eq!(document["files"][1]["problems"][0].get("line"), None);
}
