//! How long an engine takes, and how it saturates.
//!
//! Measured on Docker Engine 20.10 with 2 cores and 131 containers: stopping goes at 9.7 a second for one caller, 15.6
//! for 4, 19.2 for 8, 18.7 for 32 and only 12.9 for 131 at once; starting at 3.4 for one and about 6.7 from 4 on. The
//! engine takes containers' networks down one after another, so each kind of work here is a queue that is
//! worked off one by one, and the time of one item depends on how many are in it. The process of a container is gone
//! much earlier than its stop returns: 131 at once within about 1.7 s.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

/// A kind of work that the engine does one item at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// From the signal until the process is gone.
    Exit,
    /// From then until the engine reports the end.
    Teardown,
    /// A start.
    Start,
    /// A create, or a removal.
    Register,
}

impl Work {
    /// Microseconds per item against the number in flight; in between, the line that joins the points.
    fn points(self) -> &'static [(usize, u64)] {
        match self {
            Self::Exit => &[(1, 13_000)],
            // At 131 this is the time with all in flight; the queue shortens as it is worked off, so that a
            // burst of 131 takes 10.2 s in all.
            Self::Teardown => {
                &[(1, 90_000), (4, 64_000), (8, 52_000), (32, 53_000), (131, 116_000)]
            }
            Self::Start => &[(1, 294_000), (4, 150_000)],
            Self::Register => &[(1, 4_000)],
        }
    }

    /// How long one item takes when so many are in flight.
    pub fn cost(self, in_flight: usize) -> Duration {
        let points = self.points();
        let after = points.iter().position(|(callers, _)| *callers >= in_flight);
        let micros = match after {
            None => points[points.len() - 1].1,
            Some(0) => points[0].1,
            Some(after) => {
                let ((low, before), (high, next)) = (points[after - 1], points[after]);
                let (part, whole) = ((in_flight - low) as u64, (high - low) as u64);
                if next >= before {
                    before + (next - before) * part / whole
                } else {
                    before - (before - next) * part / whole
                }
            }
        };
        Duration::from_micros(micros)
    }
}

/// The queue of one kind of work.
#[derive(Debug)]
pub struct Queue {
    work: Work,
    speed: f64,
    in_flight: AtomicUsize,
    turn: Mutex<()>,
}

impl Queue {
    /// A queue that works `speed` times as fast as the engine that was measured.
    pub fn new(work: Work, speed: f64) -> Self {
        Self { work, speed, in_flight: AtomicUsize::new(0), turn: Mutex::new(()) }
    }

    /// Waits for one's turn, first come first served, and for the work itself.
    pub async fn pass(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let turn = self.turn.lock().await;
        let cost = self.work.cost(self.in_flight.load(Ordering::Relaxed)).div_f64(self.speed);
        tokio::time::sleep(cost).await;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        drop(turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds that a fleet takes when so many callers work through it, counted and not waited for.
    fn batch(work: Work, fleet: usize, callers: usize) -> f64 {
        (0..fleet).map(|done| work.cost(callers.min(fleet - done)).as_secs_f64()).sum()
    }

    #[test]
    fn a_fleet_takes_what_was_measured() {
        let exit = Work::Exit.cost(1).as_secs_f64();
        let alone = batch(Work::Teardown, 131, 1) + 131.0 * exit;
        for (callers, took, measured) in [
            (1, alone, 13.5),
            (4, batch(Work::Teardown, 131, 4), 8.4),
            (8, batch(Work::Teardown, 131, 8), 6.8),
            (32, batch(Work::Teardown, 131, 32), 7.0),
            (131, batch(Work::Teardown, 131, 131), 10.2),
        ] {
            assert!((took / measured - 1.0).abs() < 0.1, "stop, {callers}: {took} s, {measured} s");
        }
        for (callers, measured) in [(1, 38.5), (4, 19.2), (8, 20.0), (131, 20.0)] {
            let took = batch(Work::Start, 131, callers);
            assert!(
                (took / measured - 1.0).abs() < 0.1,
                "start, {callers}: {took} s, {measured} s"
            );
        }
    }

    #[test]
    fn the_best_number_of_callers_is_in_the_middle() {
        let best = (1..=131).min_by(|a, b| {
            batch(Work::Teardown, 131, *a).total_cmp(&batch(Work::Teardown, 131, *b))
        });
        assert!(best.is_some_and(|callers| (6..=24).contains(&callers)), "{best:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_works_at_its_speed_and_in_order() {
        let start = tokio::time::Instant::now();
        let queue = Queue::new(Work::Start, 10.0);
        futures_util::future::join_all((0..20).map(|_| queue.pass())).await;
        let expected = batch(Work::Start, 20, 20) / 10.0;
        let took = start.elapsed().as_secs_f64();
        assert!((took / expected - 1.0).abs() < 0.1, "{took} s for {expected} s");
    }
}
