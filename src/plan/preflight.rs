//! Pre-flight: whether the systems of a plan answer, before anything is changed.
//!
//! All at the same time, five seconds at most. A system on the path to the first target refuses the run; any other is a
//! warning: a dead cache in the third phase never keeps traffic from coming back, and a silent one does not hold it up: once those on
//! the path have answered, the others have a second more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{join, join_all};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::layers::path_to_first_target;
use super::{Concern, Items, Plan, PlannedStep};
use crate::action::{ActionError, Connections, ErrorKind, Reach, Registry};

/// How long it takes at most.
pub const PREFLIGHT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer systems may take that do not stand on the path to the first target.
pub const GRACE: Duration = Duration::from_secs(1);

/// What pre-flight found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Preflight {
    /// What answered, by connection: one line each.
    pub reached: BTreeMap<&'static str, String>,
    /// What stands in the way of the first target: the run must not start (exit code 4).
    pub refusals: Vec<Concern>,
    /// What is needed later, or only by optional steps.
    pub warnings: Vec<Concern>,
}

/// Asks every system of the plan that can be asked.
pub async fn preflight(plan: &Plan, registry: &Registry, connections: &Connections) -> Preflight {
    let path = path_to_first_target(&plan.phases, &plan.targets);
    let decisive = connections_of(plan.steps().filter(|step| path.contains(&step.id)), registry);
    let all = connections_of(plan.steps(), registry);
    let deadline = Instant::now() + PREFLIGHT_TIMEOUT;
    let reachable = registry
        .connections()
        .filter(|block| all.contains(block.key))
        .filter_map(|block| Some((block.key, block.reach?)));
    let (on_path, beside): (Vec<_>, Vec<_>) =
        reachable.partition(|(key, _)| decisive.contains(key));
    let answered = CancellationToken::new();
    let on_path = async {
        let asked = on_path.into_iter().map(|(key, reach)| ask(key, reach, connections, deadline));
        let answers = join_all(asked).await;
        answered.cancel();
        answers
    };
    let beside = beside
        .into_iter()
        .map(|(key, reach)| ask_beside(key, ask(key, reach, connections, deadline), &answered));
    let (on_path, beside) = join(on_path, join_all(beside)).await;
    let mut found = Preflight::default();
    for (key, answer) in on_path.into_iter().chain(beside) {
        match answer {
            Ok(line) => {
                let _none = found.reached.insert(key, line);
            }
            Err(error) if decisive.contains(key) => {
                found.refusals.push(Concern::system(key, error));
            }
            Err(error) => found.warnings.push(Concern::system(key, error)),
        }
    }
    found
}

/// The answer of a system that is asked `asking`, unless it takes much longer than those on the path.
async fn ask_beside(
    key: &'static str,
    asking: impl Future<Output = (&'static str, Result<String, ActionError>)>,
    answered: &CancellationToken,
) -> (&'static str, Result<String, ActionError>) {
    let late = async {
        answered.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        biased;
        answer = asking => answer,
        () = late => {
            let message = format!("reach {key} in time: no answer yet, and it is not waited for");
            (key, Err(ActionError::new(ErrorKind::TimedOut, message)))
        }
    }
}

async fn ask(
    key: &'static str,
    reach: Reach,
    connections: &Connections,
    deadline: Instant,
) -> (&'static str, Result<String, ActionError>) {
    let answer = tokio::time::timeout_at(deadline, reach(connections)).await;
    let answer = answer.unwrap_or_else(|_| {
        let seconds = PREFLIGHT_TIMEOUT.as_secs();
        let message = format!("reach {key} within {seconds} s: no answer");
        Err(ActionError::new(ErrorKind::TimedOut, message))
    });
    (key, answer)
}

/// The connections that steps need, also through verbs inside their arguments.
fn connections_of<'a>(
    steps: impl Iterator<Item = &'a PlannedStep>,
    registry: &Registry,
) -> BTreeSet<&'static str> {
    let mut used = BTreeSet::new();
    for step in steps.filter(|step| step.skip.is_none()) {
        add(&step.verb, registry, &mut used);
        if let Some(probe) = &step.policy.verify.probe {
            add(&probe.verb, registry, &mut used);
        }
        match &step.items {
            Items::Resolved(items) => {
                for item in items {
                    nested(&item.args.value(), registry, &mut used);
                }
            }
            Items::Deferred(deferred) => {
                for item in &deferred.args {
                    nested(&item.args.value(), registry, &mut used);
                }
            }
        }
    }
    used
}

