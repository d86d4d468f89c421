//! When another attempt starts. Only the engine retries: every client's own retry is switched off.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::plan::RetryPolicy;

/// The waits between the attempts of a policy: doubling, jittered so that a fleet does not come back in step, bounded.
pub fn waits(policy: &RetryPolicy) -> impl Iterator<Item = Duration> + use<> {
    ExponentialBuilder::default()
        .with_min_delay(policy.delay)
        .with_max_delay(policy.max_delay.max(policy.delay))
        .with_max_times(usize::try_from(policy.attempts.saturating_sub(1)).unwrap_or(usize::MAX))
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use super::*;
    use crate::engine::testing::{
        Bench, Switch, Trouble, fleet, from_environment, in_virtual_time, numbers, on, plan,
    };
    use crate::event::{Event, Record};
    use crate::runbook::OnFailure;

    const TROUBLES: [Trouble; 5] = [
        Trouble::Unreachable,
        Trouble::Unreachable,
        Trouble::FailsTwice,
        Trouble::RequestLost,
        Trouble::Hangs,
    ];

    /// What one run's attempts came to.
    struct Tried {
        attempts: u64,
        waits: Vec<u64>,
    }

    /// Runs a fleet of trouble under a policy and a time to give up that the seed decides, and checks every attempt in the journal.
    async fn tried(seed: u64) -> Tried {
        let mut next = numbers(seed);
        let items = (0..=next(4)).map(|item| {
            let trouble = TROUBLES[usize::try_from(next(5)).unwrap()];
            let args = Switch { takes_ms: next(800), trouble, ..on(&item.to_string()) };
            (item.to_string(), args)
        });
        let mut step = fleet("fleet", items.collect());
        let policy = RetryPolicy {
            attempts: u32::try_from(1 + next(6)).unwrap(),
            delay: Duration::from_millis(1 + next(500)),
            max_delay: Duration::from_millis(1 + next(3000)),
        };
        step.policy.retry = policy.clone();
        step.policy.timeout = Duration::from_millis(500 + next(2000));
        step.policy.on_failure = OnFailure::Continue;
        let mut plan = plan(vec![vec![step]]);
        plan.give_up = (next(2) == 0).then(|| Duration::from_millis(500 + next(6000)));
        let give_up = plan.give_up;
        let bench = Bench::new();
        let (_, log) = bench.run(plan).await;
        let records = log.records();
        within_budget(seed, &policy, give_up, &records);
        let world = bench.world();
        let made = world.attempts.lock().unwrap();
        for (item, starts) in starts(&records) {
            let really = made.get(&item).copied().unwrap_or(0);
            assert_eq!(really as usize, starts.len(), "seed {seed}: the journal counts each one");
        }
        let waits = records.iter().filter_map(|record| match record.event {
            Event::RetryScheduled { delay_ms, .. } => Some(delay_ms),
            _ => None,
        });
        Tried { attempts: made.values().copied().map(u64::from).sum(), waits: waits.collect() }
    }

    /// When the attempts of each item started, in milliseconds, and their numbers.
    fn starts(records: &[Arc<Record>]) -> BTreeMap<String, Vec<(u64, u32)>> {
        let mut starts = BTreeMap::<_, Vec<_>>::new();
        for record in records {
            if let Event::ApplyStarted { at, attempt } = &record.event {
                starts.entry(at.item.clone()).or_default().push((record.elapsed_ms, *attempt));
            }
        }
        starts
    }

    fn within_budget(
        seed: u64,
        policy: &RetryPolicy,
        give_up: Option<Duration>,
        records: &[Arc<Record>],
    ) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
        for (item, starts) in starts(records) {
            let numbers: Vec<u32> = starts.iter().map(|(_, number)| *number).collect();
            let counted: Vec<u32> = (1..).take(numbers.len()).collect();
            assert_eq!(numbers, counted, "seed {seed}, item {item}");
            assert!(
                counted.len() <= policy.attempts as usize,
                "seed {seed}, item {item}: {counted:?}"
            );
            let late =
                give_up.is_some_and(|limit| starts.iter().any(|(at, _)| *at > millis(limit)));
            assert!(!late, "seed {seed}, item {item}: {starts:?} after {give_up:?}");
        }
        // Doubled from the first, at most the longest, and up to as much again by chance.
        let longest = 2 * millis(policy.max_delay.max(policy.delay));
        for record in records {
            if let Event::RetryScheduled { at, delay_ms, .. } = &record.event {
                let wait = millis(policy.delay)..=longest;
                assert!(wait.contains(delay_ms), "seed {seed}: {delay_ms} ms, not in {wait:?}");
                let due = record.elapsed_ms + delay_ms;
                let next = records.iter().find(|later| {
                    later.seq > record.seq
                        && matches!(&later.event, Event::ApplyStarted { at: next, .. } if next == at)
                });
                let early = next.is_some_and(|next| next.elapsed_ms + 1 < due);
                assert!(!early, "seed {seed}: an attempt before its time");
            }
        }
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "the figures are what the long form is run for")]
    fn attempts_stay_within_their_number_and_their_time() {
        let first = from_environment("ROLLBACK_SIM_SEED", 0);
        let seeds = from_environment("ROLLBACK_SIM_SEEDS", 100);
        let tried = in_virtual_time(first..first + seeds, tried);
        let attempts: u64 = tried.iter().map(|run| run.attempts).sum();
        let waits: Vec<u64> = tried.iter().flat_map(|run| run.waits.clone()).collect();
        println!(
            "retries: {seeds} policies from seed {first}, attempts {attempts}, waits {}, over the number 0, past the time to give up 0",
            waits.len()
        );
    }

    #[test]
    fn a_fleet_does_not_come_back_in_step() {
        let policy = RetryPolicy {
            attempts: 2,
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(1),
        };
        let first: BTreeSet<Duration> =
            (0..131).map(|_| waits(&policy).next().expect("a second attempt")).collect();
        assert!(first.len() > 100, "{} of 131 waits differ", first.len());
    }
}
