//! The timing gates: what `rollback` adds to the work that nobody can avoid.
//!
//! Both sides of a ratio are measured in the same run, in turns, on the same disk, so that a gate holds on a
//! slow machine as on a fast one. `make bench` runs it on the `quick` profile; it ends with 1 if a gate is missed.
//!
//! - **start**: a runbook with one step, against a bash script that runs the same command
//! - **step**: one more durable step, against spawning the command and flushing one record to disk
//! - **check**: validating 10,000 steps, against ten times 1,000
#![expect(clippy::print_stdout, reason = "a benchmark's result is its output")]

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const ROUNDS: usize = 15;
/// Steps of the long runbook, whose time less that of the short one is what the steps cost.
const STEPS: usize = 200;
/// About the size of a journal record.
const RECORD: [u8; 300] = [b'.'; 300];
const COMMAND: &str = "/bin/true";

fn main() -> ExitCode {
    let bench = Bench::new();
    let gates = [bench.start(), bench.step(), bench.check()];
    let mut missed = false;
    for gate in gates {
        let ratio = gate.ratio();
        let verdict = if ratio <= gate.at_most { "ok" } else { "MISSED" };
        missed |= ratio > gate.at_most;
        println!(
            "{:<6} {}\n       {}\n       {ratio:.2} times the floor, at most {:.1}: {verdict}",
            gate.name, gate.ours, gate.floor, gate.at_most
        );
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Two series of measurements and how far apart their medians may be.
struct Gate {
    name: &'static str,
    ours: Series,
    floor: Series,
    at_most: f64,
}

impl Gate {
    fn ratio(&self) -> f64 {
        self.ours.median().as_secs_f64() / self.floor.median().as_secs_f64()
    }
}

struct Series {
    what: &'static str,
    times: Vec<Duration>,
}

impl Series {
    fn new(what: &'static str, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { what, times }
    }

    fn median(&self) -> Duration {
        self.times[self.times.len() / 2]
    }
}

impl std::fmt::Display for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
        let (min, max) = (ms(self.times.first()), ms(self.times.last()));
        let median = ms(Some(&self.median()));
        write!(f, "{:<44} {min:>9.3} / {median:>9.3} / {max:>9.3} ms", self.what)
    }
}

/// A folder on the disk that the build uses: a memory file system would flatter both sides.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("the target folder is writable");
        std::fs::create_dir_all(folder.path().join("environments")).expect("writable");
        let bench = Self { folder };
        bench.write("environments/bench.yaml", "version: 1\n");
        bench
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn write(&self, below: &str, text: &str) -> PathBuf {
        let path = self.path(below);
        std::fs::write(&path, text).expect("the bench's folder is writable");
        path
    }

    fn runbook(&self, steps: usize) -> PathBuf {
        let mut text = format!(
            "version: 1\nname: bench-{steps}\ntitle: Benchmark\nscenario: emergency\nsubject: bench-{}\n\
             phases:\n  - id: all\n    title: Everything\n    steps:\n",
            std::process::id()
        );
        for number in 1..=steps {
            writeln!(
                text,
                "      - id: step-{number}\n        script.run: {{argv: [{COMMAND}], undo: [{COMMAND}]}}"
            )
            .expect("a text can be extended");
        }
        self.write(&format!("steps-{steps}.yaml"), &text)
    }

    /// The program in an environment of its own.
    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollback"));
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/bin:/bin")
            .current_dir(self.folder.path());
        command
    }

    fn run(&self, runbook: &Path) -> Duration {
        timed(|| {
            finish(
                self.program()
                    .arg("run")
                    .arg(runbook)
                    .args(["--env", "bench", "--yes", "--state-dir"])
                    .arg(self.path("state")),
            );
        })
    }

    fn start(&self) -> Gate {
        let runbook = self.runbook(1);
        let script = self.write("one.sh", &format!("set -e\n{COMMAND}\n"));
        let (ours, floor) =
            in_turns(|| self.run(&runbook), || timed(|| finish(Command::new("bash").arg(&script))));
        Gate {
            name: "start",
            ours: Series::new("rollback run, one step", ours),
            floor: Series::new("bash, one command", floor),
            at_most: 20.0,
        }
    }

    fn step(&self) -> Gate {
        let (short, long) = (self.runbook(1), self.runbook(STEPS));
        let more = u32::try_from(STEPS - 1).expect("a small number");
        let (ours, floor) = in_turns(
            || {
                let without = self.run(&short);
                self.run(&long).saturating_sub(without) / more
            },
            || self.spawn_and_flush(more) / more,
        );
        Gate {
            name: "step",
            ours: Series::new("one more step of a run", ours),
            floor: Series::new("spawn, append 300 bytes, flush", floor),
            at_most: 3.0,
        }
    }

    fn spawn_and_flush(&self, times: u32) -> Duration {
        let mut file = File::create(self.path("floor")).expect("the bench's folder is writable");
        timed(|| {
            for _ in 0..times {
                file.write_all(&RECORD).and_then(|()| file.sync_data()).expect("the disk works");
                finish(&mut Command::new(COMMAND));
            }
        })
    }

    fn check(&self) -> Gate {
        let (large, small) = (self.runbook(10_000), self.runbook(1_000));
        let check = |runbook: &Path| timed(|| finish(self.program().arg("check").arg(runbook)));
        let (ours, floor) = in_turns(|| check(&large), || check(&small) * 10);
        Gate {
            name: "check",
            ours: Series::new("rollback check, 10,000 steps", ours),
            floor: Series::new("rollback check, 1,000 steps, ten times", floor),
            at_most: 1.5,
        }
    }
}

/// Measures both sides in turns, so that a busy moment of the machine meets both; the first turn warms up.
fn in_turns(
    ours: impl Fn() -> Duration,
    floor: impl Fn() -> Duration,
) -> (Vec<Duration>, Vec<Duration>) {
    (0..=ROUNDS).map(|_| (ours(), floor())).skip(1).unzip()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Runs a command that must succeed.
fn finish(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the command can be started");
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
