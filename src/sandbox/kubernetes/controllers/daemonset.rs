//! `DaemonSets`: one pod on every node, replaced a few at a time.

use serde_json::{Value, json};

use super::super::change::suffix;
use super::super::fields::{count, number, object, set, text};
use super::super::resources::{DAEMON_SETS, NODES, PODS};
use super::super::state::{State, name};
use super::rollout::share;
use super::{pods, revisions};

const HASH: &str = "controller-revision-hash";
/// Where a pod says which node it is for.
const NODE: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0";

pub(super) fn step(state: &mut State) {
    let sets: Vec<Value> = state.list(&DAEMON_SETS, None).into_iter().cloned().collect();
    let nodes: Vec<String> =
        state.list(&NODES, None).into_iter().map(|node| name(node).to_owned()).collect();
    for set in sets {
        let history = revisions::sync(state, &DAEMON_SETS, &set, HASH);
        let Some(newest) = history.last() else { continue };
        let hash = pods::label(newest, HASH).to_owned();
        place(state, &set, &nodes, &hash);
        replace(state, &set, &nodes, &hash);
        let used = used(state, &set, &history);
        revisions::truncate(state, &set, &used.iter().map(String::as_str).collect::<Vec<_>>());
        tell(state, set, &nodes, &hash);
    }
}

/// A pod for every node that has none.
fn place(state: &mut State, daemons: &Value, nodes: &[String], hash: &str) {
    let own = state.owned(&PODS, daemons);
    for node in nodes.iter().filter(|node| !own.iter().any(|pod| text(pod, NODE) == **node)) {
        let mut template = daemons["spec"]["template"].clone();
        let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]);
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        set(
            &mut template,
            &["spec", "affinity", "nodeAffinity", required, "nodeSelectorTerms"],
            terms,
        );
        let named = format!("{}-{}", name(daemons), suffix());
        let generation = number(daemons, "/metadata/generation").to_string();
        let labels = [(HASH, hash), ("pod-template-generation", generation.as_str())];
        pods::create(state, &DAEMON_SETS, daemons, &named, &template, &labels);
    }
}

/// Removes old pods: all that are not ready, and of the others as many as may be missing.
fn replace(state: &mut State, daemons: &Value, nodes: &[String], hash: &str) {
    if text(daemons, "/spec/updateStrategy/type") != "RollingUpdate" {
        return;
    }
    let own = state.owned(&PODS, daemons);
    let wanted = i64::try_from(nodes.len()).unwrap_or(i64::MAX);
    let most = &daemons["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"];
    let mut missing = wanted - pods::ready(&own);
    for pod in own.iter().filter(|pod| pods::label(pod, HASH) != hash) {
        if !pods::is_ready(pod) {
            pods::remove(state, pod);
        } else if missing < share(most, wanted, |percent, all| (percent + all - 1) / all) {
            pods::remove(state, pod);
            missing += 1;
        }
    }
}

/// The names of the revisions that pods are of.
fn used(state: &State, daemons: &Value, history: &[Value]) -> Vec<String> {
    let own = state.owned(&PODS, daemons);
    let is_used = |revision: &&Value| {
        own.iter().any(|pod| pods::label(pod, HASH) == pods::label(revision, HASH))
    };
    history.iter().filter(is_used).map(|revision| name(revision).to_owned()).collect()
}

fn tell(state: &mut State, mut daemons: Value, nodes: &[String], hash: &str) {
    let own = state.owned(&PODS, &daemons);
    let wanted = i64::try_from(nodes.len()).unwrap_or(i64::MAX);
    let (all, ready) = (pods::count(own.iter()), pods::ready(&own));
    let updated = pods::count(own.iter().filter(|pod| pods::label(pod, HASH) == hash));
    let generation = number(&daemons, "/metadata/generation");
    daemons["status"] = json!({
        "currentNumberScheduled": all, "numberMisscheduled": 0, "desiredNumberScheduled": wanted, "numberReady": ready,
    });
    let status = object(&mut daemons, &["status"]);
    count(status, "observedGeneration", generation);
    count(status, "updatedNumberScheduled", updated);
    count(status, "numberAvailable", ready);
    count(status, "numberUnavailable", wanted - ready);
    state.replace(&DAEMON_SETS, daemons);
}
