//! Promise P1: the program kills itself at point k, for k = 1, 2, 3… until a run ends by itself; `resume` (which is killed
//! once, too, every other time) ends the run.
//!
//! `make test` tries some points of every runbook; `make crash`, or `ROLLBACK_CRASH_ROUNDS=all`, tries all of them, from
//! `ROLLBACK_CRASH_FIRST` on. The runbooks are the shipped one and `ROLLBACK_CRASH_SEEDS` (3) from `ROLLBACK_CRASH_SEED` (1).

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::rig::Rig;
use super::runbooks::{Seeded, mixed};
use crate::support::output::CommandOutput;
use crate::support::world::finish;

/// How many points of each runbook are tried in the short form.
const SHORT: usize = 8;
/// How many seeded runbooks there are unless it is said, and how many loops are under way at once.
const SEEDS: u64 = 3;
const AT_ONCE: usize = 4;

/// What the loop came to.
#[derive(Debug, Default, Clone, Copy)]
struct Figures {
    kills: u64,
    during_resume: u64,
    recovered: u64,
    for_a_person: u64,
    never_begun: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.during_resume += other.during_resume;
        self.recovered += other.recovered;
        self.for_a_person += other.for_a_person;
        self.never_begun += other.never_begun;
    }
}

/// What a run that nobody kills comes to.
struct Whole {
    points: usize,
    state: Value,
    effects: BTreeMap<String, u64>,
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are what the long form is run for")]
fn a_killed_run_ends_after_resume_and_nothing_is_done_twice_or_lost() {
    let rounds = std::env::var("ROLLBACK_CRASH_ROUNDS").ok();
    let rounds = match rounds.as_deref() {
        None => Some(SHORT),
        Some("all") => None,
        Some(number) => Some(number.parse().expect("ROLLBACK_CRASH_ROUNDS is a number or `all`")),
    };
    let first = number("ROLLBACK_CRASH_SEED", 1);
    let seeds = first..first + number("ROLLBACK_CRASH_SEEDS", SEEDS);
    // Seed 0 is the shipped runbook.
    let all: Vec<u64> = std::iter::once(0).chain(seeds).collect();
    let mut total = Figures::default();
    for some in all.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let loops: Vec<_> =
                some.iter().map(|seed| scope.spawn(|| crash_loop(*seed, rounds))).collect();
            for figures in loops {
                total += figures.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
        });
    }
    assert_eq!(total.recovered + total.for_a_person + total.never_begun, total.kills);
    println!(
        "{} runbooks: kills {} (during resume, too: {}), recovered {}, exit 7 for a step that must not be repeated {}, \
         killed before anything had begun {}, done twice 0, lost 0",
        all.len(),
        total.kills,
        total.during_resume,
        total.recovered,
        total.for_a_person,
        total.never_begun
    );
}

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}"))
    })
}

fn crash_loop(seed: u64, rounds: Option<usize>) -> Figures {
    let rig = Rig::start();
    let runbook = match seed {
        0 => Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks/ollama/emergency.yaml"),
        _ => rig.runbook(&format!("mixed-{seed}"), &mixed(seed)),
    };
    let whole = undisturbed(&rig, &runbook);
    let mut seeded = Seeded::new(seed);
    let mut figures = Figures::default();
    match rounds {
        // A run does not pass the same number of points each time: what is queued together is written together.
        None => {
            let first = number("ROLLBACK_CRASH_FIRST", 1);
            let mut point = usize::try_from(first).expect("a run has fewer points");
            while let Some(round) = crash(&rig, &runbook, point, &whole, &mut seeded) {
                figures += round;
                point += 1;
            }
            assert!(point > whole.points / 2, "it ended before point {point} of {}", whole.points);
        }
        Some(rounds) => {
            let first = seeded.below(whole.points);
            for round in 0..rounds {
                let point = 1 + (first + round * whole.points / rounds) % whole.points;
                figures += crash(&rig, &runbook, point, &whole, &mut seeded).unwrap_or_default();
            }
        }
    }
    figures
}

fn undisturbed(rig: &Rig, runbook: &Path) -> Whole {
    rig.reset();
    let report = rig.path("points");
    let output = finish(rig.run(runbook).env("ROLLBACK_CRASH_REPORT", &report));
    assert!(matches!(output.code(), Some(0 | 5)), "a run that nobody disturbs recovers:\n{output}");
    let points = std::fs::read_to_string(report).expect("points were passed").lines().count();
    Whole { points, state: rig.settled_state(), effects: told_apart(rig) }
}

