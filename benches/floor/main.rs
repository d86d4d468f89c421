//! What `rollback` adds to the work that nobody can avoid: seven works, each beside its floor and the tools that people would use.
//!
//! Both sides of a ratio are measured in the same run, in turns, on the same disk, so that it holds on a slow machine as on
//! a fast one. `make bench` runs it on the `release` profile; `make bench WORKS="start step"` runs some. The table comes last. A
//! *goal* is what the program wants to reach on a quiet machine; a *gate*, with head-room for a busy one, is what ends this with 1.
//!
//! - [`start`]: from Enter to the first request · [`step`]: one more durable step · [`check`]: validation grows with the runbook
//! - [`size`]: start-up and memory with 10,000 steps · [`checks`]: 1,000 health checks
//! - [`containers`]: 131 containers stopped, started and swapped · [`restore`]: 300,000 rows brought back under the eyes of readers
//!
//! What a number is measured with is told in `docs/design/performance.md`. Smaller fleets and tables, for a quick look:
//! `ROLLBACK_BENCH_AGENTS`, `ROLLBACK_BENCH_ROWS`; more rounds of the slow works: `ROLLBACK_BENCH_ROUNDS`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark's result is its output"
)]

mod check;
mod checks;
mod containers;
mod database;
mod door;
mod fleet;
mod peer;
mod place;
mod readers;
mod restore;
mod series;
mod size;
mod start;
mod step;
mod table;

use std::process::ExitCode;

use place::Place;
use table::Row;

/// A work: what it is called on the command line, and what measures it.
type Work = (&'static str, fn(&Place) -> Vec<Row>);

/// Quick ones first, so that a machine without servers still tells something.
const WORKS: [Work; 7] = [
    ("start", start::measure),
    ("step", step::measure),
    ("check", check::measure),
    ("size", size::measure),
    ("checks", checks::measure),
    ("restore", restore::measure),
    ("containers", containers::measure),
];

fn main() -> ExitCode {
    // Cargo adds flags of its own.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let Some(strange) = wanted.iter().find(|name| WORKS.iter().all(|(work, _)| work != name)) {
        let known: Vec<&str> = WORKS.iter().map(|(name, _)| *name).collect();
        eprintln!("bench: there is no work `{strange}`: {}", known.join(", "));
        return ExitCode::FAILURE;
    }
    let place = Place::new();
    let mut rows = Vec::new();
    for (name, measure) in WORKS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            eprintln!("bench: {name}");
            let measured = measure(&place);
            // Whoever interrupts a long run keeps what was measured so far.
            eprint!("{}", table::render(&measured));
            rows.extend(measured);
        }
    }
    print!("{}", table::render(&rows));
    if rows.iter().any(Row::missed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
