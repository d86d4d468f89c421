//! Changes that are made in time and reach everybody too late: a DNS record that caches may keep for longer than the target.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Finding, PreviewStep};
use crate::plan::{Plan, StepId};
use crate::value::brief;

/// A change that reaches everybody later than a target that it stands before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// The step that makes the change.
    pub step: StepId,
    /// How long it takes at most to reach everybody, in milliseconds.
    #[serde(rename = "spreads_ms", with = "crate::plan::model::millis")]
    pub spreads: Duration,
    /// The target's name.
    pub target: String,
    /// The target's time, in milliseconds.
    #[serde(rename = "within_ms", with = "crate::plan::model::millis")]
    pub within: Duration,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, spreads, target, within } = self;
        write!(
            f,
            "step {step}: others may keep what was there before for {}, longer than the target {target} ({})",
            brief(*spreads),
            brief(*within)
        )
    }
}

impl Late {
    /// What can be done about it.
    pub fn hint(&self) -> String {
        format!(
            "Lower the record's ttl below {} at least {} before it is needed.",
            brief(self.within),
            brief(self.spreads)
        )
    }
}

/// Holds what the looks found against the targets. A step stands before a target when it comes, in the order of the plan, no later than
/// the step that proves it; of several targets the nearest is told.
pub(super) fn late(plan: &Plan, steps: &[PreviewStep]) -> Vec<Late> {
    let place = |id: &StepId| steps.iter().position(|step| step.id == *id);
    let mut found = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let spreads = step.items.iter().filter_map(|item| match item.finding {
            Finding::WouldChange { spreads, .. } => spreads,
            _ => None,
        });
        let Some(spreads) = spreads.max() else { continue };
        let missed = plan.targets.iter().find(|target| {
            spreads > target.within && place(&target.reached_by).is_some_and(|at| index <= at)
        });
        if let Some(target) = missed {
            let (step, name) = (step.id.clone(), target.name.clone());
            found.push(Late { step, spreads, target: name, within: target.within });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::preview::{Known, PreviewItem};
    use crate::plan::testing::{plan, planned, planned_phase};

    fn step(id: &str, spreads: Option<u64>) -> PreviewStep {
        let spreads = spreads.map(Duration::from_secs);
        let finding = Finding::WouldChange { found: None, spreads };
        let item = PreviewItem {
            name: String::new(),
            does: "do it".into(),
            undo: String::new(),
            finding,
            known: Known::ReadLive,
        };
        PreviewStep { id: StepId(id.into()), optional: false, items: vec![item] }
    }

    #[test]
    fn the_nearest_target_that_a_change_stands_before_is_told() {
        let names = ["p/a", "p/b", "p/c"];
        let steps = names.iter().map(|name| planned(name, &[])).collect();
        let targets = [("near", 60, "p/b"), ("far", 300, "p/c")];
        let plan = plan(vec![planned_phase("p", steps)], &targets);
        let told = |spreads: [Option<u64>; 3]| {
            let steps: Vec<_> =
                names.iter().zip(spreads).map(|(id, spreads)| step(id, spreads)).collect();
            late(&plan, &steps)
                .iter()
                .map(|late| format!("{}>{}", late.step, late.target))
                .collect::<Vec<_>>()
        };
        assert_eq!(told([Some(61), None, None]), ["p/a>near"]);
        assert!(told([Some(60), None, Some(300)]).is_empty());
        assert_eq!(told([None, Some(301), None]), ["p/b>near"]);
        // What comes after the step that proves a target is not held against it.
        assert_eq!(told([None, None, Some(301)]), ["p/c>far"]);
        assert!(told([None, None, Some(61)]).is_empty());
    }
}
