//! Repeated measurements of one thing, and the clock they are taken with.

use std::time::{Duration, Instant};

/// The rounds of a work that takes milliseconds.
pub(crate) const ROUNDS: usize = 11;

/// Measurements in one unit, in ascending order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    /// Of times, in milliseconds.
    pub(crate) fn ms(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(times.into_iter().map(|time| time.as_secs_f64() * 1000.0))
    }

    /// Of times, in seconds.
    pub(crate) fn seconds(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(times.into_iter().map(|time| time.as_secs_f64()))
    }

    /// Of plain numbers.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The middle one, or the mean of the two middle ones; 0 of none.
    pub(crate) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.get(middle) {
            None => 0.0,
            Some(upper) if self.0.len() % 2 == 1 => *upper,
            Some(upper) => self.0[middle - 1].midpoint(*upper),
        }
    }
}

impl std::fmt::Display for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.median() < 10.0 { 2 } else { 1 };
        let one = |value: Option<&f64>| format!("{:.digits$}", value.copied().unwrap_or_default());
        match self.0.as_slice() {
            [only] => write!(f, "{}", one(Some(only))),
            all => write!(
                f,
                "{} / {} / {}",
                one(all.first()),
                one(Some(&self.median())),
                one(all.last())
            ),
        }
    }
}

/// Measures several sides in turns, so that a busy moment of the machine meets all of them; the first turn warms up.
pub(crate) fn in_turns(
    rounds: usize,
    sides: &mut [&mut dyn FnMut() -> Duration],
) -> Vec<Vec<Duration>> {
    let mut times = vec![Vec::new(); sides.len()];
    for round in 0..=rounds {
        for (side, times) in sides.iter_mut().zip(&mut times) {
            let time = side();
            if round > 0 {
                times.push(time);
            }
        }
    }
    times
}

/// The time that a piece of work takes.
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let start = now();
    work();
    start.elapsed()
}

/// This instant.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
