//! `ReplicaSets`: as many pods of one template as are wanted.

use serde_json::{Value, json};

use super::super::change::suffix;
use super::super::fields::{count, number, object};
use super::super::resources::{PODS, REPLICA_SETS};
use super::super::state::{State, name};
use super::pods;

pub(super) fn step(state: &mut State) {
    let sets: Vec<Value> = state.list(&REPLICA_SETS, None).into_iter().cloned().collect();
    for set in sets {
        balance(state, &set);
        tell(state, set);
    }
}

/// Makes what is missing, and removes what is too much: first what is not ready.
fn balance(state: &mut State, set: &Value) {
    let mut own = state.owned(&PODS, set);
    let wanted = usize::try_from(number(set, "/spec/replicas")).unwrap_or_default();
    for _ in own.len()..wanted {
        let named = format!("{}-{}", name(set), suffix());
        pods::create(state, &REPLICA_SETS, set, &named, &set["spec"]["template"], &[]);
    }
    own.sort_by_key(|pod| !pods::is_ready(pod));
    for pod in own.iter().skip(wanted) {
        pods::remove(state, pod);
    }
}

fn tell(state: &mut State, mut set: Value) {
    let own = state.owned(&PODS, &set);
    let (all, ready) = (pods::count(own.iter()), pods::ready(&own));
    let generation = number(&set, "/metadata/generation");
    set["status"] = json!({"replicas": all});
    let status = object(&mut set, &["status"]);
    count(status, "fullyLabeledReplicas", all);
    count(status, "readyReplicas", ready);
    count(status, "availableReplicas", ready);
    count(status, "observedGeneration", generation);
    state.replace(&REPLICA_SETS, set);
}
