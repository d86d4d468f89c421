//! `StatefulSets`: numbered pods, made and replaced one at a time while `OrderedReady` says so.

use std::ops::ControlFlow;

use serde_json::{Value, json};

use super::super::fields::{count, number, object, text};
use super::super::resources::{PODS, STATEFUL_SETS};
use super::super::state::{State, name};
use super::{pods, revisions};

/// The label by which revisions are told apart.
const HASH: &str = "controller.kubernetes.io/hash";
const REVISION: &str = "controller-revision-hash";

pub(super) fn step(state: &mut State) {
    let sets: Vec<Value> = state.list(&STATEFUL_SETS, None).into_iter().cloned().collect();
    for set in sets {
        let history = revisions::sync(state, &STATEFUL_SETS, &set, HASH);
        let Some(update) = history.last() else { continue };
        let current = revisions::named(&history, text(&set, "/status/currentRevision"));
        let sync = Sync { set: &set, current: current.unwrap_or(update), update };
        if sync.number(state).is_continue() && sync.condemn(state).is_continue() {
            let _one_at_a_time = sync.replace(state);
        }
        let status = sync.status(state);
        let used = [text(&status, "/currentRevision"), text(&status, "/updateRevision")];
        let mut told = set.clone();
        told["status"] = status.clone();
        state.replace(&STATEFUL_SETS, told);
        revisions::truncate(state, &set, &used);
    }
}

struct Sync<'a> {
    set: &'a Value,
    current: &'a Value,
    update: &'a Value,
}

impl Sync<'_> {
    fn pods(&self, state: &State) -> Vec<Value> {
        let mut own = state.owned(&PODS, self.set);
        own.sort_by_key(pods::ordinal);
        own
    }

    fn wanted(&self) -> i64 {
        number(self.set, "/spec/replicas")
    }

    fn partition(&self) -> i64 {
        number(self.set, "/spec/updateStrategy/rollingUpdate/partition")
    }

    fn is_ordered(&self) -> bool {
        text(self.set, "/spec/podManagementPolicy") == "OrderedReady"
    }

    fn rolls(&self) -> bool {
        text(self.set, "/spec/updateStrategy/type") == "RollingUpdate"
    }

    /// Makes the pods that are missing; in order, each waits for those before it.
    fn number(&self, state: &mut State) -> ControlFlow<()> {
        let own = self.pods(state);
        for ordinal in 0..self.wanted() {
            let found = own.iter().find(|pod| pods::ordinal(pod) == ordinal);
            if found.is_none() {
                self.create(state, ordinal);
            }
            if self.is_ordered() && !found.is_some_and(pods::is_ready) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn create(&self, state: &mut State, ordinal: i64) {
        let revision =
            if self.rolls() && ordinal < self.partition() { self.current } else { self.update };
        let named = format!("{}-{ordinal}", name(self.set));
        let labels = [(REVISION, name(revision)), ("statefulset.kubernetes.io/pod-name", &named)];
        let template = revisions::template(revision);
        pods::create(state, &STATEFUL_SETS, self.set, &named, &template, &labels);
    }

    /// Removes the pods that are too many, the last first.
    fn condemn(&self, state: &mut State) -> ControlFlow<()> {
        let own = self.pods(state);
        for pod in own.iter().rev().filter(|pod| pods::ordinal(pod) >= self.wanted()) {
            pods::remove(state, pod);
            if self.is_ordered() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Removes the last pod that has not the newest template, once all behind it are ready. It is made again at the next look.
    fn replace(&self, state: &mut State) -> ControlFlow<()> {
        if !self.rolls() {
            return ControlFlow::Break(());
        }
        let own = self.pods(state);
        for pod in own.iter().rev().filter(|pod| pods::ordinal(pod) >= self.partition()) {
            if pods::label(pod, REVISION) != name(self.update) {
                pods::remove(state, pod);
                return ControlFlow::Break(());
            }
            if !pods::is_ready(pod) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn status(&self, state: &State) -> Value {
        let own = self.pods(state);
        let of = |revision: &str| {
            pods::count(own.iter().filter(|pod| pods::label(pod, REVISION) == revision))
        };
        let (all, ready, updated) =
            (pods::count(own.iter()), pods::ready(&own), of(name(self.update)));
        let complete = self.rolls() && updated == all && ready == all && all == self.wanted();
        let current = name(if complete { self.update } else { self.current });
        let mut status = json!({
            "replicas": all, "currentRevision": current, "updateRevision": name(self.update), "collisionCount": 0,
        });
        let counts = object(&mut status, &[]);
        count(counts, "observedGeneration", number(self.set, "/metadata/generation"));
        count(counts, "readyReplicas", ready);
        count(counts, "currentReplicas", of(current));
        count(counts, "updatedReplicas", updated);
        status
    }
}
