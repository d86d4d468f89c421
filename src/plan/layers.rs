//! Rule 1 of the language: what a step waits for, and the layers that follow from it.
//!
//! Within a phase a step waits for the nearest required step above it, unless `after` says otherwise. From these waits come
//! the layers that `plan` draws, and the path to a target, which pre-flight and the planner refuse for. The
//! phases among each other need no waits: a phase starts when the required steps of the one before have settled.

use std::collections::{HashMap, HashSet};

use super::{PlannedPhase, PlannedStep, PlannedTarget, StepId, Until, Wait};
use crate::runbook::{After, OnFailure, Phase, Step};

/// Why the waits of a phase make no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// `after` names a step that is not in the phase.
    #[error(
        "order the steps of phase `{phase}`: `{step}` waits for `{missing}`, which is not one of its steps"
    )]
    Unknown {
        /// The phase.
        phase: String,
        /// The step that waits.
        step: String,
        /// The name that nothing has.
        missing: String,
    },
    /// Steps wait for each other.
    #[error("order the steps of phase `{phase}`: {} wait for each other", .steps.join(", "))]
    Circle {
        /// The phase.
        phase: String,
        /// Some steps of the circle, in the order of the file.
        steps: Vec<String>,
    },
}

/// The waits of every step of a phase, in the order of the file.
pub fn waits(phase: &Phase) -> Result<Vec<Vec<Wait>>, OrderError> {
    let places: HashMap<&str, usize> =
        phase.steps.iter().enumerate().map(|(index, step)| (step.id.as_str(), index)).collect();
    let mut nearest_required = None;
    let mut indices = Vec::with_capacity(phase.steps.len());
    let mut waits = Vec::with_capacity(phase.steps.len());
    for (index, step) in phase.steps.iter().enumerate() {
        let waited = match &step.after {
            None => nearest_required.map(|above| (above, Until::Passed)).into_iter().collect(),
            Some(after) => named(phase, step, after, &places)?,
        };
        indices.push(waited.iter().map(|(index, _)| *index).collect());
        waits.push(
            waited
                .into_iter()
                .map(|(index, until)| Wait { step: step_id(phase, &phase.steps[index]), until })
                .collect(),
        );
        if !step.optional {
            nearest_required = Some(index);
        }
    }
    depths(&indices).map_err(|circle| OrderError::Circle {
        phase: phase.id.clone(),
        steps: circle.into_iter().map(|index| phase.steps[index].id.clone()).collect(),
    })?;
    Ok(waits)
}

/// The name of a step in a run.
pub fn step_id(phase: &Phase, step: &Step) -> StepId {
    StepId(format!("{}/{}", phase.id, step.id).into())
}

fn named(
    phase: &Phase,
    step: &Step,
    after: &[After],
    places: &HashMap<&str, usize>,
) -> Result<Vec<(usize, Until)>, OrderError> {
    let find = |after: &After| {
        let until = if after.settled { Until::Settled } else { Until::Success };
        places.get(after.step.as_str()).map(|index| (*index, until)).ok_or_else(|| {
            OrderError::Unknown {
                phase: phase.id.clone(),
                step: step.id.clone(),
                missing: after.step.clone(),
            }
        })
    };
    after.iter().map(find).collect()
}

/// The steps of a planned phase by layer: those of one layer wait only for those of layers before it.
/// A step that is part of a circle (which no valid runbook has) stands in a last layer of its own.
pub fn layers(phase: &PlannedPhase) -> Vec<Vec<&PlannedStep>> {
    let Ok(depths) = depths(&wait_indices(phase)) else {
        return phase.steps.iter().map(|step| vec![step]).collect();
    };
    let deepest = depths.iter().max().map_or(0, |depth| depth + 1);
    let mut layers = vec![Vec::new(); deepest];
    for (step, depth) in phase.steps.iter().zip(depths) {
        layers[depth].push(step);
    }
    layers
}

