//! A fleet of real containers is swapped to another image (stop, create, start), stopped, and started again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::fleet::{Fleet, IMAGES};
use super::peer;
use super::place::{Place, finish, option};
use super::series::{Series, timed};
use super::table::{Bound, Line, Row};

/// How many agents the document's loop is watched for; the rest is extrapolated.
const WATCHED: u32 = 5;
const WORKS: [&str; 3] = ["swap", "stop", "start"];

/// The times of one way to do the three works.
#[derive(Default)]
struct Times([Vec<Duration>; 3]);

pub(crate) fn measure(place: &Place) -> Vec<Row> {
    let fleet = Fleet::start(option("ROLLBACK_BENCH_AGENTS", 131));
    let rounds = option("ROLLBACK_BENCH_ROUNDS", 2);
    let ours = Ours::new(place, &fleet);
    let v1 = peer::find("docker-compose").map(|program| Compose::new(place, &fleet, program, &[]));
    let v2 = peer::compose_v2().map(|program| Compose::new(place, &fleet, program, &["compose"]));

    let (mut by_us, mut by_api, mut by_v1, mut by_v2) = <(Times, Times, Times, Times)>::default();
    let mut image = 0;
    for round in 0..rounds {
        eprintln!("bench: containers, round {} of {rounds}", round + 1);
        in_turn(&fleet, &mut image, &mut by_us, |work, to| ours.run(work, to));
        in_turn(&fleet, &mut image, &mut by_api, |work, to| match work {
            0 => fleet.swap_all(IMAGES[to]),
            1 => fleet.stop_all(),
            _ => fleet.start_all(),
        });
        for (compose, times) in [(&v1, &mut by_v1), (&v2, &mut by_v2)] {
            if let Some(compose) = compose {
                in_turn(&fleet, &mut image, times, |work, to| compose.run(work, IMAGES[to]));
            }
        }
    }
    let document = v1.as_ref().map(|compose| compose.document(IMAGES[image]));
    (0..WORKS.len())
        .map(|work| row(work, &fleet, [&by_us, &by_api, &by_v1, &by_v2], document))
        .collect()
}

/// Swaps, stops and starts the fleet in one of the ways.
fn in_turn(
    fleet: &Fleet,
    image: &mut usize,
    times: &mut Times,
    mut does: impl FnMut(usize, usize),
) {
    for (work, times) in times.0.iter_mut().enumerate() {
        if work == 0 {
            *image = 1 - *image;
        }
        times.push(timed(|| does(work, *image)));
        if work == 0 {
            fleet.tidy();
        }
        fleet.expect(if work == 1 { "exited" } else { "running" }, IMAGES[*image]);
    }
}

fn row(
    work: usize,
    fleet: &Fleet,
    [us, api, v1, v2]: [&Times; 4],
    document: Option<Duration>,
) -> Row {
    let series = |times: &Times| {
        let times = &times.0[work];
        (!times.is_empty()).then(|| Series::seconds(times.iter().copied()))
    };
    let callers = ["8 stop, 4 start", "8 callers", "4 callers"][work];
    let mut others = vec![
        Line::perhaps(format!("raw API, {callers}"), series(api)),
        Line::perhaps("docker-compose (v1)", series(v1)),
        Line::perhaps("docker compose (v2)", series(v2)),
    ];
    if work == 1 {
        let document = document.map(|time| Series::seconds([time]));
        others.push(
            Line::perhaps("docker-compose scale, sleep 2, one after another", document)
                .noting(format!("extrapolated from {WATCHED}")),
        );
    }
    Row {
        title: format!("containers: {} of {}, s", WORKS[work], fleet.agents()),
        ours: Line::perhaps(format!("rollback run, docker.{}", WORKS[work]), series(us)),
        others,
        bound: Some(Bound::Times { goal: 1.15, gate: 2.0 }),
    }
}

/// The three works as runbooks.
struct Ours<'a> {
    place: &'a Place,
    swaps: [PathBuf; 2],
    stop: PathBuf,
    start: PathBuf,
}

impl<'a> Ours<'a> {
    fn new(place: &'a Place, fleet: &Fleet) -> Self {
        let project = fleet.project();
        place.connect(&format!("connections:\n  docker: {{host: \"{}\"}}\n", fleet.address()));
        let runbook = |name: &str, what: &str| {
            place.runbook(
                name,
                &format!("      - id: fleet\n        timeout: 10m\n        {what}\n"),
            )
        };
        // No container is watched after its start, as by the raw API; that it runs is proved nevertheless.
        let swap = |name: &str, image: &str| {
            runbook(
                name,
                &format!("docker.swap: {{project: {project}, image: \"{image}\", steady: 1ms}}"),
            )
        };
        Self {
            place,
            swaps: [swap("swap-0", IMAGES[0]), swap("swap-1", IMAGES[1])],
            stop: runbook("stop", &format!("docker.stop: {{project: {project}}}")),
            start: runbook("restart", &format!("docker.start: {{project: {project}}}")),
        }
    }

    fn run(&self, work: usize, image: usize) {
        let runbook: &Path = [&self.swaps[image], &self.stop, &self.start][work];
        let _time = self.place.run(runbook);
    }
}

/// The three works by Docker Compose, with its own idea of how many callers are good.
struct Compose<'a> {
    place: &'a Place,
    program: PathBuf,
    first: &'static [&'static str],
    file: PathBuf,
    project: String,
    address: String,
    agents: usize,
}

impl<'a> Compose<'a> {
    fn new(
        place: &'a Place,
        fleet: &Fleet,
        program: PathBuf,
        first: &'static [&'static str],
    ) -> Self {
        let (project, agents) = (fleet.project().to_owned(), fleet.agents());
        let file = place.write(
            "fleet.yml",
            &format!(
                "version: \"2.4\"\nservices:\n  agent:\n    image: ${{IMAGE}}\n    scale: {agents}\n    healthcheck: {{disable: true}}\n    \
                 labels: {{rollback-test: bench}}\nnetworks:\n  default: {{name: {project}_default}}\n"
            ),
        );
        Self { place, program, first, file, project, address: fleet.address().to_owned(), agents }
    }

    fn run(&self, work: usize, image: &str) {
        let arguments: &[&str] = match work {
            0 => &["up", "-d", "--force-recreate"],
            1 => &["stop"],
            _ => &["start"],
        };
        finish(self.command(image).args(arguments));
    }

    fn command(&self, image: &str) -> Command {
        let mut command = self.place.bare(&self.program);
        command
            .env("DOCKER_HOST", &self.address)
            .env("COMPOSE_HTTP_TIMEOUT", "600")
            .env("IMAGE", image)
            .args(self.first)
            .arg("-f")
            .arg(&self.file)
            .args(["-p", &self.project]);
        command
    }

    /// The loop of the document that this program replaces: each agent scaled away by a call of its own, two seconds of sleep after each.
    fn document(&self, image: &str) -> Duration {
        let time = timed(|| {
            for gone in 1..=WATCHED as usize {
                let fewer = format!("agent={}", self.agents - gone);
                finish(self.command(image).args(["scale", &fewer]));
                std::thread::sleep(Duration::from_secs(2));
            }
        });
        time / WATCHED * u32::try_from(self.agents).expect("a small number")
    }
}
