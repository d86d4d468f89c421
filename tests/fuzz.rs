//! No panic on any input: everything that reads text from elsewhere is given broken forms of good examples.
//!
//! [`mutation`] breaks an example by seed; [`corpus`] has the examples, from the tree where it has them; [`target`] and [`metrics`] say what is
//! given them and what must hold. `make fuzz` does it for minutes; `docs/design/campaigns.md` says why not `cargo-fuzz`.

mod corpus;
mod knowledge;
mod metrics;
mod mutation;
mod target;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::time::Instant;

use crate::support::dice::{Dice, from_environment};
use mutation::mutate;
use target::Target;

/// How many inputs each target gets in the short form.
const SHORT: u64 = 300;

/// How long a campaign goes on, per target.
struct Limit {
    inputs: Option<u64>,
    until: Instant,
}

impl Limit {
    fn from_environment() -> Self {
        let seconds = from_environment("ROLLBACK_FUZZ_SECONDS", 0);
        let inputs = (seconds == 0).then(|| from_environment("ROLLBACK_FUZZ_INPUTS", SHORT));
        Self { inputs, until: Instant::now() + Duration::from_secs(seconds) }
    }

    fn allows(&self, done: u64) -> bool {
        match self.inputs {
            Some(most) => done < most,
            None => Instant::now() < self.until,
        }
    }
}

/// Gives a target one input after the other, each made from `seed` and its number alone.
#[expect(clippy::print_stdout, reason = "the figures are what the long form is run for")]
fn campaign(target: &mut dyn Target) {
    let (name, examples) = (target.name(), target.examples());
    let first = from_environment("ROLLBACK_FUZZ_SEED", 0);
    let limit = Limit::from_environment();
    let (mut done, mut accepted) = (0, 0_u64);
    while limit.allows(done) {
        let number = first + done;
        let mut dice = Dice::new(number);
        let input = mutate(&examples, &mut dice);
        let Ok(fine) = catch_unwind(AssertUnwindSafe(|| target.take(&input))) else {
            let input = String::from_utf8_lossy(&input);
            panic!(
                "{name}: ROLLBACK_FUZZ_SEED={number} ROLLBACK_FUZZ_INPUTS=1 makes it again: {input:?}"
            );
        };
        accepted += u64::from(fine);
        done += 1;
    }
    println!("{name:<12} {done:>9} inputs from seed {first}, {accepted:>8} accepted, crashes 0");
    assert!(done > 0, "{name} was given nothing");
}

#[test]
fn runbooks() {
    campaign(&mut target::Runbook::default());
}

#[test]
fn templates() {
    campaign(&mut target::Template);
}

#[test]
fn durations() {
    campaign(&mut target::Duration);
}

#[test]
fn records() {
    campaign(&mut target::Records::default());
}

#[test]
fn journals() {
    campaign(&mut target::Journal::default());
}

#[test]
fn terminal_text() {
    campaign(&mut target::TerminalText);
}

#[test]
fn retry_after() {
    campaign(&mut target::RetryAfter::default());
}

#[test]
fn decisions() {
    campaign(&mut metrics::Decisions::default());
}

#[test]
fn prometheus_answers() {
    campaign(&mut metrics::PrometheusAnswers::default());
}

#[test]
fn embeddings_answers() {
    campaign(&mut knowledge::EmbeddingsAnswers::default());
}

#[test]
fn labelled_queries() {
    campaign(&mut knowledge::LabelledQueries::default());
}

#[test]
fn redis_commands() {
    campaign(&mut target::RedisCommands::default());
}