/// For each step of a phase, the positions of the steps it waits for.
pub(super) fn wait_indices(phase: &PlannedPhase) -> Vec<Vec<usize>> {
    let places: HashMap<&StepId, usize> =
        phase.steps.iter().enumerate().map(|(index, step)| (&step.id, index)).collect();
    phase
        .steps
        .iter()
        .map(|step| step.waits.iter().filter_map(|wait| places.get(&wait.step).copied()).collect())
        .collect()
}

/// How many waits lie before each step at most. The error holds the steps that wait for each other or
/// for such a circle.
fn depths(waits: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut depths: Vec<Option<usize>> = vec![None; waits.len()];
    let mut open: Vec<usize> = (0..waits.len()).collect();
    while !open.is_empty() {
        let before = open.len();
        open.retain(|&index| {
            // As deep as the deepest that it waits for, and one more, once all of those are known.
            depths[index] = waits[index]
                .iter()
                .try_fold(0, |deepest, &wait| depths[wait].map(|depth| deepest.max(depth + 1)));
            depths[index].is_none()
        });
        if open.len() == before {
            return Err(open);
        }
    }
    Ok(depths.into_iter().flatten().collect())
}

/// The steps whose failure would keep the first target from being reached: what pre-flight refuses for.
/// Without targets these are all required steps.
pub fn path_to_first_target(phases: &[PlannedPhase], targets: &[PlannedTarget]) -> HashSet<StepId> {
    let first = targets.iter().min_by_key(|target| target.rank());
    match first {
        Some(target) => path_to(phases, &target.reached_by),
        None => phases
            .iter()
            .flat_map(|phase| &phase.steps)
            .filter(|step| !step.policy.optional)
            .map(|step| step.id.clone())
            .collect(),
    }
}

/// The steps whose failure would keep `target` from succeeding: itself, what it waits for, and the
/// required steps of earlier phases, except those whose failure the run survives.
pub fn path_to(phases: &[PlannedPhase], target: &StepId) -> HashSet<StepId> {
    let mut path = HashSet::new();
    let Some(last) =
        phases.iter().position(|phase| phase.steps.iter().any(|step| step.id == *target))
    else {
        return path;
    };
    for phase in &phases[..last] {
        let decisive = phase.steps.iter().filter(|step| is_decisive(step)).map(|step| &step.id);
        follow(phase, decisive.collect(), &mut path);
    }
    follow(&phases[last], vec![target], &mut path);
    path
}

/// Whether a step's failure stops the run.
fn is_decisive(step: &PlannedStep) -> bool {
    !step.policy.optional && step.policy.on_failure != OnFailure::Continue
}