/// Effects with the run's id taken out.
fn told_apart(rig: &Rig) -> BTreeMap<String, u64> {
    let runs = rig.run_ids();
    let without = |key: String| runs.iter().fold(key, |key, run| key.replace(run, "RUN"));
    rig.effects().into_iter().map(|(key, count)| (without(key), count)).collect()
}

/// Kills a run at `point` and sees it to its end. `None` when the run ends well without having come to such a point.
fn crash(
    rig: &Rig,
    runbook: &Path,
    point: usize,
    whole: &Whole,
    seeded: &mut Seeded,
) -> Option<Figures> {
    rig.reset();
    if let Some(output) = Rig::ended_before(&mut rig.run(runbook), point) {
        let context = format!("{} has no point {point}:\n{output}", runbook.display());
        assert!(matches!(output.code(), Some(0 | 5)), "{context}");
        nothing_twice(rig, whole, &context);
        nothing_lost(rig, whole, &context);
        return None;
    }
    let mut figures = Figures { kills: 1, ..Figures::default() };
    if !has_begun(rig) {
        assert_eq!(told_apart(rig), BTreeMap::new(), "nothing happens before a run has begun");
        let state = rig.status();
        assert_eq!(state["effects_total"], 0, "nothing happens before a run has begun");
        figures.never_begun = 1;
        return Some(figures);
    }
    let mut ended = None;
    if seeded.below(2) == 0 {
        let again = 1 + seeded.below(60);
        ended = Rig::ended_before(&mut resume(rig), again);
        figures.during_resume += u64::from(ended.is_none());
    }
    let output = ended.unwrap_or_else(|| finish(&mut resume(rig)));
    let context = || format!("{} killed at point {point}:\n{output}", runbook.display());
    nothing_twice(rig, whole, &context());
    match output.code() {
        Some(0 | 5) => {
            Rig::becomes(&whole.state, &context(), || rig.state(&rig.run_ids()));
            nothing_lost(rig, whole, &context());
            figures.recovered = 1;
        }
        Some(7) => {
            names_what_must_not_be_repeated(rig, &output);
            figures.for_a_person = 1;
        }
        _ => panic!("{}", context()),
    }
    Some(figures)
}

fn resume(rig: &Rig) -> Command {
    rig.rollback(&["resume", &rig.run_id()])
}

/// Whether the start of the run is in its journal.
fn has_begun(rig: &Rig) -> bool {
    rig.run_ids().len() == 1
        && std::fs::read(rig.journal()).is_ok_and(|journal| journal.contains(&b'\n'))
}

/// What must not be repeated.
fn only_once(key: &str) -> bool {
    ["did once", "POST ", "said "].iter().any(|start| key.starts_with(start))
}

fn nothing_twice(rig: &Rig, whole: &Whole, context: &str) {
    for (key, count) in told_apart(rig) {
        assert!(whole.effects.contains_key(&key), "`{key}` is not part of the run; {context}");
        assert!(!only_once(&key) || count == 1, "`{key}` was done {count} times; {context}");
    }
}

/// Of a recovered run only messages may be missing: nobody knows whether they were sent, and nothing depends on them.
fn nothing_lost(rig: &Rig, whole: &Whole, context: &str) {
    let done = told_apart(rig);
    for key in whole.effects.keys().filter(|key| !key.starts_with("said ")) {
        assert!(done.contains_key(key), "`{key}` is lost; {context}");
    }
}

fn names_what_must_not_be_repeated(rig: &Rig, output: &CommandOutput) {
    let told = rig.told();
    let steps = told["steps"].as_object().expect("steps by name");
    let unknown: Vec<_> =
        steps.iter().filter(|(_, step)| step["outcome"] == "unknown").map(|(id, _)| id).collect();
    assert!(!unknown.is_empty(), "exit 7 has a reason:\n{output}");
    for step in unknown {
        assert!(
            step.contains("/once-") || step.contains("/tell"),
            "{step} may be repeated:\n{output}"
        );
        assert!(output.stdout.contains(step.as_str()), "{step} is not named:\n{output}");
    }
}