fn add(verb: &str, registry: &Registry, used: &mut BTreeSet<&'static str>) {
    let Some(verb) = registry.verb(verb) else { return };
    let blocks = registry.system(verb.system()).into_iter().flat_map(|system| &system.connections);
    let keys = blocks.map(|block| block.key);
    used.extend(keys.filter(|key| verb.connection.is_none_or(|only| only == *key)));
}

/// Checklist items hold probes of other systems, as `{docker.expect: {…}}` or `{verb: docker.expect, …}`.
fn nested(args: &Value, registry: &Registry, used: &mut BTreeSet<&'static str>) {
    match args {
        Value::Object(fields) => {
            for (key, value) in fields {
                add(key, registry, used);
                if let ("verb", Value::String(verb)) = (key.as_str(), value) {
                    add(verb, registry, used);
                }
                nested(value, registry, used);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| nested(value, registry, used)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::testing::{self, plan, planned, planned_phase};

    fn two_phases(target: &str) -> Plan {
        let mut early = planned("one/a", &[]);
        early.verb = "manual.confirm".into();
        plan(
            vec![
                planned_phase("one", vec![early]),
                planned_phase("two", vec![planned("two/b", &[])]),
            ],
            &[("first", 60, target)],
        )
    }

    #[tokio::test]
    async fn what_answers_is_told() {
        let connections = testing::connections(json!({}));
        let found = preflight(&two_phases("two/b"), &testing::registry(), &connections).await;
        assert_eq!(found.reached, BTreeMap::from([("memory", "memory answers".to_owned())]));
        assert!(found.refusals.is_empty() && found.warnings.is_empty());
    }

    #[tokio::test]
    async fn only_the_path_to_the_first_target_refuses() {
        let connections = testing::connections(json!({"down": true}));
        let registry = testing::registry();
        let found = preflight(&two_phases("two/b"), &registry, &connections).await;
        assert_eq!(found.refusals[0].about, "system memory");
        let found = preflight(&two_phases("one/a"), &registry, &connections).await;
        assert!(found.refusals.is_empty());
        assert_eq!(found.warnings[0].error.hints, ["Switch memory on."]);
    }

    #[tokio::test]
    async fn a_probe_inside_a_checklist_counts() {
        let mut plan = two_phases("one/a");
        let _later = plan.phases.pop();
        let Items::Resolved(items) = &mut plan.phases[0].steps[0].items else { panic!("resolved") };
        items[0].args =
            json!({"items": [{"probe": {"memory.expect": {"key": "a", "is": "b"}}}]}).into();
        let connections = testing::connections(json!({"down": true}));
        let found = preflight(&plan, &testing::registry(), &connections).await;
        assert_eq!(found.refusals.len(), 1);
    }

    #[tokio::test]
    async fn of_a_system_with_several_only_the_connection_that_a_verb_needs_is_asked() {
        let mut plan = two_phases("one/a");
        plan.phases[0].steps[0].verb = "radio.say".into();
        plan.phases[1].steps.clear();
        let connections = testing::connections(json!({"radio": {}}));
        let found = preflight(&plan, &testing::registry(), &connections).await;
        assert_eq!(found.reached, BTreeMap::from([("radio", "radio answers".to_owned())]));
        assert!(found.refusals.is_empty() && found.warnings.is_empty(), "{found:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_after_five_seconds() {
        let started = Instant::now();
        let connections = testing::connections(json!({"silent": true}));
        let found = preflight(&two_phases("two/b"), &testing::registry(), &connections).await;
        assert_eq!(found.refusals[0].error.kind, ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), PREFLIGHT_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_stand_on_the_path_is_not_waited_for() {
        let started = Instant::now();
        let connections = testing::connections(json!({"silent": true}));
        let found = preflight(&two_phases("one/a"), &testing::registry(), &connections).await;
        assert!(found.refusals.is_empty());
        assert_eq!(found.warnings[0].error.kind, ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), GRACE);
    }
}
