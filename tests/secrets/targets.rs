//! Secrets that the targets hold: a container's environment, a row, a key, a file. What is saved of them stays with their owner; what a
//! server repeats of ours in its errors is taken out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use super::{CANARIES, forms, hidden, outputs, search};
use crate::support::desk::Desk;
use crate::support::docker::{ComposeProject, docker, docker_host};
use crate::support::postgres::Postgres;
use crate::support::server_variable;
use crate::support::world::finish;

/// What only the targets know; the program has no reference to it.
const THEIRS: &str = "cAn4ry-of-the-target";

/// Sends an inline command to the real Redis (<https://redis.io/docs/latest/develop/reference/protocol-spec/#inline-commands>).
fn redis(command: &str) -> String {
    let url = server_variable(&["ROLLBACK_TEST_REDIS"]);
    let mut stream = TcpStream::connect(url.trim_start_matches("redis://").trim_end_matches('/'))
        .expect("it listens");
    stream.write_all(format!("{command}\r\n").as_bytes()).expect("it reads");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("it answers");
    answer.trim().to_owned()
}

fn rows(database: &Postgres, sql: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let config: tokio_postgres::Config = database.url().parse().expect("an address");
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("it answers");
        tokio::spawn(connection);
        let answers = client.simple_query(sql).await.expect("sound SQL");
        let texts = answers.iter().filter_map(|answer| match answer {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        texts.collect()
    })
}

/// A container whose environment holds a secret.
fn container(project: &ComposeProject) -> String {
    let name = format!("{}-agent-1", project.name());
    let label = |key: &str, value: &str| format!("com.docker.compose.{key}={value}");
    let labels = [
        label("project", project.name()),
        label("service", "agent"),
        label("container-number", "1"),
        label("oneoff", "False"),
    ];
    let token = format!("TOKEN={THEIRS}");
    let mut arguments = vec!["run", "--detach", "--name", &name, "--env", &token];
    arguments.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
    arguments.push("rollback-test/agent:2.0.0");
    docker(arguments);
    name
}

#[test]
fn what_the_targets_hold_stays_with_its_owner() {
    let project = ComposeProject::new();
    let name = container(&project);
    let database = Postgres::start();
    rows(
        &database,
        &format!(
            "CREATE TABLE tokens (id int PRIMARY KEY, token text UNIQUE); INSERT INTO tokens VALUES (1, '{THEIRS}'), (2, '{THEIRS}-2')"
        ),
    );
    let prefix = format!("{}:", project.name());
    assert_eq!(redis(&format!("SET {prefix}one {THEIRS}")), "+OK");
    let desk = Desk::new("");
    let home = desk.world.path("home");
    desk.world.write("home/target.txt", &format!("token={THEIRS}\n"));
    desk.environment(&format!(
        "connections:\n  files: {{root: {}}}\n  docker: {{host: \"{}\"}}\n  postgres: {{url: \"{}?sslmode=disable\"}}\n  redis: {{url: \"{}\"}}",
        home.display(),
        docker_host(),
        database.url(),
        server_variable(&["ROLLBACK_TEST_REDIS"]),
    ));
    let environment = home.join("environments/local.yaml");
    let text = std::fs::read_to_string(&environment).expect("it was written");
    let text = text.replace("values:\n", "values:\n  one: {variable: CANARY_ONE}\n");
    std::fs::write(environment, text).expect("it is writable");
    desk.runbook(&format!(
        r#"version: 1
name: book
title: A book
scenario: partial
subject: book
phases:
  - id: work
    title: Work
    steps:
      - id: swap
        docker.swap: {{project: {project}, services: [agent], image: "rollback-test/agent:1.0.0", grace: 1s}}
      - id: stop
        docker.stop: {{project: {project}, services: [agent], grace: 1s}}
      - id: write
        file.write: {{path: /target.txt, content: "token={{{{ environment.one }}}}\n"}}
      - id: rows
        postgres.run:
          statements:
            - {{sql: "UPDATE tokens SET token = $1 WHERE id = 1", parameters: ["{{{{ environment.one }}}}"], expect_rows: 1}}
          changes: [tokens]
      - id: repeated-by-the-server
        on_failure: continue
        postgres.run:
          statements:
            - {{sql: "UPDATE tokens SET token = $1 WHERE id = 2", parameters: ["{{{{ environment.one }}}}"]}}
          changes: [tokens]
      - id: shown-by-a-probe
        on_failure: continue
        timeout: 1s
        postgres.expect: {{sql: "SELECT token FROM tokens WHERE id = 1", row: {{token: never}}}}
      - id: keys
        irreversible: true
        redis.delete: {{pattern: "{prefix}*"}}
"#,
        project = project.name(),
    ));
    let mut command = desk.command();
    command.env("CANARY_ONE", CANARIES[0]).env("RUST_LOG", "trace");
    let first = finish(&mut command);
    // Each was used, or this would show nothing.
    let told = first.to_string();
    assert_eq!(rows(&database, "SELECT token FROM tokens WHERE id = 1"), [CANARIES[0]], "{told}");
    assert_eq!(redis(&format!("EXISTS {prefix}one")), ":0", "{told}");
    let state = docker(["inspect", "--format", "{{.State.Running}} {{json .Config.Env}}", &name]);
    assert!(state.starts_with("false") && state.contains(THEIRS), "{state}\n{told}");
    assert!(told.contains("repeated-by-the-server"), "{told}");
    for output in outputs(&desk, first) {
        for text in [&output.stdout, &output.stderr] {
            hidden(text.as_bytes(), "the output");
            for form in forms(THEIRS) {
                assert!(!text.contains(&form), "the output holds {form:?}: {text}");
            }
        }
        assert_ne!(output.code(), Some(20), "{output}");
    }
    assert!(search(&desk.state(), false) > 0);
    let journal = format!("{:?}", desk.journal());
    for form in forms(THEIRS) {
        assert!(!journal.contains(&form), "the journal holds {form:?}");
    }
}
