//! From Enter to the first request, of a runbook with one step.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::door::Door;
use super::peer;
use super::place::Place;
use super::series::{ROUNDS, Series, in_turns};
use super::table::{Bound, Line, Row};

pub(crate) fn measure(place: &Place) -> Vec<Row> {
    let door = Door::open();
    let port = door.port();
    let url = format!("http://127.0.0.1:{port}/");
    let asking = format!("      - id: ask\n        http.expect: {{url: \"{url}\"}}\n");
    let runbook = place.runbook("start", &asking);
    let script = place.write("start.sh", &format!("set -e\ncurl -fsS {url}\n"));
    let recipes = place.write("justfile", &format!("ask:\n\tcurl -fsS {url}\n"));
    let compose =
        place.write("compose.yml", "version: \"2.4\"\nservices:\n  agent:\n    image: none\n");

    let docker_host = format!("tcp://127.0.0.1:{port}");
    let engine = |program: &Path, arguments: &[&str]| {
        let mut command = place.bare(program);
        command.env("DOCKER_HOST", &docker_host).args(arguments);
        command
    };
    let file = compose.to_str().expect("the target folder's path is text");
    let just = peer::find("just").map(|just| {
        let mut command = place.bare(just);
        command.arg("--justfile").arg(&recipes).arg("ask");
        command
    });
    let mut bash = place.bare("bash");
    bash.arg(&script);
    let sides: Vec<(&str, Option<Command>)> = vec![
        ("rollback run, one http.expect", Some(place.running(&runbook))),
        ("bash and curl", Some(bash)),
        ("just and curl", just),
        ("docker ps", peer::find("docker").map(|docker| engine(&docker, &["ps"]))),
        (
            "docker-compose ps (v1)",
            peer::find("docker-compose").map(|compose| engine(&compose, &["-f", file, "ps"])),
        ),
        (
            "docker compose ps (v2)",
            peer::compose_v2().map(|docker| engine(&docker, &["compose", "-f", file, "ps"])),
        ),
    ];
    let mut lines = all_in_turns(&door, sides).into_iter();
    let ours = lines.next().expect("ours is the first");
    vec![Row {
        title: "start: Enter to first request, ms".to_owned(),
        ours,
        others: lines.collect(),
        bound: Some(Bound::AtMost { goal: 25.0, gate: 100.0 }),
    }]
}

fn all_in_turns(door: &Door, sides: Vec<(&'static str, Option<Command>)>) -> Vec<Line> {
    let (mut names, mut commands) = (Vec::new(), Vec::new());
    for (name, command) in sides {
        names.push((name, command.is_some()));
        commands.extend(command);
    }
    let mut calls: Vec<_> =
        commands.iter_mut().map(|command| || door.first_request(command)).collect();
    let mut calls: Vec<&mut dyn FnMut() -> Duration> =
        calls.iter_mut().map(|call| call as _).collect();
    let mut measured = in_turns(ROUNDS, &mut calls).into_iter();
    let lines = names.into_iter().map(|(name, here)| {
        Line::perhaps(
            name,
            here.then(|| Series::ms(measured.next().expect("one series per command"))),
        )
    });
    lines.collect()
}
