//! Each record is on disk before its effect starts, whatever instant the power fails at.
//!
//! The program as it is shipped runs under `strace` ([`trace`]). What a disk would hold after a loss of power at any instant follows
//! from its writes and flushes ([`disk`]), and the effects from the same trace: neither is told by the program.
//! `make durability` tries 10,000 instants of 20 runbooks; `docs/design/campaigns.md`.

mod disk;
mod trace;

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rollback::event::{Event as Recorded, Record};
use rollback::journal::{self, JournalError};

use crate::support::counter::Counter;
use crate::support::desk::Desk;
use crate::support::dice::{Dice, from_environment};
use disk::{Luck, left_of};
use trace::{Event, traced};

/// Losses of power in the short form.
const SHORT: u64 = 300;
/// Losses of power tried on one runbook.
const OF_ONE: u64 = 500;

/// A run that was watched.
struct Watched {
    events: Vec<Event>,
    journal: String,
}

/// A runbook of steps of three kinds, some of which start together; the last step is taken back.
fn runbook(desk: &Desk, server: &str, seed: u64) {
    let mut dice = Dice::new(seed);
    let count = 3 + dice.below(5);
    let mut steps = String::new();
    for number in 1..=count {
        let together = if dice.below(2) == 1 { "\n        after: []" } else { "" };
        let work = match dice.below(3) {
            0 => format!(
                "script.run: {{argv: [touch, effect-{number:02}.done], undo: [touch, undo-{number:02}.done], cwd: \"{{{{ environment.dir }}}}\"}}"
            ),
            1 => format!(
                "http.call: {{method: PUT, url: \"{server}/effect-{number:02}\", undo: {{method: DELETE, url: \"{server}/undo-{number:02}\"}}}}"
            ),
            _ => format!("file.write: {{path: /effect-{number:02}.txt, content: done}}"),
        };
        let fate = if number == count {
            "\n        on_failure: undo\n        verify: {within: 100ms, probe: {file.expect: {path: /never, exists: true}}}"
        } else {
            ""
        };
        steps
            .push_str(&format!("      - id: effect-{number:02}{together}{fate}\n        {work}\n"));
    }
    desk.runbook(&format!(
        "version: 1\nname: book\ntitle: A book\nscenario: partial\nsubject: book\nphases:\n  - id: work\n    title: Work\n    steps:\n{steps}"
    ));
}

/// Runs the runbook of a seed under `strace`.
fn watched(seed: u64) -> Watched {
    let server = Counter::start(|request, _| request.to_owned());
    let desk = Desk::new("");
    runbook(&desk, server.url(), seed);
    desk.environment(&format!(
        "connections:\n  files: {{root: {}}}",
        desk.world.path("home").display()
    ));
    let port = server.url().rsplit(':').next().and_then(|port| port.parse().ok());
    let (output, events) = traced(&desk.world, &desk.command(), port.expect("a port"));
    assert!(matches!(output.code(), Some(6 | 7)), "the last step is taken back: {output}");
    let journal = desk.state().join("runs").join(desk.run_id()).join("journal.jsonl");
    assert!(
        count(&events, |event| matches!(event, Event::Effect { name } if name.starts_with("undo")))
            > 0
    );
    Watched { events, journal: journal.to_string_lossy().into_owned() }
}

fn count(events: &[Event], wanted: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| wanted(event)).count()
}

/// How a journal was found after a loss of power.
#[derive(Debug, Default, Clone, Copy)]
struct Found {
    whole: u64,
    torn: u64,
    /// Readable by `resume --salvage`.
    damaged: u64,
    never_begun: u64,
}

/// The records that a resumed run finds on a disk that holds `bytes`.
fn records(bytes: Option<&[u8]>, found: &mut Found) -> Vec<Record> {
    let Some(bytes) = bytes else {
        found.never_begun += 1;
        return Vec::new();
    };
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let path = folder.path().join("journal.jsonl");
    std::fs::write(&path, bytes).expect("it is writable");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("it is ours");
    match journal::read(&path) {
        Ok(history) => {
            let torn = history.tail != journal::Tail::Clean;
            *if torn { &mut found.torn } else { &mut found.whole } += 1;
            history.records
        }
        Err(JournalError::NeverStarted { .. }) => {
            found.never_begun += 1;
            Vec::new()
        }
        Err(JournalError::Damaged { .. }) => {
            found.damaged += 1;
            let salvaged = journal::salvage(&path).expect("damage can be passed over");
            salvaged.rebuild(&path).expect("its records go into a new journal").0.records
        }
        Err(error) => panic!("a loss of power makes a journal unreadable: {error}"),
    }
}

