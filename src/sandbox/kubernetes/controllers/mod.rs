//! What brings a cluster from what it is to what is wanted: one look of every controller at a time, in the order in which one's work is the other's.

mod daemonset;
mod deployment;
mod kubelet;
mod pods;
mod replicaset;
mod revisions;
mod rollout;
mod statefulset;
mod status;

use std::time::Duration;

use jiff::Timestamp;

pub use kubelet::Kubelet;

use super::state::State;
use crate::clock;

/// One look of each. When somebody has to look again although nothing has changed, so long from now.
pub(super) fn step(
    state: &mut State,
    kubelet: Option<&Kubelet>,
    now: Timestamp,
) -> Option<Duration> {
    let deadline = deployment::step(state, now);
    replicaset::step(state);
    statefulset::step(state);
    daemonset::step(state);
    let readiness = kubelet.and_then(|kubelet| kubelet.step(state, now));
    [deadline, readiness].into_iter().flatten().min()
}

/// All that they will do by themselves, as if time had passed.
pub(super) fn settle(state: &mut State, kubelet: Option<&Kubelet>) {
    let impatient = kubelet.map(Kubelet::at_once);
    loop {
        let before = state.version();
        step(state, impatient.as_ref(), clock::now());
        if state.version() == before {
            return;
        }
    }
}
