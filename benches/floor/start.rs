//! From Enter to the first request, of a runbook with one step.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::door::Door;
use super::peer;
use super::place::{Place, finish};
use super::series::{ROUNDS, Series, in_turns};
use super::table::{Bound, Line, Row};

/// How many runs have been before.
const FORMER_RUNS: usize = 100;
const FORMER_STEPS: usize = 500;
/// Ten that an id may have.
const LETTERS: [char; 10] = ['2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b'];

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
    let bound = Bound::AtMost { goal: 25.0, gate: 100.0 };
    vec![
        Row {
            title: "start: Enter to first request, ms".to_owned(),
            ours,
            others: lines.collect(),
            bound: Some(bound),
        },
        Row {
            title: format!("start: the same after {FORMER_RUNS} runs of {FORMER_STEPS} steps, ms"),
            ours: after_others(place, &door, &runbook),
            others: Vec::new(),
            bound: Some(bound),
        },
    ]
}

/// In a state folder with a long history, which the planner looks at.
fn after_others(place: &Place, door: &Door, runbook: &Path) -> Line {
    const STATE: &str = "state-with-history";
    let former = place.trivial("former", "", FORMER_STEPS);
    finish(&mut place.running_in(STATE, &former));
    let runs = place.path(STATE).join("runs");
    let first = std::fs::read_dir(&runs).expect("the run has a folder").next();
    let first = first.expect("one run").expect("a folder can be read").path();
    let id = first.file_name().and_then(|name| name.to_str()).expect("an id is text");
    let (minute, _) = id.rsplit_once('-').expect("an id has two parts");
    for number in 1..FORMER_RUNS {
        let (tens, ones) = (LETTERS[number / 10], LETTERS[number % 10]);
        let copy = runs.join(format!("{minute}-22{tens}{ones}"));
        std::fs::create_dir(&copy)
            .and_then(|()| std::fs::copy(first.join("journal.jsonl"), copy.join("journal.jsonl")))
            .expect("the bench's folder is writable");
    }
    let mut command = place.running_in(STATE, runbook);
    let mut took = in_turns(ROUNDS, &mut [&mut || door.first_request(&mut command)]);
    Line::of("rollback run, one http.expect", Series::ms(took.remove(0)))
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