/// The effects before an instant that a resumed run would know nothing of, if the power fails then.
fn unannounced(run: &Watched, instant: usize, mut luck: Luck, found: &mut Found) -> Vec<String> {
    let before = &run.events[..instant];
    let left = left_of(&run.journal, before, &mut luck);
    let announced: HashSet<String> = records(left.as_deref(), found)
        .into_iter()
        .filter_map(|record| match record.event {
            Recorded::ApplyStarted { at, .. } => Some(at.step.0.replace("work/", "")),
            Recorded::UndoStarted { at } => Some(at.step.0.replace("work/effect", "undo")),
            _ => None,
        })
        .collect();
    let effects = before.iter().filter_map(|event| match event {
        Event::Effect { name } if !announced.contains(name) => Some(name.clone()),
        _ => None,
    });
    effects.collect()
}

#[test]
fn the_intent_of_every_effect_is_flushed_before_the_effect_begins() {
    let run = watched(1);
    let first_effect = run.events.iter().position(|event| matches!(event, Event::Effect { .. }));
    let first_effect = first_effect.expect("there are effects");
    // The journal's own name, and those of the folders that were made for it.
    let made: Vec<(usize, &str)> = run.events[..first_effect]
        .iter()
        .enumerate()
        .filter_map(|(number, event)| match event {
            Event::Named { path } if Path::new(&run.journal).starts_with(path) => {
                Some((number, path.as_str()))
            }
            _ => None,
        })
        .collect();
    assert!(made.len() >= 3, "a folder of runs, a run's folder and the journal: {made:?}");
    for (number, path) in made {
        let folder = Path::new(path).parent().expect("a folder").to_string_lossy();
        let flushed = |path: &str| {
            run.events[..first_effect].iter().any(
                |event| matches!(event, Event::Flushed { path: flushed, since } if flushed == path && *since > number),
            )
        };
        assert!(flushed(&folder), "the name {path} is not durable");
        assert!(path != run.journal || flushed(path), "the file {path} is not durable");
    }
    let mut effects = 0;
    for (number, event) in run.events.iter().enumerate() {
        if matches!(event, Event::Effect { .. }) {
            effects += 1;
            let mut found = Found::default();
            let wrong = unannounced(&run, number + 1, Luck::Worst, &mut found);
            assert!(wrong.is_empty(), "{wrong:?} began before its record was on disk");
        }
    }
    assert!(effects >= 3, "{effects} effects");
}

#[test]
fn a_program_that_flushes_nothing_would_be_found_out() {
    let mut run = watched(2);
    let journal = run.journal.clone();
    run.events.retain(|event| !matches!(event, Event::Flushed { path, .. } if *path == journal));
    let mut found = Found::default();
    let wrong = unannounced(&run, run.events.len(), Luck::Worst, &mut found);
    assert!(!wrong.is_empty());
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are what the long form is run for")]
fn no_loss_of_power_leaves_an_effect_without_its_record() {
    let first = from_environment("ROLLBACK_POWER_SEED", 0);
    let seeds = from_environment("ROLLBACK_POWER_SEEDS", SHORT);
    let mut found = Found::default();
    let (mut runbooks, mut effects) = (0, 0);
    let mut run: Option<(u64, Watched)> = None;
    for seed in first..first + seeds {
        let book = seed / OF_ONE;
        if run.as_ref().is_none_or(|(of, _)| *of != book) {
            run = None;
            runbooks += 1;
        }
        let (_, run) = run.get_or_insert_with(|| (book, watched(book)));
        let mut dice = Dice::new(seed);
        let instant = 1 + dice.below(run.events.len());
        effects += count(&run.events[..instant], |event| matches!(event, Event::Effect { .. }));
        let wrong = unannounced(run, instant, Luck::Chance(dice), &mut found);
        assert!(
            wrong.is_empty(),
            "ROLLBACK_POWER_SEED={seed} ROLLBACK_POWER_SEEDS=1: the power fails after event {instant}, and nothing tells of {wrong:?}"
        );
    }
    println!(
        "losses of power {seeds} from seed {first}, runbooks {runbooks}, effects before them {effects}, without a durable record 0; \
         journals found whole {}, torn {}, damaged {} (salvaged), not begun {}",
        found.whole, found.torn, found.damaged, found.never_begun
    );
}
