//! The arithmetic of a Deployment: how many pods each of its `ReplicaSets` may have. After `pkg/controller/deployment` of Kubernetes 1.20.

use serde_json::Value;

use super::super::fields::{annotate, annotation, number, set, text};
use super::super::resources::REPLICA_SETS;
use super::super::state::{State, uid};

const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";

/// A number, or that share of all: `25%`, rounded as `divide` does.
pub(super) fn share(bound: &Value, all: i64, divide: fn(i64, i64) -> i64) -> i64 {
    match bound {
        Value::String(percent) => {
            let percent: i64 = percent.trim_end_matches('%').parse().unwrap_or_default();
            divide(percent * all, 100)
        }
        number => number.as_i64().unwrap_or_default(),
    }
}

/// How many pods a Deployment wants, and how many more or fewer there may be for a while.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) wanted: i64,
    pub(super) surge: i64,
    pub(super) unavailable: i64,
}

impl Bounds {
    pub(super) fn of(deployment: &Value) -> Self {
        let wanted = number(deployment, "/spec/replicas");
        if !rolls(deployment) || wanted == 0 {
            return Self { wanted, surge: 0, unavailable: 0 };
        }
        let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
        let surge = share(&rolling["maxSurge"], wanted, |percent, all| (percent + all - 1) / all);
        let unavailable = share(&rolling["maxUnavailable"], wanted, |percent, all| percent / all);
        // With neither, nothing could ever be replaced.
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { wanted, surge, unavailable: unavailable.min(wanted) }
    }
}

pub(super) fn rolls(deployment: &Value) -> bool {
    text(deployment, "/spec/strategy/type") == "RollingUpdate"
}

pub(super) fn replicas(set: &Value) -> i64 {
    number(set, "/spec/replicas")
}

fn available(set: &Value) -> i64 {
    number(set, "/status/availableReplicas")
}

pub(super) fn sum(sets: &[Value], of: fn(&Value) -> i64) -> i64 {
    sets.iter().map(of).sum()
}

/// What the set is annotated with, for whoever scales it in proportion later; whether that is news.
pub(super) fn note_size(set: &mut Value, bounds: Bounds) -> bool {
    let desired = annotate(set, DESIRED, &bounds.wanted.to_string());
    annotate(set, MOST, &(bounds.wanted + bounds.surge).to_string()) || desired
}

/// Gives a `ReplicaSet` another size; whether it had another.
pub(super) fn resize(state: &mut State, set_: &Value, size: i64, bounds: Bounds) -> bool {
    let mut next = set_.clone();
    note_size(&mut next, bounds);
    if replicas(set_) == size {
        state.replace(&REPLICA_SETS, next);
        return false;
    }
    set(&mut next, &["spec", "replicas"], size);
    state.want(&REPLICA_SETS, next);
    true
}

/// Brings the new set towards what is wanted, as far as the surge lets it.
pub(super) fn grow(state: &mut State, new: &Value, old: &[Value], bounds: Bounds) -> bool {
    let size = replicas(new);
    let room = bounds.wanted + bounds.surge - size - sum(old, replicas);
    let next = if size > bounds.wanted {
        bounds.wanted
    } else {
        size + room.min(bounds.wanted - size).max(0)
    };
    resize(state, new, next, bounds)
}

/// Takes from the old sets: first what is not available, then as much as may be missing.
pub(super) fn shrink(state: &mut State, new: &Value, old: &[Value], bounds: Bounds) -> bool {
    let least = bounds.wanted - bounds.unavailable;
    let coming = replicas(new) - available(new);
    let most = sum(old, replicas) + replicas(new) - least - coming;
    if sum(old, replicas) == 0 || most <= 0 {
        return false;
    }
    let mut sizes: Vec<i64> = old.iter().map(replicas).collect();
    let mut left = most;
    for (size, set) in sizes.iter_mut().zip(old) {
        let taken = (*size - available(set)).min(left).max(0);
        *size -= taken;
        left -= taken;
    }
    let mut spare = sum(old, available) + available(new) - least;
    for size in &mut sizes {
        let taken = (*size).min(spare).max(0);
        *size -= taken;
        spare -= taken;
    }
    let mut shrunk = false;
    for (size, set) in sizes.into_iter().zip(old) {
        shrunk |= size != replicas(set) && resize(state, set, size, bounds);
    }
    shrunk
}

/// Whether the wanted number changed since the sets got their sizes.
pub(super) fn is_scaling(sets: &[Value], wanted: i64) -> bool {
    let mut active = sets.iter().filter(|set| replicas(set) > 0);
    active.any(|set| {
        annotation(set, DESIRED)
            .and_then(|desired| desired.parse::<i64>().ok())
            .is_some_and(|desired| desired != wanted)
    })
}

/// Scales what there is without rolling on: the one active set, or all in proportion.
pub(super) fn scale(state: &mut State, deployment: &Value, new: Option<&Value>, old: &[Value]) {
    let bounds = Bounds::of(deployment);
    let all: Vec<&Value> = old.iter().chain(new).collect();
    let active: Vec<&Value> = all.iter().copied().filter(|set| replicas(set) > 0).collect();
    if let [] | [_] = active.as_slice() {
        if let Some(set) = active.first().copied().or(new).or(old.last()) {
            resize(state, set, bounds.wanted, bounds);
        }
        return;
    }
    if new.is_some_and(|new| replicas(new) == bounds.wanted && available(new) == bounds.wanted) {
        for set in old.iter().filter(|set| replicas(set) > 0) {
            resize(state, set, 0, bounds);
        }
        return;
    }
    if rolls(deployment) {
        in_proportion(state, deployment, active, new, bounds);
    }
}

fn in_proportion(
    state: &mut State,
    deployment: &Value,
    mut active: Vec<&Value>,
    new: Option<&Value>,
    bounds: Bounds,
) {
    let allowed = if bounds.wanted > 0 { bounds.wanted + bounds.surge } else { 0 };
    let missing = allowed - active.iter().map(|set| replicas(set)).sum::<i64>();
    // The largest first; of two alike the newer when it grows, the older when it shrinks.
    let is_new = |set: &Value| new.is_some_and(|new| uid(new) == uid(set));
    active.sort_by_key(|set| (-replicas(set), is_new(set) != (missing > 0)));
    let mut added = 0;
    let mut sizes = Vec::new();
    for set in &active {
        let left = missing - added;
        let share = fraction(set, deployment, bounds);
        let part =
            if missing > 0 { share.clamp(0, left.max(0)) } else { share.clamp(left.min(0), 0) };
        added += part;
        sizes.push(replicas(set) + part);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + missing - added).max(0);
    }
    for (set, size) in active.into_iter().zip(sizes) {
        resize(state, set, size, bounds);
    }
}

/// How much a set changes when it keeps its part of the whole.
fn fraction(set: &Value, deployment: &Value, bounds: Bounds) -> i64 {
    if bounds.wanted == 0 {
        return -replicas(set);
    }
    let noted = annotation(set, MOST).and_then(|most| most.parse().ok());
    let whole = noted.unwrap_or_else(|| number(deployment, "/status/replicas")).max(1);
    let (size, next) = (replicas(set), bounds.wanted + bounds.surge);
    (size * next * 2 + whole) / (whole * 2) - size
}