/// Adds the steps in `open` and everything they wait for.
fn follow<'a>(phase: &'a PlannedPhase, mut open: Vec<&'a StepId>, path: &mut HashSet<StepId>) {
    let steps: HashMap<&StepId, &PlannedStep> =
        phase.steps.iter().map(|step| (&step.id, step)).collect();
    while let Some(id) = open.pop() {
        if !path.insert(id.clone()) {
            continue;
        }
        let waits = steps.get(id).map_or(&[][..], |step| &step.waits);
        let matters = |wait: &&Wait| {
            steps
                .get(&wait.step)
                .is_some_and(|other| wait.until != Until::Settled || is_decisive(other))
        };
        open.extend(waits.iter().filter(matters).map(|wait| &wait.step));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::{planned, planned_phase, step};
    use crate::runbook::node::Span;
    use std::time::Duration;

    fn phase(steps: Vec<Step>) -> Phase {
        Phase { id: "p".into(), title: None, budget: None, steps, span: Span::default() }
    }

    fn after(step: &str, settled: bool) -> After {
        After { step: step.into(), settled, span: Span::default() }
    }

    fn names(waits: &[Wait]) -> Vec<&str> {
        waits.iter().map(|wait| wait.step.as_str()).collect()
    }

    #[test]
    fn a_step_waits_for_the_nearest_required_step_above() {
        let mut optional = step("b", "t.set");
        optional.optional = true;
        let waits =
            waits(&phase(vec![step("a", "t.set"), optional, step("c", "t.set")])).expect("ordered");
        assert_eq!(names(&waits[0]), Vec::<&str>::new());
        assert_eq!(names(&waits[1]), ["p/a"]);
        assert_eq!(names(&waits[2]), ["p/a"], "an optional step holds nobody up");
    }

    #[test]
    fn after_replaces_the_default() {
        let mut b = step("b", "t.set");
        b.after = Some(vec![]);
        let mut c = step("c", "t.set");
        c.after = Some(vec![after("a", false), after("b", true)]);
        let waits = waits(&phase(vec![step("a", "t.set"), b, c])).expect("ordered");
        assert!(waits[1].is_empty());
        assert_eq!(names(&waits[2]), ["p/a", "p/b"]);
        assert_eq!(waits[2][0].until, Until::Success);
        assert_eq!(waits[2][1].until, Until::Settled);
    }

    #[test]
    fn a_step_may_wait_for_one_below_but_not_in_a_circle() {
        let mut a = step("a", "t.set");
        a.after = Some(vec![after("b", false)]);
        let mut b = step("b", "t.set");
        b.after = Some(vec![]);
        waits(&phase(vec![a.clone(), b])).expect("forward waits are fine");
        let error = waits(&phase(vec![a, step("b", "t.set")])).expect_err("a circle");
        assert_eq!(
            error,
            OrderError::Circle { phase: "p".into(), steps: vec!["a".into(), "b".into()] }
        );
    }

    #[test]
    fn an_unknown_step_is_named() {
        let mut a = step("a", "t.set");
        a.after = Some(vec![after("zz", false)]);
        let error = waits(&phase(vec![a])).expect_err("unknown");
        assert!(error.to_string().contains("`zz`"), "{error}");
    }

    #[test]
    fn layers_follow_the_longest_chain_of_waits() {
        let phase = planned_phase(
            "p",
            vec![
                planned("p/a", &[]),
                planned("p/b", &[]),
                planned("p/c", &["p/a"]),
                planned("p/d", &["p/b", "p/c"]),
            ],
        );
        let names: Vec<Vec<&str>> = layers(&phase)
            .into_iter()
            .map(|layer| layer.into_iter().map(|step| step.id.as_str()).collect())
            .collect();
        assert_eq!(names, vec![vec!["p/a", "p/b"], vec!["p/c"], vec!["p/d"]]);
    }

    #[test]
    fn the_path_to_a_target_holds_what_can_keep_it_from_being_reached() {
        let mut optional = planned("one/chat", &[]);
        optional.policy.optional = true;
        let mut tolerated = planned("one/drain", &["one/a"]);
        tolerated.policy.on_failure = OnFailure::Continue;
        let phases = vec![
            planned_phase("one", vec![planned("one/a", &[]), optional, tolerated]),
            planned_phase(
                "two",
                vec![
                    planned("two/b", &[]),
                    planned("two/proof", &["two/b"]),
                    planned("two/later", &["two/proof"]),
                ],
            ),
            planned_phase("three", vec![planned("three/redis", &[])]),
        ];
        let target = |name: &str, seconds, step: &str| PlannedTarget {
            name: name.into(),
            within: Duration::from_secs(seconds),
            from: None,
            reached_by: StepId(step.into()),
        };
        let targets = [target("all", 210, "three/redis"), target("traffic", 60, "two/proof")];
        let mut path: Vec<String> =
            path_to_first_target(&phases, &targets).into_iter().map(|id| id.to_string()).collect();
        path.sort();
        assert_eq!(path, ["one/a", "two/b", "two/proof"]);
        assert!(path_to_first_target(&phases, &[]).contains(&StepId("three/redis".into())));
    }
}
