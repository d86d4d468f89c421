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
